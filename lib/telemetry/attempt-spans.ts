import {
  SpanKind, trace, type Attributes, type Context, type Link, type Span, type SpanContext, type SpanOptions
} from '@opentelemetry/api'
import { ChurnMap } from '../core/churn-map.ts'
import { ERROR_TABLE } from '../core/errors.ts'
import { isoFormat, LAST_MOMENT } from '../core/iso-time.ts'
import type { Redaction } from '../core/redact.ts'
import { cut } from '../core/text.ts'
import type { Propagation } from '../jobs/definition.ts'
import type { AttemptScope, SpanRunner } from '../jobs/seams.ts'
import type { SettleVerdict, Settlement } from '../jobs/store.ts'
import { ATTR, failSpan, SPAN_EVENT } from './attributes.ts'
import { handlerAttributes, processAttributes, settleAttributes } from './job-attributes.ts'
import type { Exclusion } from './job-exclusion.ts'
import { fromCarrier, isSampled } from './propagation.ts'
import { fitForSpan } from './span-attributes.ts'
import type { ErrorTrail } from './span-errors.ts'
import { idsOf, parentIn, rootOr, type SpanMaker } from './span-maker.ts'

export interface AttemptSpansParts {
  readonly maker: SpanMaker
  /** For jobs whose definition says nothing about it. */
  readonly propagation: Propagation
  readonly excluded: Exclusion
  readonly redaction: Redaction
  /** Make a span for the call of the store too. */
  readonly detailed: boolean
  /** Milliseconds since the epoch, on the clock that the moments of jobs come from. */
  readonly now: () => number
}

const LONG_WAIT_MS = 3_600_000
const MAX_SPAN_NAME = 200
const KINDS: Readonly<Record<string, SpanKind>> = {
  internal: SpanKind.INTERNAL,
  client: SpanKind.CLIENT,
  server: SpanKind.SERVER,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER
}
/** The source under which mistakes in the attributes of an application are counted. */
const SOURCE = 'tracing.spanAttributes'

/** The state that each settlement leads to. */
const STATE_AFTER = {
  completed: 'completed',
  failed: 'failed',
  cancelled: 'cancelled',
  retry: 'scheduled',
  snooze: 'scheduled',
  suspend: 'scheduled',
  postpone: 'scheduled',
  release: 'queued'
} as const satisfies Record<Settlement['kind'], string>

type SpanAttributes = NonNullable<AttemptScope['definition']['spanAttributes']>

/** The spans of one recorded attempt. */
export interface LiveAttempt extends ErrorTrail {
  readonly scope: AttemptScope
  readonly span: Span
  readonly context: Context
  /** Set while the handler runs. */
  handler: Span | undefined
  handlerContext: Context | undefined
  /** The attributes that the application derives from the submission, and from the result. */
  input: Attributes | undefined
  result: Attributes | undefined
  /** When the handler had ended, wall clock: the start of the settle span. */
  endedAt: number | undefined
}

/**
 * The spans of a worker: `process {queue}` around an attempt, and a span with the name of the job around its handler.
 */
export class AttemptSpans {
  /** The attempts that are being recorded, by job id: events of their jobs become events of their spans. */
  readonly live = new ChurnMap<string, LiveAttempt>()
  readonly #parts: AttemptSpansParts
  readonly #maker: SpanMaker
  readonly #isoTime = isoFormat()

  constructor (parts: AttemptSpansParts) {
    this.#parts = parts
    this.#maker = parts.maker
  }

  attempt (scope: AttemptScope, next: () => Promise<Settlement>): Promise<Settlement> {
    const { source } = this.#maker
    const { job } = scope.claim
    const submission = job.trace === undefined ? undefined : fromCarrier(job.trace)
    const decision = this.#parts.excluded(job.name) ? 'pass' : source.decideAttempt(submission)
    if (decision !== 'pass') return this.#process(scope, next, submission)
    if (submission === undefined) return next()
    // The log lines still get the ids of the caller's trace, and the handler can pass the context on.
    scope.trace = job.trace
    if (isSampled(submission)) scope.traceIds = idsOf(submission)
    // Instrumented clients that the handler uses follow the decision of the caller.
    return source.contexts.mode === 'global' ? source.contexts.run(rootOr(submission), next) : next()
  }

  handler (scope: AttemptScope, next: () => Promise<unknown>): Promise<unknown> {
    // Not a WeakMap by scope: one entry per job costs the garbage collector more than all spans of the job.
    const live = this.live.size === 0 ? undefined : this.live.get(scope.claim.job.id)
    return live?.scope === scope ? this.#handle(live, next) : next()
  }

  #process (
    scope: AttemptScope, next: () => Promise<Settlement>, submission: SpanContext | undefined
  ): Promise<Settlement> {
    const { source } = this.#maker
    const { job } = scope.claim
    const linked = submission !== undefined && this.#isLinked(scope, submission)
    const links: Link[] | undefined = linked ? [{ context: submission }] : undefined
    // The submission has taken a token; an attempt in a trace of its own takes no second one.
    let parent = linked ? source.sampled(rootOr(undefined)) : rootOr(submission)
    const { workerId, definition: { handlerType } } = scope
    const describe = (): Attributes => processAttributes(job, workerId, this.#maker.storeType, handlerType)
    const open = (under: Context, more: Pick<SpanOptions, 'links'>): Span | undefined =>
      this.#maker.messaging('process', job, SpanKind.CONSUMER, under, describe, more)
    let span = open(parent, { links })
    // The sampler does not keep the new trace, but it keeps the trace of the submission: the attempt becomes part of
    // that one.
    const refused = linked && span?.isRecording() === false
    if (refused && isSampled(submission) && this.#propagation(scope) === 'auto') {
      parent = rootOr(submission)
      span = open(parent, {})
    }
    if (span === undefined) return next()
    const context = trace.setSpan(parent, span)
    const started = span
    source.guard(() => {
      scope.trace = this.#maker.carrierOf(started) ?? job.trace
      if (isSampled(started.spanContext())) scope.traceIds = idsOf(started.spanContext())
      if (!started.isRecording()) return
      this.#watch({
        scope,
        span: started,
        context,
        handler: undefined,
        handlerContext: undefined,
        input: undefined,
        result: undefined,
        endedAt: undefined
      })
    })
    return source.contexts.run(context, next)
  }

  /** Prepares what only a recorded attempt needs. */
  #watch (live: LiveAttempt): void {
    const { scope, span } = live
    const { claim: { job, stalled } } = scope
    if (stalled) {
      span.addEvent(`${SPAN_EVENT.stateApplied}queued`, { [ATTR.stateOld]: 'in-progress', [ATTR.stateNew]: 'queued' })
    } else this.#addWait(live)
    const { id, name, input: { body, params, query, headers }, owner, attempts: attempt } = job
    const submitted = { id, name, body, params, query, headers, owner, attempt }
    live.input = this.#ask(scope, 'input', (options) => options.input?.(submitted))
    if (live.input !== undefined) span.setAttributes(live.input)
    const applied = { [ATTR.stateOld]: 'queued', [ATTR.stateNew]: 'in-progress' }
    span.addEvent(`${SPAN_EVENT.stateApplied}in-progress`, applied)
    this.live.set(job.id, live)
    scope.spanRunner = this.spanRunner(live)
    scope.onSettled((verdict, settlement) => {
      if (this.live.get(job.id) === live) this.live.delete(job.id)
      this.#maker.source.guard(() => { this.#settled(live, verdict, settlement) })
    })
  }

  /** Adds how long the job waited. Not for a claim that only accounts for a stall, before which nothing waited. */
  #addWait ({ span, scope: { claim: { availableAt } } }: LiveAttempt): void {
    span.setAttributes({
      [ATTR.queueDuration]: Math.max(0, this.#parts.now() - availableAt) / 1_000,
      // The clock of a store may be wrong: an invalid date must not cost the attempt its span.
      [ATTR.availableAt]: Math.abs(availableAt) <= LAST_MOMENT ? this.#isoTime(availableAt) : undefined
    })
  }

  async #handle (live: LiveAttempt, next: () => Promise<unknown>): Promise<unknown> {
    const { source } = this.#maker
    const { scope } = live
    const { claim: { job }, workerId, definition: { handlerType } } = scope
    const attributes = handlerAttributes(job, workerId, this.#maker.storeType, handlerType)
    const first = source.takesAttributes ? attributes : { [ATTR.jobName]: job.name }
    const span = source.startJobSpan(job.name, { kind: SpanKind.INTERNAL, attributes: first }, live.context)
    if (span === undefined) return await next()
    const outer = { traceIds: scope.traceIds, trace: scope.trace }
    const context = trace.setSpan(live.context, span)
    live.handler = span
    live.handlerContext = context
    source.guard(() => {
      if (!source.takesAttributes) span.setAttributes(attributes)
      if (live.input !== undefined) span.setAttributes(live.input)
      scope.trace = this.#maker.carrierOf(span) ?? outer.trace
      scope.traceIds = isSampled(span.spanContext()) ? idsOf(span.spanContext()) : undefined
    })
    try {
      const value = await source.contexts.run(context, next)
      if (live.handler === span && scope.definition.spanAttributes !== undefined) this.#returned(live, span, value)
      return value
    } catch (error) {
      if (live.handler === span) source.guard(() => { this.#maker.errors.record(span, error, live) })
      throw error
    } finally {
      scope.traceIds = outer.traceIds
      scope.trace = outer.trace
      if (this.#parts.detailed) live.endedAt = Date.now()
      // The span of an abandoned handler was ended when its attempt was settled.
      if (live.handler === span) source.guard(() => { span.end() })
      live.handler = undefined
    }
  }

  /**
   * Adds the attributes that the application derives from the result. A snooze, a cancel or a discard is not a
   * result.
   */
  #returned (live: LiveAttempt, span: Span, value: unknown): void {
    if (this.#maker.errors.isOutcome(value)) return
    const result = live.result = this.#ask(live.scope, 'result', (options) => options.result?.(value))
    if (result !== undefined) this.#maker.source.guard(() => { span.setAttributes(result) })
  }

  /** Asks the application for attributes. Whatever it returns or throws, the attempt goes on. */
  #ask (scope: AttemptScope, which: 'input' | 'result', ask: (options: SpanAttributes) => unknown): Attributes | undefined {
    const { spanAttributes, name } = scope.definition
    if (spanAttributes === undefined) return undefined
    const { source } = this.#maker
    return source.guard(() => fitForSpan(ask(spanAttributes), this.#parts.redaction, (sentence) => {
      source.complain(new TypeError(`spanAttributes.${which} of job "${name}": ${sentence}`), SOURCE)
    }), SOURCE)
  }

  /** Ends the span. The store has answered, so that the outcome of the attempt is certain. */
  #settled (live: LiveAttempt, verdict: SettleVerdict, settlement: Settlement): void {
    const { span } = live
    const { errors } = this.#maker
    if (live.handler !== undefined) {
      failSpan(live.handler, 'FAE_ABORTED', 'The handler still ran when its attempt was settled')
      live.handler.end()
      live.handler = undefined
    }
    if (this.#parts.detailed) this.#settleSpan(live, verdict)
    if (verdict.kind === 'stored') this.#addState(live, settlement, verdict.instead)
    else if (verdict.kind === 'refused') {
      failSpan(span, verdict.code, 'Another worker owns the job; this outcome is ignored')
    } else {
      const stored = errors.stored(verdict.error)
      const attributes = { [ATTR.errorType]: stored.code, [ATTR.stateNew]: STATE_AFTER[settlement.kind] }
      span.addEvent(SPAN_EVENT.stateUpdateFailed, attributes)
      errors.mark(span, stored)
    }
    span.end()
  }

  /**
   * Adds the new state of the job.
   *
   * @param instead a cancel was requested, so the store cancelled the job instead of storing the settlement
   */
  #addState ({ span, result }: LiveAttempt, settlement: Settlement, instead: 'cancelled' | undefined): void {
    const state = instead ?? STATE_AFTER[settlement.kind]
    const attributes: Attributes = { [ATTR.stateOld]: 'in-progress', [ATTR.stateNew]: state }
    if ('delayMs' in settlement && instead === undefined) attributes[ATTR.retryDelay] = settlement.delayMs
    span.addEvent(`${SPAN_EVENT.stateApplied}${state}`, attributes)
    span.setAttribute(ATTR.jobStatus, state)
    // By the conventions for spans, a cancelled operation is an error.
    if (state === 'cancelled') failSpan(span, 'OperationCancelled', 'Operation was cancelled')
    else if (settlement.kind === 'failed' || settlement.kind === 'retry') this.#maker.errors.mark(span, settlement.error)
    else if (settlement.kind === 'postpone') failSpan(span, 'FAE_STALLED', ERROR_TABLE.FAE_STALLED.title)
    else if (settlement.kind === 'completed' && result !== undefined) span.setAttributes(result)
  }

  #settleSpan (live: LiveAttempt, verdict: SettleVerdict): void {
    const { claim: { job }, workerId } = live.scope
    const describe = (): Attributes => settleAttributes(job, workerId, this.#maker.storeType)
    // The wall clock of this host, as for all spans; not the clock of the jobs.
    const startTime = live.endedAt ?? Date.now()
    const span = this.#maker.messaging('settle', job, SpanKind.CLIENT, live.context, describe, { startTime })
    if (span === undefined) return
    if (verdict.kind === 'error') this.#maker.errors.mark(span, this.#maker.errors.stored(verdict.error))
    else if (verdict.kind === 'refused') failSpan(span, verdict.code, 'Another worker owns the job')
    span.end()
  }

  /**
   * Makes `job.span`. Where no context is carried, nested spans become siblings under the span of the handler.
   *
   * @param under the parent of the spans; the handler's without it
   */
  readonly spanRunner = (live: LiveAttempt, under?: Context): SpanRunner => {
    const { job } = live.scope.claim
    return async (name, work, options, describe) => {
      const given = options?.attributes === undefined
        ? undefined
        : fitForSpan(options.attributes, this.#parts.redaction, (sentence) => {
          this.#maker.source.complain(new TypeError(`attributes of job.span in job "${job.name}": ${sentence}`), SOURCE)
        })
      const attributes = {
        ...given,
        [ATTR.jobId]: job.id,
        [ATTR.jobName]: job.name,
        [ATTR.messagingConversationId]: job.correlationId
      }
      const active = this.#maker.source.contexts.active()
      const inside = active !== undefined && parentIn(active) !== undefined
      const parent = inside ? active : under ?? live.handlerContext ?? live.context
      const kind = KINDS[options?.kind ?? 'internal']
      if (kind === undefined) {
        const known = Object.keys(KINDS).join(', ')
        this.#maker.source.complain(new TypeError(`job.span in job "${job.name}": kind must be one of ${known}`), SOURCE)
      }
      const title = cut(String(name), MAX_SPAN_NAME)
      return await this.#maker.around(title, kind ?? SpanKind.INTERNAL, attributes, parent, work, live, describe)
    }
  }

  #propagation ({ definition }: AttemptScope): Propagation { return definition.propagation ?? this.#parts.propagation }

  #isLinked (scope: AttemptScope, submission: SpanContext): boolean {
    const { job, again } = scope.claim
    const propagation = this.#propagation(scope)
    if (propagation !== 'auto') return propagation === 'link'
    // The attempts of a saga are one piece of work, whatever it waits for in between.
    if (scope.definition.handlerType === 'saga') return false
    // A caller that decided not to be recorded has decided for the retries too, and a link would lead nowhere.
    if (!isSampled(submission)) return false
    // The attempts of a redriven job are counted from 1 again, but it keeps its last error.
    const repeated = again === true || job.attempts > 1 || job.error !== undefined
    return repeated || this.#parts.now() - job.createdAt > LONG_WAIT_MS
  }
}
