/** Runs one step forward: its condition, its tries, and what becomes of it in the journal. */
import { AsyncEndpointsError } from '../core/errors.ts'
import { isThenable } from '../core/rejections.ts'
import { outcomeKind, type Cancel, type Discard, type Snooze } from '../jobs/outcome.ts'
import type { StepFacts } from '../jobs/saga-facts.ts'
import type { StepPlan } from '../jobs/saga-plan.ts'
import type { StepScope } from '../jobs/seams.ts'
import { toReason, toStoredError } from '../jobs/stored-error.ts'
import { isDone } from './journal.ts'
import { endingBy, SagaFailure, SHORT_WAIT_MS, Stopped, type Run } from './run.ts'
import { DecisionContext, ItemContext, TryContext, type TryFacts } from './step-context.ts'
import { encodeResult, type EncodedResult } from './step-result.ts'
import { stepScope, StepTry, type TryAbort, type TryEnd } from './step-try.ts'

/** A step as it is run: one of the plan, or one item of an `each`. */
export interface RunnableStep extends StepPlan {
  readonly item?: unknown
  readonly index?: number | undefined
}

/**
 * How a leg of a step ended: its tries in one attempt, up to its end or its next wait. `waitUntil`: when its next try
 * is to begin.
 */
export type LegEnd = 'done' | 'aborted' | { readonly waitUntil: number } | SagaFailure

/** What a group adds to the step that it runs. */
export interface InGroup {
  readonly scope: StepScope
  /** A sibling has failed: no other try begins. */
  readonly aborted: boolean
  started (path: string, step: StepTry): void
  ended (path: string): void
}

/**
 * Prepares a step: a condition that does not hold skips it; otherwise the journal notes that it runs from the next
 * write on, so that after a crash it is known which steps may have had an effect.
 *
 * @returns whether the step is to be run
 * @throws {SagaFailure} when the condition throws
 */
export async function prepareStep (run: Run, step: RunnableStep): Promise<boolean> {
  const { journal, events } = run
  const { path, order, when } = step
  const facts = journal.step(path)
  if (isDone(facts)) return false
  if (facts === undefined || facts.s === 'p') {
    // One that began before a redrive has answered its condition.
    if (when !== undefined && facts?.i === undefined && !await holds(run, step)) {
      journal.setStep(path, { s: 's', a: 0, m: step.attempts, t: run.now() })
      journal.afterwards(() => { events.skipped(path, order) })
      return false
    }
    const i = (journal.head.i ?? 0) + 1
    journal.setHead({ i })
    journal.startStep(path, { s: 'r', a: 0, m: step.attempts, t: run.now(), i, q: facts?.q })
    if (step.compensate !== undefined) journal.setUndo(true)
    return true
  }
  if (facts.s === 'f') throw failureOf(step, facts)
  // It ran when its worker stopped, or died: its effect is unknown.
  if (facts.s === 'r') journal.correctStep(path, { ...facts, q: 1 })
  return true
}

/** Runs tries of a prepared step until it is done, has failed, or has to wait for longer. */
export async function runLeg (run: Run, step: RunnableStep, group?: InGroup): Promise<LegEnd> {
  const { journal } = run
  const stopped = (): boolean => run.stop !== undefined || group?.aborted === true
  for (;;) {
    if (stopped()) return 'aborted'
    const facts = journal.step(step.path)
    if (facts === undefined) throw new Error(`step ${step.path} was not prepared`)
    if (facts.s === 'b') {
      const waitMs = (facts.u ?? 0) - run.now()
      if (waitMs > SHORT_WAIT_MS) return { waitUntil: facts.u ?? 0 }
      // The count of its tries is stored before the next one begins.
      await journal.flush()
      if (waitMs > 0) {
        // The group waits, and begins no other try when a sibling has failed in the meantime.
        if (group !== undefined) return { waitUntil: facts.u ?? 0 }
        await run.wait(waitMs).over
        continue
      }
      if (stopped()) return 'aborted'
    }
    if (!journal.leaseConfirmed) {
      await journal.confirmLease()
      if (stopped()) return 'aborted'
    }
    const scope = stepScope(run.scope.attempt, {
      kind: 'step', step: step.path, order: step.order, tryNumber: facts.a + 1, maxTries: step.attempts,
      parent: group?.scope
    })
    const end = await runTry(run, step, scope, group)
    const next = afterTry(run, step, scope, end)
    if (next === 'again') continue
    if (group !== undefined) await journal.flush()
    return next
  }
}

async function runTry (run: Run, step: RunnableStep, scope: StepScope, group: InGroup | undefined): Promise<TryEnd> {
  const { runtime, events, plan: { graceMs } } = run
  const { timeoutMs, path } = step
  const facts: Omit<TryFacts, 'signal'> = {
    runtime, scope: run.scope, step: scope, results: () => run.results(), idempotencyKey: run.idempotencyKey(path)
  }
  const call = (signal: () => AbortSignal): unknown => {
    // Inside the span, so that the event has its ids.
    events.tryStarted('step.started', scope)
    const own = { ...facts, signal }
    const context = step.index === undefined ? new TryContext(own) : new ItemContext(own, step.item, step.index)
    return Reflect.apply(step.run, undefined, [context])
  }
  const onTimeout = (): void => { events.timedOut(scope, timeoutMs) }
  const onAbandoned = (reason: TryAbort, durationMs: number): void => {
    events.abandoned(scope, reason, durationMs, graceMs)
  }
  const attempt = new StepTry({ runtime, scope, timeoutMs, graceMs, call, onTimeout, onAbandoned })
  const running = attempt.run()
  run.started(attempt)
  group?.started(path, attempt)
  try {
    return await running
  } finally {
    run.ended(attempt)
    group?.ended(path)
  }
}

/** Notes how a try ended. @returns how the leg has ended by it; `again`: it has not, another try follows */
function afterTry (run: Run, step: RunnableStep, scope: StepScope, end: TryEnd): LegEnd | 'again' {
  const { journal } = run
  const facts = noted(run, step.path)
  if (end.kind === 'aborted') {
    const state = end.reason === 'sibling-failed' ? 'f' : 'r'
    const error = state === 'f' ? { code: 'FAE_ABORTED', message: 'Another step of the group failed' } : facts.e
    // This is no progress: crashes of the worker in this step go on being counted.
    journal.startStep(step.path, { ...facts, s: state, q: 1, d: round(end.durationMs), e: error })
    return 'aborted'
  }
  const outcome = end.kind === 'returned' ? end.value : end.error
  switch (outcomeKind(outcome)) {
    case 'snooze': {
      // Never in the same turn: a step that snoozes again and again must leave time for others.
      const until = run.now() + Math.max(1, (outcome as Snooze).delayMs)
      journal.setStep(step.path, { ...facts, s: 'b', u: until })
      return 'again'
    }
    case 'cancel': {
      const reason = toReason((outcome as Cancel).reason, 'cancelled by a step', run.runtime.redaction.text)
      return failed(run, step, scope, end, { code: 'FAE_JOB_CANCELLED', message: reason }, false, 'cancelled')
    }
    case 'discard': {
      const message = toReason((outcome as Discard).reason, 'discarded by a step', run.runtime.redaction.text)
      return failed(run, step, scope, end, { code: 'FAE_DISCARDED', message, expose: true }, false)
    }
    case undefined:
  }
  return end.kind === 'returned' ? returned(run, step, scope, end) : threw(run, step, scope, end)
}

function returned (run: Run, step: RunnableStep, scope: StepScope, end: TryEnd & { kind: 'returned' }): LegEnd {
  const { journal, events, plan, runtime: { redaction } } = run
  const { path } = step
  const limits = {
    maxBytes: plan.maxStepResultBytes, maxTotalBytes: plan.maxResultsBytes, storedBytes: journal.valueBytes
  }
  let encoded: EncodedResult | undefined
  try {
    encoded = encodeResult(path, end.value, limits, redaction.text)
  } catch (error) {
    // It has done its work, and running it again would give the same result.
    run.lostResults.set(path, end.value)
    return failed(run, step, scope, end, toStoredError(error, redaction.text), true)
  }
  const facts = noted(run, path)
  if (encoded !== undefined) journal.setValue(path, encoded.text, encoded.bytes)
  // Written out, because a copy by spread is several times slower here.
  const { a, m, t, i } = facts
  journal.setStep(path, { s: 'c', a: a + 1, m, t, d: round(end.durationMs), i, y: encoded === undefined ? 2 : 1 })
  journal.afterwards(() => { events.completed(scope, end.durationMs, encoded?.bytes) })
  return 'done'
}

function threw (run: Run, step: RunnableStep, scope: StepScope, end: TryEnd & { kind: 'failed' }): LegEnd | 'again' {
  const { journal, events, runtime: { redaction } } = run
  const facts = noted(run, step.path)
  const error = toStoredError(end.error, redaction.text)
  const attempt = facts.a + 1
  const unknown = end.unknown || facts.q === 1
  const delayMs = attempt >= step.attempts
    ? -1
    : step.backoff({ attempt, maxAttempts: step.attempts, error: end.error })
  if (delayMs < 0) return failed(run, step, scope, end, error, unknown)
  events.tryFailed('step.failed', scope, end.durationMs, error, false)
  events.retryScheduled(scope, delayMs, error.code)
  journal.setStep(step.path, {
    ...facts, s: 'b', a: attempt, d: round(end.durationMs), e: error, u: run.now() + delayMs, q: unknown ? 1 : undefined
  })
  return 'again'
}

/** The step has failed for good. */
function failed (
  run: Run, step: RunnableStep, scope: StepScope, end: TryEnd, error: NonNullable<StepFacts['e']>, unknown: boolean,
  reason?: 'cancelled'
): LegEnd {
  const { journal, events } = run
  const facts = noted(run, step.path)
  const goesOn = step.onExhausted === 'continue' && reason === undefined
  journal.setStep(step.path, {
    ...facts, s: 'f', a: facts.a + 1, d: round(end.durationMs), e: error, u: undefined,
    q: unknown || facts.q === 1 ? 1 : undefined, g: goesOn ? 1 : undefined
  })
  events.tryFailed('step.failed', scope, end.durationMs, error, true)
  if (goesOn) return 'done'
  return reason === undefined
    ? failureOf(step, noted(run, step.path))
    : new SagaFailure(step.path, error, 'compensate', reason)
}

/** The failure of a step that has failed for good. */
export function failureOf (step: StepPlan, { e: error }: StepFacts): SagaFailure {
  return new SagaFailure(
    step.path, error ?? { code: 'FAE_HANDLER_ERROR', message: `Step "${step.path}" failed` }, endingBy(step.onExhausted)
  )
}

/**
 * Evaluates the condition of a step. It is evaluated once: what came of it is stored with the next write.
 *
 * @throws {SagaFailure} when it throws; {Stopped}
 */
async function holds (run: Run, step: RunnableStep): Promise<boolean> {
  try {
    return Boolean(await decide(run, step.when, step))
  } catch (thrown) {
    if (thrown instanceof Stopped) throw thrown
    const error = toStoredError(thrown, run.runtime.redaction.text)
    const facts: StepFacts = { s: 'f', a: 0, m: step.attempts, t: run.now(), e: error }
    run.journal.setStep(step.path, facts)
    throw failureOf({ ...step, onExhausted: endingBy(step.onExhausted) }, facts)
  }
}

/** Calls a function of the application that only decides. */
export async function decide (run: Run, decision: StepPlan['when'], step?: RunnableStep): Promise<unknown> {
  if (decision === undefined) return undefined
  const context = new DecisionContext(run.scope, () => run.results())
  const answer: unknown = Reflect.apply(
    decision, undefined,
    [step?.index === undefined ? context : Object.assign(context, { item: step.item, index: step.index })]
  )
  // Also what only can be awaited, such as the query of a query builder.
  if (!isThenable(answer)) return answer
  // It has no signal and no time limit of its own: what stops the attempt ends the wait for it.
  const wait = run.wait(Infinity)
  try {
    return await Promise.race([answer, wait.over.then(() => { throw new Stopped(run.stop ?? 'shutdown') })])
  } finally {
    wait.end()
  }
}

/** Facts of a step that was prepared. */
function noted (run: Run, path: string): StepFacts {
  const facts = run.journal.step(path)
  if (facts === undefined) {
    throw new AsyncEndpointsError('FAE_CHECKPOINT_UNREADABLE', `Nothing is stored about step "${path}"`)
  }
  return facts
}

/** A tenth of a millisecond is as much as a person reads. */
export function round (durationMs: number): number { return Math.round(durationMs * 10) / 10 }

/** @throws {Stopped} for a leg that was aborted, {@link SagaFailure} for one that failed */
export function assertWentOn (run: Run, end: LegEnd): asserts end is 'done' | { readonly waitUntil: number } {
  if (end === 'aborted') throw new Stopped(run.stop ?? 'shutdown')
  if (end instanceof SagaFailure) throw end
}
