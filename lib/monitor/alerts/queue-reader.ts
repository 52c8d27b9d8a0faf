import type { Clock } from '../../core/context.ts'
import { orReject } from '../../core/deadline.ts'
import { storeNow } from '../../jobs/store-clock.ts'
import type { StoreCounts } from '../../jobs/store-counts.ts'
import type { JobStore, QueueCounts } from '../../jobs/store.ts'
import type { AlertFacts, ConsumerFacts, QueueFacts, SlowJob } from './alert-facts.ts'
import type { ProcessReport } from './process-report.ts'
import { MAX_SLOW, sumUp, type ShownWindow } from './job-window.ts'

export type AlertStore = Pick<JobStore, 'type' | 'shared' | 'get' | 'ping' | 'now'>

/** Everything that is asked of a store has to be answered by then. */
export const STORE_TIMEOUT_MS = 5_000

/** What the store says of its queues, and the reports of the processes that use them. */
export class QueueReader {
  readonly #store: Pick<AlertStore, 'get' | 'now'>
  readonly #counts: Pick<StoreCounts, 'read'>
  readonly #clock: Clock
  /** A reading that outlived its deadline: no second one is sent after it. */
  #pending: Promise<unknown> | undefined

  constructor (store: Pick<AlertStore, 'get' | 'now'>, counts: Pick<StoreCounts, 'read'>, clock: Clock) {
    this.#store = store
    this.#counts = counts
    this.#clock = clock
  }

  /** `undefined`: the store did not answer; it has told so itself. */
  async read (reports: readonly ProcessReport[], windows: readonly ShownWindow[]): Promise<QueueFacts[] | undefined> {
    if (this.#pending !== undefined) return undefined
    const queues = [...new Set(reports.flatMap((report) => report.queues.map(([queue]) => queue)))]
    const reading = Promise.all(queues.map((queue) => this.#read(queue, reports, windows)))
    this.#pending = reading
    const ended = (): void => { this.#pending = undefined }
    reading.then(ended, ended)
    try {
      return await orReject(this.#clock, STORE_TIMEOUT_MS, reading, () => new Error('the store did not answer in time'))
    } catch {
      return undefined
    }
  }

  async #read (queue: string, reports: readonly ProcessReport[], windows: readonly ShownWindow[]): Promise<QueueFacts> {
    const { counts } = await this.#counts.read(queue)
    const now = this.#clock.now()
    // Moments of jobs come from the store's clock, those of reports from the clocks of processes.
    const storedNow = storeNow(this.#store, this.#clock)
    const consumers = reports.flatMap((report) => report.consumers).filter((consumer) => consumer.queue === queue)
    return {
      queue,
      states: counts.states,
      stuck: counts.stuck,
      oldestAgeMs: counts.oldestQueuedAt === undefined ? undefined : Math.max(0, storedNow - counts.oldestQueuedAt),
      stuckJobs: await this.#stuckJobs(counts, storedNow),
      claimAgeMs: claimAge(queue, reports, windows, now),
      busy: consumers.some(({ active, concurrency, paused }) => !paused && active >= concurrency) || othersWork(counts, consumers),
      paused: consumers.length > 0 && consumers.every(({ paused }) => paused)
    }
  }

  async #stuckJobs ({ stuckIds = [] }: QueueCounts, now: number): Promise<QueueFacts['stuckJobs']> {
    const jobs = await Promise.all(stuckIds.map((id) => this.#store.get(id)))
    // Meanwhile one of them may have been taken over and ended.
    const stuck = jobs.flatMap((job) => job !== undefined && job.finishedAt === undefined ? [{ jobId: job.id, jobName: job.name, state: job.state, runningMs: Math.max(0, now - (job.startedAt ?? job.createdAt)) }] : [])
    return stuck.sort((a, b) => b.runningMs - a.runningMs)
  }
}

/**
 * Since the newest claim of any process, even one that is gone: between the old worker and the new one of a deployment nobody
 * claims, and yet somebody just did. Never longer than the longest of them has been watching.
 */
function claimAge (queue: string, reports: readonly ProcessReport[], windows: readonly ShownWindow[], now: number): number {
  const reported = reports.flatMap((report) => report.queues).filter(([name]) => name === queue).flatMap(([, age]) => age ?? [])
  const remembered = windows.flatMap(({ claims }) => claims).filter(([name]) => name === queue).map(([, at]) => Math.max(0, now - at))
  return Math.min(...reported, ...remembered, Math.max(...reports.map(({ watchedMs }) => watchedMs)))
}

/** Leases are kept alive that none of the workers we know of has: there is one that does not report. */
function othersWork ({ states, stuck }: QueueCounts, consumers: readonly ConsumerFacts[]): boolean {
  return stuck === 0 && states['in-progress'] > consumers.reduce((sum, { active }) => sum + active, 0)
}

/** Everything but what only the ledger knows. */
export function factsOf (now: number, windows: readonly ShownWindow[], reports: readonly ProcessReport[], queues: readonly QueueFacts[] | undefined): Omit<AlertFacts, 'deadLetters'> {
  const { jobs, slow } = sumUp(windows, now)
  return {
    now,
    jobs,
    slowJobs: longest([...slow, ...reports.flatMap(({ running }) => running)]),
    queues,
    processes: reports.map(({ instance, memory, consumers }) => ({ instance, memory, consumers }))
  }
}

/** One line per job: a report may still tell of an attempt that is over. */
function longest (slow: readonly SlowJob[]): SlowJob[] {
  const byJob = new Map<string, SlowJob>()
  for (const job of slow) {
    const known = byJob.get(job.jobId)
    if (known === undefined || known.durationMs < job.durationMs) byJob.set(job.jobId, job)
  }
  return [...byJob.values()].sort((a, b) => b.durationMs - a.durationMs).slice(0, MAX_SLOW)
}

/** By queue: a process that comes or goes brings its queues along, or takes them with it, and that is no growth. */
export function failedJobsKept (queues: readonly QueueFacts[]): Array<readonly [queue: string, count: number]> {
  return queues.map(({ queue, states }) => [queue, states.failed])
}
