/** What the parts of one attempt of a saga share: its journal, its clock, and what stops it. */
import { MAX_TIMER_MS, type TimerHandle } from '../core/context.ts'
import type { JobRuntime } from '../events/runtime.ts'
import { compose } from '../jobs/compose.ts'
import type { StoredError } from '../jobs/job.ts'
import type { UndoReason } from '../jobs/saga-facts.ts'
import type { OnExhausted, SagaPlan } from '../jobs/saga-plan.ts'
import type { RunnerScope, StepScope } from '../jobs/seams.ts'
import { storeNow } from '../jobs/store-clock.ts'
import { StepJournal } from './journal.ts'
import { resultsView, type ResultSources } from './results.ts'
import { SagaEvents } from './saga-events.ts'
import type { StepTry } from './step-try.ts'

/** A shorter wait stays in the process and keeps its slot; a longer one is a suspension. */
export const SHORT_WAIT_MS = 1_000

/** Why the steps of an attempt have to stop. */
export type Stop = 'cancelled' | 'deadline' | 'lease-lost' | 'shutdown'

/** Thrown where a step would begin, or go on, although the attempt has to stop: see {@link Run.stop}. */
export class Stopped extends Error {}

/** Thrown to end the attempt and to go on later, without a slot. */
export class Suspended extends Error {
  readonly path: string
  /** A moment on the store's clock; `undefined`: as long as the saga may last. */
  readonly until: number | undefined
  readonly reason: 'sleep' | 'signal' | 'backoff' | 'version'
  readonly signal: string | undefined

  constructor (path: string, until: number | undefined, reason: Suspended['reason'], signal?: string) {
    super(`${path} waits`)
    this.path = path
    this.until = until
    this.reason = reason
    this.signal = signal
  }
}

/** Thrown when a step has failed for good, or the saga as a whole has to end. */
export class SagaFailure extends Error {
  readonly error: StoredError
  readonly path: string
  readonly reason: UndoReason
  /** `fail`: nothing is undone, and a redrive goes on at the failed step. */
  readonly mode: Exclude<OnExhausted, 'continue'>

  constructor (
    path: string, error: StoredError, mode: SagaFailure['mode'] = 'compensate', reason: UndoReason = 'failed'
  ) {
    super(error.message)
    this.path = path
    this.error = error
    this.mode = mode
    this.reason = reason
  }
}

/** How the saga ends by a step that failed for good, once it has to end by it. */
export function endingBy (onExhausted: OnExhausted): SagaFailure['mode'] {
  return onExhausted === 'fail' ? 'fail' : 'compensate'
}

/**
 * Runs work inside the middleware of a scope. That the work has to wait, or to stop, is no error of it: the middleware
 * sees it end without one.
 */
export async function within (runtime: JobRuntime, scope: StepScope, work: () => Promise<void>): Promise<void> {
  let left: Suspended | Stopped | undefined
  await compose(runtime.stepMiddleware, scope, async () => {
    try {
      await work()
    } catch (thrown) {
      if (!(thrown instanceof Suspended || thrown instanceof Stopped)) throw thrown
      left = thrown
    }
  })
  if (left !== undefined) throw left
}

/** One attempt of a saga. */
export class Run {
  readonly runtime: JobRuntime
  readonly plan: SagaPlan
  readonly scope: RunnerScope
  readonly journal: StepJournal
  readonly events: SagaEvents
  readonly #sources: ResultSources
  readonly #tries = new Set<StepTry>()
  readonly #onAbort = (): void => { this.#stopWith(this.scope.abortReason ?? 'shutdown') }
  readonly #waits = new Set<() => void>()
  #stop: Stop | undefined
  #undoing = false
  #deadline: TimerHandle | undefined
  /** Results of this attempt that could not be stored: the step's undo gets them all the same. */
  readonly lostResults = new Map<string, unknown>()

  private constructor (
    runtime: JobRuntime, plan: SagaPlan, scope: RunnerScope, journal: StepJournal, sources: ResultSources
  ) {
    this.runtime = runtime
    this.plan = plan
    this.scope = scope
    this.journal = journal
    this.events = new SagaEvents(runtime, scope)
    this.#sources = sources
    scope.signal.addEventListener('abort', this.#onAbort, { once: true })
    if (scope.signal.aborted) this.#onAbort()
    scope.onCancel(() => { this.cancel() })
    this.#noteUnknownEffects()
  }

  /**
   * A worker has died: what was between two tries may have been in one. Noted before anything else, because the saga
   * may be undone before it comes to the step: it was cancelled, or its time is over.
   */
  #noteUnknownEffects (): void {
    const { journal } = this
    if (journal.crashes === 0 || journal.head.p !== undefined) return
    for (const [path, facts] of [...journal.steps()]) {
      if (facts.s === 'r' || facts.s === 'b') journal.correctStep(path, { ...facts, q: 1 })
    }
  }

  /** @throws what {@link StepJournal.open} throws */
  static async open (runtime: JobRuntime, plan: SagaPlan, scope: RunnerScope, sources: ResultSources): Promise<Run> {
    const opened: { run?: Run } = {}
    const journal = await StepJournal.open({
      runtime, claim: scope.claim, signal: scope.signal, onCancel: () => { opened.run?.cancel() }, reportsProgress: true
    })
    opened.run = new Run(runtime, plan, scope, journal, sources)
    return opened.run
  }

  /** Why steps have to stop now; of several reasons the one that leaves the least to do here. */
  get stop (): Stop | undefined { return this.#stop }

  /** On the clock of the store, as all moments in the journal. */
  now (): number { return storeNow(this.runtime.store, this.runtime.context.clock) }

  results (): Readonly<Record<string, unknown>> { return resultsView(this.#sources, this.journal) }

  /**
   * Equal in every try of a step, also after a crash; another one after everything was undone and the saga redriven.
   */
  idempotencyKey (path: string): string { return `${this.scope.claim.job.id}/${path}/${this.journal.head.r ?? 0}` }

  /** Somebody has asked to cancel the job. While it undoes its steps, that changes nothing. */
  cancel (): void { if (!this.#undoing) this.#stopWith('cancelled') }

  /** @throws {Stopped} */
  throwIfStopped (): void { if (this.#stop !== undefined) throw new Stopped(this.#stop) }

  /** Steps go forward no more: what has stopped them must not stop their undo. */
  beginUndo (): void {
    this.#undoing = true
    this.#clearDeadline()
    if (this.#stop !== 'cancelled' && this.#stop !== 'deadline') return
    this.#stop = undefined
    if (this.scope.signal.aborted) this.#onAbort()
  }

  /** The saga has to be over by its deadline. */
  armDeadline (): void {
    this.#clearDeadline()
    const { d: deadline } = this.journal.head
    if (deadline === undefined || this.#undoing) return
    const left = deadline - this.now()
    if (left <= 0) return this.#stopWith('deadline')
    this.#deadline = this.runtime.context.clock.setTimeout(() => { this.armDeadline() }, Math.min(left, MAX_TIMER_MS))
  }

  started (step: StepTry): void {
    this.#tries.add(step)
    if (this.#stop !== undefined) step.abort(this.#stop)
  }

  ended (step: StepTry): void { this.#tries.delete(step) }

  /** Waits in the process: until the time is over, `end` is called, or the attempt has to stop. */
  wait (delayMs: number): { readonly over: Promise<void>, end (): void } {
    const { clock } = this.runtime.context
    let end = (): void => {}
    const over = new Promise<void>((resolve) => {
      const timer = delayMs === Infinity
        ? undefined
        : clock.setTimeout(() => { end() }, Math.min(delayMs, MAX_TIMER_MS))
      end = () => {
        if (timer !== undefined) clock.clearTimeout(timer)
        this.#waits.delete(end)
        resolve()
      }
      this.#waits.add(end)
      if (this.#stop !== undefined) end()
    })
    return { over, end: () => { end() } }
  }

  /** Nothing of this attempt is left running. */
  close (): void {
    this.#clearDeadline()
    this.scope.signal.removeEventListener('abort', this.#onAbort)
    for (const step of this.#tries) step.abort('lease-lost')
  }

  #clearDeadline (): void {
    if (this.#deadline !== undefined) this.runtime.context.clock.clearTimeout(this.#deadline)
    this.#deadline = undefined
  }

  #stopWith (reason: Stop): void {
    const final = reason === 'lease-lost' || reason === 'shutdown'
    if (this.#stop !== undefined && !final) return
    this.#stop = reason
    for (const step of this.#tries) step.abort(reason)
    for (const end of this.#waits) end()
  }
}
