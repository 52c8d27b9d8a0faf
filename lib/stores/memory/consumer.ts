/** The consumer of one queue in memory: claims jobs in slices, pauses, drains and closes. */
import { AsyncEndpointsError } from '../../core/errors.ts'
import type { Clock, TimerHandle } from '../../core/context.ts'
import type { ConsumeOptions, Consumer, Settlement, SettleVerdict } from '../../jobs/store.ts'
import type { Engine } from './engine.ts'
import type { MemoryQueue, Wakeable } from './queue.ts'
import type { Lease, LeaseHolder } from './record.ts'

/** Claims in one go, at most, before timers and sockets have their turn. */
const SLICE_CLAIMS = 64
const SLICE_MS = 2

interface DrainWaiter {
  readonly timer: TimerHandle
  readonly resolve: (drained: boolean) => void
}

/**
 * Claims jobs of one queue and drives their attempts. Nothing polls: the queue wakes it. While there is work it goes
 * on in slices, each closed by a turn of the event loop, so that a flood of short jobs starves nobody.
 *
 * ```
 * claiming ⇄ paused
 *    └─────────┴──drain──▶ draining ──close──▶ closed
 * ```
 */
export class MemoryConsumer implements Consumer, Wakeable, LeaseHolder {
  readonly queue: string
  readonly #engine: Engine
  readonly #clock: Clock
  readonly #options: ConsumeOptions
  readonly #line: MemoryQueue
  readonly #drains = new Set<DrainWaiter>()
  #phase: 'open' | 'draining' | 'closed' = 'open'
  #concurrency: number
  #paused = false
  #active = 0
  #seenAt: number
  /** The turn of the event loop that ends the present slice. */
  #turn: NodeJS.Immediate | undefined
  #claimedInSlice = 0
  #sliceStartedAt = 0

  constructor (engine: Engine, options: ConsumeOptions) {
    this.queue = options.queue
    this.#engine = engine
    this.#clock = engine.clock
    this.#options = options
    this.#concurrency = options.concurrency
    this.#line = engine.queue(options.queue)
    this.#seenAt = engine.clock.monotonic()
  }

  /** Claims jobs from now on. */
  start (): void {
    this.#line.consumers.push(this)
    this.wake()
  }

  get active (): number { return this.#active }
  get paused (): boolean { return this.#paused }
  get closed (): boolean { return this.#phase === 'closed' }

  get lastSeenAt (): number {
    // The queue wakes this consumer, so an idle one has nothing to do, and is seen now. With jobs waiting and none
    // taken the moment of the last wake-up or claim stands, and a watchdog sees that something is wrong.
    return this.#mayClaim && this.#line.waiting === 0 ? this.#clock.monotonic() : this.#seenAt
  }

  pause (): void {
    this.#paused = true
  }

  resume (): void {
    this.#paused = false
    this.wake()
  }

  resize (concurrency: number): void {
    this.#concurrency = concurrency
    this.wake()
  }

  drain (deadlineMs: number): Promise<boolean> {
    this.#stopClaiming()
    if (this.#active === 0) return Promise.resolve(true)
    if (this.#phase === 'closed' || !(deadlineMs > 0)) return Promise.resolve(false)
    return new Promise((resolve) => {
      const timer = this.#clock.setTimeout(() => {
        this.#drains.delete(waiter)
        resolve(false)
      }, deadlineMs)
      const waiter: DrainWaiter = { timer, resolve }
      this.#drains.add(waiter)
    })
  }

  async close (): Promise<void> {
    this.#stopClaiming()
    this.#phase = 'closed'
    this.#endDrains()
  }

  /** Called by the queue when a job has come into it. */
  wake (): void {
    if (this.#turn !== undefined || !this.#mayClaim) return
    this.#seenAt = this.#clock.monotonic()
    // Never at once: the code that submits goes on first, and its answer is on its way before the job runs.
    this.#turn = setImmediate(this.#onTurn)
  }

  trouble (error: unknown): void {
    try {
      this.#options.onError(error instanceof Error ? error : new AsyncEndpointsError('FAE_HANDLER_ERROR', 'The worker threw something that is not an error'))
    } catch { /* the error handler itself threw */ }
  }

  stalled (jobId: string): void {
    try {
      this.#options.onStalled(jobId)
    } catch (error) {
      this.trouble(error)
    }
  }

  get #mayClaim (): boolean {
    return this.#phase === 'open' && !this.#paused && this.#active < this.#concurrency
  }

  readonly #onTurn = (): void => {
    this.#turn = undefined
    this.#fill()
  }

  /** Claims until the places are full, the queue is empty or the slice is over. */
  #fill (): void {
    while (this.#mayClaim) {
      if (this.#line.waiting === 0 && !this.#engine.due(this.#line)) return
      const now = this.#clock.monotonic()
      if (this.#turn === undefined) this.#beginSlice(now)
      // The turn that ends this slice goes on from here.
      else if (this.#claimedInSlice >= SLICE_CLAIMS || now - this.#sliceStartedAt > SLICE_MS) return
      const lease = this.#engine.claim(this.#line, this, now)
      if (lease === undefined) return
      this.#seenAt = now
      this.#claimedInSlice++
      this.#start(lease)
    }
  }

  #beginSlice (now: number): void {
    this.#turn = setImmediate(this.#onTurn)
    this.#claimedInSlice = 0
    this.#sliceStartedAt = now
  }

  #start (lease: Lease): void {
    this.#active++
    let running: Promise<Settlement>
    try {
      lease.attempt = this.#options.attempt(lease.claim)
      this.#engine.announce(lease.job)
      // A job that has something to undo was asked to stop while it waited.
      if (lease.job.cancelRequested) lease.abort('cancelled')
      running = lease.attempt.run()
    } catch (error) {
      return this.#broken(lease, error)
    }
    running.then((settlement) => this.#ended(lease, settlement), (error: unknown) => this.#broken(lease, error))
  }

  #ended (lease: Lease, settlement: Settlement): void {
    this.#finish(lease, this.#engine.settle(lease, settlement))
  }

  /** A worker that broke its contract: nobody knows how the attempt ended, so its lease has to run out. */
  #broken (lease: Lease, error: unknown): void {
    this.trouble(error)
    lease.abandoned = true
    this.#finish(lease, { kind: 'error', error: error instanceof Error ? error : new AsyncEndpointsError('FAE_HANDLER_ERROR', 'The attempt rejected with something that is not an error') })
  }

  #finish (lease: Lease, verdict: SettleVerdict): void {
    this.#active--
    try {
      lease.attempt?.settled(verdict)
    } catch (error) {
      this.trouble(error)
    }
    if (this.#active === 0 && this.#drains.size > 0) this.#endDrains()
    this.#fill()
  }

  #stopClaiming (): void {
    if (this.#phase !== 'open') return
    this.#phase = 'draining'
    const place = this.#line.consumers.indexOf(this)
    if (place >= 0) this.#line.consumers.splice(place, 1)
    if (this.#turn !== undefined) clearImmediate(this.#turn)
    this.#turn = undefined
  }

  #endDrains (): void {
    for (const { timer, resolve } of this.#drains) {
      this.#clock.clearTimeout(timer)
      resolve(this.#active === 0)
    }
    this.#drains.clear()
  }
}
