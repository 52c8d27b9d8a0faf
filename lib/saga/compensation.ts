/** Undoes the steps of a saga that may have had an effect, the newest first. */
import type { StoredError } from '../jobs/job.ts'
import { outcomeKind, type Cancel, type Discard, type Snooze } from '../jobs/outcome.ts'
import type { StepFacts } from '../jobs/saga-facts.ts'
import { plannedNode, type StepPlan } from '../jobs/saga-plan.ts'
import type { StepScope } from '../jobs/seams.ts'
import type { Settlement } from '../jobs/store.ts'
import { toReason, toStoredError } from '../jobs/stored-error.ts'
import { parseValue } from './journal.ts'
import { SHORT_WAIT_MS, Stopped, Suspended, within, type Run, type SagaFailure } from './run.ts'
import { round, type RunnableStep } from './step-runner.ts'
import { UndoContext, type StepOutcome, type TryFacts } from './step-context.ts'
import { stepScope, StepTry, type TryEnd } from './step-try.ts'

const CRASHED: StoredError = {
  code: 'FAE_STEP_CRASHED', message: 'Its compensation ended its worker process again and again'
}
const GONE: StoredError = { code: 'FAE_SAGA_CHANGED', message: 'The definition of the saga has no such step any more' }

/** A step that is to be undone. `step`: absent if the definition does not have it any more. */
interface Target {
  readonly path: string
  readonly step: RunnableStep | undefined
}

/** Notes, with the next write, that the saga undoes its steps from now on, and why. */
export function beginCompensation (run: Run, { error, reason, path }: SagaFailure): void {
  const { journal, events } = run
  const now = run.now()
  journal.setHead({ p: 'compensating', o: reason, e: error, c: now, w: path, v: undefined })
  // From here on crashes are counted for the compensations: those in the steps do not count for them.
  journal.gotOn()
  const targets = targetsOf(run)
  journal.setCompensatingSince(now)
  journal.setUndo(targets.length > 0)
  if (targets.length > 0) events.compensating(path, targets.length, reason, error)
}

/**
 * Undoes what is left to undo, and ends the saga. A compensation that fails for good does not stop the others.
 *
 * @throws {Suspended} before the next try of a compensation; {Stopped}; {LeaseLost}
 */
export async function compensate (run: Run): Promise<Settlement> {
  const { journal, runtime } = run
  run.beginUndo()
  const targets = targetsOf(run)
  const [newest] = targets
  if (newest !== undefined && journal.crashes >= run.plan.maxCrashes) giveUp(run, newest, CRASHED)
  await journal.flush()
  if (targets.length > 0) {
    const scope = stepScope(run.scope.attempt, {
      kind: 'compensation', step: '', order: 0, tryNumber: 1, maxTries: 1, parent: undefined
    })
    await within(runtime, scope, async () => {
      for (const target of targets) await undo(run, target, scope)
    })
  }
  const error = noteEnd(run)
  await journal.flush()
  return endOfCompensation(run, error)
}

/** What a saga ends with whose compensation is over, also when an earlier attempt died before that was stored. */
export function endOfCompensation (run: Run, failure = undoError(run)): Settlement {
  const { journal, events, scope } = run
  const {
    o: reason, e: cause = { code: 'FAE_SAGA_CHANGED', message: '' }, t: total, c: since = run.now()
  } = journal.head
  const undone = [...journal.steps()].filter(([, { s }]) => s === 'z').length
  const settlement: Settlement = failure !== undefined
    ? { kind: 'failed', error: failure.error }
    : reason === 'cancelled'
      ? { kind: 'cancelled', reason: journal.cancelReason ?? cause.message }
      : { kind: 'failed', error: cause }
  scope.onSettled((verdict) => {
    if (verdict.kind !== 'stored') return
    if (failure !== undefined) events.compensationFailed(failure.paths, total, failure.error)
    else if (undone > 0) events.allCompensated(undone, run.now() - since)
    if (settlement.kind === 'cancelled') events.sagaCancelled(total)
    else if (settlement.kind === 'failed') {
      events.sagaFailed(total, settlement.error, failure === undefined ? 'compensated' : 'compensation-failed')
    }
  })
  return settlement
}

/** A redrive after a compensation that has failed: only what could not be undone is tried again. */
export function redriveCompensation (run: Run): void {
  const { journal } = run
  for (const [path, facts] of journal.steps()) {
    if (facts.s === 'x') journal.startStep(path, { ...facts, s: 'u', n: 0, u: undefined })
  }
  journal.setHead({ p: 'compensating', x: undefined, b: 0 })
  journal.setCompensatingSince(run.now())
  journal.setUndo(true)
}

/** Notes how the compensation has ended. */
function noteEnd (run: Run): ReturnType<typeof undoError> {
  const { journal } = run
  const failure = undoError(run)
  journal.setHead({ p: failure === undefined ? 'compensated' : 'compensation-failed', x: journal.endMark })
  journal.setCompensatingSince(null)
  if (failure === undefined) {
    journal.setUndo(false)
    journal.dropValues()
  } else {
    journal.setNotUndoneSince(run.now())
  }
  return failure
}

/** The error of a saga with steps that could not be undone: it names each, and why the saga had to undo them. */
function undoError ({ journal }: Run): { readonly error: StoredError, readonly paths: readonly string[] } | undefined {
  const failed = [...journal.steps()].filter(([, { s }]) => s === 'x')
  if (failed.length === 0) return undefined
  const { e: cause } = journal.head
  const list = failed.map(([path, { e }]) => `${path} (${e?.code ?? 'unknown'}: ${e?.message ?? ''})`).join(', ')
  const message = `${failed.length} step${failed.length === 1 ? '' : 's'} could not be undone: ${list}. ` +
    `The saga had failed with ${cause?.code}: ${cause?.message}`
  return {
    error: { code: 'FAE_COMPENSATION_FAILED', message: message.slice(0, 1_000) }, paths: failed.map(([path]) => path)
  }
}

/**
 * The steps that are left to undo: those that completed, and those whose effect is unknown, in the reverse order in
 * which they began.
 */
function targetsOf ({ journal, plan }: Run): Target[] {
  const found: Array<Target & { readonly began: number }> = []
  for (const [path, facts] of journal.steps()) {
    if (!mayHaveEffect(facts) || facts.s === 'z' || facts.s === 'x') continue
    const known = plannedNode(plan, path)
    // Another version may have something else under the name of a step, such as a sleep: that does not undo the step.
    if (known === undefined || known.kind !== 'step') found.push({ path, step: undefined, began: facts.i ?? 0 })
    else if (known.compensate !== undefined) found.push({ path, step: runnable(known, path), began: facts.i ?? 0 })
  }
  return found.sort((one, other) => other.began - one.began)
}

function mayHaveEffect ({ s, y, q, i }: StepFacts): boolean {
  // A sleep, a signal and the list of an `each` have no start number: there is nothing to undo. An undo that was begun
  // is ended, whatever it was begun for.
  return i !== undefined && (y !== undefined || q === 1 || s === 'r' || s === 'u')
}

function runnable (step: StepPlan, path: string): RunnableStep {
  return step.path === path ? step : { ...step, path, index: Number(path.slice(path.lastIndexOf('/') + 1)) }
}

async function undo (run: Run, { path, step }: Target, parent: StepScope): Promise<void> {
  const { journal } = run
  if (journal.step(path)?.s === 'x') return
  if (step?.compensate === undefined) return giveUp(run, { path, step }, GONE)
  for (;;) {
    run.throwIfStopped()
    const facts = journal.step(path)
    if (facts === undefined) return
    const waitMs = facts.s === 'u' ? (facts.u ?? 0) - run.now() : 0
    if (waitMs > SHORT_WAIT_MS) throw new Suspended(path, facts.u, 'backoff')
    if (facts.s !== 'u') journal.startStep(path, { ...facts, s: 'u', u: undefined, n: 0 })
    // What was undone before this is stored before this begins, and so is the count of its tries.
    await journal.flush()
    if (!journal.leaseConfirmed) await journal.confirmLease()
    run.throwIfStopped()
    if (waitMs > 0) {
      await run.wait(waitMs).over
      continue
    }
    const tryNumber = (facts.s === 'u' ? facts.n ?? 0 : 0) + 1
    const scope = stepScope(run.scope.attempt, {
      kind: 'undo', step: path, order: step.order, tryNumber, maxTries: step.undo.attempts, parent
    })
    const end = await undoTry(run, step, scope)
    if (end.kind === 'aborted') throw new Stopped(run.stop ?? 'shutdown')
    if (afterUndo(run, step, scope, end)) return
  }
}

async function undoTry (run: Run, step: RunnableStep, scope: StepScope): Promise<TryEnd> {
  const { runtime, events, journal, plan: { graceMs } } = run
  const { path, index, undo: { timeoutMs } } = step
  const stepKey = run.idempotencyKey(path)
  const facts = {
    runtime, scope: run.scope, step: scope, results: () => run.results(), idempotencyKey: `${stepKey}/undo`
  }
  const { o: reason = 'failed', e: error } = journal.head
  const call = (signal: TryFacts['signal']): unknown => {
    events.tryStarted('step.compensating', scope)
    const about = { stepKey, outcome: outcomeOf(run, path), reason, error }
    return Reflect.apply(
      step.compensate ?? (() => {}), undefined,
      [new UndoContext({ ...facts, signal }, about, itemOf(run, path, index), index)]
    )
  }
  const attempt = new StepTry({
    runtime,
    scope,
    timeoutMs,
    graceMs,
    call,
    onTimeout: () => { events.timedOut(scope, timeoutMs) },
    onAbandoned: (why, durationMs) => { events.abandoned(scope, why, durationMs, graceMs) }
  })
  const running = attempt.run()
  run.started(attempt)
  try {
    return await running
  } finally {
    run.ended(attempt)
  }
}

/** Notes how a try of a compensation ended. @returns whether there is no other */
function afterUndo (
  run: Run, step: RunnableStep, scope: StepScope, end: Exclude<TryEnd, { kind: 'aborted' }>
): boolean {
  const { journal, events, runtime: { redaction } } = run
  const facts = journal.step(step.path)
  if (facts === undefined) return true
  const { tryNumber } = scope
  const outcome = outcomeKind(end.kind === 'returned' ? end.value : end.error)
  if (outcome === 'snooze') {
    const { delayMs } = (end.kind === 'returned' ? end.value : end.error) as Snooze
    journal.setStep(step.path, { ...facts, s: 'u', n: tryNumber - 1, u: run.now() + Math.max(1, delayMs) })
    return false
  }
  if (end.kind === 'returned' && outcome === undefined) {
    // A step that completed has no error of its own: what is there is that of an earlier try of this undo.
    const e = facts.y === undefined ? facts.e : undefined
    journal.setStep(step.path, { ...facts, s: 'z', n: tryNumber, d: round(end.durationMs), e, u: undefined })
    journal.afterwards(() => { events.compensated(scope, end.durationMs) })
    return true
  }
  // A `discard()` or a `cancel()` says that trying again cannot help.
  const error = outcome === undefined ? toStoredError(thrownBy(end), redaction.text) : givenUp(end, redaction.text)
  const delayMs = outcome !== undefined || tryNumber >= step.undo.attempts
    ? -1
    : step.undo.backoff({ attempt: tryNumber, maxAttempts: step.undo.attempts, error: thrownBy(end) })
  events.tryFailed('step.compensation_failed', scope, end.durationMs, error, delayMs < 0)
  if (delayMs >= 0) events.retryScheduled(scope, delayMs, error.code)
  journal.setStep(step.path, {
    ...facts, s: delayMs < 0 ? 'x' : 'u', n: tryNumber, d: round(end.durationMs), e: error,
    u: delayMs < 0 ? undefined : run.now() + delayMs
  })
  return delayMs < 0
}

function thrownBy (end: Exclude<TryEnd, { kind: 'aborted' }>): unknown {
  return end.kind === 'returned' ? end.value : end.error
}

function givenUp (end: Exclude<TryEnd, { kind: 'aborted' }>, clean: (text: string) => string): StoredError {
  const { reason } = thrownBy(end) as Cancel | Discard
  return { code: 'FAE_DISCARDED', message: toReason(reason, 'discarded by a compensation', clean) }
}

function giveUp (run: Run, { path, step }: Target, error: StoredError): void {
  const facts = run.journal.step(path)
  if (facts === undefined) return
  run.journal.setStep(path, { ...facts, s: 'x', e: error, u: undefined })
  const maxTries = step?.undo.attempts ?? 1
  const scope = stepScope(run.scope.attempt, {
    kind: 'undo', step: path, order: step?.order ?? 0, tryNumber: maxTries, maxTries, parent: undefined
  })
  run.events.tryFailed('step.compensation_failed', scope, 0, error, true)
}

function outcomeOf ({ journal, lostResults }: Run, path: string): StepOutcome {
  if (lostResults.has(path)) return { kind: 'completed', result: lostResults.get(path) }
  const completed = journal.step(path)?.y
  if (completed === 2) return { kind: 'completed', result: undefined }
  const text = completed === 1 ? journal.value(path) : undefined
  return text === undefined ? { kind: 'unknown' } : { kind: 'completed', result: parseValue(path, text) }
}

/** What an item of an `each` was for. */
function itemOf ({ journal }: Run, path: string, index: number | undefined): unknown {
  if (index === undefined) return undefined
  const list = path.slice(0, path.lastIndexOf('/'))
  const text = journal.value(list)
  const items: unknown = text === undefined ? undefined : parseValue(list, text)
  return Array.isArray(items) ? items[index] : undefined
}
