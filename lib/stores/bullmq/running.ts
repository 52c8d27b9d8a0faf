/** One attempt under way, as a consumer on Redis knows it. */
import type { ClaimedJob } from '../../jobs/job.ts'
import type { Checkpoint } from '../../jobs/steps.ts'
import type { Attempt, Claim, SettleVerdict, Settlement } from '../../jobs/store.ts'
import { encodeNotes, envelopeIn, parseNotes, type Envelope, type Notes } from './envelope.ts'
import type { BullJob } from './internals.ts'
import { claimedRecord } from './record.ts'

/** Takes the place of an attempt that has been reported to, and must not be kept in memory. */
export const OVER: Attempt = Object.freeze({ run: async (): Promise<Settlement> => ({ kind: 'release' }), abort () {}, settled () {} })

/** Takes back a lease that ran out, if no other worker has noticed. */
export interface LeaseKeeper {
  takeBack (attempts: readonly Running[]): Promise<readonly string[]>
}

/** What the consumer knows of a claim besides the job. */
export interface ClaimFacts {
  readonly queue: string
  /** Of the queue's keys. */
  readonly prefix: string
  readonly claimMs?: number | undefined
  /** The job was asked to stop before it was claimed. */
  readonly asked?: boolean
  /** It has done something that it must undo before it may stop. */
  readonly undo?: boolean | undefined
  /** Monotonic: when the lease began. */
  readonly renewedAt?: number
  readonly keeper?: LeaseKeeper
}

/**
 * One attempt under way, from the claim (which it also is) until its settlement was stored or refused.
 *
 * ```
 * claimed ──begin──▶ has an attempt ──run──▶ settlement known ──(stored | refused | given up)──▶ over
 * ```
 */
export class Running implements Claim {
  readonly job: ClaimedJob
  readonly availableAt: number
  readonly again: boolean
  readonly stalled: boolean
  readonly claimMs: number | undefined
  /** Prefix of the queue's keys. */
  readonly prefix: string
  /** BullMQ's lock key of the job holds it for as long as the lease belongs to this attempt. */
  readonly token: string
  readonly bullJob: BullJob
  /** `undefined`: somebody else added the job, with BullMQ alone. */
  readonly envelope: Envelope | undefined
  readonly notes: Notes
  /** What runs the job: made by `begin`, and not kept after the end. */
  attempt: Attempt = OVER
  settlement: Settlement | undefined
  /** What the settlement writes into the notes: proof that it was this one, should the server's answer get lost. */
  written: string | undefined
  over: boolean
  /** Somebody asked the job to stop. */
  cancelAsked: boolean
  leaseLost: boolean
  /** Monotonic: when its lease was last known to be good for its whole time. */
  renewedAt: number
  readonly #keeper: LeaseKeeper | undefined
  /** It was asked to stop before it was claimed, and has nothing to undo: its attempt only has to say that it stopped. */
  readonly stillborn: boolean
  /** The job has something to undo, as far as this attempt knows: only its own attempts change that. */
  undo: boolean

  constructor (bullJob: BullJob, facts: ClaimFacts) {
    const { queue, prefix, claimMs, asked = false, undo = false, renewedAt = 0, keeper } = facts
    const notes = parseNotes(bullJob.failedReason)
    const job = claimedRecord(bullJob, queue, notes, asked)
    const stillborn = asked && !undo
    this.job = job
    // There is no use in serving the backoff of a stall for a job that is to stop.
    this.stalled = !stillborn && bullJob.stalledCounter > (notes.s ?? 0)
    // When exactly a stalled job came back is not written down; it is claimed by the next free worker.
    this.availableAt = this.stalled ? job.startedAt ?? job.runAt : job.runAt
    // BullMQ counts every claim here, also those that spend no attempt; a redrive starts the count again, and leaves
    // its moment in the notes.
    this.again = bullJob.attemptsStarted > 1 || notes.r !== undefined
    this.claimMs = claimMs
    this.prefix = prefix
    this.token = bullJob.token ?? ''
    this.bullJob = bullJob
    this.envelope = envelopeIn(bullJob.opts)
    this.notes = notes
    this.settlement = undefined
    this.written = undefined
    this.over = false
    this.cancelAsked = false
    this.leaseLost = false
    this.renewedAt = renewedAt
    this.#keeper = keeper
    this.stillborn = stillborn
    this.undo = undo
  }

  /** Has the worker make an attempt of this claim. */
  begin (make: (claim: Claim) => Attempt): void { this.attempt = make(this) }

  get id (): string { return this.job.id }

  /** Claims of the job that spent no attempt, this one counted as such. */
  get unspent (): number {
    const { attemptsStarted, attemptsMade, stalledCounter } = this.bullJob
    return Math.max(0, attemptsStarted - attemptsMade - stalledCounter)
  }

  /** Notes for a settlement: what it says, and that the stalls up to now were accounted for. */
  write (said: Notes): string {
    const { stalledCounter } = this.bullJob
    this.written = encodeNotes(stalledCounter > 0 ? { ...said, s: stalledCounter } : said)
    return this.written
  }

  /** @returns whether its lease is good (again) */
  async takeBack (): Promise<boolean> {
    return !this.over && (await this.#keeper?.takeBack([this]))?.includes(this.id) === true
  }

  /** A checkpoint of this attempt was stored. */
  noteUndo (checkpoint: Checkpoint | undefined): void { this.undo = checkpoint?.undo ?? this.undo }

  /** Asks the attempt to stop, once for each reason. */
  abort (reason: 'cancelled' | 'lease-lost'): void {
    if (this.over || (reason === 'cancelled' ? this.cancelAsked : this.leaseLost)) return
    if (reason === 'cancelled') this.cancelAsked = true
    else this.leaseLost = true
    this.attempt.abort(reason)
  }

  /** Reports to the attempt what became of its settlement. Only the first verdict counts. */
  end (verdict: SettleVerdict): void {
    if (this.over) return
    this.over = true
    const { attempt } = this
    // A map that is grown and emptied all the time leaves old tables behind, which hold what once stood in them until a
    // full collection: no more than this object shall hang on that.
    this.attempt = OVER
    attempt.settled(verdict)
  }
}
