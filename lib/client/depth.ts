import type { Clock } from '../core/context.ts'
import type { JobStore } from '../jobs/store.ts'

const MAX_AGE_MS = 250

interface Depth {
  count: number
  readAt: number
  /** Submitted here since the count was read: a burst must not slip past a limit between two readings. */
  since: number
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

  async read (queue: string): Promise<number> {
    let depth = this.#depths.get(queue)
    if (depth === undefined) {
      depth = { count: 0, readAt: Number.NEGATIVE_INFINITY, since: 0, reading: undefined }
      this.#depths.set(queue, depth)
    }
    if (this.#clock.monotonic() - depth.readAt > MAX_AGE_MS) await (depth.reading ??= this.#refresh(queue, depth))
    return depth.count + depth.since
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
