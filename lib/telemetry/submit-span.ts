import { ROOT_CONTEXT, SpanKind, trace, type Context, type Link, type Span, type SpanContext } from '@opentelemetry/api'
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
  /** A span for the store's part too. */
  readonly detailed: boolean
}

/** The middleware around a submission: the span `send {queue}`, and the trace context that the job is stored with. */
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
      carry(scope, parent === undefined ? leftOut(parts, scope) : toCarrier(decision === 'over' ? unrecorded(parent) : parent))
      return next()
    }
    return send(parts, scope, next, { context: decision === 'sampled' ? source.sampled(context) : context, parent, request })
  }
}

/**
 * A provider of the application's is asked about every attempt. One that belongs to a submission that `sampleRate` has left out shall not
 * begin the trace after all: ids that say so go along.
 */
function leftOut ({ maker: { source }, excluded }: SubmitSpanParts, { job, definition }: SubmitScope): TraceCarrier | undefined {
  if (source.own || !source.enabled || definition.sampleRate === undefined || excluded(job.name)) return undefined
  return toCarrier({ traceId: randomHex128(), spanId: randomHex64(), traceFlags: 0 })
}

/** What is active now (a span inside the request's handler, for one) is nearer than what was when the request came. */
function contextOf ({ source }: SpanMaker, request: RequestTrace | undefined, parentTrace: SubmitScope['parentTrace']): Context {
  const active = source.contexts.active()
  const near = active === undefined ? undefined : parentIn(active)
  const parent = parentTrace === undefined ? undefined : fromCarrier(parentTrace.carrier)
  // A span inside the handler is nearer than the handler's own, which `job.trace` names: both are of one trace.
  if (parent !== undefined && (near === undefined || (parentTrace?.given === true && near.traceId !== parent.traceId))) {
    // It comes from this process, so that the limit for strangers' traces does not hold for it.
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

async function send (parts: SubmitSpanParts, scope: SubmitScope, next: () => Promise<Created>, { context, parent, request }: Origin): Promise<Created> {
  const { maker, detailed } = parts
  const { source } = maker
  const links: Link[] | undefined = request?.link === undefined ? undefined : [request.link]
  const span = maker.messaging('send', scope.job, SpanKind.PRODUCER, context, () => sendAttributes(scope.job, maker.storeType, scope.definition.handlerType), { links })
  if (span === undefined || (source.own && !span.isRecording())) {
    if (parent !== undefined) carry(scope, toCarrier(parent))
    return await next()
  }
  source.guard(() => {
    carry(scope, maker.carrierOf(span))
    // Also when the store does not take it: whoever was refused knows this id. Somebody else's server span is left as they made it.
    if (request?.span?.isRecording() === true) request.span.setAttribute(ATTR.messagingConversationId, scope.job.correlationId)
  })
  const active = trace.setSpan(context, span)
  try {
    const work = detailed ? () => maker.around('store create', SpanKind.CLIENT, { [ATTR.storeType]: maker.storeType, [ATTR.storeOperation]: 'create', [ATTR.jobId]: scope.job.id }, active, next) : next
    const created = await source.contexts.run(active, work)
    source.guard(() => { tellCreated(span, scope, created, request) })
    return created
  } catch (error) {
    source.guard(() => { maker.errors.tell(span, error) })
    throw error
  } finally {
    source.guard(() => { span.end() })
  }
}

/** What was given with the submission stays: nobody's trace context is overwritten. */
function carry (scope: SubmitScope, carrier: TraceCarrier | undefined): void {
  if (scope.job.trace === undefined) scope.job.trace = carrier
}

function tellCreated (span: Span, { job }: SubmitScope, created: Created, request: RequestTrace | undefined): void {
  // The request is found by its job.
  if (request?.span?.isRecording() === true) request.span.setAttributes({ [ATTR.jobId]: created.id, [ATTR.jobName]: job.name })
  if (!created.created) {
    // Answered with the job that was there: its id, not the one that was never stored.
    span.setAttributes({ [ATTR.jobId]: created.id, [ATTR.messagingMessageId]: created.id, [ATTR.jobStatus]: created.job?.state, [ATTR.replayed]: true })
    return
  }
  const state = job.runAt > job.createdAt ? 'scheduled' : 'queued'
  span.setAttribute(ATTR.jobStatus, state)
  span.addEvent(`${SPAN_EVENT.stateApplied}${state}`, { [ATTR.stateNew]: state })
}
