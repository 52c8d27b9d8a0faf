/** Stores how an attempt ended: one step on the server for each way in which it can end. */
import type { Clock } from '../../core/context.ts'
import { sleep } from '../../core/deadline.ts'
import type { JobState } from '../../jobs/states.ts'
import type { Checkpoint } from '../../jobs/steps.ts'
import type { SettleVerdict, Settlement, Suspension } from '../../jobs/store.ts'
import { CANCELLED_MARK, encodeNotes, errorNotes, keptError } from './envelope.ts'
import { refusalCode, toStoreError } from './errors.ts'
import { finishJob, type Backend, type BullJob, type Claimed, type Client, type NextJob, type Script } from './internals.ts'
import { limitsOf } from './keeping.ts'
import type { ResolvedRedisStoreOptions } from './options.ts'
import { Running } from './running.ts'
import { lastStepArgs } from './step-args.ts'
import { Suspending } from './suspend.ts'
import { defineCommand, runCommand, runScript } from './scripts.ts'

/** A server that refuses to store a settlement (out of memory, failing over) is asked again after this. */
const RETRY_MS = 500
/** A result outlives its job by this, so that it never goes first. */
const RESULT_MARGIN_MS = 60_000
/** The extra arguments of `lua/finish.lua` for a job that ends without an attempt. */
const NO_EXTRAS: readonly string[] = Object.freeze(['', '', ''])
type Again = Extract<Settlement, { kind: 'retry' | 'snooze' | 'postpone' | 'suspend' | 'release' }>

/** A step that nobody needs any more: the consumer was closed, or the attempt is over. */
const GIVEN_UP = Symbol('given up')

export interface SettlerParts {
  readonly clock: Clock
  readonly client: Client
  readonly backend: () => Backend
  readonly prefix: string
  readonly settings: ResolvedRedisStoreOptions
  /** Ends jobs. */
  readonly finish: Script
  /** Aborts when the consumer closes: nothing is tried again after that. */
  readonly closing: AbortSignal
  /** Called once per attempt; `state` is what the job is now, if it was stored. */
  readonly ended: (running: Running, verdict: SettleVerdict, state: JobState | undefined) => void
}

/**
 * Turns the settlement of an attempt into a step on the server, and reports to the attempt once what became of it:
 * stored, refused because the lease is no longer good, or given up. Nothing here throws.
 *
 * | settlement | step | hands out the next job |
 * |---|---|---|
 * | completed, failed | BullMQ's script that ends a job, inside `lua/finish.lua` | yes |
 * | retry after a delay | BullMQ's `moveToDelayed`, an attempt counted | yes |
 * | retry at once | BullMQ's `retryJob` | no |
 * | snooze, postpone | BullMQ's `moveToDelayed`, no attempt counted | no |
 * | suspend | `lua/suspend.lua` | no |
 * | release | `lua/note.lua`, then BullMQ's `moveJobFromActiveToWait` | no |
 * | cancelled | `lua/end-cancelled.lua` | no |
 *
 * Whatever would run the job again asks first whether somebody cancelled it, and ends it then, unless the job has
 * something to undo.
 */
export class Settler {
  readonly #parts: SettlerParts
  readonly #limits: readonly number[]
  readonly #resultMs: number
  #finish = ''
  #lastFinish = 0
  #finishes = 0

  constructor (parts: SettlerParts) {
    this.#parts = parts
    this.#limits = limitsOf(parts.settings)
    this.#resultMs = Math.ceil(parts.settings.retention.completedMs) + RESULT_MARGIN_MS
  }

  /** Teaches the client the script that ends jobs. */
  start (): void { this.#finish = defineCommand(this.#parts.client, 'finish', this.#parts.finish) }

  /** Runs the script that ends a job, in the place of BullMQ's. */
  finish (args: readonly unknown[]): Promise<unknown> { return runCommand(this.#parts.client, this.#finish, args) }

  /** @returns the next job, if the step has handed one out */
  async settle (running: Running, settlement: Settlement, claimed: Claimed): Promise<NextJob> {
    running.settlement = settlement
    switch (settlement.kind) {
      case 'completed':
        return await this.#end(running, claimed, 'completed', json(resultSize(settlement)))
      case 'failed': {
        const notes = running.write({ ...errorNotes(settlement.error), ...(running.stalled && { k: 1 }) })
        return await this.#end(running, claimed, 'failed', notes)
      }
      case 'cancelled':
        await this.#cancel(running, encodeNotes({ x: 1, m: settlement.reason }), running.stillborn ? 0 : 1, 'always')
        return undefined
      default: {
        const cancelled = await this.#cancel(running, encodeNotes({ x: 1, m: '' }), 1, 'asked')
        return cancelled ? undefined : await this.#again(running, settlement, claimed)
      }
    }
  }

  /** Gives back a job that was claimed too late to be run here. No attempt is spent. */
  async handBack (claimed: Claimed, queue: string): Promise<void> {
    const running = new Running(claimed.job, { queue, prefix: this.#parts.prefix })
    await this.settle(running, { kind: 'release' }, claimed)
  }

  /**
   * Fails a job without an attempt, because another program has marked it as failed. Rejects when that cannot be
   * stored.
   */
  async failMarked ({ job, mayFetch }: Claimed, reason: string): Promise<NextJob> {
    const ending = { set: 'failed', value: reason, finishedOn: this.#finishedOn(), fetchNext: mayFetch(), extras: NO_EXTRAS } as const
    return await finishJob(this.#parts.backend(), job, ending)
  }

  /**
   * Ends a claimed job as cancelled.
   *
   * @param spent attempts to count: 1 if it was run
   * @param when 'asked': only if somebody asked for it
   * @returns whether it was ended (by this call or, if its answer was lost, by this one sent before)
   */
  async endCancelled (
    job: BullJob, reason: string, spent: 0 | 1, when: 'always' | 'asked'
  ): Promise<'done' | 'not-asked' | 'refused'> {
    const { client, prefix, clock } = this.#parts
    const args = [String(job.id), job.token ?? '', reason, clock.now(), spent, when, ...this.#limits]
    const code = Number(await runScript(client, 'end-cancelled', [prefix], ...args))
    return code === 1 ? 'done' : code === 0 ? 'not-asked' : 'refused'
  }

  async #end (
    running: Running, { mayFetch, stopRenewing }: Claimed, set: 'completed' | 'failed', value: string | undefined
  ): Promise<NextJob> {
    stopRenewing()
    const { settlement, envelope, bullJob } = running
    const extras: Array<string | number> = [envelope === undefined ? '' : '1', envelope?.b ?? '', envelope?.o ?? '']
    if (settlement?.kind === 'completed' && settlement.result !== undefined) extras.push(this.#resultMs, settlement.result)
    if (settlement?.kind === 'completed' && settlement.checkpoint !== undefined) extras.push(...lastSteps(extras, settlement.checkpoint))
    return await this.#store(running, set, () => {
      const ending = { set, value, finishedOn: this.#finishedOn(), fetchNext: mayFetch(), extras }
      return finishJob(this.#parts.backend(), bullJob, ending)
    })
  }

  /** The job is to run again. */
  async #again (running: Running, settlement: Again, claimed: Claimed): Promise<NextJob> {
    switch (settlement.kind) {
      case 'retry': return await this.#retry(running, settlement, claimed)
      case 'release': return await this.#release(running)
      case 'suspend': return await this.#suspend(running, settlement)
      default: return await this.#delay(running, settlement.delayMs)
    }
  }

  async #retry (
    running: Running, { error, delayMs }: Settlement & { kind: 'retry' }, { mayFetch, stopRenewing }: Claimed
  ): Promise<NextJob> {
    stopRenewing()
    const { id, token, unspent, bullJob: { opts: { lifo = false } } } = running
    const { backend, clock } = this.#parts
    const now = clock.now()
    const failedReason = running.write({ ...errorNotes(error), r: now + delayMs, ...(unspent > 1 && { a: unspent - 1 }) })
    const fieldsToUpdate = { failedReason }
    const delay = Math.ceil(delayMs)
    if (delay <= 0) {
      return await this.#store(running, 'queued', () => backend().retryJob(id, lifo, token, { fieldsToUpdate }))
    }
    return await this.#store(running, 'scheduled', async () =>
      nextOf(await backend().moveToDelayed(id, now, delay, token, { fieldsToUpdate, fetchNext: mayFetch() })))
  }

  async #delay (running: Running, delayMs: number): Promise<undefined> {
    const { backend, clock } = this.#parts
    const { id, token, notes, unspent } = running
    const now = clock.now()
    const delay = Math.ceil(delayMs)
    const failedReason = running.write({ ...keptError(notes), r: now + delay, a: unspent })
    const how = { skipAttempt: true, fieldsToUpdate: { failedReason } }
    await this.#store(running, 'scheduled', async () => { await backend().moveToDelayed(id, now, delay, token, how) })
  }

  async #suspend (running: Running, settlement: Suspension): Promise<undefined> {
    const { client, prefix, clock } = this.#parts
    const suspending = new Suspending(running, settlement, clock.now())
    const state = await this.#patiently(running, () => suspending.send(client, prefix))
    if (state === GIVEN_UP) return
    const now = state ?? suspending.stateBy(await this.#writtenBy(running))
    this.#ended(running, now === undefined ? { kind: 'refused', code: 'FAE_LEASE_LOST' } : { kind: 'stored' }, now)
  }

  async #release (running: Running): Promise<undefined> {
    const { client, prefix, clock, backend } = this.#parts
    const { id, token } = running
    const notes = encodeNotes({ ...keptError(running.notes), r: clock.now(), s: running.notes.s, a: running.unspent })
    running.written = notes
    const noted = await this.#patiently(running, () => runScript(client, 'note', [prefix], id, token, notes))
    if (noted === GIVEN_UP) return
    await this.#store(running, 'queued', async () => { await backend().moveJobFromActiveToWait(id, token) })
  }

  /** @returns whether the settlement is dealt with */
  async #cancel (running: Running, reason: string, spent: 0 | 1, when: 'always' | 'asked'): Promise<boolean> {
    running.written = CANCELLED_MARK
    const verdict = await this.#patiently(running, () => this.endCancelled(running.bullJob, reason, spent, when))
    if (verdict === GIVEN_UP) return true
    if (verdict === 'not-asked') return false
    if (verdict === 'done' || await this.#wasStored(running)) {
      // The attempt ended in another way: the worker hears that the job was cancelled instead.
      const instead = running.settlement?.kind === 'cancelled' ? undefined : 'cancelled'
      this.#ended(running, instead === undefined ? { kind: 'stored' } : { kind: 'stored', instead }, 'cancelled')
    } else {
      this.#ended(running, { kind: 'refused', code: 'FAE_LEASE_LOST' })
    }
    return true
  }

  /**
   * Stores a settlement by a step that BullMQ refuses when the lease is not this attempt's. Reports to the attempt
   * once, whatever happens: refused when the lease is no longer its own, given up when the server would not take it
   * for as long as the lease can last.
   */
  async #store (running: Running, state: JobState, step: () => Promise<NextJob | void>): Promise<NextJob> {
    const { clock, closing, settings } = this.#parts
    const until = clock.monotonic() + settings.leaseMs
    for (;;) {
      let error: unknown
      try {
        const next = await step()
        this.#ended(running, { kind: 'stored' }, state)
        return next ?? undefined
      } catch (caught) {
        error = caught
      }
      if (refusalCode(error) !== undefined) {
        if (await this.#wasStored(running)) this.#ended(running, { kind: 'stored' }, state)
        else this.#ended(running, { kind: 'refused', code: 'FAE_LEASE_LOST' })
        return undefined
      }
      if (closing.aborted || clock.monotonic() > until) {
        this.#ended(running, { kind: 'error', error: toStoreError(error) })
        return undefined
      }
      await sleep(clock, RETRY_MS, closing)
    }
  }

  /**
   * While the attempt has not been settled its lease is renewed, so this can wait for the server as long as that
   * holds.
   */
  async #patiently<T> (running: Running, step: () => Promise<T>): Promise<T | typeof GIVEN_UP> {
    const { clock, closing } = this.#parts
    for (;;) {
      try {
        return await step()
      } catch (error) {
        if (closing.aborted || running.over) {
          this.#ended(running, { kind: 'error', error: toStoreError(error) })
          return GIVEN_UP
        }
      }
      await sleep(clock, RETRY_MS, closing)
    }
  }

  /**
   * A step whose answer was lost is sent again when the connection is back, and refused then, because it has been done.
   * The job shows it: no other attempt has begun since, and it carries what this settlement wrote.
   */
  async #wasStored (running: Running): Promise<boolean> {
    const outcome = await this.#outcome(running)
    if (outcome === undefined) return false
    const [finishedOn, returnvalue, failedReason] = outcome
    if (running.settlement?.kind === 'completed') return finishedOn !== null && returnvalue !== null
    if (running.written === CANCELLED_MARK) return typeof failedReason === 'string' && failedReason.startsWith(CANCELLED_MARK)
    return failedReason === running.written
  }

  /** The notes of a job that no other attempt has begun since, and that is not over. */
  async #writtenBy (running: Running): Promise<unknown> {
    const [finishedOn, , failedReason] = await this.#outcome(running) ?? []
    return finishedOn === null ? failedReason : undefined
  }

  /**
   * When it ended, its return value and its notes; `undefined` when this attempt still runs, another has begun since, or
   * this one was counted as stalled: then somebody else has ended the job, by a cancel.
   */
  async #outcome ({ id, token, bullJob }: Running): Promise<readonly unknown[] | undefined> {
    const { client, prefix } = this.#parts
    let answer: unknown
    try {
      answer = await runScript(client, 'outcome', [prefix], id)
    } catch {
      return undefined
    }
    if (!Array.isArray(answer) || !Array.isArray(answer[0]) || answer[1] === token) return undefined
    const [started, stalls, ...outcome] = answer[0] as readonly unknown[]
    return Number(started) === bullJob.attemptsStarted && Number(stalls) === bullJob.stalledCounter ? outcome : undefined
  }

  #ended (running: Running, verdict: SettleVerdict, state?: JobState): void {
    if (!running.over) this.#parts.ended(running, verdict, state)
  }

  /**
   * BullMQ orders finished jobs by the millisecond in which they ended; within one, by chance. A fraction keeps the
   * order, so that the oldest really go first when only so many are kept.
   */
  #finishedOn (): string {
    const now = this.#parts.clock.now()
    if (now > this.#lastFinish) {
      this.#lastFinish = now
      this.#finishes = 0
    } else if (this.#finishes < 999) this.#finishes++
    const nth = this.#finishes
    // As text: to print a number with so many digits costs more than all the rest of this.
    return nth === 0 ? String(this.#lastFinish) : `${this.#lastFinish}.${nth < 10 ? '00' : nth < 100 ? '0' : ''}${nth}`
  }
}

/** The last checkpoint, behind what `lua/finish.lua` takes of a result. */
function lastSteps (before: readonly unknown[], checkpoint: Checkpoint): string[] {
  const noResult = before.length === NO_EXTRAS.length ? ['', ''] : []
  return [...noResult, ...lastStepArgs(checkpoint)]
}

function resultSize (settlement: Settlement & { kind: 'completed' }): number | undefined {
  return settlement.result === undefined ? undefined : settlement.resultBytes ?? Buffer.byteLength(settlement.result)
}

function json (size: number | undefined): string | undefined { return size === undefined ? undefined : String(size) }

function nextOf (answer: unknown): NextJob { return Array.isArray(answer) ? answer : undefined }
