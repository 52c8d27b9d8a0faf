/** All jobs of the memory store in the order of their creation, for lists. */
import type { StoredJob } from './record.ts'

/** Small, so that a job that is kept for long holds little room for its forgotten neighbours. */
const CHUNK = 64

interface Chunk {
  readonly jobs: Array<StoredJob | undefined>
  live: number
}

/**
 * All jobs by order of creation: a place in it (a serial number) stays meaningful whatever is added or forgotten, and
 * is found at once. That is what a cursor of a list needs.
 */
export class CreationLog {
  /** By number of the chunk; entered in ascending order. */
  readonly #chunks = new Map<number, Chunk>()
  #newest: Chunk = { jobs: [], live: 0 }
  #serial = 0

  /** One more than the serial of the newest job. */
  get end (): number { return this.#serial }

  add (job: StoredJob): void {
    if (this.#serial % CHUNK === 0) {
      if (this.#newest.live === 0) this.#chunks.delete(this.#serial / CHUNK - 1)
      this.#newest = { jobs: new Array<StoredJob | undefined>(CHUNK).fill(undefined), live: 0 }
      this.#chunks.set(this.#serial / CHUNK, this.#newest)
    }
    job.serial = this.#serial++
    this.#newest.jobs[job.serial % CHUNK] = job
    this.#newest.live++
  }

  at (serial: number): StoredJob | undefined {
    return this.#chunks.get(Math.floor(serial / CHUNK))?.jobs[serial % CHUNK]
  }

  delete (job: StoredJob): void {
    const number = Math.floor(job.serial / CHUNK)
    const chunk = this.#chunks.get(number)
    if (chunk === undefined || chunk.jobs[job.serial % CHUNK] !== job) return
    chunk.jobs[job.serial % CHUNK] = undefined
    chunk.live--
    if (chunk.live === 0 && chunk !== this.#newest) this.#chunks.delete(number)
  }

  /**
   * Visits jobs that are older than a serial, newest first, until the visitor returns `false` or `steps` places were
   * looked at.
   *
   * @returns the serial to go on from, or -1 when there is nothing older
   */
  visit (before: number, steps: number, visitor: (job: StoredJob) => boolean): number {
    const [oldest] = this.#chunks.keys()
    if (oldest === undefined) return -1
    let serial = before - 1
    for (let left = steps; serial >= oldest * CHUNK; left--) {
      if (left <= 0) return serial + 1
      const chunk = this.#chunks.get(Math.floor(serial / CHUNK))
      if (chunk === undefined) {
        serial = Math.floor(serial / CHUNK) * CHUNK - 1
        continue
      }
      const job = chunk.jobs[serial % CHUNK]
      if (job !== undefined && !visitor(job)) return serial
      serial--
    }
    return -1
  }
}
