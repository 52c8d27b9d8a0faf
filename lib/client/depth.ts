import { setImmediate as turn } from 'node:timers/promises'
import type { Clock } from '../core/context.ts'
import { EXPIRED, withDeadline } from '../core/deadline.ts'
import type { StoreCounts } from '../jobs/store-counts.ts'

/** How many jobs wait in each queue, for the limit on the depth of a queue (`maxQueued`). */
export class QueueDepths {
  readonly #counts: StoreCounts
  readonly #clock: Clock
  /**
   * By queue, submissions on their way to the store. The store's counts may or may not contain them yet, so they are added to
   * every count: the limit may refuse one job too many for a moment, but is never exceeded.
   */
  readonly #reserved = new Map<string, number>()

  constructor (counts: StoreCounts, clock: Clock) {
    this.#counts = counts
    this.#clock = clock
  }

  submitted (queue: string): void { this.#counts.submitted(queue) }

  /**
   * Reserves room for one job in the queue, if it holds fewer than `limit`. The caller must `release` it in any case: when
   * `submitted` has counted the job, or when it turns out that the submission makes none. If the store does not answer within
   * `waitMs`, the job is let in.
   *
   * @returns whether there was room
   */
  async reserve (queue: string, limit: number, waitMs: number): Promise<boolean> {
    const known = this.#counts.known(queue).fresh || await this.#readWithin(queue, waitMs)
    // From here on nothing is awaited. Many submissions wait for one reading, and each has to see what those before it reserved.
    if (known && this.#total(queue) >= limit) return false
    this.#reserve(queue, 1)
    return true
  }

  release (queue: string): void { this.#reserve(queue, -1) }

  async read (queue: string): Promise<number> {
    await this.#counts.read(queue)
    return this.#total(queue)
  }

  #reserve (queue: string, change: number): void {
    this.#reserved.set(queue, (this.#reserved.get(queue) ?? 0) + change)
  }

  async #readWithin (queue: string, waitMs: number): Promise<boolean> {
    const before = this.#counts.known(queue).reading
    try {
      if (await withDeadline(this.#clock, waitMs, this.#counts.read(queue)) !== EXPIRED) return true
      // A blocked event loop fires the timer first, although the answer may have arrived. Give the loop a turn to read it: the
      // limit matters most under load.
      await turn()
      return this.#counts.known(queue).reading !== before
    } catch {
      return false
    }
  }

  #total (queue: string): number {
    const states = this.#counts.known(queue).reading?.counts.states
    const counted = (states?.queued ?? 0) + (states?.scheduled ?? 0)
    return counted + this.#counts.submittedSince(queue) + (this.#reserved.get(queue) ?? 0)
  }
}
