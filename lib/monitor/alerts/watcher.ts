import type { Clock } from '../../core/context.ts'
import type { EventBus } from '../../events/bus.ts'
import type { ReadAlertsOptions } from './options.ts'
import { consumersOf, type AlertWorkerView, type ProcessReport } from './report.ts'
import { readMemory, type MemorySource } from './memory.ts'
import { JobWindow, MAX_SLOW, type ShownWindow } from './window.ts'

export interface WatcherParts {
  readonly clock: Clock
  readonly bus: EventBus
  readonly instanceId: string
  readonly options: ReadAlertsOptions
  /** Jobs that nothing is counted of. */
  readonly excluded: (jobName: string) => boolean
  /** Jobs that are meant to take long. */
  readonly long: (jobName: string) => boolean
  /** The queues that this process knows. */
  readonly queues: () => readonly string[]
  readonly worker: () => AlertWorkerView | undefined
  readonly memory?: MemorySource
}

/** More names of queues are not told of: they are part of options, not of what clients send. */
const MAX_QUEUES = 1_000

/** What this process sees of jobs and of itself. It listens from the moment that it is made. */
export class JobWatcher {
  readonly #parts: WatcherParts
  readonly #window: JobWindow
  readonly #startedAt: number
  /** Monotonic, by queue. */
  readonly #claimedAt = new Map<string, number>()
  readonly #stops: ReadonlyArray<() => void>

  constructor (parts: WatcherParts) {
    this.#parts = parts
    const { clock, bus, options: { slowJobMs }, excluded, long } = parts
    this.#startedAt = clock.monotonic()
    const window = this.#window = new JobWindow(() => clock.now(), slowJobMs === false ? Infinity : slowJobMs)
    const took = ({ jobId, jobName, processingMs }: { readonly jobId: string, readonly jobName: string, readonly processingMs: number }): void => {
      window.took(jobName, processingMs)
      if (!long(jobName)) window.slow(jobId, jobName, processingMs)
    }
    this.#stops = [
      bus.on('job.claimed', ({ queue }) => {
        if (this.#claimedAt.has(queue) || this.#claimedAt.size < MAX_QUEUES) this.#claimedAt.set(queue, clock.monotonic())
      }),
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

  window (): ShownWindow { return this.#window.show() }

  report (): ProcessReport {
    const { clock, instanceId, options: { memoryLimitBytes, slowJobMs }, excluded, long, queues, memory, worker } = this.#parts
    const now = clock.monotonic()
    const working = worker()
    const consumers = consumersOf(working, now)
    const known = new Set([...queues(), ...consumers.map(({ queue }) => queue)])
    const age = (claimedAt: number | undefined): number | null => claimedAt === undefined ? null : Math.max(0, Math.round(now - claimedAt))
    const slowest = slowJobMs === false ? [] : working?.oldestAttempts(MAX_SLOW) ?? []
    return {
      instance: instanceId,
      memory: readMemory(memoryLimitBytes, memory),
      consumers,
      watchedMs: Math.max(0, Math.round(now - this.#startedAt)),
      queues: [...known].slice(0, MAX_QUEUES).map((queue) => [queue, age(this.#claimedAt.get(queue))]),
      running: slowest.filter(({ name, runningMs }) => slowJobMs !== false && runningMs > slowJobMs && !excluded(name) && !long(name))
        .map(({ id, name, runningMs }) => ({ jobId: id, jobName: name, durationMs: runningMs, running: true }))
    }
  }

  stop (): void { for (const stop of this.#stops) stop() }
}
