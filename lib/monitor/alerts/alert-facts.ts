import type { NotUndone } from '../../jobs/not-undone.ts'
import type { JobState } from '../../jobs/states.ts'

export type { NotUndone }

/** What rules look at: facts about all processes on the store, collected by the process that evaluates. */
export interface AlertFacts {
  /** Milliseconds since the epoch. */
  readonly now: number
  /** One entry for each job name with something to count in the last hour, without the names in `excludeJobs`. */
  readonly jobs: readonly JobFacts[]
  /**
   * Attempts of the last hour and running attempts that took longer than `slowJobMs`: the longest first, at most 20.
   */
  readonly slowJobs: readonly SlowJob[]
  /** `undefined`: the store did not answer in time. */
  readonly queues: readonly QueueFacts[] | undefined
  /**
   * How many failed jobs the store keeps, and by how many that number has grown in the last hour. `undefined`: the
   * store did not answer in time.
   */
  readonly deadLetters: { readonly kept: number, readonly growth: number } | undefined
  /** The processes that are alive, the one that evaluates first. */
  readonly processes: readonly ProcessFacts[]
}

export interface JobFacts {
  readonly name: string
  /** Jobs that ended in the last hour. */
  readonly completed: number
  readonly failed: number
  /** Attempts that were timed, and their 95th percentile in milliseconds; `undefined` without attempts. */
  readonly attempts: number
  readonly p95Ms: number | undefined
}

export interface SlowJob {
  readonly jobId: string
  readonly jobName: string
  readonly durationMs: number
  readonly running: boolean
}

export interface QueueFacts {
  readonly queue: string
  readonly states: Readonly<Record<JobState, number>>
  /** How long the job that waits longest has been ready to run; `undefined`: none waits. */
  readonly oldestAgeMs: number | undefined
  /** Jobs in progress whose lease was not renewed in time. */
  readonly stuck: number
  /** The stuck jobs that the store can name: those that began first, at most 20. */
  readonly stuckJobs: ReadonlyArray<{
    readonly jobId: string
    readonly jobName: string
    readonly state: JobState
    readonly runningMs: number
  }>
  /**
   * Failed sagas that could not undo all of their steps, until they are redriven, removed or expire: the newest that
   * the store can name, at most 20, without the names in `excludeJobs`.
   */
  readonly notUndone: readonly NotUndone[]
  /** Milliseconds since a worker claimed a job of this queue, or since the first process began to watch. */
  readonly claimAgeMs: number
  /** All slots of a worker are taken, so jobs wait because there is much to do. */
  readonly busy: boolean
  /** Every worker of this queue is paused. */
  readonly paused: boolean
}

export interface ProcessFacts {
  readonly instance: string
  readonly memory: { readonly usedBytes: number, readonly limitBytes: number }
  readonly consumers: readonly ConsumerFacts[]
}

/** The worker of one process, as far as one queue is concerned. */
export interface ConsumerFacts {
  readonly queue: string
  readonly active: number
  readonly concurrency: number
  readonly paused: boolean
  /** Milliseconds since it last claimed a job or found the queue empty. */
  readonly silentMs: number
}
