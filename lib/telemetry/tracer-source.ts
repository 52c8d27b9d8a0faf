import type { Context, Span, SpanContext, SpanOptions, Tracer, TracerProvider } from '@opentelemetry/api'
import type { TelemetryFailures } from './failures.ts'
import { isSampled } from './propagation.ts'
import { markSampled, type TokenBucket } from './sampler.ts'
import type { TraceContext } from './context.ts'
import { SCOPE_NAME, SCOPE_VERSION } from './version.ts'

/**
 * What to do about tracing for a piece of work, before anything is made for it:
 * `pass`: nothing; at most hand on what came. `sampled`: a token was taken, start the root span. `ask`: start a span
 * and see what the provider's own sampler says.
 */
export type Decision = 'pass' | 'sampled' | 'ask'

/**
 * Where spans come from, and whether any shall come. With a provider of our own the decision is made here, before ids
 * or attributes exist, so that an unsampled job costs nothing; a provider of the application's decides by itself.
 */
export class TracerSource {
  readonly contexts: TraceContext
  /** The provider is ours: nobody but us makes or reads the spans of an unsampled trace. */
  readonly own: boolean
  readonly #tracer: Tracer | undefined
  readonly #bucket: TokenBucket | undefined
  readonly #failures: TelemetryFailures

  constructor (contexts: TraceContext, failures: TelemetryFailures, provider?: TracerProvider, own = false, bucket?: TokenBucket) {
    this.contexts = contexts
    this.own = own
    this.#failures = failures
    this.#bucket = bucket
    this.#tracer = this.guard(() => provider?.getTracer(SCOPE_NAME, SCOPE_VERSION))
  }

  /** Somebody collects spans. */
  get enabled (): boolean { return this.#tracer !== undefined }

  /** For work that would start a trace, or go on with its parent's. */
  decide (parent: SpanContext | undefined): Decision {
    if (this.#tracer === undefined) return 'pass'
    if (!this.own) return 'ask'
    if (parent !== undefined) return isSampled(parent) ? 'ask' : 'pass'
    if (this.#bucket === undefined) return 'ask'
    return this.#bucket.take() ? 'sampled' : 'pass'
  }

  /** For an attempt: only a submission that was sampled is traced further. */
  decideAttempt (submission: SpanContext | undefined): Decision {
    if (this.#tracer === undefined) return 'pass'
    if (!this.own) return 'ask'
    return submission !== undefined && isSampled(submission) ? 'ask' : 'pass'
  }

  /** Tells our sampler that this trace has its token. */
  sampled (context: Context): Context { return this.#bucket === undefined ? context : markSampled(context) }

  /** `undefined` when tracing is off, or the provider threw. */
  startSpan (name: string, options: SpanOptions, context: Context): Span | undefined {
    return this.guard(() => this.#tracer?.startSpan(name, options, context))
  }

  /** Runs telemetry work whose failure is nobody else's business. */
  guard<R> (work: () => R): R | undefined {
    try {
      return work()
    } catch (error) {
      this.#failures.report('tracing', error)
      return undefined
    }
  }
}
