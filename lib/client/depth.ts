import { setImmediate as turn } from 'node:timers/promises'
import type { Clock } from '../core/context.ts'
import { EXPIRED, withDeadline } from '../core/deadline.ts'
import type { StoreCounts } from '../jobs/store-counts.ts'

/** How many jobs wait in each queue, for the limit on the depth of a queue (`maxQueued`). */
export class QueueDepths {
  readonly #counts: StoreCounts
  readonly #clock: Clock
  /** By queue, submissions that the store has not confirmed yet: no reading can be relied on to know these. */
  readonly #reserved = new Map<string, number>()

  constructor (counts: StoreCounts, clock: Clock) {
    this.#counts = counts
    this.#clock = clock
  }

  submitted (queue: string): void { this.#counts.submitted(queue) }

  /**
   * Reserves room for one job in the queue, if it holds fewer than `limit`. The caller must `release` it in any case, at the
   * moment that `submitted` counts the job or the submission turns out to make none. A store that does not answer
   * within `waitMs` is no reason to refuse.
   *
   * @returns whether there was room
   */
  async reserve (queue: string, limit: number, waitMs: number): Promise<boolean> {
    const known = this.#counts.known(queue).fresh || await this.#readWithin(queue, waitMs)
    // From here on nothing is awaited: many wait for one reading, and each has to see what those before it reserved.
    if (known && this.#total(queue) >= limit) return false
    this.#reserve(queue, 1)
    return true
  }

  release (queue: string): void { this.#reserve(queue, -1) }

  async read (queue: string): Promise<number> {
    await this.#counts.read(queue)
    return this.#total(queue)
  }

  #reserve (queue: string, change: number): void { this.#reserved.set(queue, (this.#reserved.get(queue) ?? 0) + change) }

  async #readWithin (queue: string, waitMs: number): Promise<boolean> {
    const before = this.#counts.known(queue).reading
    try {
      if (await withDeadline(this.#clock, waitMs, this.#counts.read(queue)) !== EXPIRED) return true
      // A blocked event loop fires the timer before it reads the answer, which may have arrived: under load the limit counts most.
      await turn()
      return this.#counts.known(queue).reading !== before
    } catch {
      return false
    }
  }

  #total (queue: string): number {
    const states = this.#counts.known(queue).reading?.counts.states
    return (states?.queued ?? 0) + (states?.scheduled ?? 0) + this.#counts.submittedSince(queue) + (this.#reserved.get(queue) ?? 0)
  }
}
