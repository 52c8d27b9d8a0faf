import type { Context, Span, SpanContext, SpanOptions, Tracer, TracerProvider } from '@opentelemetry/api'
import type { TelemetryFailures } from './telemetry-failures.ts'
import { isSampled } from './propagation.ts'
import { markSampled, type TokenBucket } from './sampler.ts'
import type { TraceContext } from './trace-context.ts'
import { SCOPE_NAME, SCOPE_VERSION } from './version.ts'

/**
 * What to do about the trace of a piece of work, decided before any id or span is made:
 * `pass`: make no span; pass on the context that came, if any. `over`: the same, but pass the trace on as not
 * recorded, because the limit is reached. `sampled`: a token was taken: start the root span. `ask`: start a span; the
 * sampler of the provider decides.
 */
export type Decision = 'pass' | 'over' | 'sampled' | 'ask'

export type SpanStarter = Pick<Tracer, 'startSpan'>

/** How a private provider samples. */
export interface OwnSampling {
  /** Makes the spans that every job has, instead of the tracer of the provider. */
  readonly jobTracer?: SpanStarter | undefined
  /** Decides about new traces; `undefined`: a given sampler decides, span by span. */
  readonly bucket?: TokenBucket | undefined
  /** Limits the traces of callers that are followed. */
  readonly remoteBucket?: TokenBucket | undefined
  /** The sampler never records what its parent did not: then it need not be asked. */
  readonly followsParent: boolean
}

/**
 * Makes spans, and decides whether to make one. With a private provider the decision is made here, before ids or
 * attributes exist, so that an unsampled job costs nothing. A provider of the application decides by itself.
 */
export class TracerSource {
  readonly contexts: TraceContext
  /** The provider is private: nothing else makes or reads spans of an unsampled trace. */
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

  /** There is a provider that collects spans. */
  get enabled (): boolean { return this.#tracer !== undefined }

  /** With the job tracer, attributes are cheapest when given at the start; with any other tracer, when set later. */
  get takesAttributes (): boolean { return this.#sampling?.jobTracer !== undefined }

  /**
   * Decides about work that would start a trace, or continue the trace of its parent.
   *
   * @param rate the share of the new traces that may begin here, 0 to 1
   */
  decide (parent: SpanContext | undefined, rate = 1): Decision {
    if (this.#tracer === undefined) return 'pass'
    // Before a token is taken: a job that is rarely traced must not use up the tokens of others.
    if (parent === undefined && rate < 1 && Math.random() >= rate) return 'pass'
    const sampling = this.#sampling
    if (sampling === undefined) return 'ask'
    const { bucket, remoteBucket, followsParent } = sampling
    if (parent === undefined) return bucket === undefined ? 'ask' : bucket.take() ? 'sampled' : 'pass'
    if (!isSampled(parent)) return followsParent ? 'pass' : 'ask'
    return parent.isRemote === true && remoteBucket !== undefined && !remoteBucket.take() ? 'over' : 'ask'
  }

  /** Decides about an attempt: it is traced only if its submission was sampled. */
  decideAttempt (submission: SpanContext | undefined): Decision {
    if (this.#tracer === undefined) return 'pass'
    if (this.#sampling?.followsParent !== true) return 'ask'
    return submission !== undefined && isSampled(submission) ? 'ask' : 'pass'
  }

  /** Marks the context, so that the sampler takes no second token for this trace. */
  sampled (context: Context): Context { return this.#sampling?.bucket === undefined ? context : markSampled(context) }

  /** `undefined` when tracing is off, or the provider threw. */
  startSpan (name: string, options: SpanOptions, context: Context): Span | undefined {
    return this.guard(() => this.#tracer?.startSpan(name, options, context))
  }

  /**
   * The same for the spans that every job has, after {@link TracerSource.decide}.
   *
   * @param options `attributes` must be made for this span alone
   */
  startJobSpan (name: string, options: SpanOptions, context: Context): Span | undefined {
    return this.guard(() => this.#jobTracer?.startSpan(name, options, context))
  }

  /** Runs telemetry work; a failure is counted and goes no further. */
  guard<R> (work: () => R, source = 'tracing'): R | undefined {
    try {
      return work()
    } catch (error) {
      this.complain(error, source)
      return undefined
    }
  }

  /** Counts a failure, and logs the first. */
  complain (error: unknown, source = 'tracing'): void { this.#failures.report(source, error) }
}
