import type { JobInput, JobRecord, JobWebhook, TraceCarrier } from './job.ts'

/** Settings of one submission. An option that does not exist is refused with `FAE_INVALID_OPTIONS`. */
export interface SubmitMeta {
  /** The job runs no sooner than this many milliseconds from now. Not together with `runAt`. @defaultValue 0 */
  delayMs?: number | undefined
  /** The job runs no sooner than this moment: a Date, or milliseconds since the epoch. */
  runAt?: Date | number | undefined
  /** 1 is the most urgent; 0 (none) runs before all that have one. @defaultValue the one of the definition */
  priority?: number | undefined
  /**
   * Who may see the job over HTTP: only requests for which the owner function returns this text. Not empty.
   * @defaultValue no owner
   */
  owner?: string | undefined
  /** Ties the job to a request and its log lines: 1 to 128 visible ASCII characters. @defaultValue a new id */
  correlationId?: string | undefined
  /**
   * The W3C trace context that the job belongs to, for example `job.trace` of the handler that submits it. It is the
   * parent of the span of the submission, unless a span of the same trace is active: then that one is. Without
   * tracing it is stored as it is.
   *
   * @defaultValue the active span, if one is known
   */
  trace?: TraceCarrier | undefined
  /**
   * A text of 1 to 255 characters. Another submission with the same owner, job and key gets the job that exists.
   * @defaultValue none
   */
  idempotencyKey?: string | undefined
  /** How long the idempotency key is remembered, in milliseconds. @defaultValue 86400000 (24 h) */
  idempotencyTtlMs?: number | undefined
  /**
   * `false`: the body is not validated against `schema.body` of the job, and gets none of its defaults.
   * @defaultValue true
   */
  validate?: boolean | undefined
  /**
   * Calls this URL when the job has ended: a text, or `{ url, include: 'result' }`. The plugin needs its option
   * `webhooks`. The addresses behind the URL must be public ones.
   *
   * @defaultValue no webhook
   */
  webhook?: string | JobWebhook | undefined
  /** What the handler gets as `job.params`. @defaultValue {} */
  params?: JobInput['params'] | undefined
  /** What the handler gets as `job.query`. @defaultValue {} */
  query?: JobInput['query'] | undefined
  /** What the handler gets as `job.headers`. Never credentials: they are stored. @defaultValue {} */
  headers?: JobInput['headers'] | undefined
}

/** A submission that the store has confirmed. */
export interface Submitted {
  readonly id: string
  /** `false`: the idempotency key was used before, and this is the job of that submission. */
  readonly created: boolean
  readonly job: JobRecord
}

/** What `job.submit()` resolves with. */
export interface ChildSubmitted extends Omit<Submitted, 'job'> {
  /** `undefined` when an earlier attempt submitted the job, it has ended, and the store no longer keeps it. */
  readonly job: JobRecord | undefined
}
