import {
  SpanKind, trace, INVALID_SPAN_CONTEXT, type Context, type Span, type SpanContext, type SpanOptions
} from '@opentelemetry/api'
import { randomHex128, randomHex64 } from '../../core/ids.ts'
import { isSuppressed } from '../trace-context.ts'
import { isSampled } from '../propagation.ts'
import { LeanSpan, type LeanOrigin } from './lean-span.ts'

const SAMPLED = 1

/**
 * Makes the spans of jobs for a private provider: by the rules of the tracer of the SDK, but as {@link LeanSpan}.
 * Whether to record a new trace is decided before: a span without a parent is always recorded.
 */
export class LeanTracer {
  readonly #origin: LeanOrigin

  constructor (origin: LeanOrigin) {
    this.#origin = origin
  }

  /** @param options `attributes` become the span's own; see {@link LeanStart} */
  startSpan (name: string, options: SpanOptions, context: Context): Span {
    const { kind = SpanKind.INTERNAL, attributes, links, startTime } = options
    if (isSuppressed(context)) return trace.wrapSpanContext(INVALID_SPAN_CONTEXT)
    const given = trace.getSpanContext(context)
    const parent = given !== undefined && trace.isSpanContextValid(given) ? given : undefined
    const sampled = parent === undefined || isSampled(parent)
    const traceId = parent?.traceId ?? randomHex128()
    const spanContext: SpanContext = { traceId, spanId: randomHex64(), traceFlags: sampled ? SAMPLED : 0 }
    if (parent?.traceState !== undefined) spanContext.traceState = parent.traceState
    if (!sampled) return trace.wrapSpanContext(spanContext)
    const start = { name, kind, spanContext, parentSpanContext: parent, links, startTime, attributes }
    const span = new LeanSpan(this.#origin, start)
    for (const processor of this.#origin.processors()) processor.onStart(span as never, context)
    return span
  }
}
