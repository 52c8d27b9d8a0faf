import { SpanKind, trace, type Attributes, type Context, type Span } from '@opentelemetry/api'
import type { ChurnMap } from '../core/churn-map.ts'
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

export interface StepSpansParts {
  readonly maker: SpanMaker
  /** The attempts that are being recorded. */
  readonly live: Pick<ChurnMap<string, LiveAttempt>, 'get' | 'size'>
  /** Makes child spans. */
  readonly spanRunner: AttemptSpans['spanRunner']
}

/**
 * The spans of steps: one for each try of a step or of its compensation, under the handler's span, its group's, or that of
 * the whole compensation.
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

  constructor (parts: StepSpansParts) {
    this.#parts = parts
  }

  step (scope: StepScope, next: () => Promise<unknown>): Promise<unknown> {
    const { live } = this.#parts
    const attempt = live.size === 0 ? undefined : live.get(scope.attempt.claim.job.id)
    return attempt?.scope === scope.attempt ? this.#record(scope, attempt, next) : next()
  }

  async #record (scope: StepScope, live: LiveAttempt, next: () => Promise<unknown>): Promise<unknown> {
    const { maker, spanRunner } = this.#parts
    const { source } = maker
    const { name, running, ended } = KINDS[scope.kind]
    const above = scope.parent === undefined ? undefined : this.#contexts.get(scope.parent)
    const parent = above ?? live.handlerContext ?? live.context
    const attributes = attributesOf(scope, running)
    const first = source.takesAttributes ? attributes : { [ATTR.jobName]: attributes[ATTR.jobName] }
    const span = source.startJobSpan(name + scope.step, { kind: SpanKind.INTERNAL, attributes: first }, parent)
    if (span === undefined) return await next()
    const context = trace.setSpan(parent, span)
    const startedAt = performance.now()
    let open = true
    const end = (status: string): void => {
      if (!open) return
      open = false
      source.guard(() => {
        const durationMs = Math.round((performance.now() - startedAt) * 100) / 100
        span.setAttributes({ [ATTR.stepStatus]: status, [ATTR.stepDuration]: durationMs })
        if (scope.kind !== 'group' && scope.kind !== 'compensation') this.#addEnd(span, scope, status, durationMs)
        span.end()
      })
    }
    source.guard(() => {
      if (!source.takesAttributes) span.setAttributes(attributes)
      this.#contexts.set(scope, context)
      if (isSampled(span.spanContext())) scope.traceIds = idsOf(span.spanContext())
      scope.spanRunner = spanRunner(live, context)
      if (scope.kind === 'step' || scope.kind === 'undo') span.addEvent(scope.kind === 'step' ? 'step.started' : 'step.compensating', eventOf(scope))
    })
    // A step that ignores its abort may run for ever: its span ends with its attempt.
    scope.attempt.onSettled(() => {
      if (!open) return
      source.guard(() => { failSpan(span, 'FAE_ABORTED', 'The step still ran when its attempt was settled') })
      end('failed')
    })
    try {
      const value = await source.contexts.run(context, next)
      end(ended)
      return value
    } catch (error) {
      source.guard(() => { if (open) maker.errors.record(span, error, live) })
      end(maker.errors.isOutcome(error) ? ended : 'failed')
      throw error
    }
  }

  #addEnd (span: Span, scope: StepScope, status: string, durationMs: number): void {
    const about = { ...eventOf(scope), [ATTR.stepDuration]: durationMs }
    if (status === 'failed') span.addEvent(scope.kind === 'step' ? 'step.failed' : 'step.compensation_failed', about)
    else span.addEvent(scope.kind === 'step' ? 'step.completed' : 'step.compensated', about)
  }
}

function attributesOf ({ attempt: { claim: { job } }, step, order, tryNumber, maxTries, kind }: StepScope, status: string): Attributes {
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
