/** The consumer of one queue: runs the jobs that BullMQ's worker claims, pauses, drains and closes. */
import { setImmediate as turn } from 'node:timers/promises'
import { ChurnMap } from '../../core/churn-map.ts'
import { withDeadline } from '../../core/deadline.ts'
import { AsyncEndpointsError } from '../../core/errors.ts'
import type { JobState } from '../../jobs/states.ts'
import type { ConsumeOptions, Consumer, Settlement, SettleVerdict } from '../../jobs/store.ts'
import { CancelWatch } from './cancel-watch.ts'
import { isLive } from './clients.ts'
import { FirstJob } from './first-job.ts'
import type { ConsumerParts } from './consumer-parts.ts'
import { encodeNotes, parseNotes } from './envelope.ts'
import { closed } from './errors.ts'
import {
  claimedId, interruptWaiting, keepRenewing, makeWorker, NO_JOB, resizeWorker, startWorker, stepsOf, unreadable,
  type BullJob, type BullWorker, type Claimed, type NextJob, type WorkerHooks
} from './internals.ts'
import { limitsOf } from './keeping.ts'
import { KEY } from './layout.ts'
import { Leases } from './leases.ts'
import { Running } from './running.ts'
import { runScript } from './scripts.ts'
import { Settler } from './settler.ts'
import { Troubles } from './troubles.ts'
import { isScriptFault, unreadableJob } from './unreadable.ts'

/** How long BullMQ blocks on an empty queue before it looks again, in seconds. */
const DRAIN_DELAY_S = 5
/** It blocks for longer until a delayed job is due, but no longer than this. */
export const LONGEST_BLOCK_MS = 10_000
/** How often a drain that waits only for a claim looks whether the server is still there. */
const LOOK_AGAIN_MS = 100

/**
 * One queue of one process. BullMQ's own `Worker` claims its jobs, renews the leases and looks for stalled jobs. This
 * class makes an attempt out of each claimed job, and has the {@link Settler} store how it ended.
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
  #started: BullWorker | undefined
  readonly #settler: Settler
  readonly #leases: Leases
  readonly #closing = new AbortController()
  /**
   * By job. When a job is claimed again here after its lease was lost, the older attempt stands below, by its token.
   */
  readonly #running = new ChurnMap<string, Running>()
  readonly #superseded = new Map<string, Running>()
  readonly #claimMs = new Map<string, number>()
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

  /**
   * Claims jobs from now on.
   * @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED` when this release of BullMQ does not fit
   */
  start (): void {
    if (this.#started !== undefined) return
    this.#settler.start()
    this.#started = this.#makeWorker()
    startWorker(this.#started)
  }

  get #worker (): BullWorker {
    if (this.#started === undefined) throw closed()
    return this.#started
  }

  get active (): number { return this.#running.size + this.#superseded.size }
  get paused (): boolean { return this.#state !== 'claiming' }
  resize (concurrency: number): void { resizeWorker(this.#worker, concurrency, this.#parts.warn) }

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
      // The server may go away in the meantime, and no event of this consumer says so.
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
    const worker = makeWorker(bull, this.queue, {
      connection: client,
      prefix: settings.prefix,
      skipVersionCheck: true,
      concurrency: this.#options.concurrency,
      lockDuration: settings.leaseMs,
      stalledInterval: settings.stalledIntervalMs,
      // A stall spends an attempt and serves its backoff: this package's worker decides about it, never BullMQ by
      // itself.
      maxStalledCount: Number.MAX_SAFE_INTEGER,
      drainDelay: DRAIN_DELAY_S
    }, this.#hooks())
    worker.on('error', (error) => this.#trouble(error))
    worker.on('stalled', (id) => {
      this.#parts.publisher.ended(this.#parts.handle.prefix, id, 'queued')
      this.#guard(() => this.#options.onStalled(id))
    })
    worker.on('lockRenewalFailed', (ids) => {
      // BullMQ emits an error for each of them, too. They are reported as attempts whose lease is lost.
      this.#troubles.expect(ids.length)
      for (const id of ids) this.#guard(() => this.#running.get(id)?.abort('lease-lost'))
    })
    worker.on('locksRenewed', ({ jobIds }) => { this.#leasesRenewed(jobIds) })
    return worker
  }

  #hooks (): WorkerHooks {
    const { clock, pace, warn } = this.#parts
    return {
      now: () => clock.now(),
      toLocal: (moment) => clock.toLocal(moment),
      claim: (look) => pace.run(() => this.#claim(look)),
      run: (claimed) => this.#run({ ...claimed, mayFetch: () => this.#state === 'claiming' && claimed.mayFetch() }),
      finish: (args) => this.#settler.finish(args),
      renew: (ids, step) => this.#leases.renew(ids, step),
      lookForStalled: async (look) => { await this.#leases.takeBackLate(); return await look() },
      warn
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

  /** One claimed job, from the claim until its end is stored: run it, settle it, and pass on the next one. */
  async #run (claimed: Claimed): Promise<NextJob> {
    const { job } = claimed
    this.#firstJob.began()
    // The answer to the claim came after the close: nobody would renew the lease, or hear of a cancel.
    if (this.#state === 'closed') {
      await this.#settler.handBack(claimed, this.queue)
      return undefined
    }
    const id = String(job.id)
    const claimMs = this.#claimMs.get(id)
    this.#claimMs.delete(id)
    const { deferredFailure: mark = '' } = job
    // A job that was asked to stop while it ran, and then came back into its queue, still needs an attempt that says
    // so.
    const asked = mark.startsWith('{') && parseNotes(mark).x !== 1
    if (mark !== '' && !asked) return await this.#endMarked(claimed, mark)
    const fault = unreadable(job)
    if (fault !== undefined) return await this.#endUnreadable(job, unreadableJob(id, this.queue, fault))
    const running = this.#begin(id, job, claimMs, asked)
    if (running === undefined) return undefined
    let settlement: Settlement
    try {
      settlement = await running.attempt.run()
    } catch (error) {
      this.#ended(running, { kind: 'error', error: error instanceof Error ? error : new Error('the attempt rejected') })
      return undefined
    }
    // The consumer was closed while the job ran.
    if (running.over) return undefined
    // A handler that blocked the event loop for longer than its lease: nobody had a turn to renew it.
    if (this.#leases.late(running)) await running.takeBack()
    return await this.#settle(running, settlement, claimed)
  }

  async #settle (running: Running, settlement: Settlement, claimed: Claimed): Promise<NextJob> {
    const { clock } = this.#parts
    const began = clock.monotonic()
    const next = await this.#settler.settle(running, settlement, claimed)
    const nextId = next && claimedId(next)
    // The step that ended this job has claimed the next one: that claim took as long as the step.
    if (nextId !== undefined) this.#claimMs.set(nextId, clock.monotonic() - began)
    return next
  }

  /** `undefined`: there is no attempt. Nothing can be said about the job then, and its lease runs out. */
  #begin (id: string, job: BullJob, claimMs: number | undefined, asked: boolean): Running | undefined {
    const older = this.#running.get(id)
    if (older !== undefined) {
      // Its lease was lost, or the job would not be here again.
      this.#superseded.set(older.token, older)
      this.#guard(() => older.abort('lease-lost'))
    }
    this.lastSeenAt = this.#parts.clock.monotonic()
    try {
      const { client, handle: { prefix } } = this.#parts
      const steps = stepsOf(job)
      const claimedAt = this.lastSeenAt - (claimMs ?? 0)
      const running = new Running(job, {
        queue: this.queue, prefix, claimMs, asked, undo: steps?.undo, renewedAt: claimedAt, keeper: this.#leases
      })
      if (steps?.awaits !== undefined) runScript(client, 'claimed', [prefix], id, running.token).catch(() => { /* its end notes it */ })
      running.begin(this.#options.attempt)
      this.#running.set(id, running)
      this.#parts.publisher.began(prefix, id)
      if (asked) running.abort('cancelled')
      return running
    } catch (error) {
      this.#trouble(error)
      return undefined
    }
  }

  /**
   * A job that was marked where it waited ends here, without an attempt: as cancelled, which listeners know already,
   * or as failed, when another program marked it.
   */
  async #endMarked (claimed: Claimed, mark: string): Promise<NextJob> {
    const { job } = claimed
    try {
      if (mark.startsWith('{')) {
        await this.#settler.endCancelled(job, encodeNotes({ x: 1, m: parseNotes(mark).m ?? '' }), 0, 'always')
        return undefined
      }
      return await this.#settler.failMarked(claimed, mark)
    } catch (error) {
      // Its lease runs out, and the next worker ends it.
      this.#trouble(error)
      return undefined
    }
  }

  /** No attempt can be made of it: it fails with what is wrong. */
  async #endUnreadable (job: BullJob, error: AsyncEndpointsError): Promise<undefined> {
    const { client, clock, handle, settings } = this.#parts
    const id = String(job.id)
    this.#guard(() => this.#options.onError(error))
    try {
      const notes = encodeNotes({ c: error.code, m: error.message })
      await runScript(client, 'end-unreadable', [handle.prefix], id, notes, clock.now(), 'always', ...limitsOf(settings))
    } catch (problem) {
      // Its lease runs out, and the next worker ends it.
      this.#trouble(problem)
    }
  }

  #ended (running: Running, verdict: SettleVerdict, state?: JobState): void {
    const { id } = running
    if (this.#running.get(id) === running) this.#running.delete(id)
    else if (this.#superseded.delete(running.token)) this.#renewTheOther(id)
    const { publisher, handle: { prefix } } = this.#parts
    const again = state === 'queued' || state === 'scheduled' ? state : undefined
    publisher.ended(prefix, id, again)
    if (again !== undefined) this.#cancels.toBeRunAgain(running)
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

  async #interrupt (): Promise<void> {
    let cut = true
    try {
      cut = await interruptWaiting(this.#worker)
    } finally {
      // The cut connection may have taken a wake-up with it that another consumer, or this one once resumed, needs.
      if (cut) this.#wakeOne()
    }
  }

  /** Wakes a worker that waits for a job of this queue, as BullMQ does. If no job waits, it only looks. */
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
    this.#troubles.report(error)
  }
}
