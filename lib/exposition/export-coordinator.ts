import { createHash } from 'node:crypto'
import { hostname } from 'node:os'
import type { Context } from '../core/context.ts'
import { withDeadline } from '../core/deadline.ts'
import { isAsyncEndpointsError } from '../core/errors.ts'
import { Periodic } from '../core/periodic.ts'
import { BaseService } from '../core/service.ts'
import type { SharedState } from '../core/shared.ts'
import type { EventBus } from '../events/bus.ts'
import type { MetricsSnapshot } from '../telemetry/snapshot.ts'
import type { ExporterRegistry, RenderedPage } from './exporter-registry.ts'
import { writeAtomically, type OpenTemporary } from './file-target.ts'
import { Fleet } from './fleet.ts'
import type { GaugeRules } from './merge-snapshots.ts'
import { lockMs, type ResolvedExportOptions, type ResolvedFileTargetOptions, type ResolvedPushTargetOptions } from './options.ts'
import { PushSender } from './push-target.ts'
import { recordingsIn } from './recordings-count.ts'

/** What became of a page. `replaced`: a newer one took its place before it was sent. */
export type ExportOutcome = 'completed' | 'failed' | 'replaced'
export type TargetKind = 'file' | 'push'

export interface CoordinatorParts {
  readonly context: Context
  readonly bus: EventBus
  readonly exporters: ExporterRegistry
  /** Absent: the store is not shared, and this process is alone on it. */
  readonly shared: SharedState | undefined
  readonly options: ResolvedExportOptions
  /** The name of this host, for files that each host has for itself. @defaultValue that of the operating system */
  readonly host?: string | undefined
  /** What one gauge for all processes means, by name. */
  readonly rules: GaugeRules
  readonly quietly: <R>(work: () => R) => R
  /** Counts a page that ended. */
  readonly recorded?: (target: TargetKind, outcome: ExportOutcome, durationMs: number) => void
  /** From 0 to 1. @defaultValue Math.random */
  readonly random?: () => number
  /** For tests. */
  readonly openTemporary?: OpenTemporary
}

/** A page on its way to a target, and since when. */
interface Sent extends RenderedPage { readonly startedAt: number }

/** One file or HTTP receiver that metrics are exported to. */
interface Target {
  readonly kind: TargetKind
  readonly format: string
  readonly intervalMs: number
  /** Only the processes of this host are in its pages; `undefined`: all. */
  readonly host: string | undefined
  /** The name of the lock: the process that holds it exports to the target. */
  readonly lock: string
  /** How long the lock lasts. */
  readonly ttlMs: number
  /** This process had the lock when it last asked. */
  held: boolean
  /** Writes the page, or begins to send it. Must not reject. */
  deliver (page: Sent): Promise<void>
  /** Delivers the last page, within the deadline. */
  finish (page: Sent, deadlineMs: number): Promise<void>
  /** Gives up the delivery that is under way. */
  abandon (): void
}

/** How often the recordings of a push target with a threshold are counted. */
const THRESHOLD_CHECK_MS = 1_000

/**
 * Exports metrics to their targets. A process that is alone exports its own. On a shared store every process writes its metrics to
 * the store, and the process that holds the lock of a target exports those of all processes (to a file that each host has for
 * itself: those of its host). If it dies, its lock runs out, and another process takes over. While the store does not answer, no
 * process exports: otherwise two could.
 *
 * ```
 * new ──start (formats are known)──▶ running: turn by turn, per target ──stop──▶ last turn ──▶ stopped
 * ```
 */
export class ExportCoordinator extends BaseService {
  readonly #parts: CoordinatorParts
  readonly #fleet: Fleet
  readonly #periodics: Periodic[] = []
  readonly #targets: Target[] = []
  readonly #host: string
  #recordings = 0

  constructor (parts: CoordinatorParts) {
    super()
    this.#parts = parts
    const { context, bus, shared, rules, exporters, options: { syncIntervalMs, retentionMs } } = parts
    this.#host = parts.host ?? hostname()
    const snapshot = (): MetricsSnapshot => exporters.snapshot(false)
    this.#fleet = new Fleet({ context, bus, shared, rules, syncIntervalMs, retentionMs, host: this.#host, snapshot })
  }

  /** @throws {AsyncEndpointsError} `FAE_UNKNOWN_FORMAT` when no exporter for the format of a target was registered */
  protected async onStart (): Promise<void> {
    const { options: { file, push, syncIntervalMs }, exporters, shared, quietly } = this.#parts
    for (const target of [file, push]) {
      if (target !== undefined && exporters.findByFormat(target.format) === undefined) throw exporters.unknownFormat(target.format)
    }
    // Processes on a shared store write their metrics there only if there is a target. Without one, nobody can add them up.
    if (shared === undefined || (file ?? push) !== undefined) exporters.useFleet(this.#fleet.view)
    if (file !== undefined) this.#targets.push(this.#fileTarget(file))
    if (push !== undefined) this.#targets.push(this.#pushTarget(push))
    if (this.#targets.length === 0) return
    // At once, so that the first page contains this process, whichever process exports it.
    if (shared !== undefined) this.#every(syncIntervalMs, 0, () => this.#sync())
    for (const target of this.#targets) {
      const { random = Math.random } = this.#parts
      const periodic = this.#every(target.intervalMs, target.intervalMs * random(), () => this.#turn(target))
      if (target.kind === 'push' && push?.threshold !== undefined) this.#watchThreshold(push.threshold, push.intervalMs, periodic)
    }
    quietly(() => { for (const periodic of this.#periodics) periodic.start() })
  }

  /** One last export, as far as the deadline allows. Never rejects. */
  protected async onStop (deadlineMs: number): Promise<void> {
    const { context: { clock }, quietly } = this.#parts
    const until = clock.monotonic() + deadlineMs
    await quietly(async () => {
      await withDeadline(clock, deadlineMs, this.#finish(until)).catch(() => { /* each failure was emitted where it happened */ })
      for (const target of this.#targets) target.abandon()
    })
  }

  async #finish (until: number): Promise<void> {
    const { clock } = this.#parts.context
    const left = (): number => Math.max(0, until - clock.monotonic())
    // A turn that is under way gets half of the time to end. Then the last page is written without it.
    await withDeadline(clock, left() / 2, Promise.all(this.#periodics.map((periodic) => periodic.stop())))
    if (this.#targets.length === 0) return
    const synced = this.#sync()
    await Promise.all(this.#targets.map(async (target) => {
      if (await this.#holds(target)) {
        const page = await this.#render(target)
        if (page !== undefined) await target.finish(page, left())
      }
    }))
    await synced
    await Promise.all(this.#targets.map((target) => this.#unlock(target)))
  }

  #every (intervalMs: number, firstDelayMs: number, turn: () => Promise<void>): Periodic {
    const periodic = new Periodic({ clock: this.#parts.context.clock, intervalMs, firstDelayMs, turn })
    this.#periodics.push(periodic)
    return periodic
  }

  /**
   * Exports sooner than the interval once `threshold` values were recorded. Only those of this process count: the others are known
   * too late.
   */
  #watchThreshold (threshold: number, intervalMs: number, periodic: Periodic): void {
    const { exporters } = this.#parts
    this.#recordings = recordingsIn(exporters.snapshot(true).families)
    this.#every(Math.min(THRESHOLD_CHECK_MS, intervalMs), THRESHOLD_CHECK_MS, async () => {
      const recordings = recordingsIn(exporters.snapshot(true).families)
      if (recordings - this.#recordings < threshold) return
      // Also if another process has the lock, so that nothing is rendered here. Otherwise the lock would be asked for every second.
      this.#recordings = recordings
      periodic.hurry()
    })
  }

  async #sync (): Promise<void> {
    try {
      const info = await this.#fleet.show()
      if (info !== undefined) this.#parts.exporters.synced(info)
    } catch (error) {
      // The store itself emits that it is unavailable. Any other error is emitted here, or nobody would learn of it.
      if (isAsyncEndpointsError(error)) return
      const message = 'the metrics could not be shown to the other processes'
      this.#parts.bus.emit('telemetry.listener_failed', { source: 'export', message })
    }
  }

  async #turn (target: Target): Promise<void> {
    if (!await this.#holds(target)) return
    const page = await this.#render(target)
    if (page !== undefined && this.phase !== 'stopping' && this.phase !== 'stopped') await target.deliver(page)
  }

  async #render ({ kind, format, host }: Target): Promise<Sent | undefined> {
    const { exporters, context: { clock }, shared, options: { includeInstances } } = this.#parts
    const startedAt = clock.monotonic()
    if (kind === 'push') this.#recordings = recordingsIn(exporters.snapshot(true).families)
    try {
      const page = await exporters.render(format, kind, shared === undefined ? undefined : includeInstances, host)
      return { ...page, startedAt }
    } catch {
      // The registry of exporters has emitted `telemetry.export_failed`.
      this.#record(kind, 'failed', startedAt)
      return undefined
    }
  }

  /** Whether this process is the one that exports to the target. Never rejects. */
  async #holds (target: Target): Promise<boolean> {
    const { shared, context: { instanceId, clock } } = this.#parts
    if (shared === undefined) return true
    const startedAt = clock.monotonic()
    try {
      target.held = await shared.tryLock(target.lock, instanceId, target.ttlMs)
      return target.held
    } catch (error) {
      // Only the process that exported until now reports the failure, and only once. The others would repeat it.
      if (target.held) this.#failed(target, error, startedAt)
      target.held = false
      return false
    }
  }

  async #unlock (target: Target): Promise<void> {
    const { shared, context: { instanceId } } = this.#parts
    if (shared === undefined || !target.held) return
    // A lock that cannot be given back runs out by itself.
    await shared.unlock(target.lock, instanceId).catch(() => {})
    target.held = false
  }

  #fileTarget (options: ResolvedFileTargetOptions): Target {
    const { path, format, intervalMs, scope } = options
    const host = scope === 'host' ? this.#host : undefined
    const write = async (page: Sent): Promise<void> => {
      try {
        await writeAtomically(path, page.body, this.#parts.openTemporary)
        this.#delivered('file', page)
      } catch (error) {
        this.#failedPage('file', page, error)
      }
    }
    const lock = lockOf('file', host === undefined ? path : `${host} ${path}`, options)
    return { kind: 'file', format, intervalMs, host, ...lock, held: false, deliver: write, finish: write, abandon: () => {} }
  }

  #pushTarget (options: ResolvedPushTargetOptions): Target {
    const { context: { clock }, random } = this.#parts
    const target: Target = {
      kind: 'push',
      format: options.format,
      intervalMs: options.intervalMs,
      host: undefined,
      ...lockOf('push', options.url, options),
      held: false,
      deliver: async (page) => { sender.offer(page) },
      finish: (page, deadlineMs) => sender.flush(page, deadlineMs),
      abandon: () => { sender.flush(undefined, 0).catch(() => { /* it never rejects */ }) }
    }
    const sender = new PushSender<Sent>({
      clock,
      options,
      random,
      // The attempts at one page can take longer than the lock lasts. Each one takes or prolongs it first.
      mayGoOn: () => this.#holds(target),
      listener: {
        delivered: (page) => { this.#delivered('push', page) },
        failed: (page, error) => { this.#failedPage('push', page, error) },
        replaced: (page) => { this.#record('push', 'replaced', page.startedAt) }
      }
    })
    return target
  }

  #delivered (kind: TargetKind, page: Sent): void {
    this.#parts.exporters.delivered(page, this.#parts.context.clock.monotonic() - page.startedAt)
    this.#record(kind, 'completed', page.startedAt)
  }

  #failedPage (kind: TargetKind, { exporter, request, startedAt }: Sent, error: unknown): void {
    this.#parts.exporters.failed(exporter, request, error, this.#parts.context.clock.monotonic() - startedAt)
    this.#record(kind, 'failed', startedAt)
  }

  #failed ({ kind, format }: Target, error: unknown, startedAt: number): void {
    const { exporters, context: { clock } } = this.#parts
    const exporter = exporters.findByFormat(format)
    if (exporter !== undefined) {
      exporters.failed(exporter, { format, target: kind, resource: {} }, error, clock.monotonic() - startedAt)
    }
    this.#record(kind, 'failed', startedAt)
  }

  #record (kind: TargetKind, outcome: ExportOutcome, startedAt: number): void {
    this.#parts.recorded?.(kind, outcome, this.#parts.context.clock.monotonic() - startedAt)
  }
}

/** Processes with the same target share its lock. */
function lockOf (
  kind: TargetKind, address: string, target: ResolvedFileTargetOptions | ResolvedPushTargetOptions
): Pick<Target, 'lock' | 'ttlMs'> {
  // A hash, because the address may hold credentials, and characters that the name of a lock may not have.
  const name = createHash('sha256').update(address).digest('hex').slice(0, 16)
  return { lock: `export:${kind}:${name}`, ttlMs: lockMs(target) }
}
