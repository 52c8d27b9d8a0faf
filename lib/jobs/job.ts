/**
 * Words used everywhere, for one thing each:
 *
 * - *job*: one unit of submitted work. *queue*: where it waits. *worker*: the service that claims and runs jobs.
 * - *attempt*: one run of a job. *claim*: taking a job to run it. *lease*: the time-bound right to that attempt.
 * - *stalled*: the lease ran out while the job was in progress. *backoff*: the wait before the next attempt.
 * - *snooze*: run again later, no attempt spent. *cancel*: stop it, somebody no longer wants it.
 *   *discard*: fail it now, no more attempts. *redrive*: run a failed job again, with a fresh budget of attempts.
 * - *error*: this attempt went wrong. *failed*: the job is over.
 * - *owner*: who may see a job. *correlation id*: ties a request, its job and their log lines together.
 */
import type { JobState } from './states.ts'

/** What the request brought: only what the endpoint's allow-lists let through is kept. All of it is JSON. */
export interface JobInput {
  body: unknown
  params: Readonly<Record<string, unknown>>
  query: Readonly<Record<string, unknown>>
  headers: Readonly<Record<string, string>>
}

/** W3C Trace Context of the submission, carried to the attempts. */
export interface TraceCarrier {
  traceparent: string
  tracestate?: string | undefined
}

/** How far a job is. `done` and `total` are in units of the handler's choice. */
export interface JobProgress {
  done?: number
  total?: number
  /** At most 500 characters are kept. */
  message?: string
}

/** An error as it is stored and shown: bounded, without a stack, without the payload. */
export interface StoredError {
  /** Our code, or the error's own `code` if it has one, else its class name. The metric label `error_type`. */
  code: string
  /** At most 1,000 characters, control characters removed. */
  message: string
  /** The message was written for the client. Without it clients see a fixed text, see `http.exposeErrors`. */
  expose?: true
}

/**
 * A job as the store shows it. Times are milliseconds since the epoch. What was submitted is no part of it: it may be a
 * thousand times as large as the rest, and only the handler needs it (see {@link ClaimedJob} and `JobStore.input`).
 */
export interface JobRecord {
  readonly id: string
  readonly name: string
  readonly queue: string
  readonly state: JobState
  readonly owner: string | undefined
  readonly correlationId: string
  readonly trace: TraceCarrier | undefined
  /** 1 is the most urgent, larger numbers run later; 0 means none was given and runs before all that have one. */
  readonly priority: number
  readonly createdAt: number
  /** When the job may (or might) first be claimed: `createdAt`, or later for a scheduled one. */
  readonly runAt: number
  /** Start of the newest attempt. */
  readonly startedAt: number | undefined
  readonly finishedAt: number | undefined
  /** Attempts that were spent: errors and stalls; while in progress, the running attempt included. */
  readonly attempts: number
  readonly maxAttempts: number
  readonly progress: JobProgress | undefined
  /** The newest attempt's error; kept after a later success is recorded only if the job failed. */
  readonly error: StoredError | undefined
  /** Somebody asked a running job to stop, and it has not yet. */
  readonly cancelRequested: boolean
  /** Bytes of the stored result as JSON; `undefined` unless completed with a result. */
  readonly resultBytes: number | undefined
  /** How often it was redriven. Absent where the store hands out a claim without looking. */
  readonly redrives?: number | undefined
}

/** Who sent the request of a submission, as far as the log lines of its job are to tell (`logging.enrich`). Bounded texts. */
export interface JobOrigin {
  readonly requestId?: string | undefined
  /** Where it differs from the owner. */
  readonly userId?: string | undefined
  readonly clientIp?: string | undefined
  readonly userAgent?: string | undefined
}

/** A job that was claimed to be run: with what its handler is given. */
export interface ClaimedJob extends JobRecord {
  readonly input: JobInput
  readonly origin?: JobOrigin | undefined
}

/** What a submission hands to the store. */
export interface NewJob {
  readonly id: string
  readonly name: string
  readonly queue: string
  readonly input: JobInput
  readonly owner: string | undefined
  readonly correlationId: string
  readonly trace: TraceCarrier | undefined
  readonly priority: number
  readonly createdAt: number
  /** `createdAt` to run at once. */
  readonly runAt: number
  readonly maxAttempts: number
  readonly idempotency: IdempotencyClaim | undefined
  /** Kept for the attempts; a store that drops it loses a few words of log lines. */
  readonly origin?: JobOrigin | undefined
}

/** Asks the store for create-or-return-existing. */
export interface IdempotencyClaim {
  /** A hash over owner, endpoint and the client's key: never the client's text itself. Lower-case hex. */
  readonly key: string
  /** Hash of what was submitted, to tell a repeated request from a different one under the same key. */
  readonly fingerprint: string
  /** How long the key is remembered, also when its job is forgotten sooner. */
  readonly ttlMs: number
}

/** A change of a job, as listeners hear it. Never carries a result or a payload. */
export interface JobUpdate {
  readonly id: string
  readonly state: JobState
  readonly progress?: JobProgress
}

export const DEFAULT_QUEUE = 'default'
/** BullMQ's range is larger; this is what every store keeps exactly. */
export const MAX_PRIORITY = 1_000_000
