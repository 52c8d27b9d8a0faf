import {
  ROOT_CONTEXT, SpanStatusCode, trace,
  type Attributes, type Context, type Span, type SpanContext, type SpanKind, type SpanOptions
} from '@opentelemetry/api'
import type { NewJob, TraceCarrier } from '../jobs/job.ts'
import type { AttemptScope, SpanEnding } from '../jobs/seams.ts'
import { ATTR } from './attributes.ts'
import { messagingAttributes, type MessagingOperation } from './job-attributes.ts'
import { flagsText, hasIds, toCarrier } from './propagation.ts'
import type { ErrorTrail, SpanErrors } from './span-errors.ts'
import type { TracerSource } from './tracer-source.ts'

const NOTHING_MORE: Pick<SpanOptions, 'links' | 'startTime'> = Object.freeze({})

/** What submissions and attempts share: where spans come from, how errors are written to them, the messaging spans. */
export class SpanMaker {
  /** Replaced once, when the application is ready and its SDK is known. */
  source: TracerSource
  readonly errors: SpanErrors
  readonly storeType: string

  constructor (source: TracerSource, errors: SpanErrors, storeType: string) {
    this.source = source
    this.errors = errors
    this.storeType = storeType
  }

  /**
   * Starts the span of one messaging operation.
   *
   * @param describe makes the attributes of the span; called only if it is recorded
   */
  messaging (
    operation: MessagingOperation,
    { queue, name: jobName }: Pick<NewJob, 'queue' | 'name'>,
    kind: SpanKind,
    parent: Context,
    describe: () => Attributes,
    more?: Pick<SpanOptions, 'links' | 'startTime'>
  ): Span | undefined {
    const { source } = this
    const name = `${operation} ${queue}`
    const { links, startTime } = more ?? NOTHING_MORE
    // The span is recorded: attributes are cheapest when given in one piece.
    if (source.takesAttributes) {
      return source.startJobSpan(name, { kind, links, startTime, attributes: describe() }, parent)
    }
    // The sampler of another provider may decide by the attributes that a span starts with.
    const attributes = messagingAttributes(operation, queue, this.storeType, jobName)
    const span = source.startJobSpan(name, { kind, links, startTime, attributes }, parent)
    source.guard(() => { if (span?.isRecording() === true) span.setAttributes(describe()) })
    return span
  }

  /** Runs the work inside a child span; without a tracer it only runs the work. */
  async around<R> (
    name: string, kind: SpanKind, attributes: Attributes, parent: Context, work: () => R | Promise<R>, trail?: ErrorTrail,
    describe?: (result: R) => SpanEnding
  ): Promise<R> {
    const { source } = this
    const span = source.startSpan(name, { kind }, parent)
    if (span === undefined) return await work()
    source.guard(() => { span.setAttributes(attributes) })
    try {
      const result = await source.contexts.run(trace.setSpan(parent, span), work)
      if (describe !== undefined) source.guard(() => { end(span, describe(result)) })
      return result
    } catch (error) {
      source.guard(() => { this.errors.record(span, error, trail) })
      throw error
    } finally {
      source.guard(() => { span.end() })
    }
  }

  /** The trace context to pass on for a span; `undefined` for a span without ids. */
  carrierOf (span: Span): TraceCarrier | undefined {
    const context = span.spanContext()
    // Ids made by a private provider need no full check.
    const valid = this.source.own ? hasIds(context) : trace.isSpanContextValid(context)
    return valid ? toCarrier(context) : undefined
  }
}

function end (span: Span, { attributes, error }: SpanEnding): void {
  span.setAttributes({ ...attributes, ...(error === undefined ? undefined : { [ATTR.errorType]: error }) })
  if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR })
}

/** The span of this context, no matter which SDK made it, if it can be a parent. */
export function parentIn (context: Context): SpanContext | undefined {
  try {
    const parent = trace.getSpanContext(context)
    return parent !== undefined && trace.isSpanContextValid(parent) ? parent : undefined
  } catch {
    // The span of another SDK fails to give its ids: it cannot be a parent.
    return undefined
  }
}

export function withParent (context: Context, parent: SpanContext | undefined): Context {
  return parent === undefined ? context : trace.setSpanContext(context, parent)
}

/** The root context, with this parent if there is one. */
export function rootOr (parent: SpanContext | undefined): Context { return withParent(ROOT_CONTEXT, parent) }

/** The ids for exemplars and log lines. */
export function idsOf ({ traceId, spanId, traceFlags }: SpanContext): NonNullable<AttemptScope['traceIds']> {
  return { traceId, spanId, traceFlags: flagsText(traceFlags) }
}
