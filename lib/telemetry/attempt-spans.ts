import { SpanKind, trace, type Attributes, type Context, type Link, type Span, type SpanContext, type SpanOptions } from '@opentelemetry/api'
import { ChurnMap } from '../core/churn-map.ts'
import { ERROR_TABLE } from '../core/errors.ts'
import { isoFormat, LAST_MOMENT } from '../core/iso-time.ts'
import type { Redaction } from '../core/redact.ts'
import type { Propagation } from '../jobs/definition.ts'
import type { AttemptScope, SpanRunner } from '../jobs/seams.ts'
import type { SettleVerdict, Settlement } from '../jobs/store.ts'
import { ATTR, failSpan, SPAN_EVENT } from './attributes.ts'
import type { Exclusion } from './job-exclusion.ts'
import { handlerAttributes, processAttributes, settleAttributes } from './job-attributes.ts'
import { fromCarrier, isSampled } from './propagation.ts'
import { fitForSpan } from './span-attributes.ts'
import type { ErrorTrail } from './span-errors.ts'
import { idsOf, parentIn, rootOr, type SpanMaker } from './span-maker.ts'
import { cut } from '../core/text.ts'

export interface AttemptSpansParts {
  readonly maker: SpanMaker
  /** Where the job's definition says nothing. */
  readonly propagation: Propagation
  readonly excluded: Exclusion
  readonly redaction: Redaction
  /** A span for the store's part too. */
  readonly detailed: boolean
  /** Wall clock, milliseconds since the epoch. */
  /** On the clock that the moments of jobs come from. */
  readonly now: () => number
}

const LONG_WAIT_MS = 3_600_000
const MAX_SPAN_NAME = 200
const KINDS: Readonly<Record<string, SpanKind>> = { internal: SpanKind.INTERNAL, client: SpanKind.CLIENT, server: SpanKind.SERVER, producer: SpanKind.PRODUCER, consumer: SpanKind.CONSUMER }
/** Under which complaints about an application's attributes are counted. */
const SOURCE = 'tracing.spanAttributes'

/** The state a settlement leads to. */
const STATE_AFTER = { completed: 'completed', failed: 'failed', cancelled: 'cancelled', retry: 'scheduled', snooze: 'scheduled', postpone: 'scheduled', release: 'queued' } as const satisfies Record<Settlement['kind'], string>

/** The spans of one attempt that is recorded. */
export interface LiveAttempt extends ErrorTrail {
  readonly scope: AttemptScope
  readonly span: Span
  readonly context: Context
  /** Set while the handler runs. */
  handler: Span | undefined
  handlerContext: Context | undefined
  /** What the application says of what was submitted, and of the result. */
  input: Attributes | undefined
  result: Attributes | undefined
  /** When the handler's part was over and the store's began, wall clock; for the settle span. */
  endedAt: number | undefined
}

/** The worker's side of a trace: `process {queue}` around an attempt, a span named after the job around its handler. */
export class AttemptSpans {
  /** Attempts being recorded, by job id: what happens meanwhile becomes span events. */
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
    // Whoever traces the caller finds our log lines all the same, and the handler can pass the context on.
    scope.trace = job.trace
    if (isSampled(submission)) scope.traceIds = idsOf(submission)
    // Clients of the handler's that are instrumented by the application keep to what the caller decided.
    return source.contexts.mode === 'global' ? source.contexts.run(rootOr(submission), next) : next()
  }

  handler (scope: AttemptScope, next: () => Promise<unknown>): Promise<unknown> {
    // Not a WeakMap by scope: one entry per job there costs the garbage collector more than all spans of the job.
    const live = this.live.size === 0 ? undefined : this.live.get(scope.claim.job.id)
    return live?.scope === scope ? this.#handle(live, next) : next()
  }

  #process (scope: AttemptScope, next: () => Promise<Settlement>, submission: SpanContext | undefined): Promise<Settlement> {
    const { source } = this.#maker
    const { job } = scope.claim
    const linked = submission !== undefined && this.#isLinked(scope, submission)
    const links: Link[] | undefined = linked ? [{ context: submission }] : undefined
    // The submission has its token; an attempt in a trace of its own needs no second one.
    let parent = linked ? source.sampled(rootOr(undefined)) : rootOr(submission)
    const open = (under: Context, more: Pick<SpanOptions, 'links'>): Span | undefined => this.#maker.messaging('process', job, SpanKind.CONSUMER, under, () => processAttributes(job, scope.workerId, this.#maker.storeType, scope.definition.handlerType), more)
    let span = open(parent, { links })
    // A sampler was asked about a new trace id and said no, but the submission's trace is kept: the attempt goes on in that one.
    if (linked && span?.isRecording() === false && isSampled(submission) && this.#propagation(scope) === 'auto') {
      parent = rootOr(submission)
      span = open(parent, {})
    }
    if (span === undefined) return next()
    const context = trace.setSpan(parent, span)
    const started = span
    source.guard(() => {
      scope.trace = this.#maker.carrierOf(started) ?? job.trace
      if (isSampled(started.spanContext())) scope.traceIds = idsOf(started.spanContext())
      if (started.isRecording()) this.#watch({ scope, span: started, context, handler: undefined, handlerContext: undefined, input: undefined, result: undefined, endedAt: undefined })
    })
    return source.contexts.run(context, next)
  }

  /** Everything that only a recorded attempt needs. */
  #watch (live: LiveAttempt): void {
    const { scope, span } = live
    const { claim: { job, stalled } } = scope
    if (stalled) span.addEvent(`${SPAN_EVENT.stateApplied}queued`, { [ATTR.stateOld]: 'in-progress', [ATTR.stateNew]: 'queued' })
    else this.#tellWait(live)
    live.input = this.#ask(scope, 'input', (options) => options.input?.({
      id: job.id, name: job.name, body: job.input.body, params: job.input.params, query: job.input.query, headers: job.input.headers, owner: job.owner, attempt: job.attempts
    }))
    if (live.input !== undefined) span.setAttributes(live.input)
    span.addEvent(`${SPAN_EVENT.stateApplied}in-progress`, { [ATTR.stateOld]: 'queued', [ATTR.stateNew]: 'in-progress' })
    this.live.set(job.id, live)
    scope.spanRunner = this.#spanRunner(live)
    scope.onSettled((verdict, settlement) => {
      if (this.live.get(job.id) === live) this.live.delete(job.id)
      this.#maker.source.guard(() => { this.#settled(live, verdict, settlement) })
    })
  }

  /** Not for a claim that only accounts for a stall: nothing waited to be run. */
  #tellWait ({ span, scope: { claim: { availableAt } } }: LiveAttempt): void {
    span.setAttributes({
      [ATTR.queueDuration]: Math.max(0, this.#parts.now() - availableAt) / 1_000,
      // A store's clock may be anything; a date that is none must not cost the attempt its span.
      [ATTR.availableAt]: Math.abs(availableAt) <= LAST_MOMENT ? this.#isoTime(availableAt) : undefined
    })
  }

  async #handle (live: LiveAttempt, next: () => Promise<unknown>): Promise<unknown> {
    const { source } = this.#maker
    const { scope } = live
    const attributes = handlerAttributes(scope.claim.job, scope.workerId, this.#maker.storeType, scope.definition.handlerType)
    const span = source.startJobSpan(scope.claim.job.name, { kind: SpanKind.INTERNAL, attributes: source.takesAttributes ? attributes : { [ATTR.jobName]: scope.claim.job.name } }, live.context)
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
      if (live.handler === span) source.guard(() => { this.#maker.errors.tell(span, error, live) })
      throw error
    } finally {
      scope.traceIds = outer.traceIds
      scope.trace = outer.trace
      if (this.#parts.detailed) live.endedAt = Date.now()
      // A handler that outlived its grace had its span ended when the attempt was settled without it.
      if (live.handler === span) source.guard(() => { span.end() })
      live.handler = undefined
    }
  }

  /** A snooze, a cancel or a discard is no result. */
  #returned (live: LiveAttempt, span: Span, value: unknown): void {
    if (this.#maker.errors.isOutcome(value)) return
    const result = live.result = this.#ask(live.scope, 'result', (options) => options.result?.(value))
    if (result !== undefined) this.#maker.source.guard(() => { span.setAttributes(result) })
  }

  /** Asks the application for attributes; whatever it answers, or throws, the attempt goes on. */
  #ask (scope: AttemptScope, which: 'input' | 'result', ask: (options: NonNullable<AttemptScope['definition']['spanAttributes']>) => unknown): Attributes | undefined {
    const { spanAttributes, name } = scope.definition
    if (spanAttributes === undefined) return undefined
    const { source } = this.#maker
    return source.guard(() => fitForSpan(ask(spanAttributes), this.#parts.redaction, (sentence) => {
      source.complain(new TypeError(`spanAttributes.${which} of job "${name}": ${sentence}`), SOURCE)
    }), SOURCE)
  }

  /** The store has answered for the attempt: only now its outcome is certain. */
  #settled (live: LiveAttempt, verdict: SettleVerdict, settlement: Settlement): void {
    const { span } = live
    const { errors } = this.#maker
    if (live.handler !== undefined) {
      failSpan(live.handler, 'FAE_ABORTED', 'The handler went on after its attempt was over')
      live.handler.end()
      live.handler = undefined
    }
    if (this.#parts.detailed) this.#settleSpan(live, verdict)
    if (verdict.kind === 'stored') this.#tellState(live, settlement, verdict.instead)
    else if (verdict.kind === 'refused') failSpan(span, verdict.code, 'Another worker owns the job; this ending does not count')
    else {
      const stored = errors.stored(verdict.error)
      span.addEvent(SPAN_EVENT.stateUpdateFailed, { [ATTR.errorType]: stored.code, [ATTR.stateNew]: STATE_AFTER[settlement.kind] })
      errors.mark(span, stored)
    }
    span.end()
  }

  /** @param instead somebody had asked the job to stop: the store ended it, whatever the attempt wanted */
  #tellState ({ span, result }: LiveAttempt, settlement: Settlement, instead: 'cancelled' | undefined): void {
    const state = instead ?? STATE_AFTER[settlement.kind]
    const attributes: Attributes = { [ATTR.stateOld]: 'in-progress', [ATTR.stateNew]: state }
    if ('delayMs' in settlement && instead === undefined) attributes[ATTR.retryDelay] = settlement.delayMs
    span.addEvent(`${SPAN_EVENT.stateApplied}${state}`, attributes)
    span.setAttribute(ATTR.jobStatus, state)
    // The operation did not do what it was started for.
    if (state === 'cancelled') failSpan(span, 'OperationCancelled', 'Operation was cancelled')
    else if (settlement.kind === 'failed' || settlement.kind === 'retry') this.#maker.errors.mark(span, settlement.error)
    else if (settlement.kind === 'postpone') failSpan(span, 'FAE_STALLED', ERROR_TABLE.FAE_STALLED.title)
    else if (settlement.kind === 'completed' && result !== undefined) span.setAttributes(result)
  }

  #settleSpan (live: LiveAttempt, verdict: SettleVerdict): void {
    const { claim: { job }, workerId } = live.scope
    // The wall clock of the SDK's own spans, not the one of the jobs.
    const span = this.#maker.messaging('settle', job, SpanKind.CLIENT, live.context, () => settleAttributes(job, workerId, this.#maker.storeType), { startTime: live.endedAt ?? Date.now() })
    if (span === undefined) return
    if (verdict.kind === 'error') this.#maker.errors.mark(span, this.#maker.errors.stored(verdict.error))
    else if (verdict.kind === 'refused') failSpan(span, verdict.code, 'Another worker owns the job')
    span.end()
  }

  /** What `job.span` is. Without a context that is carried along, spans inside each other are siblings under the handler's. */
  #spanRunner (live: LiveAttempt): SpanRunner {
    const { job } = live.scope.claim
    return async (name, work, options) => {
      const given = options?.attributes === undefined
        ? undefined
        : fitForSpan(options.attributes, this.#parts.redaction, (sentence) => {
          this.#maker.source.complain(new TypeError(`attributes of job.span in job "${job.name}": ${sentence}`), SOURCE)
        })
      const attributes = { ...given, [ATTR.jobId]: job.id, [ATTR.jobName]: job.name, [ATTR.messagingConversationId]: job.correlationId }
      const active = this.#maker.source.contexts.active()
      const parent = active !== undefined && parentIn(active) !== undefined ? active : live.handlerContext ?? live.context
      const kind = KINDS[options?.kind ?? 'internal']
      if (kind === undefined) this.#maker.source.complain(new TypeError(`job.span in job "${job.name}": kind must be one of ${Object.keys(KINDS).join(', ')}`), SOURCE)
      return await this.#maker.around(cut(String(name), MAX_SPAN_NAME), kind ?? SpanKind.INTERNAL, attributes, parent, work, live)
    }
  }

  #propagation ({ definition }: AttemptScope): Propagation { return definition.propagation ?? this.#parts.propagation }

  #isLinked (scope: AttemptScope, submission: SpanContext): boolean {
    const { job, again } = scope.claim
    const propagation = this.#propagation(scope)
    if (propagation !== 'auto') return propagation === 'link'
    // A caller that decided not to be recorded has decided for the retries as well, and a link would lead nowhere.
    if (!isSampled(submission)) return false
    // A redriven job counts its attempts anew, but keeps its last error.
    return again === true || job.attempts > 1 || job.error !== undefined || this.#parts.now() - job.createdAt > LONG_WAIT_MS
  }
}
