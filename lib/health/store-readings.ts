import { CachedAnswer } from '../core/cached-answer.ts'
import type { Clock } from '../core/context.ts'
import type { JobRecord } from '../jobs/job.ts'
import type { StoreCounts } from '../jobs/store-counts.ts'
import type { JobStore } from '../jobs/store.ts'

const RUNNING_FRESH_MS = 5_000
const PAGE = 100
/** The list of a queue may be long: no more pages of it are read. */
const MAX_PAGES = 20

/** Sums over the queues of all jobs that are defined here. */
export interface CountsReading {
  /** Claimable now. */
  readonly queued: number
  /** In progress without a valid lease: stalled, and not claimed again yet. */
  readonly stuck: number
}

/** What the checks read from the store. Each reading is shared by all checks. */
export class StoreReadings {
  readonly #counts: Pick<StoreCounts, 'read'>
  readonly #queues: () => readonly string[]
  readonly #running: CachedAnswer<readonly JobRecord[]>

  constructor (store: Pick<JobStore, 'list'>, counts: Pick<StoreCounts, 'read'>, clock: Clock, queues: () => readonly string[]) {
    this.#counts = counts
    this.#queues = queues
    this.#running = new CachedAnswer(clock, RUNNING_FRESH_MS, async () => {
      return (await Promise.all(queues().map((queue) => running(store, queue)))).flat()
    })
  }

  async counts (): Promise<CountsReading> {
    const all = await Promise.all(this.#queues().map((queue) => this.#counts.read(queue)))
    return {
      queued: all.reduce((sum, { counts: { states } }) => sum + states.queued, 0),
      stuck: all.reduce((sum, { counts: { stuck } }) => sum + stuck, 0)
    }
  }

  /** Jobs in progress in all processes; the first two thousand of each queue. */
  running (): Promise<readonly JobRecord[]> { return this.#running.get() }
}

async function running (store: Pick<JobStore, 'list'>, queue: string): Promise<JobRecord[]> {
  const found: JobRecord[] = []
  let cursor: string | undefined
  for (let page = 0; page < MAX_PAGES; page++) {
    const after = cursor === undefined ? undefined : { cursor }
    const { jobs, cursor: next } = await store.list({ queue, state: 'in-progress', limit: PAGE, ...after })
    found.push(...jobs)
    if (next === undefined) break
    cursor = next
  }
  return found
}
