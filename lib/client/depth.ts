import { setImmediate as turn } from 'node:timers/promises'
import type { Clock } from '../core/context.ts'
import { EXPIRED, withDeadline } from '../core/deadline.ts'
import type { JobStore } from '../jobs/store.ts'

const MAX_AGE_MS = 250

interface Depth {
  count: number
  readAt: number
  /** Submitted here since the count was read: a burst must not slip past a limit between two readings. */
  since: number
  /** Places of submissions that the store has not confirmed yet: no reading can be relied on to know these. */
  reserved: number
  reading: Promise<void> | undefined
}

/** How many jobs wait in each queue, for admission control: read from the store at most four times a second. */
export class QueueDepths {
  readonly #store: JobStore
  readonly #clock: Clock
  readonly #depths = new Map<string, Depth>()

  constructor (store: JobStore, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  submitted (queue: string): void {
    const depth = this.#depths.get(queue)
    if (depth !== undefined) depth.since++
  }

  /**
   * Takes a place in the queue, if fewer than `limit` are taken; to be given back with `release` in any case, at the
   * moment that `submitted` counts the job or the submission turns out to make none. A store that cannot tell within
   * `waitMs` is no reason to refuse.
   *
   * @returns whether there was a place
   */
  async reserve (queue: string, limit: number, waitMs: number): Promise<boolean> {
    const depth = this.#of(queue)
    const known = !this.#isStale(depth) || await this.#readWithin(queue, depth, waitMs)
    // From here on nothing is awaited: many wait for one reading, and each has to see the places that those before it took.
    if (known && total(depth) >= limit) return false
    depth.reserved++
    return true
  }

  release (queue: string): void { this.#of(queue).reserved-- }

  async read (queue: string): Promise<number> {
    const depth = this.#of(queue)
    if (this.#isStale(depth)) await this.#reading(queue, depth)
    return total(depth)
  }

  #of (queue: string): Depth {
    let depth = this.#depths.get(queue)
    if (depth === undefined) {
      depth = { count: 0, readAt: Number.NEGATIVE_INFINITY, since: 0, reserved: 0, reading: undefined }
      this.#depths.set(queue, depth)
    }
    return depth
  }

  #isStale (depth: Depth): boolean { return this.#clock.monotonic() - depth.readAt > MAX_AGE_MS }

  #reading (queue: string, depth: Depth): Promise<void> {
    depth.reading ??= this.#refresh(queue, depth)
    return depth.reading
  }

  async #readWithin (queue: string, depth: Depth, waitMs: number): Promise<boolean> {
    const { readAt } = depth
    try {
      if (await withDeadline(this.#clock, waitMs, this.#reading(queue, depth)) !== EXPIRED) return true
      // A blocked event loop fires the timer before it reads the answer, which may be there: under load the limit counts most.
      await turn()
      return depth.readAt > readAt
    } catch {
      return false
    }
  }

  async #refresh (queue: string, depth: Depth): Promise<void> {
    try {
      const before = depth.since
      const { states } = await this.#store.counts(queue)
      depth.count = states.queued + states.scheduled
      // What was submitted while the reading was under way may or may not be in it; counting it twice for a moment is the safe side.
      depth.since -= before
      depth.readAt = this.#clock.monotonic()
    } finally {
      depth.reading = undefined
    }
  }
}

function total ({ count, since, reserved }: Depth): number {
  return count + since + reserved
}
