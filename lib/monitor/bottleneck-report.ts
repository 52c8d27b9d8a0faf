import type { SlowOperation } from './operations.ts'
import type { SlowQuery } from './queries.ts'
import type { Durations } from './distribution.ts'

export const SEVERITIES = ['critical', 'warning', 'info'] as const
export type Severity = typeof SEVERITIES[number]

/** What can stand in the way; of two that weigh the same, the first is the more likely cause of the other. */
export const CAUSES = [
  'store-away', 'store-failing', 'event-loop-blocked', 'no-worker', 'not-claiming', 'store-slow', 'event-loop-busy', 'workers-saturated', 'workers-elsewhere', 'queue-wait',
  'submissions-refused', 'handler-failing', 'handler-near-timeout', 'handler-slow', 'jobs-stuck', 'queries-slow'
] as const
export type Cause = typeof CAUSES[number]

/** One thing that a person should know, in the order of how much it matters. */
export interface Finding {
  readonly cause: Cause
  readonly severity: Severity
  /** The queue, job, operation or reason it is about; `null`: this process. */
  readonly subject: string | null
  readonly value: number
  readonly threshold: number
  /** Of both. */
  readonly unit: 'ms' | '%' | 'count'
  /** What it is and what to do about it. */
  readonly sentence: string
}

export interface QueueFacts {
  readonly queue: string
  /** Of the jobs that this process claimed. `null`: none in the window. */
  readonly wait: Durations | null
  /** Of the whole store: how long the job that waits longest could have been running; as old as `store.countsAgeMs`. */
  readonly oldestWaitingMs: number | null
  /** Attempts of this process under way, and how many there could be. `null`: it does not work on this queue. */
  readonly active: number | null
  readonly concurrency: number | null
  /** Places that were taken, on average over the window. */
  readonly busyPercent: number | null
}

export interface HandlerFacts {
  readonly name: string
  readonly queue: string | null
  readonly duration: Durations
  readonly errors: number
  /** The most frequent. */
  readonly errorCode: string | null
  /** Of the time of all handlers of this process. */
  readonly timePercent: number
}

export interface StoreOperationFacts {
  readonly operation: string
  readonly duration: Durations
  readonly errors: number
}

/** The numbers; what they mean is in the findings. Of this process and its last minutes, where nothing else is said. */
export interface Facts {
  readonly coveredMs: number
  readonly queues: readonly QueueFacts[]
  /** The slowest first (95th percentile). */
  readonly handlers: readonly HandlerFacts[]
  readonly store: {
    /** When waiting jobs were last counted. `null`: never yet. */
    readonly countsAgeMs: number | null
    readonly waitingJobs: number | null
    readonly jobsInProgress: number | null
    readonly stuckJobs: number | null
    readonly operations: readonly StoreOperationFacts[]
  }
  readonly eventLoop: {
    /** Of the last sample, and the highest of the window. */
    readonly lagMs: number | null
    readonly highestLagMs: number | null
    /** Of the samples in the window. */
    readonly meanLagMs: number | null
    /** The longest single block. */
    readonly worstMs: number | null
    readonly utilizationPercent: number | null
  }
  readonly pressure: {
    readonly retries: number
    readonly refused: ReadonlyArray<{ readonly reason: string, readonly count: number }>
  }
}

/** What `GET /metrics/bottlenecks` answers. */
export interface BottleneckReport extends Facts {
  /** One sentence: what limits the throughput now. */
  readonly verdict: string
  /** `null`: nothing does. */
  readonly limitedBy: Cause | null
  readonly findings: readonly Finding[]
  readonly asOf: string
  readonly windowMs: number
  /** The newest first. */
  readonly slowOperations: readonly Shown<SlowOperation>[]
  readonly slowQueries: readonly Shown<SlowQuery>[]
}

/** For readers whom nobody has authorized: contexts are what an application says about one run, and texts of queries may come from users. */
export function withoutDetails (report: BottleneckReport | undefined): object | undefined {
  if (report === undefined) return undefined
  return {
    ...report,
    slowOperations: report.slowOperations.map(({ at, operation, durationMs }) => ({ at, operation, durationMs })),
    slowQueries: report.slowQueries.map(({ at, system, operation, target, durationMs }) => ({ at, system, operation, target, durationMs }))
  }
}

export type Shown<S extends { readonly at: number }> = Omit<S, 'at'> & { readonly at: string }
