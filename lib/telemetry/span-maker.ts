import { ROOT_CONTEXT, trace, type Attributes, type Context, type Span, type SpanContext, type SpanKind, type SpanOptions } from '@opentelemetry/api'
import type { NewJob, TraceCarrier } from '../jobs/job.ts'
import type { AttemptScope } from '../jobs/seams.ts'
import { messagingAttributes, type MessagingOperation } from './job-attributes.ts'
import { flagsText, hasIds, toCarrier } from './propagation.ts'
import type { ErrorTrail, SpanErrors } from './span-errors.ts'
import type { TracerSource } from './tracer-source.ts'

const NOTHING_MORE: Pick<SpanOptions, 'links' | 'startTime'> = Object.freeze({})

/** What both sides of a job's trace share: where spans come from, how errors come onto them, what they say of a queue. */
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
   * The span of one messaging operation.
   *
   * @param describe everything it says from its start on; asked only if it is recorded
   */
  messaging (operation: MessagingOperation, { queue, name: jobName }: Pick<NewJob, 'queue' | 'name'>, kind: SpanKind, parent: Context, describe: () => Attributes, more?: Pick<SpanOptions, 'links' | 'startTime'>): Span | undefined {
    const { source } = this
    const name = `${operation} ${queue}`
    const { links, startTime } = more ?? NOTHING_MORE
    // It was decided that it is recorded: in one piece its attributes cost the least.
    if (source.takesAttributes) return source.startJobSpan(name, { kind, links, startTime, attributes: describe() }, parent)
    // A sampler that is not ours may look at what a span starts with.
    const span = source.startJobSpan(name, { kind, links, startTime, attributes: messagingAttributes(operation, queue, this.storeType, jobName) }, parent)
    source.guard(() => { if (span?.isRecording() === true) span.setAttributes(describe()) })
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

  /** What a span hands on; `undefined` for one that has no ids. */
  carrierOf (span: Span): TraceCarrier | undefined {
    const context = span.spanContext()
    // Ids that our own provider has made need no second look.
    const valid = this.source.own ? hasIds(context) : trace.isSpanContextValid(context)
    return valid ? toCarrier(context) : undefined
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

/** For exemplars and log lines. */
export function idsOf ({ traceId, spanId, traceFlags }: SpanContext): NonNullable<AttemptScope['traceIds']> {
  return { traceId, spanId, traceFlags: flagsText(traceFlags) }
}
