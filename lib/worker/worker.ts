import { sleep } from '../core/deadline.ts'
import { LinkedList } from '../core/linked-list.ts'
import { BaseService } from '../core/service.ts'
import { readOptions, type OptionsSchema } from '../core/options.ts'
import type { JobRuntime } from '../events/runtime.ts'
import type { HandlerMiddleware } from '../jobs/definition.ts'
import type { Attempt, Claim, Consumer } from '../jobs/store.ts'
import { toStoredError } from '../jobs/stored-error.ts'
import { AbandonedHandlers } from './abandoned.ts'
import { AttemptRun, type AttemptObserver } from './attempt.ts'
import { readWatchdog, WATCHDOG_DEFAULTS, Watchdog, watchdogSchema, type RestartReason, type WatchdogOptions } from './watchdog.ts'

export interface QueueWorkerOptions {
  /** Attempts of this queue at one time in this process. */
  concurrency?: number
}

export interface WorkerOptions {
  /** Attempts at one time for each queue that has no number of its own. @defaultValue 10 */
  concurrency?: number
  /** Per queue; with `onlyTheseQueues` these are also the only ones this process works on. */
  queues?: Readonly<Record<string, QueueWorkerOptions>>
  /** Claim only from the queues named in `queues`. @defaultValue false */
  onlyTheseQueues?: boolean
  /**
   * On shutdown, running attempts have this long to end by themselves; then they are aborted, get their `graceMs` (5 s at
   * the most, whatever it is) and are handed back, which is given up after 2 s when the store does not answer. Keep the
   * sum below the grace of your orchestrator (30 s in Kubernetes). @defaultValue 20000
   */
  drainTimeoutMs?: number
  /**
   * A handler that ignores its abort runs on after its `graceMs`, and its attempt is settled without it. `true`: it keeps its place until
   * it ends, so that `concurrency` bounds what really runs; when such handlers hold every place of a queue, nothing is claimed from it until
   * one ends (event `worker.exhausted`). `false`: another job takes the place at once. @defaultValue true
   */
  countAbandoned?: boolean
  /** Makes the consumer of a queue anew that claims nothing although the store answers. `false`: nobody watches. */
  watchdog?: false | WatchdogOptions
  /** Wraps every handler, the first outermost. */
  middleware?: readonly HandlerMiddleware[]
  /** Names this worker in logs, metrics and leases. @defaultValue host:pid:random */
  workerId?: string
}

export const workerSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    concurrency: { type: 'integer', minimum: 1, maximum: 10_000 },
    queues: {
      type: 'object',
      additionalProperties: {
        type: 'object',
        additionalProperties: false,
        properties: { concurrency: { type: 'integer', minimum: 1, maximum: 10_000 } }
      }
    },
    onlyTheseQueues: { type: 'boolean' },
    drainTimeoutMs: { type: 'number', minimum: 0 },
    countAbandoned: { type: 'boolean' },
    watchdog: watchdogSchema,
    middleware: { type: 'array', items: { isFunction: true } },
    workerId: { type: 'string', minLength: 1, maxLength: 200 }
  }
}

export const WORKER_DEFAULTS = Object.freeze({
  concurrency: 10,
  queues: Object.freeze({}) as Readonly<Record<string, QueueWorkerOptions>>,
  onlyTheseQueues: false,
  drainTimeoutMs: 20_000,
  countAbandoned: true,
  watchdog: WATCHDOG_DEFAULTS as false | WatchdogOptions,
  middleware: Object.freeze([]) as readonly HandlerMiddleware[]
})

/*
 * A stop takes no longer than the drain and the sum of these, whatever handlers and the store do. When nobody is in the
 * way, none of them is waited for.
 */
/** The grace of an aborted handler is cut down to this: `graceMs` has no maximum, but an orchestrator's patience has. */
const MAX_GRACE_MS = 5_000
/** After the last handler has ended, its job still has to be handed back to the store. */
const HAND_BACK_MS = 2_000
/** What is left is let go of by force. */
const CLOSE_MS = 500
/** A consumer that was replaced is asked again after this whether its attempts have ended; closing it may take so long. */
const RETIRE_MS = 30_000
const RETIRE_PAUSE_MS = 1_000
const RETIRE_CLOSE_MS = 2_000

/** An attempt that has begun and not ended. */
export interface AttemptUnderWay {
  /** Of its job. */
  readonly id: string
  readonly name: string
  readonly queue: string
  /** From 1. */
  readonly attempt: number
  readonly runningMs: number
}

/** How busy this process is with one queue. */
interface QueueLoad { active: number, /** monotonic; since when nothing runs */ idleSince: number }

/** Claims jobs of the queues it knows and runs them. One per Fastify instance. */
export class Worker extends BaseService {
  readonly id: string
  readonly drainTimeoutMs: number
  readonly #runtime: JobRuntime
  readonly #options: ReturnType<typeof readWorkerOptions>
  readonly #consumers = new Map<string, Consumer>()
  /** Replaced, with attempts that still run. */
  readonly #retired = new Set<Consumer>()
  readonly #watchdog: Watchdog | undefined
  // Not a Set: with this turnover V8 keeps its dead tables, and the attempts in them, until a full collection.
  readonly #running = new LinkedList<AttemptRun>()
  readonly #loads = new Map<string, QueueLoad>()
  readonly #abandoned = new AbandonedHandlers()
  /** Queues that somebody paused, whatever else keeps them from being claimed from. */
  readonly #pausedQueues = new Set<string>()
  readonly #quiesced = new AbortController()
  #draining = false
  #handingBack = false
  #released = 0

  /** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
  constructor (runtime: JobRuntime, options?: WorkerOptions) {
    super()
    this.#runtime = runtime
    this.#options = readWorkerOptions(options)
    this.id = this.#options.workerId ?? runtime.context.instanceId
    this.drainTimeoutMs = this.#options.drainTimeoutMs
    runtime.handlerMiddleware.push(...this.#options.middleware)
    const watchdog = readWatchdog(this.#options.watchdog, runtime.store)
    this.#watchdog = watchdog && this.#makeWatchdog(watchdog)
  }

  /** Attempts under way. */
  get active (): number { return this.#running.size }

  /** Handlers that run on after their attempts were settled without them. */
  get abandoned (): number { return this.#abandoned.size }

  /** Of one queue; `exhaustedSince` (monotonic): they hold every place of it, and nothing is claimed. */
  abandonedIn (queue: string): { readonly running: number, readonly exhaustedSince: number | undefined } {
    return { running: this.#abandoned.of(queue), exhaustedSince: this.#abandoned.exhaustedSince(queue) }
  }

  /** Attempts that could run at one time, over all queues. */
  get concurrency (): number {
    let sum = 0
    for (const queue of this.#consumers.keys()) sum += this.concurrencyOf(queue)
    return sum
  }

  /** How busy this process is with each of its queues; abandoned handlers that keep their places are counted. */
  loads (): Array<{ readonly queue: string, readonly active: number, readonly concurrency: number }> {
    return [...this.#loads].map(([queue, { active }]) => ({ queue, active: active + this.#takenByAbandoned(queue), concurrency: this.concurrencyOf(queue) }))
  }

  /** The attempts that have been under way the longest, oldest first. */
  oldestAttempts (limit: number): AttemptUnderWay[] {
    const now = this.#runtime.context.clock.monotonic()
    const oldest: AttemptUnderWay[] = []
    for (let run = this.#running.head; run !== undefined && oldest.length < limit; run = run.next) {
      const { id, name, queue, attempts } = run.claim.job
      oldest.push({ id, name, queue, attempt: attempts, runningMs: Math.max(0, Math.round(now - run.startedAt)) })
    }
    return oldest
  }

  get draining (): boolean { return this.#draining }

  concurrencyOf (queue: string): number {
    return this.#options.queues[queue]?.concurrency ?? this.#options.concurrency
  }

  /** Whether jobs of this queue are run here. */
  worksOn (queue: string): boolean { return !this.#options.onlyTheseQueues || this.#options.queues[queue] !== undefined }

  /** Attempts that the present consumer of a queue may have under way: fewer while one that it replaced still has some, or abandoned handlers keep places. */
  placesOf (queue: string): number {
    let places = this.concurrencyOf(queue)
    for (const consumer of this.#retired) if (consumer.queue === queue) places -= consumer.active
    return Math.max(0, Math.max(1, places) - this.#takenByAbandoned(queue))
  }

  /** One per queue, for health checks: is each of them still claiming? */
  consumers (): readonly Consumer[] { return [...this.#consumers.values()] }

  /** Claims no more jobs (of one queue, or of all); attempts under way go on. */
  pause (queue?: string): void { this.#each(queue, 'worker.paused', (consumer) => consumer.pause()) }

  resume (queue?: string): void { this.#each(queue, 'worker.resumed', (consumer) => consumer.resume()) }

  /**
   * Makes the consumer of a queue anew, as the watchdog does when it is silent. Attempts under way go on and are settled
   * by the old one; the new one takes no more than the places that are free.
   *
   * @returns `false`: nothing is claimed from such a queue here, every place is taken, it is paused, or the worker is stopping
   */
  restart (queue: string): boolean { return this.#restart(queue, 0, 'requested') }

  /** Stops claiming for good. Part of `stop`; called earlier, it lets a server finish its requests meanwhile. */
  quiesce (): void {
    if (this.#draining) return
    this.#draining = true
    this.#quiesced.abort()
    for (const consumer of this.#consumers.values()) consumer.pause()
    this.#runtime.bus.emit('worker.draining', { workerId: this.id, active: this.active, drainTimeoutMs: this.drainTimeoutMs })
  }

  protected async onStart (): Promise<void> {
    // Definitions that come after the start (a plugin loaded late) get their consumer too.
    this.#runtime.registry.watch(({ queue }) => this.#consume(queue))
    for (const queue of Object.keys(this.#options.queues)) this.#consume(queue)
    await this.#watchdog?.start()
  }

  protected async onStop (deadlineMs: number): Promise<void> {
    this.quiesce()
    await this.#watchdog?.stop(deadlineMs)
    const consumers = [...this.consumers(), ...this.#retired]
    const drained = await Promise.all(consumers.map((consumer) => consumer.drain(deadlineMs)))
    // A claim can have been under way without the server, and have become an attempt after its consumer was drained.
    if (drained.includes(false) || this.active > 0) await this.#handBack(consumers)
    await Promise.all(consumers.map((consumer) => consumer.close(CLOSE_MS)))
    this.#runtime.bus.emit('worker.stopped', { workerId: this.id, released: this.#released })
  }

  /** The drain was not long enough: abort what runs, wait its grace, and let the store have it back. */
  async #handBack (consumers: readonly Consumer[]): Promise<void> {
    this.#handingBack = true
    const ends: Array<Promise<void>> = []
    for (let run = this.#running.head; run !== undefined; run = run.next) {
      run.abort('shutdown', MAX_GRACE_MS)
      ends.push(run.handlerOver())
    }
    // From here and not from the end of the longest grace: with obedient handlers the store alone is waited for.
    await Promise.all(ends)
    await Promise.all(consumers.map((consumer) => consumer.drain(HAND_BACK_MS)))
  }

  #consume (queue: string): void {
    if (this.#draining || this.#consumers.has(queue)) return
    if (!this.worksOn(queue)) return
    const concurrency = this.concurrencyOf(queue)
    const { bus, context } = this.#runtime
    this.#consumers.set(queue, this.#makeConsumer(queue, concurrency))
    this.#loads.set(queue, { active: 0, idleSince: context.clock.monotonic() })
    bus.emit('worker.started', { workerId: this.id, queue, concurrency })
  }

  #makeConsumer (queue: string, concurrency: number): Consumer {
    const { bus, store } = this.#runtime
    return store.consume({
      queue,
      concurrency,
      workerId: this.id,
      attempt: (claim) => this.#attempt(claim),
      onStalled: (jobId) => bus.emit('job.stalled', { jobId, queue }),
      onError: (error) => bus.emit('worker.failed', { workerId: this.id, queue, errorCode: toStoredError(error).code, message: toStoredError(error).message })
    })
  }

  #restart (queue: string, silentMs: number, reason: RestartReason): boolean {
    const old = this.#consumers.get(queue)
    if (old === undefined || this.#draining || old.paused || old.active >= this.placesOf(queue)) return false
    this.#retired.add(old)
    try {
      this.#consumers.set(queue, this.#makeConsumer(queue, this.placesOf(queue)))
    } catch (error) {
      this.#retired.delete(old)
      throw error
    }
    this.#runtime.bus.emit('worker.restarted', { workerId: this.id, queue, silentMs, reason })
    this.#retire(old).catch(() => { /* neither drain nor close rejects in a store that keeps its contract */ })
    return true
  }

  /** Lets a consumer go that was replaced, once its attempts have ended, however long they take. */
  async #retire (old: Consumer): Promise<void> {
    const { clock } = this.#runtime.context
    try {
      // Its leases are renewed meanwhile. The pause is for a store whose drain does not wait.
      while (!await old.drain(RETIRE_MS) && !this.#draining) await sleep(clock, RETIRE_PAUSE_MS, this.#quiesced.signal)
    } finally {
      // While the worker stops, `onStop` waits for it and closes it.
      if (!this.#draining) {
        this.#retired.delete(old)
        this.#resize(old.queue)
        await old.close(RETIRE_CLOSE_MS)
      }
    }
  }

  #takenByAbandoned (queue: string): number { return this.#options.countAbandoned ? this.#abandoned.of(queue) : 0 }

  /** Gives the present consumer of a queue the places that are left for it; without any it claims nothing. */
  #resize (queue: string): void {
    const consumer = this.#consumers.get(queue)
    if (consumer === undefined || this.#draining) return
    const { bus, context: { clock } } = this.#runtime
    const places = this.placesOf(queue)
    if (places > 0) consumer.resize?.(places)
    if (places === 0) {
      if (!this.#abandoned.exhaust(queue, clock.monotonic())) return
      this.#quietly(() => { consumer.pause() })
      return bus.emit('worker.exhausted', { workerId: this.id, queue, abandoned: this.#abandoned.of(queue) })
    }
    const since = this.#abandoned.relieve(queue)
    if (since === undefined) return
    if (!this.#pausedQueues.has(queue)) this.#quietly(() => { consumer.resume() })
    bus.emit('worker.relieved', { workerId: this.id, queue, exhaustedMs: clock.monotonic() - since })
  }

  readonly #observer: AttemptObserver = {
    attemptEnded: (run) => { this.#ended(run) },
    handlerAbandoned: ({ claim: { job: { queue } } }) => {
      this.#abandoned.add(queue)
      this.#resize(queue)
    },
    handlerEndedLate: ({ claim: { job: { queue } } }) => {
      this.#abandoned.remove(queue)
      this.#resize(queue)
    }
  }

  /** Claiming that goes on must not hang on to the trace of who asked for it. */
  #quietly (act: () => void): void {
    const { traceExits } = this.#runtime
    if (traceExits === undefined) act()
    else traceExits.quietly(act)
  }

  #makeWatchdog (options: Required<WatchdogOptions>): Watchdog {
    const { context: { clock }, store, traceExits } = this.#runtime
    return new Watchdog({
      clock,
      options,
      consumers: () => this.consumers(),
      placesOf: (queue) => this.placesOf(queue),
      answers: () => store.probe?.() ?? store.ping(),
      restart: (queue, silentMs, reason) => { this.#restart(queue, silentMs, reason) },
      quietly: (work) => traceExits === undefined ? work() : traceExits.quietly(work)
    })
  }

  #attempt (claim: Claim): Attempt {
    const load = this.#loads.get(claim.job.queue)
    if (load !== undefined && load.active++ === 0) {
      const { bus, context } = this.#runtime
      if (bus.wants('worker.idled')) bus.emit('worker.idled', { workerId: this.id, queue: claim.job.queue, idleMs: context.clock.monotonic() - load.idleSince })
    }
    const run = new AttemptRun(this.#runtime, claim, this.id, this.#observer)
    this.#running.push(run)
    // Perhaps the last claim of a consumer that was replaced meanwhile.
    if (this.#retired.size > 0) this.#placesChanged(claim.job.queue)
    // A claim that was under way when the drain was over: back with it, before its handler is called.
    if (this.#handingBack) run.abort('shutdown')
    return run
  }

  #ended (run: AttemptRun): void {
    if (run.list === undefined) return
    this.#running.remove(run)
    if (run.released) this.#released++
    const load = this.#loads.get(run.claim.job.queue)
    if (load !== undefined && --load.active === 0) load.idleSince = this.#runtime.context.clock.monotonic()
    if (this.#retired.size > 0) this.#placesChanged(run.claim.job.queue)
  }

  /** The store puts the attempt on its consumer, or takes it off, in this very turn, before or after it has told us. */
  #placesChanged (queue: string): void { setImmediate(() => { if (!this.#draining) this.#resize(queue) }) }

  #each (queue: string | undefined, event: 'worker.paused' | 'worker.resumed', act: (consumer: Consumer) => void): void {
    for (const consumer of this.#consumers.values()) {
      if (queue !== undefined && consumer.queue !== queue) continue
      if (event === 'worker.resumed' && this.#draining) continue
      if (event === 'worker.paused') this.#pausedQueues.add(consumer.queue)
      else this.#pausedQueues.delete(consumer.queue)
      // One without places goes on when it has some.
      if (this.#abandoned.exhaustedSince(consumer.queue) === undefined) this.#quietly(() => { act(consumer) })
      this.#runtime.bus.emit(event, { workerId: this.id, queue: consumer.queue })
    }
  }
}

function readWorkerOptions (options: WorkerOptions | undefined): Readonly<WorkerOptions & typeof WORKER_DEFAULTS> {
  return readOptions<WorkerOptions, typeof WORKER_DEFAULTS>('worker', workerSchema, WORKER_DEFAULTS, options)
}
