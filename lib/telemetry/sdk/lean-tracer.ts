import { SpanKind, trace, INVALID_SPAN_CONTEXT, type Context, type Span, type SpanContext, type SpanOptions } from '@opentelemetry/api'
import { randomHex128, randomHex64 } from '../../core/ids.ts'
import { isSuppressed } from '../trace-context.ts'
import { isSampled } from '../propagation.ts'
import { LeanSpan, type LeanOrigin } from './lean-span.ts'

const SAMPLED = 1

/**
 * Our own spans, for a provider of our own: started by the rules of the SDK's tracer, made as {@link LeanSpan}. Whether a
 * new trace is recorded was decided before: whoever starts one here has its token.
 */
export class LeanTracer {
  readonly #origin: LeanOrigin

  constructor (origin: LeanOrigin) {
    this.#origin = origin
  }

  /** @param options `attributes` become the span's own; see {@link LeanStart} */
  startSpan (name: string, { kind = SpanKind.INTERNAL, attributes, links, startTime }: SpanOptions, context: Context): Span {
    if (isSuppressed(context)) return trace.wrapSpanContext(INVALID_SPAN_CONTEXT)
    const given = trace.getSpanContext(context)
    const parent = given !== undefined && trace.isSpanContextValid(given) ? given : undefined
    const sampled = parent === undefined || isSampled(parent)
    const spanContext: SpanContext = { traceId: parent?.traceId ?? randomHex128(), spanId: randomHex64(), traceFlags: sampled ? SAMPLED : 0 }
    if (parent?.traceState !== undefined) spanContext.traceState = parent.traceState
    if (!sampled) return trace.wrapSpanContext(spanContext)
    const span = new LeanSpan(this.#origin, { name, kind, spanContext, parentSpanContext: parent, links, startTime, attributes })
    for (const processor of this.#origin.processors()) processor.onStart(span as never, context)
    return span
  }
}
