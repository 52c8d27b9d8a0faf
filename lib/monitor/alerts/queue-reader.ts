import type { Clock } from '../../core/context.ts'
import { orReject } from '../../core/deadline.ts'
import { storeNow } from '../../jobs/store-clock.ts'
import type { StoreCounts } from '../../jobs/store-counts.ts'
import { readNotUndone } from '../../jobs/not-undone.ts'
import type { JobRecord } from '../../jobs/job.ts'
import type { JobStore, QueueCounts } from '../../jobs/store.ts'
import type { AlertFacts, ConsumerFacts, QueueFacts, SlowJob } from './alert-facts.ts'
import type { ProcessReport } from './process-report.ts'
import { MAX_SLOW, sumUp, type ShownWindow } from './job-window.ts'

export type AlertStore = Pick<JobStore, 'type' | 'shared' | 'get' | 'ping' | 'now'>

/** How long alerts wait for one answer of the store. */
export const STORE_TIMEOUT_MS = 5_000

/** Makes the facts about queues out of the counts of the store and the reports of the processes. */
export class QueueReader {
  readonly #store: Pick<AlertStore, 'get' | 'now'>
  readonly #counts: Pick<StoreCounts, 'read'>
  readonly #clock: Clock
  readonly #excluded: (jobName: string) => boolean
  /** The reading under way. One that outlives its deadline stays here, so that no second one is sent before it ends. */
  #pending: Promise<unknown> | undefined

  /** @param excluded jobs that no rule counts */
  constructor (
    store: Pick<AlertStore, 'get' | 'now'>, counts: Pick<StoreCounts, 'read'>, clock: Clock,
    excluded: (jobName: string) => boolean
  ) {
    this.#store = store
    this.#excluded = excluded
    this.#counts = counts
    this.#clock = clock
  }

  /** @returns `undefined` if the store did not answer; the store has emitted `store.operation_failed` then */
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
    // Times of jobs come from the store's clock, times of reports from the clocks of the processes.
    const storedNow = storeNow(this.#store, this.#clock)
    const consumers = reports.flatMap((report) => report.consumers).filter((consumer) => consumer.queue === queue)
    const [stuckJobs, notUndone] = await Promise.all([
      this.#stuckJobs(counts, storedNow), readNotUndone(this.#store, counts.sagas?.notUndoneIds ?? [])
    ])
    return {
      queue,
      states: counts.states,
      stuck: counts.stuck,
      oldestAgeMs: counts.oldestQueuedAt === undefined ? undefined : Math.max(0, storedNow - counts.oldestQueuedAt),
      stuckJobs,
      notUndone: notUndone.filter(({ jobName }) => !this.#excluded(jobName)),
      claimAgeMs: claimAge(queue, reports, windows, now),
      busy: consumers.some(({ active, concurrency, paused }) => !paused && active >= concurrency) || othersWork(counts, consumers),
      paused: consumers.length > 0 && consumers.every(({ paused }) => paused)
    }
  }

  async #stuckJobs ({ stuckIds = [] }: QueueCounts, now: number): Promise<QueueFacts['stuckJobs']> {
    const jobs = await Promise.all(stuckIds.map((id) => this.#store.get(id)))
    // Since it was counted, a job may have been removed, or claimed by another worker and ended.
    const stuck = jobs.flatMap((job) => job === undefined || job.finishedAt !== undefined ? [] : [job])
    const runningMs = ({ startedAt, createdAt }: JobRecord): number => Math.max(0, now - (startedAt ?? createdAt))
    return stuck
      .map((job) => ({ jobId: job.id, jobName: job.name, state: job.state, runningMs: runningMs(job) }))
      .sort((a, b) => b.runningMs - a.runningMs)
  }
}

/**
 * Milliseconds since the newest claim by any process, including processes that have ended: during a deployment no
 * worker may be running for a while, although the old one has just claimed a job. Never longer than the time for which
 * the oldest process has been counting.
 */
function claimAge (queue: string, reports: readonly ProcessReport[], windows: readonly ShownWindow[], now: number): number {
  const reported = reports.flatMap((report) => report.queues).filter(([name]) => name === queue).flatMap(([, age]) => age ?? [])
  const claims = windows.flatMap((window) => window.claims).filter(([name]) => name === queue)
  const remembered = claims.map(([, at]) => Math.max(0, now - at))
  return Math.min(...reported, ...remembered, Math.max(...reports.map(({ watchedMs }) => watchedMs)))
}

/**
 * More jobs are in progress, with valid leases, than the known workers run: there is a worker that writes no reports.
 */
function othersWork ({ states, stuck }: QueueCounts, consumers: readonly ConsumerFacts[]): boolean {
  return stuck === 0 && states['in-progress'] > consumers.reduce((sum, { active }) => sum + active, 0)
}

/** The facts of one evaluation, without the growth of the failed jobs: only the ledger knows earlier counts. */
export function factsOf (
  now: number, windows: readonly ShownWindow[], reports: readonly ProcessReport[], queues: readonly QueueFacts[] | undefined
): Omit<AlertFacts, 'deadLetters'> {
  const { jobs, slow } = sumUp(windows, now)
  return {
    now,
    jobs,
    slowJobs: longest([...slow, ...reports.flatMap(({ running }) => running)]),
    queues,
    processes: reports.map(({ instance, memory, consumers }) => ({ instance, memory, consumers }))
  }
}

/**
 * One entry per job, its longest: a report may still show an attempt as running that has ended since, and is in a
 * window as well.
 */
function longest (slow: readonly SlowJob[]): SlowJob[] {
  const byJob = new Map<string, SlowJob>()
  for (const job of slow) {
    const known = byJob.get(job.jobId)
    if (known === undefined || known.durationMs < job.durationMs) byJob.set(job.jobId, job)
  }
  return [...byJob.values()].sort((a, b) => b.durationMs - a.durationMs).slice(0, MAX_SLOW)
}

/**
 * The counts by queue, because growth is measured queue by queue. A process that starts or ends adds or removes whole
 * queues, and the failed jobs of those must not count as growth.
 */
export function failedJobsKept (queues: readonly QueueFacts[]): Array<readonly [queue: string, count: number]> {
  return queues.map(({ queue, states }) => [queue, states.failed])
}
