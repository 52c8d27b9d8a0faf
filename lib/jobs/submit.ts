import type { JobInput, JobRecord, TraceCarrier } from './job.ts'

/** Per-submission settings. */
export interface SubmitMeta {
  /** Run no sooner than this many milliseconds from now. Not together with `runAt`. */
  delayMs?: number | undefined
  /** Run no sooner than this moment: a Date or milliseconds since the epoch. */
  runAt?: Date | number | undefined
  /** Instead of the definition's. */
  priority?: number | undefined
  /** Who may see the job over HTTP: requests for which an owner function says this name, and no other. Not empty. */
  owner?: string | undefined
  /** 1 to 128 visible ASCII characters. @defaultValue a new one */
  correlationId?: string | undefined
  /**
   * The W3C trace context that the job belongs to, for example `job.trace` of the handler that submits it. The span of the
   * submission becomes a child of it; without tracing it is stored as it is. An active span of the same trace is nearer, and
   * is the parent then. @defaultValue the active span, if one is known
   */
  trace?: TraceCarrier | undefined
  /** Any text of 1 to 255 characters; the same owner, job and key again gives the same job. */
  idempotencyKey?: string | undefined
  /** How long the idempotency key is remembered. @defaultValue 86400000 (24 h) */
  idempotencyTtlMs?: number | undefined
  /** `false`: the body is taken as it is, whatever `schema.body` of the job says. @defaultValue true */
  validate?: boolean | undefined
  params?: JobInput['params'] | undefined
  query?: JobInput['query'] | undefined
  headers?: JobInput['headers'] | undefined
}

export interface Submitted {
  readonly id: string
  /** `false`: the idempotency key was known, and this is the job it belongs to. */
  readonly created: boolean
  readonly job: JobRecord
}

/** What `job.submit()` gives. */
export interface ChildSubmitted extends Omit<Submitted, 'job'> {
  /** `undefined`: an earlier attempt submitted it, it has ended, and the store no longer keeps it. */
  readonly job: JobRecord | undefined
}
