/** Who holds a place, and has it ended when somebody else needs it more. */
export interface Seated {
  /** Ends it at once. Its place is given away already. */
  end (): void
}

/**
 * A bounded number of places for requests that wait, shared among clients. A free place goes to any client. When all are taken, the
 * client with the most places loses its oldest one to a client that has fewer. A client that has as many as any other may only
 * exchange its own oldest place for a new one. So all clients end up with equally many, and a client with a single place keeps
 * it, however many another one asks for.
 */
export class Places<S extends Seated> {
  readonly #max: number
  /** By client, the oldest first. No entry is empty. */
  readonly #seated = new Map<string, Set<S>>()
  #size = 0

  constructor (max: number) {
    this.#max = max
  }

  /** Places that are taken. */
  get size (): number { return this.#size }

  /** Whether `take` would give this client a place. */
  has (client: string): boolean { return this.#size < this.#max || this.#loserTo(client) !== undefined }

  /** @returns `false`: every place is taken, and nobody has more than this client may have */
  take (client: string, seat: S): boolean {
    if (this.#size >= this.#max) {
      const loser = this.#loserTo(client)
      if (loser === undefined) return false
      const [oldest] = this.#seated.get(loser) ?? []
      if (oldest !== undefined) {
        this.give(loser, oldest)
        oldest.end()
      }
    }
    let own = this.#seated.get(client)
    if (own === undefined) this.#seated.set(client, own = new Set())
    own.add(seat)
    this.#size++
    return true
  }

  /** Gives a place back; nothing happens when it was lost meanwhile. */
  give (client: string, seat: S): void {
    const own = this.#seated.get(client)
    if (own?.delete(seat) !== true) return
    this.#size--
    if (own.size === 0) this.#seated.delete(client)
  }

  * all (): Generator<S> {
    for (const seats of this.#seated.values()) yield * seats
  }

  /** The client that has to give a place to this one. There are at most as many entries as places. */
  #loserTo (client: string): string | undefined {
    const own = this.#seated.get(client)?.size ?? 0
    let most: string | undefined
    let count = 0
    for (const [other, { size }] of this.#seated) {
      if (size <= count) continue
      most = other
      count = size
    }
    // With a difference of one, the two clients would only change roles.
    if (count > own + 1) return most
    return own > 0 ? client : undefined
  }
}
