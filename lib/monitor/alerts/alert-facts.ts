import type { JobState } from '../../jobs/states.ts'

/** What rules look at. Of all processes on the store, as the one that evaluates knows it. */
export interface AlertFacts {
  /** Milliseconds since the epoch. */
  readonly now: number
  /** One per job name with anything to count, over the last hour. Names that are excluded are not in it. */
  readonly jobs: readonly JobFacts[]
  /** Attempts of the last hour, and attempts under way, that took longer than `slowJobMs`; the longest first, at most 20. */
  readonly slowJobs: readonly SlowJob[]
  /** `undefined`: the store did not answer in time. */
  readonly queues: readonly QueueFacts[] | undefined
  /** By how much the failed jobs that the store keeps have grown over the last hour; `undefined` like the queues. */
  readonly deadLetters: { readonly kept: number, readonly growth: number } | undefined
  /** The processes that are alive, this one first. */
  readonly processes: readonly ProcessFacts[]
}

export interface JobFacts {
  readonly name: string
  /** Jobs that are over. */
  readonly completed: number
  readonly failed: number
  /** Attempts that were timed, and their 95th percentile in milliseconds; `undefined` without any. */
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
  /** How long the job that waits longest could have been running; `undefined`: none waits. */
  readonly oldestAgeMs: number | undefined
  /** Jobs in progress whose lease was not renewed in time. */
  readonly stuck: number
  /** Which, at most 20, as far as the store can tell: those that began first. */
  readonly stuckJobs: ReadonlyArray<{ readonly jobId: string, readonly jobName: string, readonly state: JobState, readonly runningMs: number }>
  /** Since any worker claimed a job of it, or since we have been watching. */
  readonly claimAgeMs: number
  /** A worker has all its places taken: jobs wait because there is much to do. */
  readonly busy: boolean
  /** Every worker of it is paused. */
  readonly paused: boolean
}

export interface ProcessFacts {
  readonly instance: string
  readonly memory: { readonly usedBytes: number, readonly limitBytes: number }
  readonly consumers: readonly ConsumerFacts[]
}

/** What a process does for one queue. */
export interface ConsumerFacts {
  readonly queue: string
  readonly active: number
  readonly concurrency: number
  readonly paused: boolean
  /** Since it last claimed a job or looked into an empty queue. */
  readonly silentMs: number
}
