import { TERMINAL_STATES, type JobState, type TerminalState } from '../../jobs/states.ts'
import { LinkedList } from '../../core/linked-list.ts'
import type { MemorySettings } from './options.ts'
import type { StoredJob } from './record.ts'

/** What is over, in the order in which it ended, and when it is to be forgotten. */
export class Retention {
  readonly #ended: Readonly<Record<TerminalState, LinkedList<StoredJob>>> = { completed: new LinkedList(), failed: new LinkedList(), cancelled: new LinkedList() }
  readonly #keepMs: Readonly<Record<TerminalState, number>>
  readonly #maxCount: number
  readonly #forget: (job: StoredJob) => void

  constructor ({ completedMs, failedMs, maxCount }: MemorySettings['retention'], forget: (job: StoredJob) => void) {
    this.#keepMs = { completed: completedMs, failed: failedMs, cancelled: completedMs }
    this.#maxCount = maxCount
    this.#forget = forget
  }

  /**
   * Keeps a job that has just ended, in place of the oldest of its kind when there are too many.
   *
   * @returns milliseconds until the job has to be swept, if it is the first of its kind to be
   */
  add (job: StoredJob, state: TerminalState): number | undefined {
    const list = this.#ended[state]
    list.push(job)
    while (list.size > this.#maxCount && list.head !== undefined) this.#forget(list.head)
    return list.head === job ? this.#keepMs[state] : undefined
  }

  /** Its time is over, although nobody may have swept it yet. */
  expired (job: StoredJob, now: number): boolean {
    return job.finishedAt !== undefined && job.finishedAt + this.#keepFor(job.state) <= now
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
      const list = this.#ended[state]
      let oldest = list.head
      while (oldest !== undefined && this.expired(oldest, now) && left-- > 0) {
        this.#forget(oldest)
        oldest = list.head
      }
      if (oldest === undefined) continue
      const waitMs = Math.max(0, (oldest.finishedAt ?? now) + this.#keepMs[state] - now)
      nextMs = Math.min(nextMs ?? waitMs, waitMs)
    }
    return nextMs
  }

  #keepFor (state: JobState): number {
    return state === 'completed' || state === 'failed' || state === 'cancelled' ? this.#keepMs[state] : Infinity
  }
}
