/**
 * The vocabulary. Each word means one thing, everywhere:
 *
 * - *job*: one unit of submitted work. *queue*: where it waits. *worker*: the service that claims and runs jobs.
 * - *attempt*: one run of a job. *claim*: taking a job to run it. *lease*: the time-bound right to that attempt.
 * - *stalled*: the lease ran out while the job was in progress. *backoff*: the wait before the next attempt.
 * - *snooze*: run the job again later, without spending an attempt. *cancel*: stop a job that is no longer wanted.
 *   *discard*: fail the job now, whatever attempts are left. *redrive*: run a failed job again, with a fresh budget
 *   of attempts.
 * - *error*: this attempt went wrong. *failed*: the job is over.
 * - *owner*: who may see a job. *correlation id*: connects a request, its job and their log lines.
 */
import type { JobState } from './states.ts'

/** What was submitted. Of the request's headers, only those on the endpoint's allow-list. All of it is JSON. */
export interface JobInput {
  body: unknown
  params: Readonly<Record<string, unknown>>
  query: Readonly<Record<string, unknown>>
  headers: Readonly<Record<string, string>>
  /** Who is called when the job has ended. The handler does not see it. */
  webhook?: JobWebhook | undefined
}

/** Who is called when a job has ended. No route, event or log line shows it. */
export interface JobWebhook {
  /** An `https:` URL. Its query may hold a secret of the receiver. */
  readonly url: string
  /** `result`: the message has the result of a completed job in it, if it is small enough. */
  readonly include?: 'result' | undefined
}

/** The W3C trace context of the submission. It is stored, so that the attempts can continue the trace. */
export interface TraceCarrier {
  traceparent: string
  tracestate?: string | undefined
}

/** The progress of a job. The handler chooses the unit of `done` and `total`. */
export interface JobProgress {
  done?: number
  total?: number
  /** At most 500 characters are kept. */
  message?: string
}

/** An error as it is stored: bounded, without stack and payload. */
export interface StoredError {
  /** The error's own `code`, or else the name of its class. It is the metric label `error_type`. */
  code: string
  /** At most 1,000 characters, control characters removed. */
  message: string
  /** The message is meant for clients. Otherwise they see a fixed text; see `http.exposeErrors`. */
  expose?: true
}

/**
 * A job as the store returns it. Times are milliseconds since the epoch. What was submitted is not part of it,
 * because it may be a thousand times as large as the rest, and only the handler needs it (see {@link ClaimedJob} and
 * `JobStore.input`).
 */
export interface JobRecord {
  readonly id: string
  readonly name: string
  readonly queue: string
  readonly state: JobState
  /**
   * Grows with every stored change of the job: its state, its progress, its steps, a request to cancel it. Of two
   * records of one job, the one with the larger version is the newer one. The store counts it, in steps of its own.
   * Absent on a claim.
   */
  readonly version?: number | undefined
  readonly owner: string | undefined
  readonly correlationId: string
  readonly trace: TraceCarrier | undefined
  /** Jobs with 0 (no priority) run first; among the others, 1 is the most urgent. */
  readonly priority: number
  readonly createdAt: number
  /** The earliest moment at which the job can be claimed: `createdAt`, or later for a scheduled job. */
  readonly runAt: number
  /** When the newest attempt began. */
  readonly startedAt: number | undefined
  readonly finishedAt: number | undefined
  /** The number of spent attempts (errors and stalls); while the job is in progress, including the running one. */
  readonly attempts: number
  readonly maxAttempts: number
  readonly progress: JobProgress | undefined
  /** The error of the newest attempt that failed. A job that completes loses it. */
  readonly error: StoredError | undefined
  /** Somebody asked to cancel the job, and its running attempt has not stopped yet. */
  readonly cancelRequested: boolean
  /** The size of the stored result as JSON; `undefined` unless the job completed with a result. */
  readonly resultBytes: number | undefined
  /** How often the job was redriven. Absent on a claim if the store does not read it for claims. */
  readonly redrives?: number | undefined
  /**
   * What the job's steps have stored; absent for a job without steps, and on a claim. In a list, only the text under the
   * empty key.
   */
  readonly facts?: StepsFacts | undefined
}

/** The small texts of a job's steps, by key. The text under the empty key is about all of them. */
export type StepsFacts = Readonly<Record<string, string>>

/** Who sent a submission, as far as the job's log lines show it (`logging.enrich`). The texts are bounded. */
export interface JobOrigin {
  readonly requestId?: string | undefined
  /** Only if it differs from the owner. */
  readonly userId?: string | undefined
  readonly clientIp?: string | undefined
  readonly userAgent?: string | undefined
}

/** A job that was claimed, with the input for its handler. */
export interface ClaimedJob extends JobRecord {
  readonly input: JobInput
  readonly origin?: JobOrigin | undefined
}

/** A job as a submission passes it to the store. */
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
  /** Kept for the log lines of the attempts. A store may drop it. */
  readonly origin?: JobOrigin | undefined
}

/** Makes `create` return the existing job if the key is already known. */
export interface IdempotencyClaim {
  /** A hash of the owner, the endpoint and the client's key, as lower-case hex; never the client's text itself. */
  readonly key: string
  /** A hash of what was submitted, which distinguishes a repeated request from another request with the same key. */
  readonly fingerprint: string
  /** How long the key is remembered, even if its job is deleted before that. */
  readonly ttlMs: number
}

/** Names a job to a store that is to find it: jobs never change their queue. */
export interface JobPlace {
  readonly id: string
  readonly queue: string
}

/**
 * A change of a job, as listeners receive it. It never contains a result or a payload. Only `id` is certain: what else
 * has changed shows the job itself, when it is read.
 */
export interface JobUpdate {
  readonly id: string
  /** The state after the change. Absent: the job must be read, for example because it was removed. */
  readonly state?: JobState | undefined
  /** The version of the record after the change. Absent: the publisher does not know it. */
  readonly version?: number | undefined
  /** Only with `version`, and only if nothing but the progress has changed. */
  readonly progress?: JobProgress | undefined
}

export const DEFAULT_QUEUE = 'default'
/** Every store must support priorities up to this. BullMQ supports larger ones. */
export const MAX_PRIORITY = 1_000_000
