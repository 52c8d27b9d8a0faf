/** The memory store proper: all jobs, and every change to them. */
import { AsyncEndpointsError } from '../../core/errors.ts'
import type { Clock, Context } from '../../core/context.ts'
import type { JobProgress, NewJob } from '../../jobs/job.ts'
import type { Checkpoint, CheckpointVerdict, Journal, SignalVerdict } from '../../jobs/steps.ts'
import { assertTransition, isTerminal, type JobState, type TerminalState } from '../../jobs/states.ts'
import type { CancelVerdict, Claim, Created, QueueCounts, RedriveVerdict, Settlement, SettleVerdict } from '../../jobs/store.ts'
import type { FeedListener, JobFeed } from '../../jobs/store.ts'
import { Alarm } from './alarm.ts'
import { Budget } from './budget.ts'
import { CreationLog } from './creation-log.ts'
import { hashOf, IdIndex } from './id-index.ts'
import { IdempotencyKeys, maxKeysIn } from './idempotency.ts'
import { Leases } from './leases.ts'
import { Listeners } from './listeners.ts'
import type { ResolvedMemoryStoreOptions } from './options.ts'
import { MemoryQueue } from './queue.ts'
import { copyError, Lease, StoredJob, type LeaseHolder } from './record.ts'
import { Retention } from './retention.ts'
import { StepKeeper } from './step-keeper.ts'

// Jobs that one ring of the alarm promotes or forgets at most, before the event loop has its turn.
const SLICE = 1_000
/** The wall clock may be set while a timer runs: scheduled jobs are looked at this often although none seems due. */
const LOOK_AGAIN_MS = 60_000
const STUCK_NAMED = 20
/** Settlements after which a job is to be run again. */
const AGAIN: ReadonlySet<Settlement['kind']> = new Set(['retry', 'postpone', 'snooze', 'suspend', 'release'])

const STORED: SettleVerdict = Object.freeze({ kind: 'stored' })
const CANCELLED_INSTEAD: SettleVerdict = Object.freeze({ kind: 'stored', instead: 'cancelled' })
const REFUSED: SettleVerdict = Object.freeze({ kind: 'refused', code: 'FAE_LEASE_LOST' })

/**
 * All jobs of one store and every change to them. Everything here happens at once, in one turn of the event loop:
 * that is what makes each method atomic. The states and their transitions are those of `lib/jobs/states.ts`; `#move`
 * is the only place where one changes.
 */
export class Engine {
  readonly #context: Context
  readonly #queues = new Map<string, MemoryQueue>()
  readonly #keys: IdempotencyKeys
  readonly #budget: Budget
  readonly #leases: Leases
  readonly #steps: StepKeeper
  readonly #listeners: Listeners
  readonly #retention: Retention
  readonly #alarm: Alarm
  /** Every job in the order of its creation. */
  readonly log = new CreationLog()
  readonly #jobs = new IdIndex((serial) => this.log.at(serial))
  #closed = false

  constructor (context: Context, { retention, leaseMs, maxBytes }: ResolvedMemoryStoreOptions) {
    this.#context = context
    this.#leases = new Leases(leaseMs)
    this.#listeners = new Listeners(context)
    this.#keys = new IdempotencyKeys(retention.maxKeysPerOwner, maxKeysIn(maxBytes))
    this.#retention = new Retention(retention, (job) => this.#forget(job))
    this.#budget = new Budget(maxBytes, this.#keys, this.#retention)
    this.#steps = new StepKeeper({ budget: this.#budget, queue: (name) => this.queue(name), wake: (job) => this.#wake(job), changed: (job) => this.#publish(job) })
    this.#alarm = new Alarm(context.clock, () => this.#onAlarm())
  }

  /** @throws {AsyncEndpointsError} `FAE_INVALID_SUBMISSION`, `FAE_STORE_FULL`, `FAE_JOB_TOO_LARGE` */
  create (submission: NewJob): Created {
    const now = this.#context.clock.now()
    const held = this.#heldBy(submission, now)
    if (held !== undefined) return held
    const hash = hashOf(submission.id)
    if (this.#jobs.get(submission.id, hash) !== undefined) throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', 'There is a job with this id already; every submission needs an id of its own')
    // A clock that was set back after the submission must not turn a prompt job into a delayed one.
    const later = submission.runAt > submission.createdAt && submission.runAt > now
    const job = new StoredJob(submission, later ? 'scheduled' : 'queued')
    this.#budget.makeRoom(job.bytes)
    this.#budget.added(job)
    job.hash = hash
    this.log.add(job)
    this.#jobs.add(job)
    if (submission.idempotency !== undefined) this.#keys.add(submission.idempotency, job.id, job.owner, now)
    this.queue(job.queue).states[job.state]++
    this.#place(job)
    return { created: true, id: job.id }
  }

  /** @throws {AsyncEndpointsError} `FAE_STORE_FULL` */
  assertRoom (): void { this.#budget.assertRoom() }
  /** The job, unless its time is over. The alarm forgets it then. */
  find (id: string): StoredJob | undefined {
    // Plain JavaScript may pass something else than a text.
    if (typeof id !== 'string') return undefined
    const job = this.#jobs.get(id)
    return job === undefined || this.#retention.expired(job, this.#context.clock.now()) ? undefined : job
  }

  queue (name: string): MemoryQueue {
    let queue = this.#queues.get(name)
    if (queue === undefined) {
      queue = new MemoryQueue(name)
      this.#queues.set(name, queue)
    }
    return queue
  }

  counts (name: string): QueueCounts {
    const queue = this.#queues.get(name) ?? new MemoryQueue(name)
    const now = this.#context.clock.monotonic()
    const stuck = this.#leases.runOut(name, now)
    return { queue: name, states: { ...queue.states }, oldestQueuedAt: queue.oldestQueuedAt, stuck: stuck.length, stuckIds: stuck.slice(0, STUCK_NAMED), sagas: this.#steps.counts(queue) }
  }

  get clock (): Clock { return this.#context.clock }

  /** A scheduled job of the queue is due, although it was not promoted yet. */
  due ({ dueAt }: MemoryQueue): boolean { return dueAt !== undefined && dueAt <= this.#context.clock.now() }

  /** Gives the next job of a queue to a holder, or nothing. `from`: the monotonic time now. */
  claim (queue: MemoryQueue, holder: LeaseHolder, from: number): Lease | undefined {
    const { clock } = this.#context
    const now = clock.now()
    if (queue.dueAt !== undefined && queue.dueAt <= now) this.#promote(queue, now)
    const job = queue.take()
    if (job === undefined) return undefined
    this.#move(job, 'in-progress')
    const again = job.start(now)
    if (job.steps !== undefined) this.#steps.claimed(job)
    const record = job.claimed()
    this.#budget.claimed(job)
    const claim: Claim = { job: record, availableAt: job.runAt, again, stalled: job.stalled, claimMs: clock.monotonic() - from }
    const lease = new Lease(job, holder, claim, from + this.#leases.durationMs)
    job.lease = lease
    this.#leases.add(lease)
    this.#alarm.within(this.#leases.renewAfterMs, from)
    return lease
  }

  /** Publishes that a job was claimed. Not part of the claim: the attempt must exist when listeners are called. */
  announce (job: StoredJob): void { this.#publish(job) }

  settle (lease: Lease, settlement: Settlement): SettleVerdict {
    if (this.#closed) return { kind: 'error', error: new AsyncEndpointsError('FAE_CLOSED', 'The memory store was closed before the attempt ended; its jobs are gone') }
    if (!lease.good) return REFUSED
    const { job } = lease
    this.#release(lease)
    if (job.cancelRequested && job.steps?.undo !== true && AGAIN.has(settlement.kind)) {
      // Somebody asked it to stop while the attempt was ending: it must not run again, and this attempt counts.
      this.#endCancelled(job, '')
      return CANCELLED_INSTEAD
    }
    switch (settlement.kind) {
      case 'completed':
        this.#budget.hasResult(job, settlement.result)
        job.resultBytes = settlement.result === undefined ? undefined : settlement.resultBytes ?? Buffer.byteLength(settlement.result)
        job.error = undefined
        this.#end(job, 'completed', settlement.checkpoint)
        break
      case 'failed':
        // The claim after a stall runs no handler: failing it spends nothing beyond the stall itself.
        if (job.stalled) job.attempts--
        job.error = copyError(settlement.error)
        this.#end(job, 'failed')
        break
      case 'cancelled':
        this.#endCancelled(job, settlement.reason)
        break
      case 'retry':
        job.error = copyError(settlement.error)
        job.stalled = false
        this.#again(job, settlement.delayMs)
        break
      case 'postpone':
        job.stalled = false
        job.attempts--
        this.#again(job, settlement.delayMs)
        break
      case 'snooze':
        job.attempts--
        this.#again(job, settlement.delayMs)
        break
      case 'suspend':
        job.stalled = false
        job.attempts--
        this.#again(job, this.#steps.suspend(job, settlement))
        break
      case 'release':
        job.attempts--
        this.#handBack(job)
        break
    }
    return STORED
  }

  cancel (job: StoredJob, reason: string): CancelVerdict {
    if (job.state === 'cancelled') return { kind: 'cancelled', already: true, job: job.record() }
    if (isTerminal(job.state)) return { kind: 'finished', job: job.record() }
    const already = job.cancelRequested
    if (job.state === 'in-progress') {
      if (!already) {
        job.cancelRequested = true
        job.cancelReason = reason
        job.lease?.abort('cancelled')
        this.#publish(job)
      }
      return { kind: 'requested', already, job: job.record() }
    }
    if (job.steps?.undo === true) {
      this.#steps.cancelled(job, reason)
      return { kind: 'requested', already, job: job.record() }
    }
    this.queue(job.queue).withdraw(job)
    this.#endCancelled(job, reason)
    return { kind: 'cancelled', already: false, job: job.record() }
  }

  redrive (job: StoredJob, limit = Infinity): RedriveVerdict {
    if (job.state !== 'failed') return { kind: 'not-failed', job: job.record() }
    if (job.redrives >= limit) return { kind: 'limit', job: job.record() }
    this.#retention.remove(job, 'failed')
    this.#move(job, 'queued')
    job.redriven(this.#context.clock.now())
    this.#steps.redriven(job)
    this.#place(job)
    this.#publish(job)
    return { kind: 'redriven', job: job.record() }
  }

  remove (job: StoredJob): 'removed' | 'active' {
    if (job.state === 'in-progress') return 'active'
    if (job.key !== undefined) this.#keys.free(job.key, job.id)
    this.#forget(job)
    return 'removed'
  }

  progress (claim: Claim, progress: JobProgress): boolean {
    const job = this.#leasedBy(claim)
    if (job === undefined) return false
    job.setProgress(progress)
    this.#publish(job, job.progress)
    return true
  }

  /** `false`: the lease is lost, and nothing is stored. @throws what {@link StepKeeper.write} throws */
  checkpoint (claim: Claim, checkpoint: Checkpoint): CheckpointVerdict {
    const job = this.#leasedBy(claim)
    if (job === undefined) return { stored: false }
    this.#steps.write(job, checkpoint)
    this.#publish(job)
    return { stored: true, cancelRequested: job.cancelRequested }
  }

  journal (job: StoredJob): Journal { return this.#steps.journal(job) }

  signal (job: StoredJob, name: string, value: string): SignalVerdict { return this.#steps.signal(job, name, value) }

  #leasedBy (claim: Claim): StoredJob | undefined {
    const job = this.#jobs.get(claim.job.id)
    // The record was made for this claim alone: it names the lease, also after the claim itself was wrapped or copied.
    return job?.lease?.claim.job === claim.job ? job : undefined
  }

  listen (listener: FeedListener): JobFeed { return this.#listeners.listen(listener) }

  /** Lets everything go. Attempts under way are aborted, because their lease is lost. */
  close (): void {
    this.#closed = true
    this.#alarm.stop()
    this.#listeners.clear()
    this.#jobs.clear()
    this.#keys.clear()
    this.#queues.clear()
    for (let lease = this.#leases.shift(); lease !== undefined; lease = this.#leases.shift()) {
      lease.job.lease = undefined
      lease.abort('lease-lost')
    }
  }

  // ---- how a job changes -------------------------------------------------------------------------------------------

  #move (job: StoredJob, to: JobState): void {
    assertTransition(job.state, to)
    const { states } = this.queue(job.queue)
    states[job.state]--
    states[to]++
    job.state = to
  }

  /** Puts a queued or scheduled job where it belongs. */
  #place (job: StoredJob): void {
    const queue = this.queue(job.queue)
    if (job.state === 'queued') return queue.enqueue(job)
    queue.schedule(job)
    const { clock } = this.#context
    this.#alarm.within(Math.min(job.runAt - clock.now(), LOOK_AGAIN_MS), clock.monotonic())
  }

  #end (job: StoredJob, state: TerminalState, checkpoint?: Checkpoint): void {
    const { clock } = this.#context
    this.#move(job, state)
    job.finishedAt = clock.now()
    if (state !== 'failed') this.#budget.dropInput(job)
    this.#steps.end(job, state, checkpoint)
    job.stalled = false
    job.cancelRequested = false
    this.#publish(job)
    const keepMs = this.#retention.add(job, state)
    if (keepMs !== undefined) this.#alarm.within(keepMs, clock.monotonic())
  }

  #endCancelled (job: StoredJob, reason: string): void {
    job.error = Object.freeze({ code: 'FAE_JOB_CANCELLED', message: job.cancelReason ?? reason })
    this.#end(job, 'cancelled')
  }

  /** A scheduled job need not wait any longer. */
  #wake (job: StoredJob): void {
    this.queue(job.queue).withdraw(job)
    job.runAt = this.#context.clock.now()
    this.#move(job, 'queued')
    this.#place(job)
    this.#publish(job)
  }

  /** Back to waiting, for a moment or for longer. */
  #again (job: StoredJob, delayMs: number): void {
    const wait = delayMs > 0 ? delayMs : 0
    job.runAt = this.#context.clock.now() + wait
    this.#move(job, wait > 0 ? 'scheduled' : 'queued')
    this.#place(job)
    this.#publish(job)
  }

  #handBack (job: StoredJob): void {
    if (job.cancelRequested && job.steps?.undo !== true) return this.#endCancelled(job, '')
    job.runAt = this.#context.clock.now()
    this.#move(job, 'queued')
    this.queue(job.queue).putBack(job)
    this.#publish(job)
  }

  #release (lease: Lease): void {
    this.#leases.remove(lease)
    this.#budget.released(lease.job)
    lease.job.lease = undefined
  }

  #lose (lease: Lease): void {
    const { job, holder } = lease
    this.#release(lease)
    job.stalled = true
    lease.abort('lease-lost')
    this.#handBack(job)
    if (job.state === 'queued') holder.stalled(job.id)
  }

  #forget (job: StoredJob): void {
    const queue = this.queue(job.queue)
    if (isTerminal(job.state)) this.#retention.remove(job, job.state)
    else queue.withdraw(job)
    queue.states[job.state]--
    this.#steps.forgotten(job)
    if (queue.idle) this.#queues.delete(queue.name)
    this.#jobs.delete(job)
    this.log.delete(job)
    this.#budget.forgotten(job)
    this.#listeners.removed(job.id)
  }

  #heldBy ({ idempotency }: NewJob, now: number): Created | undefined {
    if (idempotency === undefined) return undefined
    const held = this.#keys.find(idempotency.key, now)
    return held && { created: false, id: held.id, job: this.find(held.id)?.record(), sameRequest: held.fingerprint === idempotency.fingerprint }
  }

  #publish (job: StoredJob, progress?: JobProgress): void { this.#listeners.publish(job, progress) }

  // ---- what time does ----------------------------------------------------------------------------------------------

  #onAlarm (): void {
    if (this.#closed) return
    const { clock } = this.#context
    const now = clock.now()
    const from = clock.monotonic()
    let nextMs = Math.min(this.#leases.tend(from, (lease) => this.#lose(lease)), this.#retention.sweep(now, SLICE) ?? Infinity)
    for (const queue of this.#queues.values()) {
      this.#promote(queue, now)
      if (queue.dueAt !== undefined) nextMs = Math.min(nextMs, Math.max(0, queue.dueAt - now), LOOK_AGAIN_MS)
    }
    if (nextMs !== Infinity) this.#alarm.within(nextMs, from)
  }

  #promote (queue: MemoryQueue, now: number): void {
    for (let left = SLICE; left > 0; left--) {
      const job = queue.takeDue(now)
      if (job === undefined) return
      this.#move(job, 'queued')
      queue.enqueue(job)
      this.#publish(job)
    }
  }
}
