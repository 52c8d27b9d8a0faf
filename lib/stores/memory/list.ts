/** What an entry of a {@link JobList} carries for it. */
export interface Listed<T extends Listed<T>> {
  list: JobList<T> | undefined
  previous: T | undefined
  next: T | undefined
}

/**
 * A doubly linked list through the jobs themselves: adding, taking and removing from the middle cost the same with
 * three jobs and with a million, and nothing is left behind. A job is in one list at most.
 */
export class JobList<T extends Listed<T>> {
  #head: T | undefined
  #tail: T | undefined
  #size = 0

  get head (): T | undefined { return this.#head }
  get size (): number { return this.#size }

  push (job: T): void {
    job.list = this
    job.previous = this.#tail
    if (this.#tail === undefined) this.#head = job
    else this.#tail.next = job
    this.#tail = job
    this.#size++
  }

  remove (job: T): void {
    if (job.list !== this) return
    if (job.previous === undefined) this.#head = job.next
    else job.previous.next = job.next
    if (job.next === undefined) this.#tail = job.previous
    else job.next.previous = job.previous
    // An old job that still pointed at its neighbour would keep it from being collected.
    job.list = undefined
    job.previous = undefined
    job.next = undefined
    this.#size--
  }

  shift (): T | undefined {
    const job = this.#head
    if (job !== undefined) this.remove(job)
    return job
  }
}
