import type { TimerHandle } from '../core/context.ts'
import type { LinkedList, Listed } from '../core/linked-list.ts'
import type { JobRuntime } from '../events/runtime.ts'
import type { HandlerMiddleware, JobDefinition, JobHandler } from '../jobs/definition.ts'
import type { JobProgress, TraceCarrier } from '../jobs/job.ts'
import { isOutcome } from '../jobs/outcome.ts'
import type { AttemptScope, SpanRunner } from '../jobs/seams.ts'
import type { Attempt, Claim, SettleVerdict, Settlement } from '../jobs/store.ts'
import { ThrownFailure, toStoredError } from '../jobs/stored-error.ts'
import { sampledIds } from '../jobs/trace-ids.ts'
import { AbortState, type AbortReason } from './abort.ts'
import { AttemptContext } from './job-context.ts'
import { ProgressReporter } from './progress.ts'
import { classify, settleStall, type HandlerEnd } from './settle.ts'
import { emitClaimed, emitSettled, emitStarted } from './attempt-events.ts'

/** A job of a name that this process does not know goes back for about this long: another process may know it. */
const UNKNOWN_JOB_DELAY_MS = 5_000

const ABANDONED: HandlerEnd = Object.freeze({ kind: 'abandoned' })

/** Hears of a handler that runs on after its attempt was settled without it, and of its end. */
export interface OvertimeListener {
  began (run: AttemptRun): void
  ended (run: AttemptRun): void
}

type SettledListener = (verdict: SettleVerdict, settlement: Settlement) => void

/**
 * One attempt, in small steps: resolve the definition, account for a stall, run the handler under timeout and abort,
 * classify how it ended, and, once the store has answered, tell it.
 *
 * ```
 * made ──run──▶ running ──(handler ends | grace over)──▶ classified ──store──▶ settled
 * ```
 */
export class AttemptRun implements Attempt, AttemptScope, Listed<AttemptRun> {
  readonly claim: Claim
  readonly workerId: string
  spanRunner: SpanRunner | undefined
  traceIds: AttemptScope['traceIds']
  trace: TraceCarrier | undefined
  makeLogger: AttemptScope['makeLogger']
  /** Wall-clock independent start of the handler's attempt, for the durations that are told. */
  readonly startedAt: number
  endedAt: number | undefined
  failure: ThrownFailure | undefined
  // Its place among the attempts of its worker.
  list: LinkedList<AttemptRun> | undefined = undefined
  previous: AttemptRun | undefined = undefined
  next: AttemptRun | undefined = undefined

  readonly #runtime: JobRuntime
  readonly #done: (run: AttemptRun) => void
  readonly #overtime: OvertimeListener | undefined
  readonly #abort = new AbortState()
  #definition: JobDefinition | undefined
  #progress: ProgressReporter | undefined
  #listeners: SettledListener[] | undefined
  #settlement: Settlement | undefined
  #handlerRunning = false
  #handlerStartedAt = 0
  #resolveEnd: ((end: HandlerEnd) => void) | undefined
  #timeout: TimerHandle | undefined
  #grace: TimerHandle | undefined
  #abortedAt: number | undefined
  #graceMs: number | undefined
  /** Monotonic; the handler runs on. */
  #abandonedAt: number | undefined
  #onHandlerEnd: (() => void) | undefined

  constructor (runtime: JobRuntime, claim: Claim, workerId: string, done: (run: AttemptRun) => void, overtime?: OvertimeListener) {
    this.#runtime = runtime
    this.claim = claim
    this.workerId = workerId
    this.#done = done
    this.#overtime = overtime
    this.startedAt = runtime.context.clock.monotonic()
  }

  get definition (): JobDefinition {
    if (this.#definition === undefined) throw new Error('the attempt has no definition: its job is unknown here')
    return this.#definition
  }

  get known (): boolean { return this.#definition !== undefined }

  /** Handed back to the store by a stopping worker. */
  get released (): boolean { return this.#settlement?.kind === 'release' }

  get abortReason (): AbortReason | undefined { return this.#abort.reason }

  onSettled (listener: SettledListener): void {
    this.#listeners ??= []
    this.#listeners.push(listener)
  }

  /** @param maxGraceMs what its grace is cut down to, also one that has begun already: a shutdown has an end */
  abort (reason: AbortReason, maxGraceMs = Infinity): void {
    const first = this.#abort.abort(reason)
    if ((!first && maxGraceMs === Infinity) || !this.#handlerRunning) return
    const { clock } = this.#runtime.context
    const now = clock.monotonic()
    const until = Math.min((this.#abortedAt ?? now) + this.definition.graceMs, now + maxGraceMs)
    this.#abortedAt ??= now
    this.#graceMs = Math.round(until - this.#abortedAt)
    if (this.#grace !== undefined) clock.clearTimeout(this.#grace)
    this.#grace = clock.setTimeout(() => this.#end(ABANDONED), Math.max(0, until - now))
  }

  /** Resolves when the handler has ended or is not heard any more; at once when none runs. */
  handlerEnd (): Promise<void> {
    return this.#handlerRunning ? new Promise((resolve) => { this.#onHandlerEnd = resolve }) : Promise.resolve()
  }

  run (): Promise<Settlement> {
    const { traceExits } = this.#runtime
    // The store calls from a loop of its own, where nothing is traced; from here on it is the application's work.
    return traceExits?.open === true ? traceExits.plainly(() => this.#attempt()) : this.#attempt()
  }

  async #attempt (): Promise<Settlement> {
    const { job } = this.claim
    const definition = this.#definition = this.#runtime.registry.get(job.name)
    emitClaimed(this.#runtime, this)
    let settlement: Settlement
    if (definition?.handler === undefined) settlement = this.#unknown()
    else {
      // Accounting for a stall calls no handler, but belongs into the trace like an attempt: nobody else ends the one that stalled.
      const { handler } = definition
      const work = this.claim.stalled ? async () => settleStall(job, definition) : () => this.#run(definition, handler)
      try {
        const { attemptMiddleware } = this.#runtime
        settlement = attemptMiddleware.length === 0 ? await work() : await wrap(attemptMiddleware, 0, this, work)
      } catch (error) {
        settlement = this.#middlewareFailed(error, definition)
      }
    }
    this.endedAt = this.#runtime.context.clock.monotonic()
    this.#settlement = settlement
    return settlement
  }

  /** Middleware of ours wraps the attempt; if it fails, the attempt did. A stall stays what it was. */
  #middlewareFailed (error: unknown, definition: JobDefinition): Settlement {
    const { claim: { job, stalled } } = this
    if (stalled) return settleStall(job, definition)
    const { text } = this.#runtime.redaction
    this.failure = new ThrownFailure(error, text)
    return classify({ kind: 'threw', error }, undefined, false, job, definition, text)
  }

  settled (verdict: SettleVerdict): void {
    const { traceExits } = this.#runtime
    if (traceExits?.open === true) traceExits.plainly(() => { this.#tellSettled(verdict) })
    else this.#tellSettled(verdict)
  }

  #tellSettled (verdict: SettleVerdict): void {
    const settlement = this.#settlement
    if (settlement === undefined) {
      // Its consumer was closed, or it broke: the lease runs out and somebody else runs the job.
      this.abort('lease-lost')
      return this.#done(this)
    }
    for (const listener of this.#listeners ?? []) listener(verdict, settlement)
    emitSettled(this.#runtime, this, settlement, verdict)
    this.#done(this)
  }

  async #run (definition: JobDefinition, handler: JobHandler): Promise<Settlement> {
    emitStarted(this.#runtime, this)
    const end = await this.#runHandler(definition, handler)
    const settlement = classify(end, this.#abort.reason, this.#abort.observed, this.claim.job, definition, this.#runtime.redaction.text)
    if (this.#abort.reason === 'lease-lost') this.#progress?.discard()
    else await this.#progress?.flush()
    return settlement
  }

  /**
   * Ends when the handler does, or when the grace after an abort is over; a handler that goes on is no longer heard.
   * Callbacks instead of `async`: this is the hottest path there is, and each async frame costs half a kilobyte.
   */
  #runHandler (definition: JobDefinition, handler: JobHandler): Promise<HandlerEnd> {
    if (this.#abort.reason !== undefined) return Promise.resolve(ABANDONED)
    const { context: { clock }, bus } = this.#runtime
    const { job } = this.claim
    if (bus.wants('handler.started')) bus.emit('handler.started', { jobId: job.id, jobName: job.name, queue: job.queue, attempt: job.attempts })
    this.#handlerStartedAt = clock.monotonic()
    if (definition.timeoutMs > 0) this.#timeout = clock.setTimeout(() => this.#timedOut(definition), definition.timeoutMs)
    this.#handlerRunning = true
    this.#callHandler(handler).then(this.#returned, this.#threw)
    return new Promise((resolve) => { this.#resolveEnd = resolve })
  }

  readonly #returned = (value: unknown): void => this.#end({ kind: 'returned', value })

  readonly #threw = (error: unknown): void => this.#end({ kind: 'threw', error })

  /** The first ending counts; of what a handler does after its grace only its end is noticed. */
  #end (how: HandlerEnd): void {
    if (!this.#handlerRunning) return this.#endOvertime()
    this.#handlerRunning = false
    const { clock } = this.#runtime.context
    if (this.#timeout !== undefined) clock.clearTimeout(this.#timeout)
    if (this.#grace !== undefined) clock.clearTimeout(this.#grace)
    this.#resolveEnd?.(how)
    this.#onHandlerEnd?.()
    // What an attempt that has lived long enough to be tenured still points at would be kept until a full collection.
    this.#timeout = this.#grace = this.#resolveEnd = this.#onHandlerEnd = undefined
    this.#tellHandlerEnd(how, clock.monotonic() - this.#handlerStartedAt, this.definition)
    if (how.kind !== 'abandoned') return
    this.#abandonedAt = clock.monotonic()
    // Before the attempt is settled: the store would give its place to another job.
    this.#overtime?.began(this)
  }

  #endOvertime (): void {
    if (this.#abandonedAt === undefined) return
    const { bus, context } = this.#runtime
    const { id: jobId, name: jobName, queue, correlationId } = this.claim.job
    bus.emit('handler.ended_late', { jobId, jobName, queue, correlationId, ...this.#ids, lateMs: context.clock.monotonic() - this.#abandonedAt })
    this.#abandonedAt = undefined
    this.#overtime?.ended(this)
  }

  #callHandler (handler: JobHandler): Promise<unknown> {
    const { handlerMiddleware, handlerSpanMiddleware } = this.#runtime
    const context = new AttemptContext(this, this.#abort, () => this.#reporter(), this.#runtime)
    const call = (): Promise<unknown> => callHandler(handlerMiddleware, 0, context, handler)
    const { currentJobs } = this.#runtime
    // Asked first: where no job is carried along, nothing more is made for it.
    const work = currentJobs?.carries === true ? () => currentJobs.run(context, call) : call
    return handlerSpanMiddleware.length === 0 ? work() : wrap(handlerSpanMiddleware, 0, this, work)
  }

  #tellHandlerEnd (end: HandlerEnd, durationMs: number, definition: JobDefinition): void {
    const { bus } = this.#runtime
    const { id: jobId, name: jobName, queue, correlationId } = this.claim.job
    const traceId = this.traceIds?.traceId
    const spanId = this.traceIds?.spanId
    if (end.kind === 'abandoned') {
      bus.emit('handler.abandoned', { jobId, jobName, queue, correlationId, traceId, spanId, reason: this.#abort.reason ?? 'shutdown', durationMs, graceMs: this.#graceMs ?? definition.graceMs })
    } else if (end.kind === 'returned' || isOutcome(end.error) || this.#stoppedOnRequest()) {
      // A thrown snooze, cancel or discard is an answer, and a throw because of an abort is obedience: neither is an error.
      if (bus.wants('handler.completed')) bus.emit('handler.completed', { jobId, jobName, queue, traceId, spanId, durationMs })
    } else {
      this.failure = new ThrownFailure(end.error, this.#runtime.redaction.text)
      bus.emit('handler.failed', { jobId, jobName, queue, correlationId, traceId, spanId, durationMs, errorCode: toStoredError(end.error, this.#runtime.redaction.text).code })
    }
  }

  /** Of the attempt's own span; of the submission's where the attempt has none. */
  get #ids (): { readonly traceId: string | undefined, readonly spanId: string | undefined } {
    const ids = this.traceIds ?? sampledIds(this.claim.job.trace)
    return { traceId: ids?.traceId, spanId: ids?.spanId }
  }

  #stoppedOnRequest (): boolean {
    return this.#abort.observed && this.#abort.reason !== undefined && this.#abort.reason !== 'timeout'
  }

  #timedOut (definition: JobDefinition): void {
    const { job } = this.claim
    this.#runtime.bus.emit('job.timed_out', {
      jobId: job.id,
      jobName: job.name,
      queue: job.queue,
      workerId: this.workerId,
      correlationId: job.correlationId,
      ...this.#ids,
      attempt: job.attempts,
      maxAttempts: job.maxAttempts,
      timeoutMs: definition.timeoutMs
    })
    this.abort('timeout')
  }

  #unknown (): Settlement {
    const { job } = this.claim
    const delayMs = Math.round(UNKNOWN_JOB_DELAY_MS * (0.75 + Math.random() / 2))
    this.#runtime.bus.emit('job.unhandled', { jobId: job.id, jobName: job.name, queue: job.queue, workerId: this.workerId, correlationId: job.correlationId, ...this.#ids, delayMs })
    return { kind: 'snooze', delayMs }
  }

  #reporter (): ProgressReporter {
    if (this.#progress === undefined) {
      this.#progress = new ProgressReporter(this.#runtime.context.clock, (progress) => this.#storeProgress(progress), this.#runtime.redaction.text)
      // First asked for by a handler that outlived its attempt.
      if (this.endedAt !== undefined) this.#progress.discard()
    }
    return this.#progress
  }

  async #storeProgress (progress: JobProgress): Promise<void> {
    const { job } = this.claim
    try {
      if (!await this.#runtime.store.progress(this.claim, progress)) return this.abort('lease-lost')
    } catch { return /* told as store.operation_failed; the job goes on without it */ }
    this.#runtime.bus.emit('job.progressed', { jobId: job.id, jobName: job.name, queue: job.queue, correlationId: job.correlationId, ...this.#ids, done: progress.done, total: progress.total })
  }
}

function wrap<R> (chain: ReadonlyArray<(scope: AttemptScope, next: () => Promise<R>) => Promise<R>>, index: number, scope: AttemptScope, last: () => Promise<R>): Promise<R> {
  const middleware = chain[index]
  return middleware === undefined ? last() : middleware(scope, () => wrap(chain, index + 1, scope, last))
}

function callHandler (chain: readonly HandlerMiddleware[], index: number, context: AttemptContext, handler: JobHandler): Promise<unknown> {
  const middleware = chain[index]
  try {
    return middleware === undefined
      ? Promise.resolve(handler(context))
      : Promise.resolve(middleware(context, () => callHandler(chain, index + 1, context, handler)))
  } catch (error) {
    return Promise.reject(error)
  }
}
