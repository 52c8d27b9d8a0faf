/**
 * Decides between the first of its kind, which is logged, and the rest, which are only counted: a failure that
 * repeats a thousand times a second must not fill the log.
 */
export class FirstOnly<Kind = string> {
  readonly #seen = new Set<Kind>()

  /** @returns whether it is the first of its kind, or the first since {@link forget} */
  note (kind: Kind): boolean {
    if (this.#seen.has(kind)) return false
    this.#seen.add(kind)
    return true
  }

  has (kind: Kind): boolean { return this.#seen.has(kind) }

  /** It works again: the next failure of this kind is a first one. */
  forget (kind: Kind): void { this.#seen.delete(kind) }

  forgetAll (): void { this.#seen.clear() }

  [Symbol.iterator] (): Iterator<Kind> { return this.#seen.values() }
}
