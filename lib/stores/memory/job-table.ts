import type { StoredJob } from './record.ts'

const SHARDS = 256

/**
 * Jobs by id, in many small maps: a map that grows is built anew in one go, and with a million jobs in it that would
 * stop the event loop for a tenth of a second.
 */
export class JobTable {
  readonly #shards: ReadonlyArray<Map<string, StoredJob>> = Array.from({ length: SHARDS }, () => new Map<string, StoredJob>())

  get (id: string): StoredJob | undefined {
    return this.#of(id).get(id)
  }

  add (job: StoredJob): void {
    this.#of(job.id).set(job.id, job)
  }

  delete (job: StoredJob): void {
    this.#of(job.id).delete(job.id)
  }

  clear (): void {
    for (const shard of this.#shards) shard.clear()
  }

  /** The ids are random: their last characters spread them evenly. Reading one past the beginning gives NaN, which is 0 here. */
  #of (id: string): Map<string, StoredJob> {
    const end = id.length
    const hash = (id.charCodeAt(end - 1) * 16 + id.charCodeAt(end - 2)) & (SHARDS - 1)
    return this.#shards[hash] as Map<string, StoredJob>
  }
}
