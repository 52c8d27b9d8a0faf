/** The newest ids, and no more of them than so many. */
export class RecentIds {
  readonly #max: number
  readonly #ids = new Set<string>()

  constructor (max: number) {
    this.#max = max
  }

  add (id: string): void {
    this.#ids.add(id)
    const [oldest] = this.#ids
    if (this.#ids.size > this.#max && oldest !== undefined) this.#ids.delete(oldest)
  }

  /** @returns whether it was one of them */
  delete (id: string): boolean { return this.#ids.delete(id) }
}
