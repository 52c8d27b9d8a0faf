import type { JobRecord } from '../../jobs/job.ts'
import type { Attempt, Claim, SettleVerdict, Settlement } from '../../jobs/store.ts'
import { encodeNotes, parseNotes, type Notes } from './envelope.ts'
import type { BullJob } from './internals.ts'
import { claimedRecord } from './record.ts'

/** A claim, with what proves it to the server. */
export class BullClaim implements Claim {
  readonly job: JobRecord
  readonly availableAt: number
  readonly stalled: boolean
  readonly claimMs: number | undefined
  /** Prefix of the queue's keys. */
  readonly prefix: string
  /** Stands in the job's lock as long as the lease is ours. */
  readonly token: string

  constructor (job: JobRecord, stalled: boolean, claimMs: number | undefined, prefix: string, token: string) {
    this.job = job
    // When exactly a stalled job came back is not written down; it is claimed by the next free worker.
    this.availableAt = stalled ? job.startedAt ?? job.runAt : job.runAt
    this.stalled = stalled
    this.claimMs = claimMs
    this.prefix = prefix
    this.token = token
  }
}

/**
 * One attempt under way, from the claim until its settlement was stored or refused.
 *
 * ```
 * claimed ──run──▶ settlement known ──(stored | refused | given up)──▶ over
 * ```
 */
export class Running {
  readonly claim: BullClaim
  readonly bullJob: BullJob
  readonly notes: Notes
  readonly attempt: Attempt
  settlement: Settlement | undefined
  /** What the settlement writes into the notes: proof that it was this one, should the server's answer get lost. */
  written: string | undefined
  over = false
  /** Somebody asked the job to stop. */
  cancelAsked = false
  #leaseLost = false

  constructor (bullJob: BullJob, queue: string, prefix: string, claimMs: number | undefined, begin: (claim: Claim) => Attempt) {
    this.bullJob = bullJob
    this.notes = parseNotes(bullJob.failedReason)
    const stalled = bullJob.stalledCounter > (this.notes.s ?? 0)
    this.claim = new BullClaim(claimedRecord(bullJob, queue, this.notes), stalled, claimMs, prefix, bullJob.token ?? '')
    this.attempt = begin(this.claim)
  }

  get id (): string { return this.claim.job.id }
  get token (): string { return this.claim.token }

  /** Notes for a settlement: what it says, and that the stalls up to now were accounted for. */
  write (said: Notes): string {
    const { stalledCounter } = this.bullJob
    this.written = encodeNotes(stalledCounter > 0 ? { ...said, s: stalledCounter } : said)
    return this.written
  }

  /** Tells the attempt to stop; once for each reason. */
  abort (reason: 'cancelled' | 'lease-lost'): void {
    if (this.over) return
    if (reason === 'cancelled') {
      if (this.cancelAsked) return
      this.cancelAsked = true
    } else {
      if (this.#leaseLost) return
      this.#leaseLost = true
    }
    this.attempt.abort(reason)
  }

  /** Tells the attempt what became of its settlement; only the first verdict counts. @returns whether it was */
  end (verdict: SettleVerdict): boolean {
    if (this.over) return false
    this.over = true
    this.attempt.settled(verdict)
    return true
  }
}
