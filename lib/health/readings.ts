import type { Clock } from '../core/context.ts'
import type { JobRecord } from '../jobs/job.ts'
import type { JobStore } from '../jobs/store.ts'

/** Checks that are asked together share one answer of the store. */
const COUNTS_AGE_MS = 500
const RUNNING_AGE_MS = 5_000
const PAGE = 100
/** A list that grows without bound is itself not healthy to read. */
const MAX_PAGES = 20

/** An answer that several ask for: one call under way at a time, and its answer for a while. A failure is not kept. */
class Shared<T> {
  readonly #clock: Clock
  readonly #maxAgeMs: number
  readonly #read: () => Promise<T>
  #newest: { readonly at: number, readonly value: T } | undefined
  #running: Promise<T> | undefined

  constructor (clock: Clock, maxAgeMs: number, read: () => Promise<T>) {
    this.#clock = clock
    this.#maxAgeMs = maxAgeMs
    this.#read = read
  }

  async get (): Promise<T> {
    if (this.#newest !== undefined && this.#clock.monotonic() - this.#newest.at < this.#maxAgeMs) return this.#newest.value
    this.#running ??= this.#ask()
    return await this.#running
  }

  async #ask (): Promise<T> {
    try {
      const value = await this.#read()
      this.#newest = { at: this.#clock.monotonic(), value }
      return value
    } finally {
      this.#running = undefined
    }
  }
}

/** Sums over the queues of all jobs that are defined here. */
export interface CountsReading {
  /** Claimable now. */
  readonly queued: number
  /** In progress, with a lease that was not renewed in time. */
  readonly stuck: number
}

/** What the checks ask of the store, each once for all of them. */
export class StoreReadings {
  readonly #counts: Shared<CountsReading>
  readonly #running: Shared<readonly JobRecord[]>

  constructor (store: Pick<JobStore, 'counts' | 'list'>, clock: Clock, queues: () => readonly string[]) {
    this.#counts = new Shared(clock, COUNTS_AGE_MS, async () => {
      const all = await Promise.all(queues().map((queue) => store.counts(queue)))
      return {
        queued: all.reduce((sum, { states }) => sum + states.queued, 0),
        stuck: all.reduce((sum, { stuck }) => sum + stuck, 0)
      }
    })
    this.#running = new Shared(clock, RUNNING_AGE_MS, async () => (await Promise.all(queues().map((queue) => running(store, queue)))).flat())
  }

  counts (): Promise<CountsReading> { return this.#counts.get() }

  /** Jobs in progress, in whatever process; the first two thousand of each queue. */
  running (): Promise<readonly JobRecord[]> { return this.#running.get() }
}

async function running (store: Pick<JobStore, 'list'>, queue: string): Promise<JobRecord[]> {
  const found: JobRecord[] = []
  let cursor: string | undefined
  for (let page = 0; page < MAX_PAGES; page++) {
    const { jobs, cursor: next } = await store.list({ queue, state: 'in-progress', limit: PAGE, ...(cursor === undefined ? undefined : { cursor }) })
    found.push(...jobs)
    if (next === undefined) break
    cursor = next
  }
  return found
}
