import { ROOT_CONTEXT, trace, type Attributes, type Context, type Span, type SpanContext, type SpanKind, type SpanOptions } from '@opentelemetry/api'
import type { TraceCarrier } from '../jobs/job.ts'
import type { AttemptScope } from '../jobs/seams.ts'
import { messagingAttributes } from './attributes.ts'
import { flagsText, toCarrier } from './propagation.ts'
import type { ErrorTrail, SpanErrors } from './span-errors.ts'
import type { TracerSource } from './tracer-source.ts'

export type MessagingOperation = 'send' | 'process' | 'settle'

/** What both sides of a job's trace share: where spans come from, how errors come onto them, what they say of a queue. */
export class SpanMaker {
  /** Replaced once, when the application is ready and its SDK is known. */
  source: TracerSource
  readonly errors: SpanErrors
  readonly storeType: string
  readonly #messaging = new Map<string, Attributes>()

  constructor (source: TracerSource, errors: SpanErrors, storeType: string) {
    this.source = source
    this.errors = errors
    this.storeType = storeType
  }

  /** The span of one messaging operation. Whatever else it says is set by the caller, and only if it is recorded. */
  messaging (operation: MessagingOperation, queue: string, kind: SpanKind, parent: Context, more?: Pick<SpanOptions, 'links' | 'startTime'>): Span | undefined {
    const { source } = this
    const attributes = this.#messagingOf(operation, queue)
    const span = source.startSpan(`${operation} ${queue}`, { kind, links: more?.links, startTime: more?.startTime, attributes: source.showsAttributes ? attributes : undefined }, parent)
    // The SDK checks attributes that come with the start twice.
    if (span !== undefined && !source.showsAttributes && span.isRecording()) source.guard(() => { span.setAttributes(attributes) })
    return span
  }

  /** Runs the work inside a child span, or just runs it. */
  async around<R> (name: string, kind: SpanKind, attributes: Attributes, parent: Context, work: () => R | Promise<R>, trail?: ErrorTrail): Promise<R> {
    const { source } = this
    const span = source.startSpan(name, { kind }, parent)
    if (span === undefined) return await work()
    source.guard(() => { span.setAttributes(attributes) })
    try {
      return await source.contexts.run(trace.setSpan(parent, span), work)
    } catch (error) {
      source.guard(() => { this.errors.tell(span, error, trail) })
      throw error
    } finally {
      source.guard(() => { span.end() })
    }
  }

  #messagingOf (operation: MessagingOperation, queue: string): Attributes {
    const key = `${operation} ${queue}`
    let attributes = this.#messaging.get(key)
    if (attributes === undefined) this.#messaging.set(key, attributes = messagingAttributes(this.storeType, queue, operation))
    return attributes
  }
}

/** The span of this context, ours or anybody's, if it can be a parent. */
export function parentIn (context: Context): SpanContext | undefined {
  try {
    const parent = trace.getSpanContext(context)
    return parent !== undefined && trace.isSpanContextValid(parent) ? parent : undefined
  } catch {
    // Somebody else's span that cannot even say who it is: nothing to go on with.
    return undefined
  }
}

export function withParent (context: Context, parent: SpanContext | undefined): Context {
  return parent === undefined ? context : trace.setSpanContext(context, parent)
}

/** The root of everything, or what goes on with this parent. */
export function rootOr (parent: SpanContext | undefined): Context { return withParent(ROOT_CONTEXT, parent) }

/** What a span hands on; `undefined` for one that has no ids. */
export function carrierOf (span: Span): TraceCarrier | undefined {
  const context = span.spanContext()
  return trace.isSpanContextValid(context) ? toCarrier(context) : undefined
}

/** For exemplars and log lines. */
export function idsOf ({ traceId, spanId, traceFlags }: SpanContext): NonNullable<AttemptScope['traceIds']> {
  return { traceId, spanId, traceFlags: flagsText(traceFlags) }
}
