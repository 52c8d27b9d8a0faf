/** What the memory store keeps of jobs that are over, and which of them go first. */
import { TERMINAL_STATES, type TerminalState } from '../../jobs/states.ts'
import { LinkedList } from '../../core/linked-list.ts'
import { JobHeap, type Heaped } from './heap.ts'
import type { ResolvedMemoryStoreOptions } from './options.ts'
import type { StoredJob } from './record.ts'

/** The place of an owner in one order. An owner stands in three of them at a time. */
class Rank implements Heaped {
  readonly share: Share
  heapPlace = -1

  constructor (share: Share) {
    this.share = share
  }
}

/** What is kept of one owner's jobs that ended in one way, in the order in which they ended. */
class Share {
  readonly owner: string | undefined
  readonly jobs = new LinkedList<StoredJob>()
  bytes = 0
  readonly byCount = new Rank(this)
  readonly byBytes = new Rank(this)
  readonly byAge = new Rank(this)
  /** Makes the order strict, as a heap requires. */
  readonly turn: number

  constructor (owner: string | undefined, turn: number) {
    this.owner = owner
    this.turn = turn
  }

  get oldest (): number { return this.jobs.head?.finishedAt ?? Infinity }
}

/**
 * The jobs that ended in one way. The owner who has the most of them loses one first: nobody can push out what others
 * have yet to read.
 */
class Ended {
  readonly #shares = new Map<string | undefined, Share>()
  readonly #byCount = new JobHeap<Rank>((a, b) => before(b.share.jobs.size, a.share.jobs.size, a, b))
  readonly #byBytes = new JobHeap<Rank>((a, b) => before(b.share.bytes, a.share.bytes, a, b))
  readonly #byAge = new JobHeap<Rank>((a, b) => before(a.share.oldest, b.share.oldest, a, b))
  #turns = 0
  size = 0
  bytes = 0

  /** @returns how many jobs this owner has here now */
  add (job: StoredJob): number {
    let share = this.#shares.get(job.owner)
    if (share === undefined) {
      share = new Share(job.owner, this.#turns++)
      this.#shares.set(job.owner, share)
    }
    share.jobs.push(job)
    this.#count(share, 1, job.bytes)
    if (share.jobs.size === 1) this.#byAge.push(share.byAge)
    return share.jobs.size
  }

  /** @param bytes what the job counted for when it was added */
  remove (job: StoredJob, bytes: number): void {
    const share = this.#shares.get(job.owner)
    if (share === undefined || job.list !== share.jobs) return
    const wasOldest = share.jobs.head === job
    share.jobs.remove(job)
    this.#count(share, -1, -bytes)
    if (wasOldest) {
      this.#byAge.remove(share.byAge)
      if (share.jobs.size > 0) this.#byAge.push(share.byAge)
    }
    if (share.jobs.size === 0) this.#shares.delete(share.owner)
  }

  /** The job that ended first. */
  get oldest (): StoredJob | undefined { return this.#byAge.top?.share.jobs.head }
  oldestOf (owner: string | undefined): StoredJob | undefined { return this.#shares.get(owner)?.jobs.head }
  oldestOfMost (): StoredJob | undefined { return this.#byCount.top?.share.jobs.head }
  oldestOfLargest (): StoredJob | undefined { return this.#byBytes.top?.share.jobs.head }

  #count (share: Share, jobs: 1 | -1, bytes: number): void {
    this.size += jobs
    this.bytes += bytes
    share.bytes += bytes
    for (const [heap, rank] of [[this.#byCount, share.byCount], [this.#byBytes, share.byBytes]] as const) {
      // A single owner is always the first: nothing has to be put in order.
      if (rank.heapPlace >= 0 && heap.size === 1 && share.jobs.size > 0) continue
      heap.remove(rank)
      if (share.jobs.size > 0) heap.push(rank)
    }
  }
}

function before (first: number, second: number, a: Rank, b: Rank): boolean {
  return first === second ? a.share.turn < b.share.turn : first < second
}

/** What is over, in the order in which it ended, and when it is to be forgotten. */
export class Retention {
  readonly #ended: Readonly<Record<TerminalState, Ended>> = { completed: new Ended(), failed: new Ended(), cancelled: new Ended() }
  readonly #keepMs: Readonly<Record<TerminalState, number>>
  readonly #limits: ResolvedMemoryStoreOptions['retention']
  readonly #forget: (job: StoredJob) => void

  constructor (limits: ResolvedMemoryStoreOptions['retention'], forget: (job: StoredJob) => void) {
    const { completedMs, failedMs } = limits
    this.#limits = limits
    this.#keepMs = { completed: completedMs, failed: failedMs, cancelled: completedMs }
    this.#forget = forget
  }

  /** Of all jobs that are kept. */
  get bytes (): number {
    const { completed, failed, cancelled } = this.#ended
    return completed.bytes + failed.bytes + cancelled.bytes
  }

  /**
   * Keeps a job that has just ended, in place of older ones where there are too many.
   *
   * @returns milliseconds until the job has to be swept, if it is the first of its kind to be
   */
  add (job: StoredJob, state: TerminalState): number | undefined {
    const { maxPerOwner, maxCount, maxBytes } = this.#limits
    const ended = this.#ended[state]
    const owned = ended.add(job)
    if (job.owner !== undefined && owned > maxPerOwner) this.#let(ended.oldestOf(job.owner))
    while (ended.size > maxCount) this.#let(ended.oldestOfMost())
    // The newest one stays, however large it is: its client has yet to read it.
    while (this.bytes > maxBytes && this.makeRoom(job)) { /* until they fit */ }
    return ended.oldest === job ? this.#keepMs[state] : undefined
  }

  /** A job is over no longer, or forgotten. */
  remove (job: StoredJob, state: TerminalState): void { this.#ended[state].remove(job, job.bytes) }

  /**
   * Forgets one job: of those that ended in the way that takes the most room, the oldest of the owner with the most
   * bytes.
   *
   * @param kept never this one; where it would be the one to go, the job that ended first of all goes instead
   * @returns whether there was one
   */
  makeRoom (kept?: StoredJob): boolean {
    let largest = this.#ended.completed
    for (const state of TERMINAL_STATES) if (this.#ended[state].bytes > largest.bytes) largest = this.#ended[state]
    const first = largest.oldestOfLargest()
    if (first !== kept) return this.#let(first)
    let oldest: StoredJob | undefined
    for (const state of TERMINAL_STATES) {
      const { oldest: candidate } = this.#ended[state]
      if (candidate !== undefined && candidate !== kept && (candidate.finishedAt ?? 0) < (oldest?.finishedAt ?? Infinity)) oldest = candidate
    }
    return this.#let(oldest)
  }

  /** Its time is over, although nobody may have swept it yet. */
  expired (job: StoredJob, now: number): boolean {
    const { state, finishedAt } = job
    return finishedAt !== undefined && (state === 'completed' || state === 'failed' || state === 'cancelled') && finishedAt + this.#keepMs[state] <= now
  }

  /**
   * Forgets what is too old, at most `limit` jobs, so that a sweep never holds up the event loop.
   *
   * @returns milliseconds until there is more to do, 0 when the limit was reached; `undefined`: nothing is kept
   */
  sweep (now: number, limit: number): number | undefined {
    let left = limit
    let nextMs: number | undefined
    for (const state of TERMINAL_STATES) {
      const ended = this.#ended[state]
      while (ended.oldest !== undefined && this.expired(ended.oldest, now) && left-- > 0) this.#let(ended.oldest)
      if (ended.oldest === undefined) continue
      const waitMs = Math.max(0, (ended.oldest.finishedAt ?? now) + this.#keepMs[state] - now)
      nextMs = Math.min(nextMs ?? waitMs, waitMs)
    }
    return nextMs
  }

  #let (job: StoredJob | undefined): boolean {
    if (job === undefined) return false
    this.#forget(job)
    return true
  }
}
