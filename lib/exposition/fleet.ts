import type { Context } from '../core/context.ts'
import { FirstOnly } from '../core/first-only.ts'
import type { SharedState } from '../core/shared.ts'
import type { EventBus } from '../events/bus.ts'
import type { MetricsSnapshot } from '../telemetry/snapshot.ts'
import type { SyncInfo } from './exporter.ts'
import { sideBySide, summedUp, type GaugeRules, type InstanceMetrics } from './merge-snapshots.ts'
import { decodeSnapshot, encodeSnapshot } from './shared-snapshot.ts'

/** The group of shared texts on the store that holds the snapshots, by instance. */
const GROUP = 'metrics'
/** A process that has missed this many turns counts as gone. Its gauges are left out, because they describe the past. */
const MISSED_TURNS = 3

export interface FleetParts {
  readonly context: Context
  readonly bus: EventBus
  readonly snapshot: () => MetricsSnapshot
  readonly shared: SharedState | undefined
  readonly syncIntervalMs: number
  readonly retentionMs: number
  readonly rules: GaugeRules
  /** The name of this host; shown with the metrics. */
  readonly host: string
}

type Seen = Map<string, { readonly takenAt: number, readonly at: number }>

/** The metrics of all processes that write theirs to the store. Without a shared store: those of this process. */
export class Fleet {
  readonly #parts: FleetParts
  /** When the newest snapshot of each process was first seen here, on the clock of this process: those of other hosts differ. */
  #seen: Seen = new Map()
  readonly #warnings = new FirstOnly()

  constructor (parts: FleetParts) {
    this.#parts = parts
  }

  /** Writes the metrics of this process to the store, for the others. @throws {AsyncEndpointsError} `FAE_STORE_UNAVAILABLE` */
  async show (): Promise<SyncInfo | undefined> {
    const { context, shared, snapshot, bus, retentionMs, host } = this.#parts
    if (shared === undefined) return undefined
    const { text, metrics, left } = await encodeSnapshot(snapshot())
    if (left > 0 && this.#warnings.note('left out')) {
      const message = 'this process has too many series to share them all with the other processes: metrics that do not fit are exported for this process alone'
      context.logger.warn({ metrics, left }, message)
    }
    await shared.put(GROUP, context.instanceId, `${host} ${text}`, retentionMs)
    const info = { metrics, bytes: text.length }
    bus.emit('telemetry.cache_synced', info)
    return info
  }

  /**
   * @param host only the processes of this host; `undefined`: all
   * @throws {AsyncEndpointsError} `FAE_STORE_UNAVAILABLE`
   */
  readonly view = async (includeInstances: boolean, host?: string): Promise<MetricsSnapshot> => {
    const { context, rules } = this.#parts
    const all = await this.#all(host)
    const takenAt = context.clock.now()
    return includeInstances ? sideBySide(all, takenAt) : summedUp(all, rules, takenAt)
  }

  /** The newest first. This process is read now, and therefore comes first. */
  async #all (host: string | undefined): Promise<InstanceMetrics[]> {
    const { context, shared, snapshot } = this.#parts
    const others = shared === undefined ? [] : await this.#others(shared, host)
    others.sort((a, b) => b.snapshot.takenAt - a.snapshot.takenAt)
    return [{ instance: context.instanceId, snapshot: snapshot() }, ...others]
  }

  async #others (shared: SharedState, host: string | undefined): Promise<InstanceMetrics[]> {
    const { context, syncIntervalMs } = this.#parts
    const entries = await shared.entries(GROUP)
    const now = context.clock.monotonic()
    const seen: Seen = new Map()
    const others: InstanceMetrics[] = []
    for (const [instance, entry] of entries) {
      if (instance === context.instanceId) continue
      const end = entry.lastIndexOf(' ')
      const snapshot = await decodeSnapshot(entry.slice(end + 1))
      if (snapshot === undefined) continue
      const before = this.#seen.get(instance)
      const { takenAt } = snapshot
      const newest = before?.takenAt === takenAt ? before : { takenAt, at: now }
      seen.set(instance, newest)
      // Processes of other hosts are remembered as well, because a page of all processes needs them.
      if (host === undefined || entry.slice(0, end) === host) others.push({ instance, snapshot, alive: now - newest.at <= MISSED_TURNS * syncIntervalMs })
    }
    // A new map each time, so that processes that are gone are forgotten.
    this.#seen = seen
    return others
  }
}
