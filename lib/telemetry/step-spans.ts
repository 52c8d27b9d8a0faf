import { SpanKind, trace, type Attributes, type Context, type Span } from '@opentelemetry/api'
import type { ChurnMap } from '../core/churn-map.ts'
import type { EventName } from '../events/catalogue.ts'
import type { StepScope } from '../jobs/seams.ts'
import type { AttemptSpans, LiveAttempt } from './attempt-spans.ts'
import { ATTR, failSpan } from './attributes.ts'
import { isSampled } from './propagation.ts'
import { idsOf, type SpanMaker } from './span-maker.ts'

/** What the span of each kind of scope is called, and its status while it runs and when it has ended well. */
const KINDS = {
  step: { name: 'step ', running: 'running', ended: 'completed' },
  undo: { name: 'compensate ', running: 'compensating', ended: 'compensated' },
  group: { name: 'group ', running: 'running', ended: 'completed' },
  compensation: { name: 'compensation', running: 'compensating', ended: 'compensated' }
} as const satisfies Record<StepScope['kind'], unknown>

/** The events on the span of a try. Groups have none: those of their steps say it all. */
const EVENTS: Readonly<Partial<Record<StepScope['kind'], StepEvents>>> = {
  step: { running: 'step.started', ended: 'step.completed', failed: 'step.failed' },
  undo: { running: 'step.compensating', ended: 'step.compensated', failed: 'step.compensation_failed' }
}

interface StepEvents {
  readonly running: EventName
  readonly ended: EventName
  readonly failed: EventName
}

/** A span that has not ended. */
interface OpenStep {
  readonly scope: StepScope
  readonly span: Span
  readonly startedAt: number
}

export interface StepSpansParts {
  readonly maker: SpanMaker
  /** The attempts that are being recorded. */
  readonly live: Pick<ChurnMap<string, LiveAttempt>, 'get' | 'size'>
  /** Makes child spans. */
  readonly spanRunner: AttemptSpans['spanRunner']
}

/**
 * The spans of steps: one for each try of a step or of its compensation, under the handler's span, its group's, or that
 * of the whole compensation.
 *
 * ```
 * {job name} ──┬── step upload
 *              ├── group renditions ──┬── step renditions/hd
 *              │                      └── step renditions/uhd      side by side
 *              └── compensation ────────── compensate upload
 * ```
 */
export class StepSpans {
  readonly #parts: StepSpansParts
  /** Of scopes that are being recorded: where their children belong. */
  readonly #contexts = new WeakMap<StepScope, Context>()
  /** What is open of each attempt. A step that ignores its abort may run for ever: its span ends with its attempt. */
  readonly #open = new WeakMap<LiveAttempt, Set<OpenStep>>()

  constructor (parts: StepSpansParts) {
    this.#parts = parts
  }

  step (scope: StepScope, next: () => Promise<unknown>): Promise<unknown> {
    const { live } = this.#parts
    const attempt = live.size === 0 ? undefined : live.get(scope.attempt.claim.job.id)
    return attempt?.scope === scope.attempt ? this.#record(scope, attempt, next) : next()
  }

  async #record (scope: StepScope, live: LiveAttempt, next: () => Promise<unknown>): Promise<unknown> {
    const { source, errors } = this.#parts.maker
    const { name, running, ended } = KINDS[scope.kind]
    const above = scope.parent === undefined ? undefined : this.#contexts.get(scope.parent)
    const parent = above ?? live.handlerContext ?? live.context
    const attributes = attributesOf(scope, running)
    const first = source.takesAttributes ? attributes : { [ATTR.jobName]: attributes[ATTR.jobName] }
    const span = source.startJobSpan(name + scope.step, { kind: SpanKind.INTERNAL, attributes: first }, parent)
    if (span === undefined) return await next()
    const step: OpenStep = { scope, span, startedAt: performance.now() }
    const context = trace.setSpan(parent, span)
    source.guard(() => {
      this.#begin(step, live, context)
      if (!source.takesAttributes) span.setAttributes(attributes)
    })
    try {
      const value = await source.contexts.run(context, next)
      this.#end(step, live, ended)
      return value
    } catch (error) {
      if (errors.isOutcome(error)) this.#end(step, live, ended)
      else {
        this.#end(step, live, 'failed', () => {
          errors.record(span, error, live)
          return errors.stored(error).code
        })
      }
      throw error
    }
  }

  #begin (step: OpenStep, live: LiveAttempt, context: Context): void {
    const { scope, span } = step
    const open = this.#open.get(live) ?? this.#watch(live)
    open.add(step)
    this.#contexts.set(scope, context)
    if (isSampled(span.spanContext())) scope.traceIds = idsOf(span.spanContext())
    scope.spanRunner = this.#parts.spanRunner(live, context)
    const name = EVENTS[scope.kind]?.running
    if (name !== undefined) span.addEvent(name, eventOf(scope))
  }

  #watch (live: LiveAttempt): Set<OpenStep> {
    const open = new Set<OpenStep>()
    this.#open.set(live, open)
    live.scope.onSettled(() => {
      for (const step of open) {
        this.#end(step, live, 'failed', () => {
          failSpan(step.span, 'FAE_ABORTED', 'The step still ran when its attempt was settled')
          return 'FAE_ABORTED'
        })
      }
    })
    return open
  }

  /**
   * Ends the span, once.
   *
   * @param fail writes the error to the span, and returns its code
   */
  #end (step: OpenStep, live: LiveAttempt, status: string, fail?: () => string): void {
    if (this.#open.get(live)?.delete(step) !== true) return
    const { scope, span, startedAt } = step
    this.#parts.maker.source.guard(() => {
      const durationMs = Math.round((performance.now() - startedAt) * 100) / 100
      const errorType = fail?.()
      span.setAttributes({ [ATTR.stepStatus]: status, [ATTR.stepDuration]: durationMs })
      const events = EVENTS[scope.kind]
      if (events === undefined) return
      const about: Attributes = { ...eventOf(scope), [ATTR.stepDuration]: durationMs }
      if (errorType !== undefined) about[ATTR.errorType] = errorType
      span.addEvent(errorType === undefined ? events.ended : events.failed, about)
    })
    this.#parts.maker.source.guard(() => { span.end() })
  }
}

function attributesOf (scope: StepScope, status: string): Attributes {
  const { attempt: { claim: { job } }, step, order, tryNumber, maxTries, kind } = scope
  const attributes: Attributes = {
    [ATTR.messagingConversationId]: job.correlationId,
    [ATTR.jobId]: job.id,
    [ATTR.jobName]: job.name,
    [ATTR.stepStatus]: status
  }
  if (step !== '') attributes[ATTR.stepName] = step
  if (order > 0) attributes[ATTR.stepOrder] = order
  if (kind === 'step' || kind === 'undo') {
    attributes[ATTR.stepAttempt] = tryNumber
    attributes[ATTR.stepMaxAttempts] = maxTries
  }
  return attributes
}

function eventOf ({ step, tryNumber }: StepScope): Attributes {
  return { [ATTR.stepName]: step, [ATTR.stepAttempt]: tryNumber }
}
