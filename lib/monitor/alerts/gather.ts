import type { Clock } from '../../core/context.ts'
import { orReject } from '../../core/deadline.ts'
import type { JobStore, QueueCounts } from '../../jobs/store.ts'
import type { AlertFacts, QueueFacts, SlowJob } from './facts.ts'
import type { ProcessReport } from './report.ts'
import { MAX_SLOW, sumUp, type ShownWindow } from './window.ts'

export type AlertStore = Pick<JobStore, 'type' | 'shared' | 'counts' | 'list' | 'ping'>

/** Everything that is asked of a store has to be answered by then. */
export const STORE_TIMEOUT_MS = 5_000
/** A page of the store's list; and those of it that are shown. */
const LISTED = 100
const SHOWN = 20

/** What the store says of its queues, and the reports of the processes that use them. */
export class QueueReader {
  readonly #store: AlertStore
  readonly #clock: Clock
  /** A reading that outlived its deadline: no second one is sent after it. */
  #pending: Promise<unknown> | undefined

  constructor (store: AlertStore, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  /** `undefined`: the store did not answer; it has told so itself. */
  async read (reports: readonly ProcessReport[]): Promise<QueueFacts[] | undefined> {
    if (this.#pending !== undefined) return undefined
    const queues = [...new Set(reports.flatMap((report) => report.queues.map(([queue]) => queue)))]
    const reading = Promise.all(queues.map((queue) => this.#read(queue, reports)))
    this.#pending = reading
    const ended = (): void => { this.#pending = undefined }
    reading.then(ended, ended)
    try {
      return await orReject(this.#clock, STORE_TIMEOUT_MS, reading, () => new Error('the store did not answer in time'))
    } catch {
      return undefined
    }
  }

  async #read (queue: string, reports: readonly ProcessReport[]): Promise<QueueFacts> {
    const counts = await this.#store.counts(queue)
    const now = this.#clock.now()
    const consumers = reports.flatMap((report) => report.consumers).filter((consumer) => consumer.queue === queue)
    return {
      queue,
      states: counts.states,
      stuck: counts.stuck,
      oldestAgeMs: counts.oldestQueuedAt === undefined ? undefined : Math.max(0, now - counts.oldestQueuedAt),
      inProgress: await this.#inProgress(counts, now),
      claimAgeMs: claimAge(queue, reports),
      busy: consumers.some(({ active, concurrency, paused }) => !paused && active >= concurrency),
      paused: consumers.length > 0 && consumers.every(({ paused }) => paused)
    }
  }

  async #inProgress ({ queue, stuck }: QueueCounts, now: number): Promise<QueueFacts['inProgress']> {
    if (stuck === 0) return []
    const { jobs } = await this.#store.list({ queue, state: 'in-progress', limit: LISTED })
    const running = jobs.map(({ id, name, startedAt, createdAt }) => ({ jobId: id, jobName: name, runningMs: Math.max(0, now - (startedAt ?? createdAt)) }))
    return running.sort((a, b) => b.runningMs - a.runningMs).slice(0, SHOWN)
  }
}

/** Since the newest claim of any process; when nobody remembers one, since the first of them began to watch. */
function claimAge (queue: string, reports: readonly ProcessReport[]): number {
  const ages = reports.flatMap((report) => report.queues).filter(([name]) => name === queue).flatMap(([, age]) => age ?? [])
  return ages.length > 0 ? Math.min(...ages) : Math.max(...reports.map(({ watchedMs }) => watchedMs))
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

export function failedJobsKept (queues: readonly QueueFacts[]): number {
  return queues.reduce((sum, { states }) => sum + states.failed, 0)
}
