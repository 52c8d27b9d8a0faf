import { setImmediate as turn } from 'node:timers/promises'
import { ChurnMap } from '../../core/churn-map.ts'
import { withDeadline } from '../../core/deadline.ts'
import { AsyncEndpointsError } from '../../core/errors.ts'
import type { JobState } from '../../jobs/states.ts'
import type { ConsumeOptions, Consumer, SettleVerdict } from '../../jobs/store.ts'
import { CancelWatch } from './cancel-watch.ts'
import { isLive } from './clients.ts'
import { noteClaim } from './claim-pace.ts'
import { FirstJob } from './first-job.ts'
import type { ConsumerParts } from './consumer-parts.ts'
import { encodeNotes, parseNotes } from './envelope.ts'
import {
  claimedId, KEY, keepRenewing, makeWorker, NO_JOB, resizeWorker, takeDeferredFailure, type BackendHooks, type BullJob, type BullWorker
} from './internals.ts'
import { unreadable } from './internals-worker.ts'
import { limitsOf } from './keeping.ts'
import { Leases } from './leases.ts'
import { Running } from './running.ts'
import { runScript } from './scripts.ts'
import { resultSize, retryDelay, Settled, Settler } from './settler.ts'
import { Troubles } from './troubles.ts'
import { isScriptFault, unreadableJob } from './unreadable.ts'

/** How long BullMQ blocks on an empty queue before it looks again, in seconds. */
const DRAIN_DELAY_S = 5
/** It blocks for longer until a delayed job is due, but no longer than this. */
export const LONGEST_BLOCK_MS = 10_000
/** How often a drain that waits only for a claim looks whether the server is still there. */
const LOOK_AGAIN_MS = 100
const STORED: SettleVerdict = Object.freeze({ kind: 'stored' })
/** What a step answers that was done already. BullMQ notes the time on it. */
const FINISHED = Object.freeze({ result: undefined, finishedOn: 0 })

/**
 * One queue of one process, worked on by BullMQ's own `Worker`: it claims, renews the leases and looks for stalled
 * jobs. This class makes attempts out of its jobs and listens in on its steps.
 *
 * ```
 * claiming ◀──pause/resume──▶ paused ──drain──▶ stopped ──close──▶ closed
 * ```
 */
export class BullConsumer implements Consumer {
  readonly queue: string
  lastSeenAt = -Infinity
  readonly #parts: ConsumerParts
  readonly #options: ConsumeOptions
  readonly #worker: BullWorker
  readonly #settler: Settler
  readonly #leases: Leases
  readonly #closing = new AbortController()
  /** By job. When a job is claimed again here after its lease was lost, the older attempt stands below, by its token. */
  readonly #running = new ChurnMap<string, Running>()
  readonly #superseded = new Map<string, Running>()
  /** Jobs that carry the mark of a cancel, until the processor sees them. */
  readonly #deferred = new Map<BullJob, string>()
  readonly #claimMs = new Map<string, number>()
  /** Tokens of jobs that somebody else has marked as failed. */
  readonly #foreign = new Set<string>()
  readonly #firstJob = new FirstJob()
  readonly #cancels: CancelWatch
  readonly #troubles: Troubles
  #state: 'claiming' | 'paused' | 'stopped' | 'closed' = 'claiming'
  #looking = 0
  #changed: Array<() => void> = []
  #closed: Promise<void> | undefined

  constructor (parts: ConsumerParts, options: ConsumeOptions) {
    this.#parts = parts
    this.#options = options
    this.queue = options.queue
    this.#troubles = new Troubles(parts.clock, options.onError, parts.settings)
    const { clock, client, handle: { prefix }, settings: { leaseMs } } = parts
    this.#leases = new Leases({ clock, client, prefix, leaseMs, running: () => this.#running.values() })
    this.#worker = this.#makeWorker()
    this.#cancels = new CancelWatch({
      running: (id) => this.#running.get(id),
      asked: (ids) => runScript(client, 'asked', [prefix], ...ids),
      backend: () => this.#worker.getBackend(),
      guard: (act) => this.#guard(act)
    })
    this.#settler = new Settler({
      ...parts,
      prefix: parts.handle.prefix,
      backend: () => this.#worker.getBackend(),
      closing: this.#closing.signal,
      ended: (running, verdict, state) => this.#ended(running, verdict, state)
    })
  }

  get active (): number { return this.#running.size + this.#superseded.size }
  get paused (): boolean { return this.#state !== 'claiming' }
  resize (concurrency: number): void { resizeWorker(this.#worker, concurrency) }

  pause (): void {
    if (this.#state !== 'claiming') return
    this.#state = 'paused'
    this.#stopClaiming()
  }

  resume (): void {
    if (this.#state !== 'paused') return
    this.#state = 'claiming'
    this.#worker.resume().catch((error: unknown) => this.#trouble(error))
    // What woke workers while this one was paused may be used up: it would block although jobs wait.
    this.#wakeOne()
  }

  async drain (deadlineMs: number): Promise<boolean> {
    if (this.#state === 'claiming') this.#stopClaiming()
    if (this.#state !== 'closed') this.#state = 'stopped'
    const { clock } = this.#parts
    const until = clock.monotonic() + deadlineMs
    for (;;) {
      // A claim that was under way may have become an attempt in this very turn.
      if (this.active + this.#looking === 0) await turn()
      if (this.active + this.#looking === 0) return true
      // A claim that waits for a server that is away brings nothing: it would be waited for until the deadline.
      if (this.active === 0 && !isLive(this.#parts.client)) return true
      const left = until - clock.monotonic()
      if (left <= 0) return this.active === 0
      const change = new Promise<void>((resolve) => { this.#changed.push(resolve) })
      // The server may go away meanwhile, and no event of ours tells it.
      await withDeadline(clock, this.active === 0 ? Math.min(left, LOOK_AGAIN_MS) : left, change)
    }
  }

  close (deadlineMs: number): Promise<void> {
    this.#closed ??= this.#close(deadlineMs)
    return this.#closed
  }

  /** A message says that somebody cancelled a job; it may run here. */
  hinted (id: string): void { this.#cancels.hinted(id) }

  async #close (deadlineMs: number): Promise<void> {
    this.#state = 'closed'
    this.#closing.abort()
    for (const running of [...this.#running.values(), ...this.#superseded.values()]) {
      this.#ended(running, { kind: 'error', error: new AsyncEndpointsError('FAE_CLOSED', 'The consumer was closed before the attempt had ended; its lease runs out, and another worker runs the job') })
    }
    // By force: without it BullMQ waits for its jobs, and cannot be forced any more after that.
    const gone = this.#worker.close(true).catch(() => { /* there is nothing left to do with it */ })
    await withDeadline(this.#parts.clock, deadlineMs, gone)
    this.#parts.onClosed()
  }

  #makeWorker (): BullWorker {
    const { bull, client, settings } = this.#parts
    const worker = makeWorker(bull, this.queue, (job) => this.#process(job), {
      connection: client,
      prefix: settings.prefix,
      skipVersionCheck: true,
      concurrency: this.#options.concurrency,
      lockDuration: settings.leaseMs,
      stalledInterval: settings.stalledIntervalMs,
      // A stall spends an attempt and serves its backoff: the worker decides, never BullMQ by itself.
      maxStalledCount: Number.MAX_SAFE_INTEGER,
      drainDelay: DRAIN_DELAY_S,
      settings: { backoffStrategy: (_attempts, _type, _error, job?: { id?: string, token?: string }) => retryDelay(this.#find(String(job?.id), job?.token ?? '')) }
    }, this.#hooks())
    worker.on('error', (error) => this.#trouble(error))
    worker.on('active', (job) => this.#claimed(job))
    worker.on('completed', (job) => {
      const running = this.#find(String(job.id), job.token ?? '')
      if (running !== undefined) this.#ended(running, STORED, 'completed')
    })
    worker.on('stalled', (id) => {
      this.#parts.publisher.publish(id, 'queued')
      this.#guard(() => this.#options.onStalled(id))
    })
    worker.on('lockRenewalFailed', (ids) => {
      // BullMQ adds an error for each of them; they are told as attempts whose lease is lost.
      this.#troubles.expect(ids.length)
      for (const id of ids) this.#guard(() => this.#running.get(id)?.abort('lease-lost'))
    })
    worker.on('locksRenewed', ({ jobIds }) => { this.#leasesRenewed(jobIds) })
    return worker
  }

  #hooks (): BackendHooks {
    const { clock } = this.#parts
    return {
      now: () => clock.now(),
      toLocal: (moment) => clock.toLocal(moment),
      claim: (look) => this.#parts.pace.run(() => this.#claim(look)),
      fail: async (id, token, _reason, step) => {
        const running = this.#find(id, token)
        if (running?.settlement?.kind === 'completed') return await this.#settler.completeAgain(running, resultSize(running.settlement))
        if (running !== undefined) return await this.#settler.store(running, 'failed', step, FINISHED)
        // An attempt that has been answered for already (its lease was lost) is not failed on top of that.
        if (!this.#foreign.delete(token)) throw new Settled()
        const answer = await step()
        this.#parts.publisher.publish(id, 'failed')
        return answer
      },
      delay: async (id, token, step) => await this.#settler.store(this.#need(id, token), 'scheduled', step, undefined),
      renew: (ids, step) => this.#leases.renew(ids, step),
      lookForStalled: async (look) => { await this.#leases.takeBackLate(); return await look() },
      requeue: async (id, token, step) => await this.#settler.store(this.#need(id, token), 'queued', step, undefined),
      extras: (id, token) => this.#settler.extras(this.#find(id, token)),
      finish: (args) => noteClaim(this.#settler.finish(args), this.#parts.clock, this.#claimMs)
    }
  }

  async #claim (look: () => Promise<unknown[]>): Promise<unknown[]> {
    const { clock } = this.#parts
    // A clock that is minutes ahead would hand out jobs whose delay is not over.
    if (!clock.fresh) await clock.ready()
    if (this.#state !== 'claiming') {
      // Woken by a job that is not for this consumer: another one has to be woken in its place.
      this.#wakeOne()
      return [...NO_JOB]
    }
    if (this.#firstJob.goesFirst()) return [...NO_JOB]
    const began = clock.monotonic()
    this.#looking++
    try {
      const answer = await look()
      this.lastSeenAt = clock.monotonic()
      const id = claimedId(answer)
      this.#firstJob.claimed(id !== undefined)
      if (id !== undefined) this.#claimMs.set(id, this.lastSeenAt - began)
      return answer
    } finally {
      this.#looking--
      this.#change()
    }
  }

  #find (id: string, token: string): Running | undefined {
    const running = this.#running.get(id)
    return running?.token === token ? running : this.#superseded.get(token)
  }

  #need (id: string, token: string): Running {
    const running = this.#find(id, token)
    if (running === undefined) throw new Settled()
    return running
  }

  /** Called by BullMQ for every job it has claimed, in the turn in which it has it. */
  #claimed (job: BullJob): void {
    const deferred = takeDeferredFailure(job)
    if (deferred !== undefined) this.#deferred.set(job, deferred)
  }

  #process (job: BullJob): Promise<number | undefined> {
    this.#firstJob.began()
    // The answer to its claim came after the close: nobody would renew its lease, or hear of its cancel.
    if (this.#state === 'closed') return this.#settler.handBack(job, this.queue)
    const id = String(job.id)
    const claimMs = this.#claimMs.get(id)
    this.#claimMs.delete(id)
    const deferred = this.#deferred.get(job)
    let asked = false
    if (deferred !== undefined) {
      this.#deferred.delete(job)
      asked = deferred.startsWith('{') && parseNotes(deferred).x !== 1
      if (!asked) return this.#endDeferred(job, deferred)
    }
    const fault = unreadable(job)
    if (fault !== undefined) return this.#endUnreadable(job, unreadableJob(id, this.queue, fault))
    let running: Running
    try {
      running = this.#begin(id, job, claimMs, asked)
      if (asked) running.abort('cancelled')
    } catch (error) {
      // Without an attempt nothing can be said about the job: its lease runs out.
      this.#trouble(error)
      return Promise.reject(new this.#parts.bull.WaitingError())
    }
    return running.attempt.run().then((settlement) => {
      // Closed while it ran.
      if (running.over) throw new this.#parts.bull.WaitingError()
      // A handler that blocked the event loop for longer than its lease: nobody had a turn to renew it.
      const answer = this.#leases.late(running) ? running.takeBack().then(() => this.#settler.settle(running, settlement)) : this.#settler.settle(running, settlement)
      return answer instanceof Promise ? answer.catch((error: unknown) => { throw this.#instruction(running, error) }) : answer
    }, (error: unknown) => {
      if (!running.over) this.#ended(running, { kind: 'error', error: error instanceof Error ? error : new Error('the attempt rejected') })
      throw new this.#parts.bull.WaitingError()
    })
  }

  /** What BullMQ is to do is said by the kind of error; for a step that is over already it needs to do nothing more. */
  #instruction (running: Running, error: unknown): unknown {
    return error instanceof Settled || running.over ? new this.#parts.bull.WaitingError() : error
  }

  #begin (id: string, job: BullJob, claimMs: number | undefined, asked: boolean): Running {
    const older = this.#running.get(id)
    if (older !== undefined) {
      // Its lease was lost, or the job would not be here again.
      this.#superseded.set(older.token, older)
      this.#guard(() => older.abort('lease-lost'))
    }
    this.lastSeenAt = this.#parts.clock.monotonic()
    const running = new Running(job, this.queue, this.#parts.handle.prefix, claimMs, asked, this.#options.attempt, this.lastSeenAt - (claimMs ?? 0), this.#leases)
    this.#running.set(id, running)
    this.#parts.publisher.publish(id, 'in-progress')
    return running
  }

  /**
   * A job that was cancelled in the line: it ends here, without an attempt, for it has been told of already. (One that
   * was asked to stop while it ran, and then came back into the line, still has to be told of: it gets an attempt.)
   */
  async #endDeferred (job: BullJob, deferred: string): Promise<never> {
    if (!deferred.startsWith('{')) {
      // Not a mark of ours.
      this.#foreign.add(job.token ?? '')
      throw new this.#parts.bull.UnrecoverableError(deferred)
    }
    try {
      await this.#settler.endCancelled(job, encodeNotes({ x: 1, m: parseNotes(deferred).m ?? '' }), 0, 'always')
    } catch (error) {
      // Its lease runs out, and the next worker ends it.
      this.#trouble(error)
    }
    throw new this.#parts.bull.WaitingError()
  }

  /** No attempt can be made of it: it fails with what is wrong. */
  async #endUnreadable (job: BullJob, error: AsyncEndpointsError): Promise<never> {
    const { bull, client, clock, handle, publisher, settings } = this.#parts
    const id = String(job.id)
    this.#guard(() => this.#options.onError(error))
    try {
      const notes = encodeNotes({ c: error.code, m: error.message })
      await runScript(client, 'end-unreadable', [handle.prefix], id, notes, clock.now(), 'always', ...limitsOf(settings))
      publisher.publish(id, 'failed')
    } catch (problem) {
      // Its lease runs out, and the next worker ends it.
      this.#trouble(problem)
    }
    throw new bull.WaitingError()
  }

  #ended (running: Running, verdict: SettleVerdict, state?: JobState): void {
    const { id } = running
    if (this.#running.get(id) === running) this.#running.delete(id)
    else if (this.#superseded.delete(running.token)) this.#renewTheOther(id)
    if (state !== undefined) this.#parts.publisher.publish(id, state)
    if (state === 'queued' || state === 'scheduled') this.#cancels.toBeRunAgain(running)
    try { running.end(verdict) } catch (error) { this.#trouble(error) }
    if (this.#changed.length > 0) this.#change()
  }

  #renewTheOther (id: string): void {
    setImmediate(() => {
      const running = this.#running.get(id)
      if (running !== undefined && this.#state !== 'closed') keepRenewing(this.#worker, id, running.token)
    })
  }

  /** Messages of cancels can be missed; the renewal of leases is an occasion to ask. */
  #leasesRenewed (ids: readonly string[]): void {
    if (this.active >= this.#worker.concurrency) this.lastSeenAt = this.#parts.clock.monotonic()
    this.#cancels.check(ids)
  }

  #stopClaiming (): void {
    this.#worker.pause(true).catch((error: unknown) => this.#trouble(error))
    this.#interrupt().catch(() => { /* it returns by itself after its time */ })
  }

  /** BullMQ goes on blocking for a job while paused, and would take it. */
  async #interrupt (): Promise<void> {
    const backend = this.#worker.getBackend()
    // Disconnecting one that is just reconnecting would keep it from ever coming back.
    if ((await backend.blockingClient)?.status !== 'ready') return
    try {
      await backend.disconnectBlocking(true)
    } finally {
      // The cut connection may have taken a wake-up with it that another consumer, or this one once resumed, needs.
      this.#wakeOne()
    }
  }

  /** Makes a blocked worker of the queue look for a job, as BullMQ does; for nothing, if none waits. */
  #wakeOne (): void {
    const { client, handle } = this.#parts
    client.zadd(handle.prefix + KEY.marker, 0, '0').catch(() => { /* all look by themselves after a while */ })
  }

  #change (): void {
    for (const resolve of this.#changed.splice(0)) resolve()
  }

  #guard (act: () => unknown): void {
    try { act() } catch (error) { this.#trouble(error) }
  }

  #trouble (error: unknown): void {
    if (this.#state === 'closed') return
    if (isScriptFault(error)) this.#parts.onFault(this.#parts.handle)
    this.#troubles.tell(error)
  }
}
