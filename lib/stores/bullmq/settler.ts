import type { Clock } from '../../core/context.ts'
import { sleep } from '../../core/deadline.ts'
import type { JobState } from '../../jobs/states.ts'
import type { SettleVerdict, Settlement } from '../../jobs/store.ts'
import { CANCELLED_MARK, encodeNotes, errorNotes, keptError } from './envelope.ts'
import { refusalCode, toStoreError } from './errors.ts'
import { allowRetry, type Backend, type Bull, type BullJob, type Client, type Script } from './internals.ts'
import { limitsOf } from './keeping.ts'
import type { ResolvedRedisStoreOptions } from './options.ts'
import { OVER, Running } from './running.ts'
import { defineCommand, runCommand, runScript } from './scripts.ts'

/** A server that refuses to store a settlement (out of memory, failing over) is asked again after this. */
const RETRY_MS = 500
/** A result outlives its job by this, so that it never goes first. */
const RESULT_MARGIN_MS = 60_000

/** Thrown into BullMQ to end a step that is over as far as we are concerned. Never shown to anybody. */
export class Settled extends Error {
  override name = 'Settled'
}

export interface SettlerParts {
  readonly bull: Bull
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
 * Turns the settlement of an attempt into the step of BullMQ's own that stores it: what the processor returns or
 * throws where that is enough (one command, which also fetches the next job), a call of its backend where it is not.
 */
export class Settler {
  readonly #parts: SettlerParts
  readonly #limits: readonly number[]
  readonly #finish: string
  readonly #resultMs: number

  constructor (parts: SettlerParts) {
    this.#parts = parts
    this.#limits = limitsOf(parts.settings)
    this.#finish = defineCommand(parts.client, 'finish', parts.finish)
    this.#resultMs = Math.ceil(parts.settings.retention.completedMs) + RESULT_MARGIN_MS
  }

  /**
   * The extra arguments of the script that ends a job: see `lua/finish.lua`. `undefined`: the job ends without an attempt.
   */
  extras (running: Running | undefined): ReadonlyArray<string | number> {
    if (running === undefined) return ['', '', '']
    const { settlement, envelope } = running
    const always = [envelope === undefined ? '' : '1', envelope?.b ?? '', envelope?.o ?? '']
    if (settlement?.kind !== 'completed' || settlement.result === undefined) return always
    return [...always, this.#resultMs, settlement.result]
  }

  /** Runs the script that ends a job, in the place of BullMQ's. */
  finish (args: readonly unknown[]): Promise<unknown> { return runCommand(this.#parts.client, this.#finish, args) }

  /**
   * @returns what the processor returns: the size of the result, which is stored by the same step that ends the job.
   * Throws what makes BullMQ's worker do the rest. Nothing has to be waited for in the most common case, and is not.
   */
  settle (running: Running, settlement: Settlement): number | undefined | Promise<number | undefined> {
    running.settlement = settlement
    return settlement.kind === 'completed' ? resultSize(settlement) : this.#settle(running, settlement)
  }

  async #settle (running: Running, settlement: Exclude<Settlement, { kind: 'completed' }>): Promise<never> {
    switch (settlement.kind) {
      case 'failed': {
        running.bullJob.opts.stackTraceLimit = 0
        throw new this.#parts.bull.UnrecoverableError(running.write({ ...errorNotes(settlement.error), ...(running.stalled && { k: 1 }) }))
      }
      case 'retry': {
        await this.#endIfAsked(running)
        allowRetry(running.bullJob)
        throw new Error(running.write({ ...errorNotes(settlement.error), r: this.#parts.clock.now() + settlement.delayMs, ...(running.unspent > 1 && { a: running.unspent - 1 }) }))
      }
      case 'cancelled':
        await this.#cancel(running, encodeNotes({ x: 1, m: settlement.reason }), running.stillborn ? 0 : 1)
        throw this.#done()
      case 'snooze':
      case 'postpone':
        await this.#endIfAsked(running)
        await this.#delay(running, settlement.delayMs)
        throw this.#done()
      case 'release':
        await this.#endIfAsked(running)
        await this.#release(running)
        throw this.#done()
    }
  }

  /** BullMQ could not store a completion and would make a failure of it: it is tried again instead. Always throws. */
  async completeAgain (running: Running, resultBytes: number | undefined): Promise<never> {
    const { bullJob, token } = running
    await this.store(running, 'completed', () => bullJob.moveToCompleted(resultBytes, token, false), undefined)
    throw new Settled()
  }

  /** Gives back a job that was claimed too late to be run here, no attempt spent. Always throws. */
  async handBack (job: BullJob, queue: string): Promise<never> {
    await this.settle(new Running(job, queue, this.#parts.prefix, undefined, false, () => OVER), { kind: 'release' })
    throw this.#done()
  }

  /** Makes BullMQ's worker go on to the next job, without touching this one. */
  #done (): Error { return new this.#parts.bull.WaitingError() }

  /**
   * Stores a settlement by a step of BullMQ's. Says so exactly once, whatever happens: refused when the lease is no
   * longer ours, given up when the server would not take it for as long as the lease can last.
   *
   * @param instead what to answer if the step turns out to have been done although its answer was lost
   * @throws {Settled} when it was not stored
   */
  async store<T> (running: Running, state: JobState, step: () => Promise<T>, instead: T): Promise<T> {
    let answer: T
    try {
      answer = await step()
    } catch (error) {
      return await this.#storeAgain(running, state, step, instead, error)
    }
    this.#ended(running, { kind: 'stored' }, state)
    return answer
  }

  async #storeAgain<T> (running: Running, state: JobState, step: () => Promise<T>, instead: T, first: unknown): Promise<T> {
    const { clock, closing, settings } = this.#parts
    const until = clock.monotonic() + settings.leaseMs
    for (let error = first; ;) {
      if (refusalCode(error) !== undefined) {
        if (await this.#wasStored(running)) {
          this.#ended(running, { kind: 'stored' }, state)
          return instead
        }
        this.#ended(running, { kind: 'refused', code: 'FAE_LEASE_LOST' })
        throw new Settled()
      }
      if (closing.aborted || clock.monotonic() > until) {
        this.#ended(running, { kind: 'error', error: toStoreError(error) })
        throw new Settled()
      }
      await sleep(clock, RETRY_MS, closing)
      try {
        const answer = await step()
        this.#ended(running, { kind: 'stored' }, state)
        return answer
      } catch (next) {
        error = next
      }
    }
  }

  /**
   * Ends a claimed job as cancelled.
   *
   * @param spent attempts to count: 1 if it was run
   * @param when 'asked': only if somebody asked for it
   * @returns whether it was ended (by this call or, if its answer was lost, by this one sent before)
   */
  async endCancelled (job: BullJob, reason: string, spent: 0 | 1, when: 'always' | 'asked'): Promise<'done' | 'not-asked' | 'refused'> {
    const { client, prefix, clock } = this.#parts
    const code = Number(await runScript(
      client, 'end-cancelled', [prefix], String(job.id), job.token ?? '', reason, clock.now(), spent, when,
      ...this.#limits
    ))
    return code === 1 ? 'done' : code === 0 ? 'not-asked' : 'refused'
  }

  /** Somebody asked a job to stop that would be run again: that is its end, then. */
  async #endIfAsked (running: Running): Promise<void> {
    if (await this.#cancel(running, encodeNotes({ x: 1, m: '' }), 1, 'asked')) throw this.#done()
  }

  async #cancel (running: Running, reason: string, spent: 0 | 1, when: 'always' | 'asked' = 'always'): Promise<boolean> {
    running.written = CANCELLED_MARK
    const verdict = await this.#patiently(running, () => this.endCancelled(running.bullJob, reason, spent, when))
    if (verdict === 'not-asked') return false
    if (verdict === 'done' || await this.#wasStored(running)) {
      // The attempt said something else: the worker is told that it did not come to that.
      const instead = running.settlement?.kind === 'cancelled' ? undefined : 'cancelled'
      this.#ended(running, instead === undefined ? { kind: 'stored' } : { kind: 'stored', instead }, 'cancelled')
    } else {
      this.#ended(running, { kind: 'refused', code: 'FAE_LEASE_LOST' })
    }
    return true
  }

  async #delay (running: Running, delayMs: number): Promise<void> {
    const now = this.#parts.clock.now()
    const delay = Math.ceil(delayMs)
    const failedReason = running.write({ ...keptError(running.notes), r: now + delay, a: running.unspent })
    // Passes through the hook that calls `store`.
    await this.#parts.backend().moveToDelayed(running.id, now, delay, running.token, { skipAttempt: true, fieldsToUpdate: { failedReason } })
  }

  async #release (running: Running): Promise<void> {
    const { client, prefix, clock } = this.#parts
    running.written = encodeNotes({ ...keptError(running.notes), r: clock.now(), s: running.notes.s, a: running.unspent })
    await this.#patiently(running, () => runScript(client, 'note', [prefix], running.id, running.token, running.written ?? ''))
    await this.store(running, 'queued', () => this.#parts.backend().moveJobFromActiveToWait(running.id, running.token), 0)
  }

  /** While the attempt has not been settled its lease is renewed, so this can wait for the server as long as that holds. */
  async #patiently<T> (running: Running, step: () => Promise<T>): Promise<T> {
    const { clock, closing } = this.#parts
    for (;;) {
      try {
        return await step()
      } catch (error) {
        if (closing.aborted || running.over) {
          this.#ended(running, { kind: 'error', error: toStoreError(error) })
          throw this.#done()
        }
      }
      await sleep(clock, RETRY_MS, closing)
    }
  }

  /**
   * A step whose answer was lost is sent again when the connection is back, and refused then, because it has been done.
   * The job tells: nobody else has started it since, and it carries what this settlement wrote.
   */
  async #wasStored (running: Running): Promise<boolean> {
    const { client, prefix } = this.#parts
    let answer: unknown
    try {
      answer = await runScript(client, 'outcome', [prefix], running.id)
    } catch {
      return false
    }
    if (!Array.isArray(answer) || !Array.isArray(answer[0]) || answer[1] === running.token) return false
    const [started, finishedOn, returnvalue, failedReason] = answer[0] as readonly unknown[]
    if (Number(started) !== running.bullJob.attemptsStarted) return false
    if (running.settlement?.kind === 'completed') return finishedOn !== null && returnvalue !== null
    if (running.written === CANCELLED_MARK) return typeof failedReason === 'string' && failedReason.startsWith(CANCELLED_MARK)
    return failedReason === running.written
  }

  #ended (running: Running, verdict: SettleVerdict, state?: JobState): void {
    if (!running.over) this.#parts.ended(running, verdict, state)
  }
}

export function resultSize (settlement: Settlement & { kind: 'completed' }): number | undefined {
  return settlement.result === undefined ? undefined : settlement.resultBytes ?? Buffer.byteLength(settlement.result)
}

/** How long BullMQ delays a job that its attempt has settled to be run again, in milliseconds. */
export function retryDelay (running: Running | undefined): number {
  return running?.settlement?.kind === 'retry' ? Math.ceil(running.settlement.delayMs) : 1_000
}
