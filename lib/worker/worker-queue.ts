import { sleep } from '../core/deadline.ts'
import { LinkedList } from '../core/linked-list.ts'
import type { JobRuntime } from '../events/runtime.ts'
import type { Attempt, Claim, Consumer } from '../jobs/store.ts'
import { toStoredError } from '../jobs/stored-error.ts'
import { AttemptRun, type AttemptObserver } from './attempt.ts'
import type { RestartReason } from '../events/restart-reasons.ts'

/** A consumer that was replaced is drained again and again until its attempts have ended. */
const RETIRE_DRAIN_MS = 30_000
/** Between two drains, for a store whose `drain` does not wait. */
const RETIRE_PAUSE_MS = 1_000
const RETIRE_CLOSE_MS = 2_000

export interface WorkerQueueParts {
  readonly runtime: JobRuntime
  readonly workerId: string
  readonly queue: string
  /** Slots in all. */
  readonly concurrency: number
  /** An abandoned handler keeps its slot until it ends. */
  readonly countAbandoned: boolean
  /** Aborted when the worker claims no more jobs, for good. */
  readonly quiesced: AbortSignal
}

/**
 * One queue of a worker: the consumer that claims its jobs, the attempts under way, and who holds its slots.
 *
 * A slot is held by an attempt from its claim until its settlement was stored, and, with `countAbandoned`, by an
 * abandoned handler until it ends. The consumer is paused while abandoned handlers hold every slot (*exhausted*).
 *
 * A consumer that was replaced (see `restart`) is *retired*: it claims nothing, settles its own attempts, and is
 * closed when the last has ended. Until then its attempts hold slots that the present consumer does not get.
 */
export class WorkerQueue implements AttemptObserver {
  readonly name: string
  readonly concurrency: number
  readonly #parts: WorkerQueueParts
  // Not a Set: with this turnover V8 keeps its dead tables, and the attempts in them, until a full collection.
  readonly #running = new LinkedList<AttemptRun>()
  readonly #retired = new Set<Consumer>()
  #consumer: Consumer | undefined
  /** Monotonic: since when no attempt is under way. */
  #idleSince: number
  #abandoned = 0
  /** Monotonic: since when abandoned handlers hold every slot. */
  #exhaustedSince: number | undefined
  /** Paused on request; being exhausted pauses the consumer as well. */
  #paused = false
  #handingBack = false
  #released = 0

  constructor (parts: WorkerQueueParts) {
    this.#parts = parts
    this.name = parts.queue
    this.concurrency = parts.concurrency
    this.#idleSince = parts.runtime.context.clock.monotonic()
  }

  /** The present consumer; `undefined` before the start. */
  get consumer (): Consumer | undefined { return this.#consumer }

  /** The consumers to be drained and closed: the present one, and those that it has replaced. */
  get consumers (): Consumer[] { return this.#consumer === undefined ? [...this.#retired] : [this.#consumer, ...this.#retired] }

  /** Attempts under way. */
  get active (): number { return this.#running.size }

  /** Slots that are held. */
  get taken (): number { return this.active + this.#keptByAbandoned }

  /** Attempts that the present consumer may have under way. */
  get slots (): number {
    let slots = this.concurrency
    for (const consumer of this.#retired) slots -= consumer.active
    // Late claims of a retired consumer may have taken all of them. The present one keeps one all the same: a
    // consumer cannot have none.
    return Math.max(0, Math.max(1, slots) - this.#keptByAbandoned)
  }

  /** Handlers that run on although their attempts were settled without them. */
  get abandoned (): number { return this.#abandoned }

  get exhaustedSince (): number | undefined { return this.#exhaustedSince }

  /** Attempts that were handed back to the store, because the worker stops. */
  get released (): number { return this.#released }

  get #keptByAbandoned (): number { return this.#parts.countAbandoned ? this.#abandoned : 0 }

  get #draining (): boolean { return this.#parts.quiesced.aborted }

  /** Begins to claim jobs. */
  start (): void {
    const { runtime: { bus }, workerId } = this.#parts
    this.#consumer = this.#makeConsumer(this.concurrency)
    bus.emit('worker.started', { workerId, queue: this.name, concurrency: this.concurrency })
  }

  /** The attempts that have been under way the longest, the oldest first. */
  oldest (limit: number): AttemptRun[] {
    const oldest: AttemptRun[] = []
    for (let run = this.#running.head; run !== undefined && oldest.length < limit; run = run.next) oldest.push(run)
    return oldest
  }

  /** Claims no more jobs until it is resumed; attempts under way go on. */
  pause (): void {
    this.#paused = true
    this.#setPaused(true)
    this.#parts.runtime.bus.emit('worker.paused', { workerId: this.#parts.workerId, queue: this.name })
  }

  resume (): void {
    if (this.#draining) return
    this.#paused = false
    this.#setPaused(false)
    this.#parts.runtime.bus.emit('worker.resumed', { workerId: this.#parts.workerId, queue: this.name })
  }

  /** @see Worker.restart */
  restart (silentMs: number, reason: RestartReason): boolean {
    const old = this.#consumer
    if (old === undefined || this.#draining || old.paused || old.active >= this.slots) return false
    this.#retired.add(old)
    try {
      this.#consumer = this.#makeConsumer(this.slots)
    } catch (error) {
      this.#retired.delete(old)
      throw error
    }
    this.#parts.runtime.bus.emit('worker.restarted', { workerId: this.#parts.workerId, queue: this.name, silentMs, reason })
    this.#retire(old).catch(() => { /* neither drain nor close rejects in a store that keeps its contract */ })
    return true
  }

  /**
   * Aborts the attempts under way, and every attempt that begins after this: a claim may have been under way without
   * them.
   *
   * @returns when their handlers have ended, or were abandoned
   */
  async handBack (maxGraceMs: number): Promise<void> {
    this.#handingBack = true
    const ends: Array<Promise<void>> = []
    for (let run = this.#running.head; run !== undefined; run = run.next) {
      run.abort('shutdown', maxGraceMs)
      ends.push(run.handlerOver())
    }
    await Promise.all(ends)
  }

  attemptEnded (run: AttemptRun): void {
    // A store that settles an attempt twice must not free two slots.
    if (run.list === undefined) return
    this.#running.remove(run)
    if (run.released) this.#released++
    if (this.#running.size === 0) this.#idleSince = this.#parts.runtime.context.clock.monotonic()
    if (this.#retired.size > 0) this.#resizeNextTurn()
  }

  handlerAbandoned (): void {
    this.#abandoned++
    this.#resize()
  }

  handlerEndedLate (): void {
    this.#abandoned--
    this.#resize()
  }

  #begin (claim: Claim): Attempt {
    const { runtime, workerId } = this.#parts
    if (this.#running.size === 0 && runtime.bus.wants('worker.idled')) {
      runtime.bus.emit('worker.idled', { workerId, queue: this.name, idleMs: runtime.context.clock.monotonic() - this.#idleSince })
    }
    const run = new AttemptRun(runtime, claim, workerId, this)
    this.#running.push(run)
    // It may be the last claim of a retired consumer.
    if (this.#retired.size > 0) this.#resizeNextTurn()
    if (this.#handingBack) run.abort('shutdown')
    return run
  }

  #makeConsumer (slots: number): Consumer {
    const { runtime: { bus, store }, workerId } = this.#parts
    const queue = this.name
    return store.consume({
      queue,
      concurrency: slots,
      workerId,
      attempt: (claim) => this.#begin(claim),
      onStalled: (jobId) => bus.emit('job.stalled', { jobId, queue }),
      onError: (error) => {
        const { code: errorCode, message } = toStoredError(error)
        bus.emit('worker.failed', { workerId, queue, errorCode, message })
      }
    })
  }

  /**
   * Closes a consumer that was replaced when its attempts have ended, however long they take; until then it renews
   * their leases.
   */
  async #retire (old: Consumer): Promise<void> {
    const { runtime: { context: { clock } }, quiesced } = this.#parts
    try {
      while (!await old.drain(RETIRE_DRAIN_MS) && !this.#draining) await sleep(clock, RETIRE_PAUSE_MS, quiesced)
    } finally {
      // A worker that stops drains and closes the retired consumers as well.
      if (!this.#draining) {
        this.#retired.delete(old)
        this.#resize()
        await old.close(RETIRE_CLOSE_MS)
      }
    }
  }

  /**
   * The store counts an attempt as active on its consumer, or no more, in this very turn, before or after it calls
   * the worker.
   */
  #resizeNextTurn (): void { setImmediate(() => { this.#resize() }) }

  /** Gives the present consumer the slots that are left for it, and pauses it while there are none. */
  #resize (): void {
    const consumer = this.#consumer
    if (consumer === undefined || this.#draining) return
    const { runtime: { bus, context: { clock } }, workerId } = this.#parts
    const { slots } = this
    if (slots > 0) consumer.resize?.(slots)
    if (slots === 0 && this.#exhaustedSince === undefined) {
      this.#setPaused(true)
      this.#exhaustedSince = clock.monotonic()
      bus.emit('worker.exhausted', { workerId, queue: this.name, abandoned: this.#abandoned })
    } else if (slots > 0 && this.#exhaustedSince !== undefined) {
      const exhaustedMs = clock.monotonic() - this.#exhaustedSince
      this.#exhaustedSince = undefined
      if (!this.#paused) this.#setPaused(false)
      bus.emit('worker.relieved', { workerId, queue: this.name, exhaustedMs })
    }
  }

  /**
   * Nothing is to be done while the queue is exhausted: the consumer is paused then, and `#resize` decides whether it
   * goes on.
   */
  #setPaused (paused: boolean): void {
    const consumer = this.#consumer
    if (consumer === undefined || this.#exhaustedSince !== undefined) return
    const act = (): void => { paused ? consumer.pause() : consumer.resume() }
    const { traceExits } = this.#parts.runtime
    // Claiming that goes on must not belong to the trace of the request or job that asked for it.
    if (traceExits === undefined) act()
    else traceExits.quietly(act)
  }
}
