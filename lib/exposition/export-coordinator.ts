import { createHash } from 'node:crypto'
import { hostname } from 'node:os'
import type { Context } from '../core/context.ts'
import { withDeadline } from '../core/deadline.ts'
import { isAsyncEndpointsError } from '../core/errors.ts'
import { Periodic } from '../core/periodic.ts'
import { BaseService } from '../core/service.ts'
import type { SharedState } from '../core/shared.ts'
import type { EventBus } from '../events/bus.ts'
import type { ExporterRegistry, RenderedPage } from './exporter-registry.ts'
import { writeAtomically, type OpenTemporary } from './file-target.ts'
import { Fleet } from './fleet.ts'
import type { GaugeRules } from './merge-snapshots.ts'
import { lockMs, type ResolvedExportOptions, type ResolvedFileTargetOptions, type ResolvedPushTargetOptions } from './options.ts'
import { PushSender } from './push-target.ts'
import { recordingsIn } from './recordings-count.ts'

/** How a page ended: `replaced` by a newer one before it was tried. */
export type ExportOutcome = 'completed' | 'failed' | 'replaced'
export type TargetKind = 'file' | 'push'

export interface CoordinatorParts {
  readonly context: Context
  readonly bus: EventBus
  readonly exporters: ExporterRegistry
  /** Absent: this process is alone. */
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

/** One place that metrics are brought to. */
interface Target {
  readonly kind: TargetKind
  readonly format: string
  readonly intervalMs: number
  /** Only the processes of this host are in its pages; `undefined`: all. */
  readonly host: string | undefined
  /** Of the lock that says which process exports to it. */
  readonly lock: string
  readonly ttlMs: number
  /** This process had the lock when it last asked. */
  held: boolean
  /** Brings a page there, or on its way. Must not reject. */
  deliver (page: Sent): Promise<void>
  /** The last page; takes no longer than the deadline. */
  finish (page: Sent, deadlineMs: number): Promise<void>
  /** Lets go of what is under way. */
  letGo (): void
}

/** How often the recordings of a push target with a threshold are counted. */
const THRESHOLD_CHECK_MS = 1_000

/**
 * Brings metrics to their targets. Alone, a process exports its own. On a shared store every process shows its metrics to the
 * others, and the one that holds the lock of a target exports those of all, or, to a file that each host has for itself, those of its host; when it dies, the lock runs out and another takes
 * over. While the store cannot be asked nobody exports, so that there are never two.
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
    this.#fleet = new Fleet({ context, bus, shared, rules, syncIntervalMs, retentionMs, host: this.#host, snapshot: () => exporters.snapshot(false) })
  }

  /** @throws {AsyncEndpointsError} `FAE_UNKNOWN_FORMAT` when no exporter for the format of a target was registered */
  protected async onStart (): Promise<void> {
    const { options: { file, push, syncIntervalMs }, exporters, shared, quietly } = this.#parts
    for (const target of [file, push]) {
      if (target !== undefined && exporters.findByFormat(target.format) === undefined) throw exporters.unknownFormat(target.format)
    }
    // Without a target the processes on a store do not show their metrics to each other; a process that is alone has all there are.
    if (shared === undefined || (file ?? push) !== undefined) exporters.useFleet(this.#fleet.view)
    if (file !== undefined) this.#targets.push(this.#fileTarget(file))
    if (push !== undefined) this.#targets.push(this.#pushTarget(push))
    if (this.#targets.length === 0) return
    // At once, so that the first page of whoever exports knows of this process.
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
      await withDeadline(clock, deadlineMs, this.#finish(until)).catch(() => { /* what failed was told where it failed */ })
      for (const target of this.#targets) target.letGo()
    })
  }

  async #finish (until: number): Promise<void> {
    const { clock } = this.#parts.context
    const left = (): number => Math.max(0, until - clock.monotonic())
    // A turn that is under way ends in half of the time, or the last page goes without it.
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

  /** A busy process need not wait for its time. Recordings of other processes do not count: they are known too late. */
  #watchThreshold (threshold: number, intervalMs: number, periodic: Periodic): void {
    const { exporters } = this.#parts
    this.#recordings = recordingsIn(exporters.snapshot(true).families)
    this.#every(Math.min(THRESHOLD_CHECK_MS, intervalMs), THRESHOLD_CHECK_MS, async () => {
      const recordings = recordingsIn(exporters.snapshot(true).families)
      if (recordings - this.#recordings < threshold) return
      // Also where another process has the lock and nothing is rendered here: it must not be asked for every second.
      this.#recordings = recordings
      periodic.hurry()
    })
  }

  async #sync (): Promise<void> {
    try {
      const info = await this.#fleet.show()
      if (info !== undefined) this.#parts.exporters.synced(info)
    } catch (error) {
      // A store that is away tells so itself; anything else has nobody else to tell it.
      if (!isAsyncEndpointsError(error)) this.#parts.bus.emit('telemetry.listener_failed', { source: 'export', message: 'the metrics could not be shown to the other processes' })
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
      // Told by the registry.
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
      // Of all processes the one whose turn it would have been tells it, once.
      if (target.held) this.#failed(target, error, startedAt)
      target.held = false
      return false
    }
  }

  async #unlock (target: Target): Promise<void> {
    const { shared, context: { instanceId } } = this.#parts
    if (shared === undefined || !target.held) return
    // Not given back, it runs out by itself.
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
    return { kind: 'file', format, intervalMs, host, ...lockOf('file', host === undefined ? path : `${host} ${path}`, options), held: false, deliver: write, finish: write, letGo: () => {} }
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
      letGo: () => { sender.flush(undefined, 0).catch(() => { /* it never rejects */ }) }
    }
    const sender = new PushSender<Sent>({
      clock,
      options,
      random,
      // Attempts at one page can outlast the lock: it is asked for, and prolonged, before each.
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
    if (exporter !== undefined) exporters.failed(exporter, { format, target: kind, resource: {} }, error, clock.monotonic() - startedAt)
    this.#record(kind, 'failed', startedAt)
  }

  #record (kind: TargetKind, outcome: ExportOutcome, startedAt: number): void {
    this.#parts.recorded?.(kind, outcome, this.#parts.context.clock.monotonic() - startedAt)
  }
}

/** Processes with the same target share its lock. */
function lockOf (kind: TargetKind, place: string, target: ResolvedFileTargetOptions | ResolvedPushTargetOptions): Pick<Target, 'lock' | 'ttlMs'> {
  // The place may hold credentials, and characters that no name may have.
  const name = createHash('sha256').update(place).digest('hex').slice(0, 16)
  return { lock: `export:${kind}:${name}`, ttlMs: lockMs(target) }
}
