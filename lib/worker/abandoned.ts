/**
 * Handlers that ignored their abort and run on although their attempts were settled without them. Each keeps the place of its
 * attempt until it ends: otherwise a worker of two places would run any number of them.
 */
export class AbandonedHandlers {
  readonly #counts = new Map<string, number>()
  /** Queues of which they hold every place: since when, on the monotonic clock. */
  readonly #exhausted = new Map<string, number>()
  #size = 0

  /** That run at this moment, over all queues. */
  get size (): number { return this.#size }

  of (queue: string): number { return this.#counts.get(queue) ?? 0 }

  add (queue: string): void {
    this.#size++
    this.#counts.set(queue, this.of(queue) + 1)
  }

  remove (queue: string): void {
    this.#size--
    const left = this.of(queue) - 1
    if (left > 0) this.#counts.set(queue, left)
    else this.#counts.delete(queue)
  }

  exhaustedSince (queue: string): number | undefined { return this.#exhausted.get(queue) }

  /** @returns whether it was not before */
  exhaust (queue: string, now: number): boolean {
    if (this.#exhausted.has(queue)) return false
    this.#exhausted.set(queue, now)
    return true
  }

  /** @returns since when it was; `undefined`: it was not */
  relieve (queue: string): number | undefined {
    const since = this.#exhausted.get(queue)
    this.#exhausted.delete(queue)
    return since
  }
}
