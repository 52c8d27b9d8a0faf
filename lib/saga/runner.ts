/** Runs sagas: begin here to read how one goes forward, waits, is undone, and ends. */
import { AsyncEndpointsError, isAsyncEndpointsError } from '../core/errors.ts'
import type { JobRuntime } from '../events/runtime.ts'
import { plannedNode, type SagaPlan } from '../jobs/saga-plan.ts'
import type { AttemptScope, JobRunner, RunnerScope } from '../jobs/seams.ts'
import type { Settlement } from '../jobs/store.ts'
import { storeNow } from '../jobs/store-clock.ts'
import { toStoredError } from '../jobs/stored-error.ts'
import { beginCompensation, compensate, endOfCompensation, redriveCompensation } from './compensation.ts'
import { followDefinition, namesOf } from './definition-change.ts'
import { goForward } from './forward.ts'
import { LeaseLost, StepJournal } from './journal.ts'
import { resultSources } from './results.ts'
import { SagaEvents } from './saga-events.ts'
import { Run, SagaFailure, Stopped, Suspended } from './run.ts'

/** A suspension is not longer than this: the saga looks at its wait, and goes on waiting. */
const LONGEST_SUSPENSION_MS = 2_592_000_000

/** The pause while the store is full, where the backoff of the saga gives none. */
const FULL_PAUSE_MS = 60_000

/** Makes what runs the sagas of one definition. */
export function makeSagaRunner (runtime: JobRuntime, plan: SagaPlan): JobRunner {
  const sources = resultSources(plan)
  return {
    afterStall: (scope) => afterStall(runtime, plan, scope),
    run: async (scope) => {
      let run: Run
      try {
        run = await Run.open(runtime, plan, scope, sources)
      } catch (error) {
        return await endUnreadable(runtime, scope, error)
      }
      try {
        return await attempt(run)
      } catch (error) {
        if (isNoRoom(error)) return tryLater(run, error)
        if (!(error instanceof LeaseLost)) throw error
        reportRefused(run)
        return { kind: 'release' }
      } finally {
        run.close()
      }
    }
  }
}

/**
 * One attempt of a saga:
 *
 * ```
 * forward ──(all steps done)──────────────────────────────▶ completed
 *    │ (a step failed for good, cancelled, deadline)
 *    ├──(onExhausted: 'fail')──────────────────────────────▶ failed; a redrive goes on at the step
 *    └──▶ compensating ──▶ compensated ────────────────────▶ failed or cancelled; a redrive begins a new round
 *              └─────────▶ compensation-failed ────────────▶ failed; a redrive undoes what is left
 * ```
 *
 * From everywhere it may be suspended (a wait) or handed back (the worker stops, the lease is lost).
 */
async function attempt (run: Run): Promise<Settlement> {
  const { journal } = run
  try {
    if (journal.ended) return settledBefore(run)
    if (journal.redriven) redrive(run)
    if (journal.head.p === undefined) {
      const failure = await forward(run)
      if (!(failure instanceof SagaFailure)) return failure
      if (failure.mode === 'fail') return await endFailed(run, failure)
      beginCompensation(run, failure)
    } else {
      run.events.resumed(journal.head.k, journal.head.t, journal.head.p)
    }
    return await compensate(run)
  } catch (thrown) {
    if (thrown instanceof Suspended) return await suspend(run, thrown)
    if (!(thrown instanceof Stopped)) throw thrown
    // How the steps were stopped is worth storing: what was aborted may have had an effect.
    await journal.flush()
    return { kind: 'release' }
  }
}

/** @returns the settlement of a completed saga, or why it cannot go forward */
async function forward (run: Run): Promise<Settlement | SagaFailure> {
  try {
    if (run.scope.cancelRequested) return cancelled(run)
    // Of a saga that waits for a worker with its definition, too: its time may be over.
    run.armDeadline()
    run.throwIfStopped()
    followDefinition(run)
    begin(run)
    return await goForward(run)
  } catch (thrown) {
    if (thrown instanceof SagaFailure) return thrown
    // The store has no room for a result: the undo gets the result that is in memory, and the next writes are small. Or
    // a signal or a list that the saga needs was written over: another attempt would read the same.
    if (isNoRoom(thrown) || isUnreadable(thrown)) {
      return new SagaFailure('', toStoredError(thrown, run.runtime.redaction.text))
    }
    if (!(thrown instanceof Stopped)) throw thrown
    switch (run.stop) {
      case 'cancelled': return cancelled(run)
      case 'deadline': return deadlineOver(run)
      default: throw thrown
    }
  }
}

/**
 * The store has no room even for what says that the saga undoes its steps. It may not end before they are undone, so
 * that it tries again, whatever attempts it has; a step is not run again more often than after crashes.
 */
function tryLater ({ journal, plan, runtime }: Run, error: unknown): Settlement {
  const delayMs = plan.crashBackoff({ attempt: journal.crashes + 1, maxAttempts: plan.maxCrashes, error })
  return {
    kind: 'retry', error: toStoredError(error, runtime.redaction.text), delayMs: delayMs < 0 ? FULL_PAUSE_MS : delayMs
  }
}

function isNoRoom (error: unknown): boolean {
  return isAsyncEndpointsError(error, 'FAE_STORE_FULL') || isAsyncEndpointsError(error, 'FAE_JOB_TOO_LARGE')
}

function isUnreadable (error: unknown): boolean { return isAsyncEndpointsError(error, 'FAE_CHECKPOINT_UNREADABLE') }

/** The first step of a saga, or the next one of a saga that was begun before. */
function begin (run: Run): void {
  const { journal, plan, events } = run
  if (journal.names === undefined) {
    const names = namesOf(plan)
    journal.setNames(names)
    journal.setHead({ t: names.n.length, d: plan.timeoutMs > 0 ? run.now() + plan.timeoutMs : undefined })
    events.started(names.n.length)
  } else {
    events.resumed(journal.head.k, journal.head.t, 'forward')
  }
  run.armDeadline()
}

function cancelled ({ journal }: Run): SagaFailure {
  return new SagaFailure(
    '', { code: 'FAE_JOB_CANCELLED', message: journal.cancelReason ?? 'cancelled on request' }, 'compensate',
    'cancelled'
  )
}

function deadlineOver ({ plan }: Run): SagaFailure {
  return new SagaFailure(
    '', { code: 'FAE_SAGA_TIMEOUT', message: `The saga took longer than its timeoutMs (${plan.timeoutMs} ms)` },
    'compensate', 'timeout'
  )
}

/** `onExhausted: 'fail'`: nothing is undone. */
async function endFailed (run: Run, failure: SagaFailure): Promise<Settlement> {
  const { journal } = run
  journal.setHead({ e: failure.error, w: failure.path, x: journal.endMark })
  await journal.flush()
  return settleFailed(run)
}

function settleFailed (run: Run): Settlement {
  const { journal: { head: { e: error = { code: 'FAE_SAGA_CHANGED', message: '' }, t } }, scope, events } = run
  scope.onSettled((verdict) => { if (verdict.kind === 'stored') events.sagaFailed(t, error, 'forward') })
  return { kind: 'failed', error }
}

/** An attempt before this one had ended the saga, and its end was not stored. */
function settledBefore (run: Run): Settlement {
  return run.journal.head.p === undefined ? settleFailed(run) : endOfCompensation(run)
}

/** Somebody has redriven the job: where it goes on depends on how it had ended. */
function redrive (run: Run): void {
  const { journal, plan } = run
  const { p: phase, r: round = 0 } = journal.head
  if (phase === 'compensation-failed' || phase === 'compensating') return redriveCompensation(run)
  const deadline = plan.timeoutMs > 0 ? run.now() + plan.timeoutMs : undefined
  const afresh = {
    x: undefined, e: undefined, o: undefined, c: undefined, w: undefined, p: undefined, v: undefined, d: deadline, b: 0
  }
  if (phase === undefined) {
    for (const [path, facts] of journal.steps()) {
      if (facts.s === 'f' && facts.g !== 1) journal.startStep(path, { ...facts, s: 'p', a: 0, u: undefined })
    }
    journal.setHead(afresh)
    return
  }
  // Everything was undone: it begins at its first step again, and its idempotency keys are other ones.
  for (const [path, { m }] of journal.steps()) journal.startStep(path, { s: 'p', a: 0, m, t: 0 })
  const names = namesOf(plan)
  journal.setNames(names)
  journal.setHead({ ...afresh, r: round + 1, k: 0, t: names.n.length, i: undefined })
}

async function suspend (run: Run, { path, until, reason, signal }: Suspended): Promise<Settlement> {
  const { journal, scope, events } = run
  const now = run.now()
  const compensating = journal.head.p !== undefined
  const deadline = compensating ? undefined : journal.head.d
  const wake = Math.min(until ?? Infinity, deadline ?? Infinity, now + LONGEST_SUSPENSION_MS)
  const delayMs = Math.max(0, Math.ceil(wake - now))
  const { checkpoint, stored } = await journal.take()
  scope.onSettled((verdict) => {
    if (verdict.kind !== 'stored') return
    stored()
    events.suspended(path, reason, delayMs)
  })
  return { kind: 'suspend', delayMs, signal, cancelKnown: compensating, checkpoint }
}

/** The steps whose ends could not be stored, because the lease was lost. */
function reportRefused (run: Run): void {
  for (const path of run.journal.unstored()) run.events.refused(path, plannedNode(run.plan, path)?.order ?? 0)
}

/** The stored steps cannot be read, or the store did not answer while the lease lasted. */
async function endUnreadable (runtime: JobRuntime, scope: RunnerScope, error: unknown): Promise<Settlement> {
  if (error instanceof LeaseLost) return { kind: 'release' }
  const unreadable = isUnreadable(error)
  if (!unreadable && !isAsyncEndpointsError(error, 'FAE_STORE_UNSUPPORTED')) throw error
  if (unreadable) {
    const { context: { clock }, store } = runtime
    // What its steps have done is not undone, and nobody but a person can: they see it beside failed compensations.
    // Without the mark it still fails with its code.
    await store.steps?.checkpoint(scope.claim, { facts: {}, notUndoneSince: storeNow(store, clock) }).catch(() => {})
  }
  const stored = toStoredError(error, runtime.redaction.text)
  scope.onSettled((verdict) => {
    if (verdict.kind === 'stored') new SagaEvents(runtime, scope).sagaFailed(0, stored, 'forward')
  })
  return { kind: 'failed', error: stored }
}

/**
 * The worker of the attempt before this one died, or lost its lease. Within the budget of crashes the backoff has to
 * pass first.
 */
async function afterStall (runtime: JobRuntime, plan: SagaPlan, scope: AttemptScope): Promise<Settlement | undefined> {
  let journal: StepJournal
  try {
    journal = await StepJournal.open({
      runtime, claim: scope.claim, signal: new AbortController().signal, onCancel: () => {}, reportsProgress: false
    })
  } catch {
    // The run reads it again, and ends it with the error.
    return undefined
  }
  if (journal.ended || journal.crashes >= plan.maxCrashes) return undefined
  const error = new AsyncEndpointsError('FAE_STALLED', 'The worker that ran the saga stopped renewing its lease')
  const delayMs = plan.crashBackoff({ attempt: Math.max(1, journal.crashes), maxAttempts: plan.maxCrashes, error })
  return delayMs < 0 ? undefined : { kind: 'postpone', delayMs }
}
