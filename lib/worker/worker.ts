import { BaseService } from '../core/service.ts'
import type { JobRuntime } from '../events/runtime.ts'
import type { Consumer } from '../jobs/store.ts'
import type { AttemptUnderWay, JobWorker, WorkerLoad } from './job-worker.ts'
import { readWatchdog, Watchdog, type ResolvedWatchdogOptions } from './watchdog.ts'
import { readWorkerOptions, type ResolvedWorkerOptions, type WorkerOptions } from './worker-options.ts'
import { WorkerQueue } from './worker-queue.ts'

/*
 * A stop takes no longer than the drain and the sum of these, whatever handlers and the store do. None of them is waited for in full
 * when there is nothing to wait for.
 */
/**
 * The grace of an aborted handler is cut down to this: `graceMs` has no maximum, but the patience of an orchestrator
 * has.
 */
const MAX_GRACE_MS = 5_000
/** When the last handler has ended, its job must still be handed back to the store. */
const HAND_BACK_MS = 2_000
/** Connections and timers that are left after this are dropped. */
const CLOSE_MS = 500

/** Claims jobs of the queues that this process works on, and runs them. One per Fastify instance. */
export class Worker extends BaseService implements JobWorker {
  readonly id: string
  readonly drainTimeoutMs: number
  readonly #runtime: JobRuntime
  readonly #options: ResolvedWorkerOptions
  readonly #queues = new Map<string, WorkerQueue>()
  readonly #watchdog: Watchdog | undefined
  /** Aborted when no more jobs are claimed, for good. */
  readonly #quiesced = new AbortController()

  /** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
  constructor (runtime: JobRuntime, options?: WorkerOptions) {
    super()
    this.#runtime = runtime
    this.#options = readWorkerOptions(options)
    this.id = this.#options.workerId ?? runtime.context.instanceId
    this.drainTimeoutMs = this.#options.drainTimeoutMs
    const watchdog = readWatchdog(this.#options.watchdog, runtime.store)
    this.#watchdog = watchdog && this.#makeWatchdog(watchdog)
  }

  /** Attempts under way. */
  get active (): number { return this.#sum(({ active }) => active) }

  /** Handlers that run on although their attempts were settled without them. */
  get abandoned (): number { return this.#sum(({ abandoned }) => abandoned) }

  /** Attempts that can run at one time, over all queues. */
  get concurrency (): number { return this.#sum(({ concurrency }) => concurrency) }

  get draining (): boolean { return this.#quiesced.signal.aborted }

  /**
   * The abandoned handlers of one queue; `exhaustedSince` (monotonic): they hold every slot of it since then, and
   * nothing is claimed.
   */
  abandonedIn (queue: string): { readonly running: number, readonly exhaustedSince: number | undefined } {
    const found = this.#queues.get(queue)
    return { running: found?.abandoned ?? 0, exhaustedSince: found?.exhaustedSince }
  }

  /**
   * How busy this process is with each of its queues: slots that are held, those that abandoned handlers keep
   * included, and slots in all.
   */
  loads (): WorkerLoad[] {
    return [...this.#queues.values()].map(({ name, taken, concurrency }) => ({ queue: name, active: taken, concurrency }))
  }

  /** The attempts that have been under way the longest, the oldest first. */
  oldestAttempts (limit: number): AttemptUnderWay[] {
    const now = this.#runtime.context.clock.monotonic()
    const oldest = [...this.#queues.values()].flatMap((queue) => queue.oldest(limit)).sort((a, b) => a.startedAt - b.startedAt)
    return oldest.slice(0, limit).map(({ startedAt, claim: { job: { id, name, queue, attempts } } }) => (
      { id, name, queue, attempt: attempts, runningMs: Math.max(0, Math.round(now - startedAt)) }
    ))
  }

  concurrencyOf (queue: string): number {
    return this.#options.queues[queue]?.concurrency ?? this.#options.concurrency
  }

  /** Whether jobs of this queue are run here. */
  worksOn (queue: string): boolean { return !this.#options.onlyTheseQueues || this.#options.queues[queue] !== undefined }

  /**
   * Attempts that the present consumer of a queue may have under way: fewer than its concurrency while a consumer
   * that it replaced still has some, or while abandoned handlers keep slots.
   */
  slotsOf (queue: string): number { return this.#queues.get(queue)?.slots ?? this.concurrencyOf(queue) }

  /** The present consumer of each queue. */
  consumers (): readonly Consumer[] {
    return [...this.#queues.values()].flatMap(({ consumer }) => consumer === undefined ? [] : [consumer])
  }

  /** Claims no more jobs, of one queue or of all; attempts under way go on. */
  pause (queue?: string): void { for (const each of this.#named(queue)) each.pause() }

  resume (queue?: string): void { for (const each of this.#named(queue)) each.resume() }

  /**
   * Replaces the consumer of a queue, as the watchdog does when it is silent. Attempts under way go on and are
   * settled by the old one; the new one takes no more than the slots that are free.
   *
   * @returns `false`: nothing was replaced, because this worker does not work on the queue, all its slots are taken,
   * it is paused, or the worker stops
   */
  restart (queue: string): boolean { return this.#queues.get(queue)?.restart(0, 'requested') ?? false }

  /** Stops claiming for good. Part of `stop`; called earlier, it lets a server finish its requests meanwhile. */
  quiesce (): void {
    if (this.draining) return
    this.#quiesced.abort()
    for (const consumer of this.consumers()) consumer.pause()
    this.#runtime.bus.emit('worker.draining', { workerId: this.id, active: this.active, drainTimeoutMs: this.drainTimeoutMs })
  }

  protected async onStart (): Promise<void> {
    this.#runtime.handlerMiddleware.push(...this.#options.middleware)
    // A definition that comes after the start, from a plugin that is loaded late, has its queue consumed as well.
    this.#runtime.registry.watch(({ queue }) => this.#consume(queue))
    for (const queue of Object.keys(this.#options.queues)) this.#consume(queue)
    await this.#watchdog?.start()
  }

  protected async onStop (deadlineMs: number): Promise<void> {
    this.quiesce()
    await this.#watchdog?.stop(deadlineMs)
    const consumers = [...this.#queues.values()].flatMap((queue) => queue.consumers)
    const drained = await Promise.all(consumers.map((consumer) => consumer.drain(deadlineMs)))
    // A claim can have been under way without the server, and have become an attempt after its consumer was drained.
    if (drained.includes(false) || this.active > 0) await this.#handBack(consumers)
    await Promise.all(consumers.map((consumer) => consumer.close(CLOSE_MS)))
    this.#runtime.bus.emit('worker.stopped', { workerId: this.id, released: this.#sum(({ released }) => released) })
  }

  /** The drain was not long enough: aborts the attempts under way, and lets the store have their jobs back. */
  async #handBack (consumers: readonly Consumer[]): Promise<void> {
    await Promise.all([...this.#queues.values()].map((queue) => queue.handBack(MAX_GRACE_MS)))
    await Promise.all(consumers.map((consumer) => consumer.drain(HAND_BACK_MS)))
  }

  #consume (queue: string): void {
    if (this.draining || this.#queues.has(queue) || !this.worksOn(queue)) return
    const made = new WorkerQueue({
      runtime: this.#runtime,
      workerId: this.id,
      queue,
      concurrency: this.concurrencyOf(queue),
      countAbandoned: this.#options.countAbandoned,
      quiesced: this.#quiesced.signal
    })
    made.start()
    this.#queues.set(queue, made)
  }

  #makeWatchdog (options: ResolvedWatchdogOptions): Watchdog {
    const { context: { clock }, store, traceExits } = this.#runtime
    return new Watchdog({
      clock,
      options,
      consumers: () => this.consumers(),
      slotsOf: (queue) => this.slotsOf(queue),
      answers: () => store.probe?.() ?? store.ping(),
      restart: (queue, silentMs, reason) => { this.#queues.get(queue)?.restart(silentMs, reason) },
      quietly: (work) => traceExits === undefined ? work() : traceExits.quietly(work)
    })
  }

  #named (queue: string | undefined): WorkerQueue[] {
    return [...this.#queues.values()].filter(({ name }) => queue === undefined || name === queue)
  }

  #sum (number: (queue: WorkerQueue) => number): number {
    let sum = 0
    for (const queue of this.#queues.values()) sum += number(queue)
    return sum
  }
}
