/** What an entry of a {@link JobHeap} carries for it: its index, or -1. */
export interface Heaped { heapPlace: number }

/** Four children per node: half the levels of a binary heap, and neighbours that share a cache line. */
const CHILDREN = 4

/**
 * A heap of jobs that know their place in it, so that one can be taken out of the middle in O(log n) and no tombstone
 * stays behind. A job is in one heap at most.
 */
export class JobHeap<T extends Heaped> {
  readonly #jobs: T[] = []
  readonly #before: (a: T, b: T) => boolean

  /** @param before a strict order: two jobs never stand before each other */
  constructor (before: (a: T, b: T) => boolean) {
    this.#before = before
  }

  get size (): number { return this.#jobs.length }
  get top (): T | undefined { return this.#jobs[0] }

  push (job: T): void {
    this.#jobs.push(job)
    this.#rise(job, this.#jobs.length - 1)
  }

  remove (job: T): void {
    const place = job.heapPlace
    if (this.#jobs[place] !== job) return
    job.heapPlace = -1
    const last = this.#jobs.pop()
    if (last === undefined || last === job) return
    // The last one may belong above or below the hole: only one of the two moves it.
    this.#rise(last, place)
    this.#sink(last, last.heapPlace)
  }

  pop (): T | undefined {
    const top = this.#jobs[0]
    if (top !== undefined) this.remove(top)
    return top
  }

  #rise (job: T, from: number): void {
    const jobs = this.#jobs
    let place = from
    while (place > 0) {
      const above = (place - 1) / CHILDREN | 0
      const parent = jobs[above] as T
      if (!this.#before(job, parent)) break
      jobs[place] = parent
      parent.heapPlace = place
      place = above
    }
    jobs[place] = job
    job.heapPlace = place
  }

  #sink (job: T, from: number): void {
    const jobs = this.#jobs
    const { length } = jobs
    let place = from
    for (let first = place * CHILDREN + 1; first < length; first = place * CHILDREN + 1) {
      let least = jobs[first] as T
      for (let at = first + 1, end = Math.min(first + CHILDREN, length); at < end; at++) {
        const child = jobs[at] as T
        if (this.#before(child, least)) least = child
      }
      if (!this.#before(least, job)) break
      const free = least.heapPlace
      jobs[place] = least
      least.heapPlace = place
      place = free
    }
    jobs[place] = job
    job.heapPlace = place
  }
}
