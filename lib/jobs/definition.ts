import type { Logger } from '../core/context.ts'
import type { HealthCheck, HealthCheckOptions } from '../core/health-check.ts'
import type { Backoff, BackoffOptions, CustomBackoff } from './backoff.ts'
import type { JobProgress, TraceCarrier } from './job.ts'
import type { JobNames } from './job-names.ts'
import type { Submittable, Travelled } from './json-value.ts'
import type { Outcome } from './outcome.ts'
import type { SagaPlan } from './saga-plan.ts'
import type { CompiledSchemas, JobSchemas } from './schemas.ts'
import type { ChildSubmitted, SubmitMeta } from './submit.ts'

/** The types of a job. A part that is left out is `unknown` (body, result) or a record of unknown values. */
export interface JobTypes {
  body?: unknown
  params?: unknown
  query?: unknown
  headers?: unknown
  result?: unknown
}

export type Part<T extends JobTypes, K extends keyof JobTypes, Fallback> = T extends Record<K, infer V> ? V : Fallback

/** Carries the types of a job from its definition to `app.jobs`. Nothing is there at run time. */
declare const TYPES: unique symbol

/** The name of a job: any text, or one of {@link JobNames} once the application has declared them. */
export type JobName = keyof JobNames extends never ? string : Extract<keyof JobNames, string>

/**
 * Which job is meant: its name, or what `app.defineJob()` or `app.asyncEndpoint()` returned, which brings its types.
 */
export type JobReference = JobName | JobDefinition

/** The types of the job that a {@link JobReference} means. */
export type TypesOf<J> = J extends JobDefinition<infer T> ? T : J extends keyof JobNames ? JobNames[J] : JobTypes

/** What is submitted to a job. What JSON cannot hold is `never`. */
export type BodyOf<J> = TypesOf<J> extends { body: infer B } ? Submittable<B> : unknown

/** What a job returned, as it is read: after it has travelled as JSON. */
export type ResultOf<J> = TypesOf<J> extends { result: infer R } ? Travelled<R> : unknown

/**
 * What a submission takes after the job: the body, which may be left out only where it may be `undefined`, and
 * settings.
 */
export type SubmitArguments<J> = undefined extends BodyOf<J>
  ? [body?: BodyOf<J>, meta?: SubmitMeta]
  : [body: BodyOf<J>, meta?: SubmitMeta]

/** The argument of a handler, for one attempt. */
export interface JobContext<T extends JobTypes = JobTypes> {
  readonly id: string
  readonly name: string
  readonly queue: string
  /** The body as JSON carries it: a `Date` that was submitted is a string here. */
  readonly body: Travelled<Part<T, 'body', unknown>>
  readonly params: Travelled<Part<T, 'params', Readonly<Record<string, unknown>>>>
  readonly query: Travelled<Part<T, 'query', Readonly<Record<string, unknown>>>>
  /** Only the headers on the endpoint's allow-list. */
  readonly headers: Part<T, 'headers', Readonly<Record<string, string>>>
  /** The number of this attempt, from 1. */
  readonly attempt: number
  readonly maxAttempts: number
  readonly owner: string | undefined
  readonly correlationId: string
  /**
   * The W3C trace context of this attempt, as header texts: for a client library that takes those. `undefined`
   * without a trace.
   */
  readonly trace: TraceCarrier | undefined
  /**
   * Aborts on timeout, cancellation, a lost lease, and a shutdown after the drain. Its reason is an error with a code.
   *
   * Reading it, or calling {@link throwIfAborted}, once in an attempt says that the handler stops when it is asked
   * to. What it returns or throws after an abort may be half done, and does not count: a cancelled job is
   * `cancelled`, a job of a worker that stops goes to another. A handler that never reads it cannot know of the
   * abort: if it ends within `graceMs`, what it returned or threw counts. A timeout is an error of the attempt either
   * way.
   */
  readonly signal: AbortSignal
  /** A logger whose lines have the ids of job, trace and correlation. */
  readonly log: Logger
  /**
   * Reports how far the job is: a number (percent), or units. Clients read it in the status document. Reports are
   * throttled on their way to the store; the last one is always stored.
   */
  progress (progress: JobProgress | number): void
  /**
   * Runs `work` inside a child span when the job is traced, else without one. Returns what `work` returns, and throws
   * what it throws.
   *
   * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for an option that does not exist
   */
  span<R> (name: string, work: () => R | Promise<R>, options?: JobSpanOptions): Promise<R>
  /**
   * Runs `work` once per job: its result is stored, and a later attempt gets that result instead of running it again. It
   * may run twice only if the process dies after `work` is done and before its result is stored. The result is what JSON
   * carries of it.
   *
   * @param name unique in the handler: 1 to 64 letters, digits, "_", "." or "-", the first a letter or digit
   *
   * @throws {AsyncEndpointsError} `FAE_DUPLICATE_STEP` for a name that this attempt has used; `FAE_INVALID_OPTIONS`;
   * `FAE_STEP_TIMEOUT`, `FAE_STEP_RESULT_NOT_SERIALIZABLE`, `FAE_STEP_RESULT_TOO_LARGE`; `FAE_LEASE_LOST` when the result
   * cannot be stored any more, also because the handler has ended; and what `work` throws in its last try
   */
  step<R> (name: string, work: (step: StepContext) => R | Promise<R>, options?: StepOptions): Promise<Travelled<R>>
  /**
   * Submits another job (a child), with the correlation id, the owner and the trace of this one. The idempotency key
   * of the child is made of the id of this job, the name of the child, and how many children of that name this
   * attempt submitted before. So a later attempt, or a redrive, that makes the same calls in the same order gets the
   * children that exist instead of new ones. With an `idempotencyKey` of your own that key is used, as by
   * `app.jobs.submit()`.
   *
   * @throws {AsyncEndpointsError} what `app.jobs.submit()` throws; `FAE_IDEMPOTENCY_KEY_REUSED` when an earlier
   * attempt submitted another body at this position
   */
  submit<const J extends JobReference> (child: J, ...submission: SubmitArguments<J>): Promise<ChildSubmitted>
  /** Throws the reason of `signal` if the attempt was aborted. Call it now and then in long loops. */
  throwIfAborted (): void
}

/** One try of a step of `job.step()`. */
export interface StepContext {
  /** Aborts on the timeout of the step, and when `job.signal` does. */
  readonly signal: AbortSignal
  /** Which try this is, from 1. */
  readonly attempt: number
  /** Equal in every try of this step, also after a crash: pass it to services that know idempotency keys. */
  readonly idempotencyKey: string
}

/** Options of `job.step()`. */
export interface StepOptions {
  /** How often the step is tried within this attempt of the job. @defaultValue 3 */
  readonly attempts?: number | undefined
  /** The pause before the next try. @defaultValue exponential, from 200 ms to at most 10 s, jitter 0.2 */
  readonly backoff?: BackoffOptions | CustomBackoff | undefined
  /** The longest time of one try, in milliseconds; 0: no limit but that of the job. @defaultValue 0 */
  readonly timeoutMs?: number | undefined
}

/** Does the work of a job: returns its result, or `snooze()`, `cancel()` or `discard()`; throws for another attempt. */
export type JobHandler<T extends JobTypes = JobTypes> =
  (job: JobContext<T>) => Promise<Part<T, 'result', unknown> | Outcome> | Part<T, 'result', unknown> | Outcome

/**
 * Wraps every handler. Call `next()` once, and return its result or another one. A second call rejects with
 * `FAE_NEXT_CALLED_TWICE` and does not run the handler again; to run it again, let it throw: the job's `retry` does.
 */
export type HandlerMiddleware = (job: JobContext, next: () => Promise<unknown>) => Promise<unknown>

export interface RetryOptions {
  /** The number of attempts in all, including the first. An error or a stall spends one. @defaultValue 3 */
  attempts?: number | undefined
  /** The pause before the next attempt. @defaultValue exponential, from 1 s to at most 1 h, jitter 0.2 */
  backoff?: BackoffOptions | CustomBackoff | undefined
}

/**
 * How the span of an attempt is connected to its submission. `parent`: both are in one trace. `link`: the attempt has
 * a trace of its own with a link to the submission's. `auto`: `parent` for a first attempt that begins promptly;
 * `link` for retries, snoozes, redrives and jobs that waited longer than an hour, because a trace that lasts for days
 * is hard to read.
 */
export type Propagation = 'auto' | 'parent' | 'link'
export const PROPAGATIONS: readonly Propagation[] = ['auto', 'parent', 'link']

/** Which submissions of a job are traced. */
export interface JobTracingOptions {
  /**
   * The share of submissions of this job that begin a trace, 0 to 1, among those that the sampler takes. A submission
   * that already belongs to a trace (of a caller, or of another job) follows the decision of that trace.
   *
   * @defaultValue 1
   */
  readonly sampleRate?: number | undefined
}

/** The kind and the first attributes of a span of `job.span`. */
export interface JobSpanOptions {
  /** For example `client` around a call to another service. @defaultValue 'internal' */
  readonly kind?: 'internal' | 'client' | 'server' | 'producer' | 'consumer' | undefined
  /** Cut and redacted like those of `spanAttributes`. */
  readonly attributes?: SpanAttributeValues | undefined
}

/** Values of span attributes: few, short, and never personal data. `undefined` leaves the attribute out. */
export type SpanAttributeValues = Readonly<Record<string, string | number | boolean | undefined>>

/**
 * Functions that return attributes for the spans of one job. They are called only for attempts whose spans are
 * recorded; the failure of one is counted and harms no job.
 */
export interface SpanAttributesOptions<T extends JobTypes = JobTypes> {
  /** Attributes made from the submission, for the spans `process {queue}` and of the handler. */
  input? (job: Pick<JobContext<T>, 'id' | 'name' | 'body' | 'params' | 'query' | 'headers' | 'owner' | 'attempt'>): SpanAttributeValues
  /** Attributes made from what the handler returned, when the attempt completed. */
  result? (result: Part<T, 'result', unknown>): SpanAttributeValues
}

/**
 * The kind of a job: a plain handler, a saga of steps, or a job that a schedule submits. It is the metric label
 * `handler_type`.
 */
export type HandlerType = 'function' | 'saga' | 'schedule'

/** Options for how a job runs, wherever it was submitted. */
export interface JobOptions {
  /**
   * The queue in which the job waits. Each queue has its own concurrency. At most 64 letters, digits, `_`, `-`, `.`.
   *
   * @defaultValue 'default'
   */
  queue?: string | undefined
  retry?: RetryOptions | undefined
  /**
   * The longest time of one attempt. After that its signal aborts, and the attempt counts as an error. 0: no limit.
   *
   * @defaultValue 1800000 (30 min)
   */
  timeoutMs?: number | undefined
  /**
   * How long a handler may go on after its signal has aborted. After that its attempt is settled without it.
   *
   * @defaultValue 2000
   */
  graceMs?: number | undefined
  /** Jobs with 0 (no priority) run first; among the others, 1 is the most urgent. @defaultValue 0 */
  priority?: number | undefined
  /**
   * The largest result as JSON, in bytes. A larger one fails the job with `FAE_RESULT_TOO_LARGE`.
   *
   * @defaultValue 1048576 (1 MiB)
   */
  maxResultBytes?: number | undefined
  /**
   * The promised time from submission to end, including a delay that the submission asked for. A job that completes
   * or fails later is counted in `asyncendpoints.jobs.sla.missed.total`. Nothing is aborted; `timeoutMs` does that.
   * 0: no promise.
   *
   * @defaultValue 0
   */
  slaMs?: number | undefined
}

export interface JobDefinitionInput<T extends JobTypes = JobTypes> extends JobOptions {
  /** The job's name. Keep it stable: stored jobs refer to it, and it is the metric label `job_name`. At most 100 letters,
   * digits, `_`, `-`, `.`, `:`. */
  name: string
  /**
   * Does the work. Without a handler, this process only submits the job, and a worker of another process runs it. If
   * the worker of this process would run the job, a definition without a handler is refused.
   */
  handler?: JobHandler<T> | undefined
  /** The schemas of the body and the result. They are compiled with the compilers of the context in which the job is
   * defined. */
  schema?: JobSchemas | undefined
  /** How an attempt's span is connected to its submission. @defaultValue that of `observability.tracing` */
  propagation?: Propagation | undefined
  tracing?: JobTracingOptions | undefined
  /** Functions that add attributes to the spans of this job. */
  spanAttributes?: SpanAttributesOptions<T> | undefined
  requires?: JobRequirements | undefined
}

/** A health check of something that a job needs, alone or with options. */
export type JobRequirement = HealthCheck | (Readonly<HealthCheckOptions> & { readonly check: HealthCheck })

/**
 * Health checks of what the handler needs, by a short name: `{ s3: checkBucket }` is shown as `<job>-s3` on `/health`
 * of the processes that run the job. By default, each runs at most every ten seconds, may take five seconds, and does
 * not affect readiness.
 */
export type JobRequirements = Readonly<Record<string, JobRequirement>>

/**
 * A defined job, with the defaults filled in: what `app.defineJob()` and `app.asyncEndpoint()` return, and `app.jobs`
 * takes. `T` carries the types of body and result.
 */
export interface JobDefinition<T extends JobTypes = JobTypes> {
  readonly [TYPES]?: T
  readonly name: string
  readonly queue: string
  /** Attempts in all, the first included. */
  readonly maxAttempts: number
  /** How long one attempt may take, in milliseconds; 0: no limit. */
  readonly timeoutMs: number
  /** How long the handler has to end after an abort, in milliseconds. */
  readonly graceMs: number
  /** 1 is the most urgent; 0 (none) runs before all that have one. */
  readonly priority: number
  /** The longest result, as bytes of JSON. */
  readonly maxResultBytes: number
  /** Milliseconds from submission to end that were promised; 0: nothing was promised. */
  readonly slaMs: number
  /** `undefined`: the job is only declared here, and another process runs it. @internal */
  readonly handler: JobHandler | undefined
  /** The steps of a saga; `undefined` for any other job. @internal */
  readonly saga: SagaPlan | undefined
  /** @internal */
  readonly backoff: Backoff
  /** @internal */
  readonly handlerType: HandlerType
  /** @internal */
  readonly propagation: Propagation | undefined
  /** The share of submissions that may begin a new trace, 0 to 1; `undefined`: all. @internal */
  readonly sampleRate: number | undefined
  /** @internal */
  readonly spanAttributes: SpanAttributesOptions | undefined
  /** @internal */
  readonly requires: JobRequirements
  /** @internal */
  readonly schemas: CompiledSchemas
}
