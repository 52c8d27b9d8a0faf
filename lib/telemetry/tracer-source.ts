import type { Context, Span, SpanContext, SpanOptions, Tracer, TracerProvider } from '@opentelemetry/api'
import type { TelemetryFailures } from './telemetry-failures.ts'
import { isSampled } from './propagation.ts'
import { markSampled, type TokenBucket } from './sampler.ts'
import type { TraceContext } from './trace-context.ts'
import { SCOPE_NAME, SCOPE_VERSION } from './version.ts'

/**
 * What to do about tracing for a piece of work, before anything is made for it:
 * `pass`: nothing; at most hand on what came. `over`: the same, but the caller's trace goes on as not recorded.
 * `sampled`: a token was taken, start the root span. `ask`: start a span and see what the provider's own sampler says.
 */
export type Decision = 'pass' | 'over' | 'sampled' | 'ask'

export type SpanStarter = Pick<Tracer, 'startSpan'>

/** How a provider of our own samples. */
export interface OwnSampling {
  /** Makes the spans that every job has, instead of the provider's own tracer. */
  readonly jobTracer?: SpanStarter | undefined
  /** Decides about new traces; `undefined`: a sampler that was given does, span by span. */
  readonly bucket?: TokenBucket | undefined
  /** Limits the traces of others that are followed. */
  readonly remoteBucket?: TokenBucket | undefined
  /** The sampler records nothing that the parent did not: such work need not even be shown to it. */
  readonly followsParent: boolean
}

/**
 * Where spans come from, and whether any shall come. With a provider of our own the decision is made here, before ids
 * or attributes exist, so that an unsampled job costs nothing; a provider of the application's decides by itself.
 */
export class TracerSource {
  readonly contexts: TraceContext
  /** The provider is ours: nobody but us makes or reads the spans of an unsampled trace. */
  readonly own: boolean
  readonly #tracer: SpanStarter | undefined
  readonly #jobTracer: SpanStarter | undefined
  readonly #sampling: OwnSampling | undefined
  readonly #failures: TelemetryFailures

  constructor (contexts: TraceContext, failures: TelemetryFailures, provider?: TracerProvider, sampling?: OwnSampling) {
    this.contexts = contexts
    this.own = sampling !== undefined
    this.#failures = failures
    this.#sampling = sampling
    this.#tracer = this.guard(() => provider?.getTracer(SCOPE_NAME, SCOPE_VERSION))
    this.#jobTracer = sampling?.jobTracer ?? this.#tracer
  }

  /** Somebody collects spans. */
  get enabled (): boolean { return this.#tracer !== undefined }

  /** What a job's span starts with costs the least; with any other tracer, what is set later does. */
  get takesAttributes (): boolean { return this.#sampling?.jobTracer !== undefined }

  /**
   * For work that would start a trace, or go on with its parent's.
   *
   * @param rate of the traces that would begin here, 0 to 1
   */
  decide (parent: SpanContext | undefined, rate = 1): Decision {
    if (this.#tracer === undefined) return 'pass'
    // Before the bucket is asked: a job that is seldom traced shall not use up the tokens of others.
    if (parent === undefined && rate < 1 && Math.random() >= rate) return 'pass'
    const sampling = this.#sampling
    if (sampling === undefined) return 'ask'
    const { bucket, remoteBucket, followsParent } = sampling
    if (parent === undefined) return bucket === undefined ? 'ask' : bucket.take() ? 'sampled' : 'pass'
    if (!isSampled(parent)) return followsParent ? 'pass' : 'ask'
    return parent.isRemote === true && remoteBucket !== undefined && !remoteBucket.take() ? 'over' : 'ask'
  }

  /** For an attempt: only a submission that was sampled is traced further. */
  decideAttempt (submission: SpanContext | undefined): Decision {
    if (this.#tracer === undefined) return 'pass'
    if (this.#sampling?.followsParent !== true) return 'ask'
    return submission !== undefined && isSampled(submission) ? 'ask' : 'pass'
  }

  /** Tells our sampler that this trace has its token. */
  sampled (context: Context): Context { return this.#sampling?.bucket === undefined ? context : markSampled(context) }

  /** `undefined` when tracing is off, or the provider threw. */
  startSpan (name: string, options: SpanOptions, context: Context): Span | undefined {
    return this.guard(() => this.#tracer?.startSpan(name, options, context))
  }

  /** The same for the spans that every job has, about which was decided. @param options `attributes` are made for this span alone */
  startJobSpan (name: string, options: SpanOptions, context: Context): Span | undefined {
    return this.guard(() => this.#jobTracer?.startSpan(name, options, context))
  }

  /** Runs telemetry work whose failure is nobody else's business. */
  guard<R> (work: () => R, source = 'tracing'): R | undefined {
    try {
      return work()
    } catch (error) {
      this.complain(error, source)
      return undefined
    }
  }

  /** Counts a failure, and tells of the first. */
  complain (error: unknown, source = 'tracing'): void { this.#failures.report(source, error) }
}
