import {
  ROOT_CONTEXT, SpanKind, trace, type Attributes, type Context, type Link, type Span, type SpanContext
} from '@opentelemetry/api'
import { randomHex128, randomHex64 } from '../core/ids.ts'
import type { TraceCarrier } from '../jobs/job.ts'
import type { SubmitMiddleware, SubmitScope } from '../jobs/seams.ts'
import type { Created } from '../jobs/store.ts'
import { ATTR, SPAN_EVENT } from './attributes.ts'
import type { Exclusion } from './job-exclusion.ts'
import { sendAttributes } from './job-attributes.ts'
import { fromCarrier, toCarrier, unrecorded } from './propagation.ts'
import { RequestTrace } from './request-trace.ts'
import { parentIn, withParent, type SpanMaker } from './span-maker.ts'

export interface SubmitSpanParts {
  readonly maker: SpanMaker
  readonly excluded: Exclusion
  /** Make a span for the call of the store too. */
  readonly detailed: boolean
}

/**
 * The middleware around a submission: opens the span `send {queue}`, and gives the job the trace context it is stored
 * with.
 */
export function submitSpan (parts: SubmitSpanParts): SubmitMiddleware {
  return (scope, next) => {
    const { source } = parts.maker
    const request = scope.requestTrace instanceof RequestTrace ? scope.requestTrace : undefined
    if (request?.dropped === true && scope.parentTrace?.given !== true) {
      carry(scope, request.carrier ?? leftOut(parts, scope))
      return next()
    }
    const context = contextOf(parts.maker, request, scope.parentTrace)
    const parent = parentIn(context)
    const decision = parts.excluded(scope.job.name) ? 'pass' : source.decide(parent, scope.definition.sampleRate)
    if (decision === 'pass' || decision === 'over') {
      if (parent === undefined) carry(scope, leftOut(parts, scope))
      else carry(scope, toCarrier(decision === 'over' ? unrecorded(parent) : parent))
      return next()
    }
    const under = decision === 'sampled' ? source.sampled(context) : context
    return send(parts, scope, next, { context: under, parent, request })
  }
}

/**
 * A provider of the application is asked about every attempt. When `sampleRate` has left out the submission, its
 * attempts must not begin a trace after all, so the job is stored with ids that say: not sampled.
 */
function leftOut (parts: SubmitSpanParts, { job, definition }: SubmitScope): TraceCarrier | undefined {
  const { maker: { source }, excluded } = parts
  if (source.own || !source.enabled || definition.sampleRate === undefined || excluded(job.name)) return undefined
  return toCarrier({ traceId: randomHex128(), spanId: randomHex64(), traceFlags: 0 })
}

/** The context for the span: a span that is active now is a nearer parent than the one that the request came with. */
type ParentTrace = SubmitScope['parentTrace']

function contextOf ({ source }: SpanMaker, request: RequestTrace | undefined, parentTrace: ParentTrace): Context {
  const active = source.contexts.active()
  const near = active === undefined ? undefined : parentIn(active)
  const parent = parentTrace === undefined ? undefined : fromCarrier(parentTrace.carrier)
  // Inside a handler, the active span is nearer than the span of the handler, which `job.trace` names: they share a
  // trace.
  if (parent !== undefined && (near === undefined || (parentTrace?.given === true && near.traceId !== parent.traceId))) {
    // It comes from this process, so the limit for traces of callers does not apply.
    return withParent(active ?? ROOT_CONTEXT, { ...parent, isRemote: false })
  }
  if (active !== undefined && near !== undefined) return active
  return request?.context ?? active ?? ROOT_CONTEXT
}

interface Origin {
  readonly context: Context
  readonly parent: SpanContext | undefined
  readonly request: RequestTrace | undefined
}

async function send (
  { maker, detailed }: SubmitSpanParts, scope: SubmitScope, next: () => Promise<Created>, origin: Origin
): Promise<Created> {
  const { context, parent, request } = origin
  const { source } = maker
  const links: Link[] | undefined = request?.link === undefined ? undefined : [request.link]
  const describe = (): Attributes => sendAttributes(scope.job, maker.storeType, scope.definition.handlerType)
  const span = maker.messaging('send', scope.job, SpanKind.PRODUCER, context, describe, { links })
  if (span === undefined || (source.own && !span.isRecording())) {
    if (parent !== undefined) carry(scope, toCarrier(parent))
    return await next()
  }
  source.guard(() => {
    carry(scope, maker.carrierOf(span))
    // Also for a submission that the store then refuses: the client gets this id. Only a server span opened here is
    // changed.
    if (request?.span?.isRecording() === true) {
      request.span.setAttribute(ATTR.messagingConversationId, scope.job.correlationId)
    }
  })
  const active = trace.setSpan(context, span)
  try {
    const attributes = { [ATTR.storeType]: maker.storeType, [ATTR.storeOperation]: 'create', [ATTR.jobId]: scope.job.id }
    const work = detailed ? () => maker.around('store create', SpanKind.CLIENT, attributes, active, next) : next
    const created = await source.contexts.run(active, work)
    source.guard(() => { describeCreated(span, scope, created, request) })
    return created
  } catch (error) {
    source.guard(() => { maker.errors.record(span, error) })
    throw error
  } finally {
    source.guard(() => { span.end() })
  }
}

/** Gives the job its trace context, unless the submission brought one. */
function carry (scope: SubmitScope, carrier: TraceCarrier | undefined): void {
  if (scope.job.trace === undefined) scope.job.trace = carrier
}

function describeCreated (span: Span, { job }: SubmitScope, created: Created, request: RequestTrace | undefined): void {
  // With the id of the job on the server span, the request can be found by its job.
  if (request?.span?.isRecording() === true) {
    request.span.setAttributes({ [ATTR.jobId]: created.id, [ATTR.jobName]: job.name })
  }
  if (!created.created) {
    // The answer was an existing job: the span gets its id instead of the id that was never stored.
    span.setAttributes({
      [ATTR.jobId]: created.id,
      [ATTR.messagingMessageId]: created.id,
      [ATTR.jobStatus]: created.job?.state,
      [ATTR.replayed]: true
    })
    return
  }
  const state = job.runAt > job.createdAt ? 'scheduled' : 'queued'
  span.setAttribute(ATTR.jobStatus, state)
  span.addEvent(`${SPAN_EVENT.stateApplied}${state}`, { [ATTR.stateNew]: state })
}
