import type { SlowOperation } from './operations.ts'
import type { SlowQuery } from './queries.ts'
import type { Durations } from './distribution.ts'

export const SEVERITIES = ['critical', 'warning', 'info'] as const
export type Severity = typeof SEVERITIES[number]

/**
 * The causes of findings. Of two findings with the same severity, the one whose cause stands first probably causes the
 * other.
 */
export const CAUSES = [
  'store-away', 'store-failing', 'event-loop-blocked', 'no-worker', 'not-claiming', 'store-slow', 'event-loop-busy',
  'workers-saturated', 'workers-elsewhere', 'queue-wait',
  'submissions-refused', 'handler-failing', 'handler-near-timeout', 'handler-slow', 'jobs-stuck', 'queries-slow'
] as const
export type Cause = typeof CAUSES[number]

/** One thing that a person should know. */
export interface Finding {
  readonly cause: Cause
  readonly severity: Severity
  /** The queue, job, operation or reason that it is about; `null`: this process. */
  readonly subject: string | null
  readonly value: number
  readonly threshold: number
  /** The unit of `value` and `threshold`. */
  readonly unit: 'ms' | '%' | 'count'
  /** What is wrong and what to do about it. */
  readonly sentence: string
}

export interface QueueFacts {
  readonly queue: string
  /** How long the jobs waited that this process claimed in the window. `null`: it claimed none. */
  readonly wait: Durations | null
  /**
   * How long the job that waits longest in the whole store has been ready to run, when jobs were last counted
   * (`store.countsAgeMs`).
   */
  readonly oldestWaitingMs: number | null
  /** Running attempts of this process, and its slots. `null`: it does not work on this queue. */
  readonly active: number | null
  readonly concurrency: number | null
  /** The share of slots that were busy, on average over the window. */
  readonly busyPercent: number | null
}

export interface HandlerFacts {
  readonly name: string
  readonly queue: string | null
  readonly duration: Durations
  readonly errors: number
  /** The most frequent error code. */
  readonly errorCode: string | null
  /** The share of this handler in the time of all handlers of this process. */
  readonly timePercent: number
}

export interface StoreOperationFacts {
  readonly operation: string
  readonly duration: Durations
  readonly errors: number
}

/** The numbers of this process in the window, where nothing else is said. The findings say what they mean. */
export interface Facts {
  /** How far back the numbers reach yet: less than `windowMs` in a process that has just started. */
  readonly coveredMs: number
  readonly queues: readonly QueueFacts[]
  /** The slowest first (95th percentile). */
  readonly handlers: readonly HandlerFacts[]
  readonly store: {
    /** How long ago the jobs of the store were last counted. `null`: not yet. */
    readonly countsAgeMs: number | null
    readonly waitingJobs: number | null
    readonly jobsInProgress: number | null
    readonly stuckJobs: number | null
    readonly operations: readonly StoreOperationFacts[]
  }
  readonly eventLoop: {
    /** The delay that 99 % of all moments did not exceed: in the last sample, and in the worst sample of the window. */
    readonly lagMs: number | null
    readonly highestLagMs: number | null
    /** The average of `lagMs` over the samples of the window. */
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

/**
 * The report for readers that are not authorized: without the contexts of operations, in which an application describes
 * a single run, and without query texts, which may come from users.
 */
export function withoutDetails (report: BottleneckReport | undefined): object | undefined {
  if (report === undefined) return undefined
  return {
    ...report,
    slowOperations: report.slowOperations.map(({ at, operation, durationMs }) => ({ at, operation, durationMs })),
    slowQueries: report.slowQueries.map(({ at, system, operation, target, durationMs }) => {
      return { at, system, operation, target, durationMs }
    })
  }
}

/** A sample as the report shows it, with its time in ISO 8601. */
export type Shown<S extends { readonly at: number }> = Omit<S, 'at'> & { readonly at: string }
