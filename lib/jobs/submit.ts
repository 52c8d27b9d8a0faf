import type { JobInput, JobRecord, TraceCarrier } from './job.ts'

/** Options of one submission. */
export interface SubmitMeta {
  /** The job runs after this many milliseconds at the earliest. Not together with `runAt`. */
  delayMs?: number | undefined
  /** The job runs at this time at the earliest: a Date, or milliseconds since the epoch. */
  runAt?: Date | number | undefined
  /** Replaces the priority of the definition. */
  priority?: number | undefined
  /** The owner: only requests for which the owner function returns this text may see the job over HTTP. Not empty. */
  owner?: string | undefined
  /** 1 to 128 visible ASCII characters. @defaultValue a new id */
  correlationId?: string | undefined
  /**
   * The W3C trace context of the job, for example `job.trace` of the handler that submits it. The span of the
   * submission becomes its child; but if a span of the same trace is active, that span is the parent. Without
   * tracing, the context is stored as it is.
   *
   * @defaultValue the active span, if there is one
   */
  trace?: TraceCarrier | undefined
  /** A text of 1 to 255 characters. A second submission with the same owner, job and key returns the existing job. */
  idempotencyKey?: string | undefined
  /** How long the idempotency key is remembered. @defaultValue 86400000 (24 h) */
  idempotencyTtlMs?: number | undefined
  /** `false`: the body is not validated with the job's `schema.body`. @defaultValue true */
  validate?: boolean | undefined
  params?: JobInput['params'] | undefined
  query?: JobInput['query'] | undefined
  headers?: JobInput['headers'] | undefined
}

export interface Submitted {
  readonly id: string
  /** `false`: the idempotency key was already used, and this is the job of that key. */
  readonly created: boolean
  readonly job: JobRecord
}

/** What `job.submit()` resolves with. */
export interface ChildSubmitted extends Omit<Submitted, 'job'> {
  /** `undefined`: an earlier attempt submitted the child, it has ended, and the store no longer has it. */
  readonly job: JobRecord | undefined
}
