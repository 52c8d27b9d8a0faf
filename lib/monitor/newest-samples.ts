/** Keeps the newest samples, at most `max`, in a ring: adding one costs the same however many there were before. */
export class NewestSamples<S> {
  readonly #max: number
  readonly #ring: S[] = []
  #next = 0

  constructor (max: number) { this.#max = max }

  get size (): number { return this.#ring.length }

  add (sample: S): void {
    this.#ring[this.#next] = sample
    this.#next = (this.#next + 1) % this.#max
  }

  /** The newest first. */
  newest (limit = this.#max): S[] {
    const { length } = this.#ring
    return Array.from({ length: Math.min(limit, length) }, (_, back) => this.#ring[(this.#next - 1 - back + 2 * length) % length] as S)
  }
}
