import type { Clock } from '../../core/context.ts'
import { memoryUse, type ProcessMemory } from '../../core/process-memory.ts'
import type { EventBus } from '../../events/bus.ts'
import type { EventMap } from '../../events/catalogue.ts'
import type { ResolvedAlertsOptions } from './options.ts'
import type { ConsumerFacts, SlowJob } from './alert-facts.ts'
import type { AlertWorkerView, ProcessReport } from './process-report.ts'
import { JobWindow, MAX_SLOW, WINDOW_MS, type ShownWindow } from './job-window.ts'

export interface WatcherParts {
  readonly clock: Clock
  readonly bus: EventBus
  readonly instanceId: string
  readonly options: ResolvedAlertsOptions
  /** Jobs that are not counted. */
  readonly excluded: (jobName: string) => boolean
  /** Jobs that are meant to take long. */
  readonly long: (jobName: string) => boolean
  /** The queues that this process knows. */
  readonly queues: () => readonly string[]
  readonly worker: () => AlertWorkerView | undefined
  readonly memory?: ProcessMemory
}

/** Queues in one report. Only a bound against mistakes: names of queues come from options, not from clients. */
const MAX_QUEUES = 1_000

/**
 * Counts what this process does with jobs, and describes the process for its report.
 *
 * ```
 * made ──start──▶ listening to the events of jobs ──stop──▶ stopped
 * ```
 */
export class JobWatcher {
  readonly #parts: WatcherParts
  readonly #window: JobWindow
  #startedAt: number
  /** By queue, when a job was last claimed, on the monotonic clock. */
  readonly #claimedAt = new Map<string, number>()
  /**
   * By queue, when its consumer last showed that it works, on the monotonic clock. Kept when a consumer is replaced:
   * the `lastSeenAt` of a new one is -Infinity until it has looked for jobs, and the silence of the one before must not
   * be forgotten.
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
    const took = ({ jobId, jobName, processingMs }: EventMap['job.completed'] | EventMap['job.attempt_failed']): void => {
      window.took(jobName, processingMs)
      if (!long(jobName)) window.slow(jobId, jobName, processingMs)
    }
    const claimed = ({ queue }: { readonly queue: string }): void => {
      if (this.#claimedAt.has(queue) || this.#claimedAt.size < MAX_QUEUES) this.#claimedAt.set(queue, clock.monotonic())
    }
    this.#stops = [
      bus.on('job.claimed', claimed),
      // When a worker claims a job whose former worker was lost, this is emitted instead of `job.claimed`.
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

  /** Excludes an outage of the store from all ages: no worker could claim or look for jobs in that time. */
  excuse (awayMs: number): void {
    const now = this.#parts.clock.monotonic()
    const later = (at: number): number => Math.min(now, at + awayMs)
    this.#startedAt = later(this.#startedAt)
    for (const [queue, at] of this.#claimedAt) this.#claimedAt.set(queue, later(at))
    this.#seenAt = new Map([...this.#seenAt].map(([queue, at]) => [queue, later(at)]))
  }

  report (): ProcessReport {
    const { clock, instanceId, options: { memoryLimitBytes }, queues, memory, worker } = this.#parts
    const now = clock.monotonic()
    const consumers = this.#consumers(worker(), now)
    const known = new Set([...queues(), ...consumers.map(({ queue }) => queue)])
    const age = (claimedAt: number | undefined): number | null => claimedAt === undefined ? null : Math.max(0, Math.round(now - claimedAt))
    return {
      instance: instanceId,
      memory: memoryUse(memoryLimitBytes, memory),
      consumers,
      watchedMs: Math.max(0, Math.round(now - this.#startedAt)),
      queues: [...known].slice(0, MAX_QUEUES).map((queue) => [queue, age(this.#claimedAt.get(queue))]),
      running: this.#slowAttempts()
    }
  }

  /** Running attempts that have already taken longer than `slowJobMs`. */
  #slowAttempts (): SlowJob[] {
    const { options: { slowJobMs }, excluded, long, worker } = this.#parts
    if (slowJobMs === false) return []
    const slow = (worker()?.oldestAttempts(MAX_SLOW) ?? [])
      .filter(({ name, runningMs }) => runningMs > slowJobMs && !excluded(name) && !long(name))
    return slow.map(({ id, name, runningMs }) => ({ jobId: id, jobName: name, durationMs: runningMs, running: true }))
  }

  #consumers (worker: AlertWorkerView | undefined, now: number): ConsumerFacts[] {
    const seen = new Map<string, number>()
    const consumers = worker?.running === true ? worker.consumers() : []
    const facts = consumers.map(({ queue, active, lastSeenAt, paused }) => {
      const concurrency = worker?.concurrencyOf(queue) ?? 0
      // A consumer that is paused or has no free slot does not look for jobs; its silence is counted from when it may
      // claim again.
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
