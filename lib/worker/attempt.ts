import type { LinkedList, Listed } from '../core/linked-list.ts'
import type { JobRuntime } from '../events/runtime.ts'
import { compose } from '../jobs/compose.ts'
import type { JobDefinition, JobHandler } from '../jobs/definition.ts'
import type { JobProgress, TraceCarrier } from '../jobs/job.ts'
import type { SpanRunner } from '../jobs/seams.ts'
import type { Attempt, Claim, SettleVerdict, Settlement } from '../jobs/store.ts'
import { ThrownFailure } from '../jobs/stored-error.ts'
import { wakeDelivery, webhookOf } from '../jobs/webhook.ts'
import { abortError, type AbortReason } from './abort.ts'
import { emitClaimed, emitSettled, emitStarted, emitUnhandled } from './attempt-events.ts'
import { classify, settleStall } from './classify.ts'
import { emitHandlerEnded, emitHandlerEndedLate, emitHandlerStarted, emitProgressed, emitTimedOut, isHandlerError } from './handler-events.ts'
import { AttemptContext, type HandlerScope } from './job-context.ts'
import { ProgressReporter } from './progress.ts'
import { RunnerAttempt } from './runner-attempt.ts'
import { RunningHandler, type HandlerEnd, type HandlerOwner } from './running-handler.ts'

/** A job of a name that this process does not know is handed back for about this long: another process may know it. */
const UNKNOWN_JOB_DELAY_MS = 5_000

/** Is notified about the attempt that it follows. */
export interface AttemptObserver {
  /** The attempt is over: its settlement was stored, was refused, or could not be stored. */
  attemptEnded (run: AttemptRun): void
  /** The handler ignored its abort and runs on; its attempt is settled without it. */
  handlerAbandoned (run: AttemptRun): void
  /** A handler that was abandoned has ended after all. */
  handlerEndedLate (run: AttemptRun): void
}

type SettledListener = (verdict: SettleVerdict, settlement: Settlement) => void

/**
 * One attempt, from the claim to the report of its settlement. A consumer of the store drives it, in two halves with
 * the store's own work between them:
 *
 * 1. `run` → `#untilSettlement`: report the claim; if the attempt before this one stalled, account for that and call no
 *    handler; otherwise run the handler, classify how it ended, and write its last progress.
 * 2. The store settles: it stores the settlement, refuses it because the lease is lost, or cannot be reached.
 * 3. `settled` → `#afterSettlement`: report what became of the settlement. No ending is reported before it is stored.
 *
 * Two halves, because awaiting the store's answer in one function would cost every job a promise and a turn, and
 * stores call `settled` to have the ending reported at once.
 */
export class AttemptRun implements Attempt, HandlerScope, HandlerOwner, Listed<AttemptRun> {
  readonly claim: Claim
  readonly workerId: string
  spanRunner: SpanRunner | undefined
  traceIds: HandlerScope['traceIds']
  trace: TraceCarrier | undefined
  makeLogger: HandlerScope['makeLogger']
  /** Monotonic milliseconds, for the durations in events. */
  readonly startedAt: number
  endedAt: number | undefined
  failure: ThrownFailure | undefined
  // Of the list of attempts that a worker keeps.
  list: LinkedList<AttemptRun> | undefined = undefined
  previous: AttemptRun | undefined = undefined
  next: AttemptRun | undefined = undefined

  readonly #runtime: JobRuntime
  readonly #observer: AttemptObserver
  readonly #handler: RunningHandler
  #definition: JobDefinition | undefined
  #progress: ProgressReporter | undefined
  #listeners: SettledListener[] | undefined
  #settlement: Settlement | undefined
  /** Of a job that the library's own runner runs, such as a saga. */
  #runner: RunnerAttempt | undefined

  constructor (runtime: JobRuntime, claim: Claim, workerId: string, observer: AttemptObserver) {
    const { clock } = runtime.context
    this.#runtime = runtime
    this.claim = claim
    this.workerId = workerId
    this.#observer = observer
    this.#handler = new RunningHandler<AbortReason>(clock, this, abortError)
    this.startedAt = clock.monotonic()
    // Known now, because an abort may come before the run.
    const definition = this.#definition = runtime.registry.get(claim.job.name)
    const runner = definition === undefined ? undefined : runtime.runners?.get(definition.name)
    if (definition !== undefined && runner !== undefined) this.#runner = new RunnerAttempt({ attempt: this, handler: this.#handler, runtime, definition, runner })
  }

  get definition (): JobDefinition {
    if (this.#definition === undefined) throw new Error('the attempt has no definition: its job is unknown here')
    return this.#definition
  }

  get known (): boolean { return this.#definition !== undefined }

  /** Handed back to the store by a worker that stops. */
  get released (): boolean { return this.#settlement?.kind === 'release' }

  get abortReason (): AbortReason | undefined { return this.#handler.abortReason }

  onSettled (listener: SettledListener): void {
    this.#listeners ??= []
    this.#listeners.push(listener)
  }

  /** @param maxGraceMs cuts the handler's grace down: see {@link RunningHandler.abort} */
  abort (reason: AbortReason, maxGraceMs?: number): void {
    // A saga decides itself what a cancel means: it may have to undo something.
    if (reason === 'cancelled' && this.#runner !== undefined) this.#runner.cancel()
    else this.#handler.abort(reason, maxGraceMs)
  }

  /** Resolves when the handler has ended or was abandoned; at once when it is not running. */
  handlerOver (): Promise<void> { return this.#handler.over() }

  run (): Promise<Settlement> {
    const { traceExits } = this.#runtime
    // The store calls from a loop of its own, where nothing is traced. What follows is the application's work, and
    // may be traced.
    return traceExits?.open === true ? traceExits.plainly(() => this.#untilSettlement()) : this.#untilSettlement()
  }

  settled (verdict: SettleVerdict): void {
    const { traceExits } = this.#runtime
    if (traceExits?.open === true) traceExits.plainly(() => { this.#afterSettlement(verdict) })
    else this.#afterSettlement(verdict)
  }

  /** The first half of an attempt: see the class. The store settles when this has resolved; it never rejects. */
  async #untilSettlement (): Promise<Settlement> {
    const { attemptMiddleware, redaction } = this.#runtime
    const { job, stalled } = this.claim
    const definition = this.#definition

    emitClaimed(this.#runtime, this)
    if (definition?.handler === undefined) return this.#ended(this.#handBack())

    const { handler } = definition
    const work = async (): Promise<Settlement> => {
      // Inside the middleware too: no other attempt ends the one that stalled, so this one stands for it in the trace.
      if (stalled) {
        const settlement = this.#runner === undefined ? settleStall(job, definition) : await this.#runner.afterStall()
        if (settlement !== undefined) return settlement
      }
      emitStarted(this.#runtime, this)
      const end = await this.#handler.run(this.#runner?.limits ?? definition, () => this.#callHandler(handler))
      const settlement = this.#runner?.settlement ?? classify(end, this.#handler, job, definition, redaction.text)
      if (this.#handler.abortReason === 'lease-lost') this.#progress?.discard()
      else if (this.#progress !== undefined) await this.#progress.flush()
      return settlement
    }
    try {
      return this.#ended(attemptMiddleware.length === 0 ? await work() : await compose(attemptMiddleware, this, work))
    } catch (error) {
      return this.#ended(this.#settleBroken(error, definition))
    }
  }

  /** The second half of an attempt: see the class. */
  #afterSettlement (verdict: SettleVerdict): void {
    const settlement = this.#settlement
    if (settlement === undefined) {
      // The consumer was closed, or is broken, while the handler runs. The lease will run out and another worker will
      // run the job.
      this.abort('lease-lost')
    } else {
      for (const listener of this.#listeners ?? []) listener(verdict, settlement)
      emitSettled(this.#runtime, this, settlement, verdict)
      if (webhookOf(this.claim.job.input) !== undefined && hasEnded(settlement, verdict)) {
        void wakeDelivery(this.#runtime.store, this.claim.job)
      }
    }
    this.#observer.attemptEnded(this)
  }

  #ended (settlement: Settlement): Settlement {
    this.endedAt = this.#runtime.context.clock.monotonic()
    this.#settlement = settlement
    return settlement
  }

  /** This process has no handler for the job. */
  #handBack (): Settlement {
    const delayMs = Math.round(UNKNOWN_JOB_DELAY_MS * (0.75 + Math.random() / 2))
    emitUnhandled(this.#runtime, this, delayMs)
    return { kind: 'snooze', delayMs }
  }

  /** A middleware around the attempt failed. That counts as an error of the attempt; a stall stays a stall. */
  #settleBroken (error: unknown, definition: JobDefinition): Settlement {
    const { claim: { job, stalled } } = this
    // Of a saga, the stall stays unaccounted for: the next claim looks at its steps again.
    if (stalled) return this.#runner === undefined ? settleStall(job, definition) : { kind: 'snooze', delayMs: UNKNOWN_JOB_DELAY_MS }
    const { text } = this.#runtime.redaction
    this.failure = new ThrownFailure(error, text)
    return classify({ kind: 'threw', error }, { abortReason: undefined, signalRead: false }, job, definition, text)
  }

  #callHandler (handler: JobHandler): Promise<unknown> {
    const { handlerMiddleware, handlerSpanMiddleware, currentJobs } = this.#runtime
    emitHandlerStarted(this.#runtime, this)
    const context = new AttemptContext(this, this.#handler, this.#runtime)
    const runner = this.#runner
    const call = runner === undefined ? () => handler(context) : () => runner.run(context)
    // Each layer is made only where there is something in it.
    const wrapped = handlerMiddleware.length === 0 ? call : () => compose(handlerMiddleware, context, call, true)
    const carried = currentJobs?.carries === true ? () => currentJobs.run(context, wrapped) : wrapped
    return compose(handlerSpanMiddleware, this, carried)
  }

  handlerTimedOut (): void { emitTimedOut(this.#runtime, this, this.definition.timeoutMs) }

  handlerEnded (end: HandlerEnd, durationMs: number): void {
    if (isHandlerError(end, this.#handler)) this.failure = new ThrownFailure(end.error, this.#runtime.redaction.text)
    emitHandlerEnded(this.#runtime, this, end, this.#handler, durationMs)
    // Before the attempt is settled: the store would give its slot to another job.
    if (end.kind === 'abandoned') this.#observer.handlerAbandoned(this)
  }

  handlerEndedLate (lateMs: number): void {
    emitHandlerEndedLate(this.#runtime, this, lateMs)
    this.#observer.handlerEndedLate(this)
  }

  reportProgress (progress: JobProgress | number): void {
    if (this.#progress === undefined) {
      const { context: { clock }, redaction: { text } } = this.#runtime
      this.#progress = new ProgressReporter(clock, (value) => this.#storeProgress(value), text)
      // The first report of a handler that outlived its attempt.
      if (this.endedAt !== undefined) this.#progress.discard()
    }
    this.#progress.report(progress)
  }

  async #storeProgress (progress: JobProgress): Promise<void> {
    try {
      if (!await this.#runtime.store.progress(this.claim, progress)) return this.abort('lease-lost')
    } catch { return /* reported as store.operation_failed; the job goes on without it */ }
    emitProgressed(this.#runtime, this, progress)
  }
}

/** Whether the job is over with this settlement. */
function hasEnded ({ kind }: Settlement, verdict: SettleVerdict): boolean {
  if (verdict.kind !== 'stored') return false
  return kind === 'completed' || kind === 'failed' || kind === 'cancelled' || verdict.instead === 'cancelled'
}
