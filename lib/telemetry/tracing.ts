import { ROOT_CONTEXT, SpanKind, trace, type Attributes, type Context, type Link, type Span, type SpanContext } from '@opentelemetry/api'
import type { Propagation } from '../jobs/definition.ts'
import type { StoredError, TraceCarrier } from '../jobs/job.ts'
import type { AttemptMiddleware, AttemptScope, HandlerSpanMiddleware, SpanRunner, SubmitMiddleware, SubmitScope } from '../jobs/seams.ts'
import type { Claim, Created, SettleVerdict, Settlement } from '../jobs/store.ts'
import { ATTR, failSpan, messagingAttributes, recordError, SPAN_EVENT } from './attributes.ts'
import type { Exclusion } from './exclude.ts'
import { HANDLER_TYPE } from './metrics-sink.ts'
import { flagsText, fromCarrier, isSampled, toCarrier } from './propagation.ts'
import { RequestTrace, withParent } from './request-trace.ts'
import type { TracerSource } from './tracer-source.ts'

/** What tracing must know of thrown values; the same functions that the executor uses, so that spans and metrics name an error alike. */
export interface ThrownRules {
  /** A snooze, a cancel or a discard may be thrown: it is an answer, not an error. */
  isOutcome (thrown: unknown): boolean
  toStoredError (thrown: unknown): StoredError
}

export interface TracingParts {
  readonly thrown: ThrownRules
  readonly source: TracerSource
  readonly storeType: string
  readonly propagation: Propagation
  readonly excluded: Exclusion
  /** Spans for store operations too. */
  readonly detailed: boolean
  /** Wall clock, milliseconds since the epoch. */
  readonly now: () => number
}

const LONG_WAIT_MS = 3_600_000
/** A job that became claimable this much later than planned was put back: a snooze, a backoff, a redrive. */
const PUT_BACK_MS = 1_000
const MAX_SPAN_NAME = 200

/** The state a settlement leads to. */
const STATE_AFTER = { completed: 'completed', failed: 'failed', cancelled: 'cancelled', retry: 'scheduled', snooze: 'scheduled', postpone: 'scheduled', release: 'queued' } as const satisfies Record<Settlement['kind'], string>

/** The spans of one attempt that is recorded. */
export interface LiveAttempt {
  readonly scope: AttemptScope
  readonly span: Span
  readonly context: Context
  /** Set while the handler runs. */
  handler: Span | undefined
  handlerContext: Context | undefined
  /** When the handler's part was over and the store's began, wall clock; for the settle span. */
  endedAt: number | undefined
}

/**
 * The middleware that opens spans around a submission, an attempt and a handler. Without a tracer, and for whatever is
 * not sampled, each of them is a few comparisons and then `next()`.
 */
export class Tracing {
  /** Attempts being recorded, by job id: what happens meanwhile becomes span events. */
  readonly live = new Map<string, LiveAttempt>()
  readonly #parts: TracingParts
  readonly #messaging = new Map<string, Attributes>()
  /** Errors whose exception event was written: they pass several spans, and belong on the innermost. */
  readonly #recorded = new WeakSet<object>()
  #source: TracerSource

  constructor (parts: TracingParts) {
    this.#parts = parts
    this.#source = parts.source
  }

  get source (): TracerSource { return this.#source }

  /** From now on spans come from here: called once, when the application is ready and its SDK is known. */
  use (source: TracerSource): void { this.#source = source }

  readonly submit: SubmitMiddleware = (scope, next) => {
    const source = this.#source
    const request = scope.requestTrace instanceof RequestTrace ? scope.requestTrace : undefined
    if (request?.dropped === true) {
      carry(scope, request.carrier)
      return next()
    }
    const context = request?.context ?? source.contexts.active() ?? ROOT_CONTEXT
    const parent = validParent(context)
    const decision = this.#parts.excluded(scope.job.name) ? 'pass' : source.decide(parent)
    if (decision === 'pass') {
      if (parent !== undefined) carry(scope, toCarrier(parent))
      return next()
    }
    return this.#tracedSubmit(scope, next, decision === 'sampled' ? source.sampled(context) : context, parent)
  }

  readonly attempt: AttemptMiddleware = (scope, next) => {
    const { job } = scope.claim
    const submission = job.trace === undefined ? undefined : fromCarrier(job.trace)
    const decision = this.#parts.excluded(job.name) ? 'pass' : this.#source.decideAttempt(submission)
    if (decision === 'pass') {
      if (submission === undefined) return next()
      // Whoever traces the caller finds our log lines all the same, and the handler can pass the context on.
      scope.trace = job.trace
      if (isSampled(submission)) scope.traceIds = idsOf(submission)
      return next()
    }
    return this.#tracedAttempt(scope, next, submission)
  }

  readonly handler: HandlerSpanMiddleware = (scope, next) => {
    // Not a WeakMap by scope: one entry per job there costs the garbage collector more than all spans of the job.
    const live = this.live.get(scope.claim.job.id)
    return live?.scope === scope ? this.#tracedHandler(live, next) : next()
  }

  async #tracedSubmit (scope: SubmitScope, next: () => Promise<Created>, context: Context, parent: SpanContext | undefined): Promise<Created> {
    const source = this.#source
    const { job } = scope
    const span = source.startSpan(`send ${job.queue}`, { kind: SpanKind.PRODUCER, attributes: this.#messagingOf(job.queue, 'send') }, context)
    if (span === undefined || (source.own && !span.isRecording())) {
      if (parent !== undefined) carry(scope, toCarrier(parent))
      return await next()
    }
    source.guard(() => {
      carry(scope, carrierOf(span))
      if (!span.isRecording()) return
      span.setAttributes({ [ATTR.jobId]: job.id, [ATTR.jobName]: job.name, [ATTR.storeType]: this.#parts.storeType, [ATTR.messagingMessageId]: job.id, [ATTR.messagingConversationId]: job.correlationId })
    })
    const active = trace.setSpan(context, span)
    try {
      const created = await source.contexts.run(active, this.#parts.detailed ? () => this.#storeSpan('create', active, next) : next)
      source.guard(() => { tellCreated(span, scope, created) })
      return created
    } catch (error) {
      this.#failed(span, error)
      throw error
    } finally {
      source.guard(() => { span.end() })
    }
  }

  #tracedAttempt (scope: AttemptScope, next: () => Promise<Settlement>, submission: SpanContext | undefined): Promise<Settlement> {
    const source = this.#source
    const { job } = scope.claim
    const linked = submission !== undefined && this.#isLinked(scope.claim)
    const links: Link[] | undefined = linked ? [{ context: submission }] : undefined
    // The submission has its token; an attempt in a trace of its own needs no second one.
    const parent = linked && source.own ? source.sampled(ROOT_CONTEXT) : withParent(ROOT_CONTEXT, linked ? undefined : submission)
    const span = source.startSpan(`process ${job.queue}`, { kind: SpanKind.CONSUMER, links, attributes: this.#messagingOf(job.queue, 'process') }, parent)
    if (span === undefined) return next()
    const context = trace.setSpan(parent, span)
    source.guard(() => {
      scope.trace = carrierOf(span) ?? job.trace
      if (isSampled(span.spanContext())) scope.traceIds = idsOf(span.spanContext())
      if (span.isRecording()) this.#watch({ scope, span, context, handler: undefined, handlerContext: undefined, endedAt: undefined })
    })
    return source.contexts.run(context, next)
  }

  /** Everything that only a recorded attempt needs. */
  #watch (live: LiveAttempt): void {
    const { scope } = live
    const { claim: { job }, workerId } = scope
    live.span.setAttributes({
      [ATTR.jobId]: job.id,
      [ATTR.jobName]: job.name,
      [ATTR.jobStatus]: 'in-progress',
      [ATTR.workerId]: workerId,
      [ATTR.storeType]: this.#parts.storeType,
      [ATTR.handlerType]: HANDLER_TYPE,
      [ATTR.retryCount]: Math.max(0, job.attempts - 1),
      [ATTR.messagingMessageId]: job.id,
      [ATTR.messagingConversationId]: job.correlationId
    })
    live.span.addEvent(`${SPAN_EVENT.stateApplied}in-progress`, { [ATTR.stateOld]: 'queued', [ATTR.stateNew]: 'in-progress' })
    this.live.set(job.id, live)
    scope.spanRunner = this.#spanRunner(live)
    scope.onSettled((verdict, settlement) => {
      if (this.live.get(job.id) === live) this.live.delete(job.id)
      this.#source.guard(() => { this.#settled(live, job.queue, verdict, settlement) })
    })
  }

  async #tracedHandler (live: LiveAttempt, next: () => Promise<unknown>): Promise<unknown> {
    const source = this.#source
    const { scope } = live
    const { job } = scope.claim
    const attributes = { [ATTR.jobId]: job.id, [ATTR.jobName]: job.name, [ATTR.handlerType]: HANDLER_TYPE }
    const span = source.startSpan(job.name, { kind: SpanKind.INTERNAL, attributes }, live.context)
    if (span === undefined) return await next()
    const outer = { traceIds: scope.traceIds, trace: scope.trace }
    const context = trace.setSpan(live.context, span)
    live.handler = span
    live.handlerContext = context
    source.guard(() => {
      scope.trace = carrierOf(span) ?? outer.trace
      scope.traceIds = isSampled(span.spanContext()) ? idsOf(span.spanContext()) : undefined
    })
    try {
      return await source.contexts.run(context, next)
    } catch (error) {
      if (live.handler === span) this.#failed(span, error)
      throw error
    } finally {
      scope.traceIds = outer.traceIds
      scope.trace = outer.trace
      live.endedAt = Date.now()
      // A handler that outlived its grace had its span ended when the attempt was settled without it.
      if (live.handler === span) source.guard(() => { span.end() })
      live.handler = undefined
    }
  }

  /** The store has answered for the attempt: only now its outcome is certain. */
  #settled (live: LiveAttempt, queue: string, verdict: SettleVerdict, settlement: Settlement): void {
    const { span } = live
    if (live.handler !== undefined) {
      failSpan(live.handler, 'FAE_ABORTED', 'The handler went on after its attempt was over')
      live.handler.end()
      live.handler = undefined
    }
    if (this.#parts.detailed) this.#settleSpan(live, queue, verdict)
    if (verdict.kind === 'stored') tellState(span, settlement)
    else if (verdict.kind === 'refused') failSpan(span, verdict.code, 'Another worker owns the job; this ending does not count')
    else {
      const { code, message } = this.#parts.thrown.toStoredError(verdict.error)
      span.addEvent(SPAN_EVENT.stateUpdateFailed, { [ATTR.errorType]: code, [ATTR.stateNew]: STATE_AFTER[settlement.kind] })
      failSpan(span, code, message)
    }
    span.end()
  }

  #settleSpan (live: LiveAttempt, queue: string, verdict: SettleVerdict): void {
    // The wall clock of the SDK's own spans, not the one of the jobs.
    const startTime = live.endedAt ?? Date.now()
    const span = this.#source.startSpan(`settle ${queue}`, { kind: SpanKind.CLIENT, startTime, attributes: this.#messagingOf(queue, 'settle') }, live.context)
    if (span === undefined) return
    if (verdict.kind === 'error') {
      const { code, message } = this.#parts.thrown.toStoredError(verdict.error)
      failSpan(span, code, message)
    }
    span.end()
  }

  async #storeSpan<R> (operation: string, context: Context, work: () => Promise<R>): Promise<R> {
    const span = this.#source.startSpan(`store ${operation}`, { kind: SpanKind.CLIENT, attributes: { [ATTR.storeType]: this.#parts.storeType, [ATTR.storeOperation]: operation } }, context)
    if (span === undefined) return await work()
    try {
      return await this.#source.contexts.run(trace.setSpan(context, span), work)
    } catch (error) {
      this.#failed(span, error)
      throw error
    } finally {
      this.#source.guard(() => { span.end() })
    }
  }

  #spanRunner (live: LiveAttempt): SpanRunner {
    return async (name, work) => {
      const source = this.#source
      const active = source.contexts.active()
      const parent = active !== undefined && validParent(active) !== undefined ? active : live.handlerContext ?? live.context
      const span = source.startSpan(String(name).slice(0, MAX_SPAN_NAME), { kind: SpanKind.INTERNAL }, parent)
      if (span === undefined) return await work()
      try {
        return await source.contexts.run(trace.setSpan(parent, span), work)
      } catch (error) {
        this.#failed(span, error)
        throw error
      } finally {
        source.guard(() => { span.end() })
      }
    }
  }

  #failed (span: Span, error: unknown): void {
    const { thrown } = this.#parts
    this.#source.guard(() => {
      if (thrown.isOutcome(error)) return
      const stored = thrown.toStoredError(error)
      failSpan(span, stored.code, stored.message)
      if (typeof error === 'object' && error !== null) {
        if (this.#recorded.has(error)) return
        this.#recorded.add(error)
      }
      recordError(span, error, stored)
    })
  }

  #isLinked ({ job, availableAt }: Claim): boolean {
    const { propagation, now } = this.#parts
    if (propagation !== 'auto') return propagation === 'link'
    // A redriven job counts its attempts anew, but keeps its last error.
    return job.attempts > 1 || job.error !== undefined || availableAt - job.runAt > PUT_BACK_MS || now() - job.createdAt > LONG_WAIT_MS
  }

  #messagingOf (queue: string, operation: 'send' | 'process' | 'settle'): Attributes {
    const key = `${operation} ${queue}`
    let attributes = this.#messaging.get(key)
    if (attributes === undefined) this.#messaging.set(key, attributes = messagingAttributes(this.#parts.storeType, queue, operation))
    return attributes
  }
}

/** What was given with the submission stays: nobody's trace context is overwritten. */
function carry (scope: SubmitScope, carrier: TraceCarrier | undefined): void {
  if (scope.job.trace === undefined) scope.job.trace = carrier
}

function carrierOf (span: Span): TraceCarrier | undefined {
  const context = span.spanContext()
  return trace.isSpanContextValid(context) ? toCarrier(context) : undefined
}

function validParent (context: Context): SpanContext | undefined {
  const parent = trace.getSpanContext(context)
  return parent !== undefined && trace.isSpanContextValid(parent) ? parent : undefined
}

function idsOf ({ traceId, spanId, traceFlags }: SpanContext): NonNullable<AttemptScope['traceIds']> {
  return { traceId, spanId, traceFlags: flagsText(traceFlags) }
}

function tellCreated (span: Span, { job }: SubmitScope, created: Created): void {
  if (!created.created) {
    // Answered with the job that was there: its id, not the one that was never stored.
    span.setAttributes({ [ATTR.jobId]: created.id, [ATTR.messagingMessageId]: created.id, [ATTR.jobStatus]: created.job.state, [ATTR.replayed]: true })
    return
  }
  const state = job.runAt > job.createdAt ? 'scheduled' : 'queued'
  span.setAttribute(ATTR.jobStatus, state)
  span.addEvent(`${SPAN_EVENT.stateApplied}${state}`, { [ATTR.stateNew]: state })
}

function tellState (span: Span, settlement: Settlement): void {
  const state = STATE_AFTER[settlement.kind]
  const attributes: Attributes = { [ATTR.stateOld]: 'in-progress', [ATTR.stateNew]: state }
  if ('delayMs' in settlement) attributes[ATTR.retryDelay] = settlement.delayMs
  span.addEvent(`${SPAN_EVENT.stateApplied}${state}`, attributes)
  span.setAttribute(ATTR.jobStatus, state)
  if (settlement.kind === 'failed' || settlement.kind === 'retry') failSpan(span, settlement.error.code, settlement.error.message)
  // Requirement S1-09: the operation did not do what it was started for.
  else if (settlement.kind === 'cancelled') failSpan(span, 'OperationCancelled', 'Operation was cancelled')
}
