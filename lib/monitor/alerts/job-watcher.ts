import type { Clock } from '../../core/context.ts'
import { memoryUse, type ProcessMemory } from '../../core/process-memory.ts'
import type { EventBus } from '../../events/bus.ts'
import type { ResolvedAlertsOptions } from './options.ts'
import type { ConsumerFacts } from './alert-facts.ts'
import type { AlertWorkerView, ProcessReport } from './process-report.ts'
import { JobWindow, MAX_SLOW, WINDOW_MS, type ShownWindow } from './job-window.ts'

export interface WatcherParts {
  readonly clock: Clock
  readonly bus: EventBus
  readonly instanceId: string
  readonly options: ResolvedAlertsOptions
  /** Jobs that nothing is counted of. */
  readonly excluded: (jobName: string) => boolean
  /** Jobs that are meant to take long. */
  readonly long: (jobName: string) => boolean
  /** The queues that this process knows. */
  readonly queues: () => readonly string[]
  readonly worker: () => AlertWorkerView | undefined
  readonly memory?: ProcessMemory
}

/** More names of queues are not told of: they are part of options, not of what clients send. */
const MAX_QUEUES = 1_000

/**
 * What this process sees of jobs and of itself.
 *
 * ```
 * made ──start──▶ listening to the events of jobs ──stop──▶ stopped
 * ```
 */
export class JobWatcher {
  readonly #parts: WatcherParts
  readonly #window: JobWindow
  #startedAt: number
  /** Monotonic, by queue. */
  readonly #claimedAt = new Map<string, number>()
  /**
   * When a queue's consumer last proved that it works, monotonic. Remembered over the consumer: one that takes the place of a
   * silent one has proven nothing yet, and says that it was last seen at the beginning of time.
   */
  #seenAt: ReadonlyMap<string, number> = new Map()
  #stops: ReadonlyArray<() => void> = []

  constructor (parts: WatcherParts) {
    this.#parts = parts
    const { clock, options: { slowJobMs } } = parts
    this.#startedAt = clock.monotonic()
    this.#window = new JobWindow(() => clock.now(), slowJobMs === false ? Infinity : slowJobMs)
  }

  start (): void {
    if (this.#stops.length > 0) return
    const { clock, bus, excluded, long } = this.#parts
    const window = this.#window
    this.#startedAt = clock.monotonic()
    const took = ({ jobId, jobName, processingMs }: { readonly jobId: string, readonly jobName: string, readonly processingMs: number }): void => {
      window.took(jobName, processingMs)
      if (!long(jobName)) window.slow(jobId, jobName, processingMs)
    }
    const claimed = ({ queue }: { readonly queue: string }): void => {
      if (this.#claimedAt.has(queue) || this.#claimedAt.size < MAX_QUEUES) this.#claimedAt.set(queue, clock.monotonic())
    }
    this.#stops = [
      bus.on('job.claimed', claimed),
      // A claim of a job whose worker was lost is emitted as this instead.
      bus.on('job.recovered', claimed),
      bus.on('job.completed', (event) => {
        if (excluded(event.jobName)) return
        window.completed(event.jobName)
        took(event)
      }),
      bus.on('job.attempt_failed', (event) => {
        if (!excluded(event.jobName)) took(event)
      }),
      bus.on('job.failed', ({ jobName }) => {
        if (!excluded(jobName)) window.failed(jobName)
      })
    ]
  }

  window (): ShownWindow {
    const { clock } = this.#parts
    const [now, monotonic] = [clock.now(), clock.monotonic()]
    const claims = [...this.#claimedAt].map(([queue, at]) => [queue, now - Math.round(monotonic - at)] as const)
    return { ...this.#window.show(), claims: claims.filter(([, at]) => at > now - WINDOW_MS) }
  }

  /** The store was away for so long: nobody could claim or look meanwhile, and that counts against nobody. */
  excuse (awayMs: number): void {
    const now = this.#parts.clock.monotonic()
    const later = (at: number): number => Math.min(now, at + awayMs)
    this.#startedAt = later(this.#startedAt)
    for (const [queue, at] of this.#claimedAt) this.#claimedAt.set(queue, later(at))
    this.#seenAt = new Map([...this.#seenAt].map(([queue, at]) => [queue, later(at)]))
  }

  report (): ProcessReport {
    const { clock, instanceId, options: { memoryLimitBytes, slowJobMs }, excluded, long, queues, memory, worker } = this.#parts
    const now = clock.monotonic()
    const working = worker()
    const consumers = this.#consumers(working, now)
    const known = new Set([...queues(), ...consumers.map(({ queue }) => queue)])
    const age = (claimedAt: number | undefined): number | null => claimedAt === undefined ? null : Math.max(0, Math.round(now - claimedAt))
    const slowest = slowJobMs === false ? [] : working?.oldestAttempts(MAX_SLOW) ?? []
    return {
      instance: instanceId,
      memory: memoryUse(memoryLimitBytes, memory),
      consumers,
      watchedMs: Math.max(0, Math.round(now - this.#startedAt)),
      queues: [...known].slice(0, MAX_QUEUES).map((queue) => [queue, age(this.#claimedAt.get(queue))]),
      running: slowest.filter(({ name, runningMs }) => slowJobMs !== false && runningMs > slowJobMs && !excluded(name) && !long(name))
        .map(({ id, name, runningMs }) => ({ jobId: id, jobName: name, durationMs: runningMs, running: true }))
    }
  }

  #consumers (worker: AlertWorkerView | undefined, now: number): ConsumerFacts[] {
    const seen = new Map<string, number>()
    const consumers = worker?.running === true ? worker.consumers() : []
    const facts = consumers.map(({ queue, active, lastSeenAt, paused }) => {
      const concurrency = worker?.concurrencyOf(queue) ?? 0
      // Who may not claim has nothing to prove; the time begins when it may again.
      const seenAt = paused || active >= concurrency ? now : Math.max(this.#seenAt.get(queue) ?? now, lastSeenAt)
      seen.set(queue, seenAt)
      return { queue, active, concurrency, paused, silentMs: Math.max(0, Math.round(now - seenAt)) }
    })
    this.#seenAt = seen
    return facts
  }

  stop (): void {
    for (const stop of this.#stops) stop()
    this.#stops = []
  }
}
