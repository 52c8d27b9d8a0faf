/** A waiting request that holds a place. It is ended if another client needs the place. */
export interface Seated {
  /** Ends the wait at once. The place is already given to another client. */
  end (): void
}

/**
 * A bounded number of places for waiting requests, shared fairly among clients. A free place goes to any client. When
 * all are taken, the client with the most places loses its oldest one to a client that has fewer. A client that
 * already has the most can only exchange its own oldest place for a new one. So all clients end up with the same
 * number of places, and a client with one place keeps it, however many places another client asks for.
 */
export class Places<S extends Seated> {
  readonly #max: number
  /** The holders by client, the oldest first. No entry is empty. */
  readonly #seated = new Map<string, Set<S>>()
  #size = 0

  constructor (max: number) {
    this.#max = max
  }

  /** The number of places that are taken. */
  get size (): number { return this.#size }

  /** How many places a client has. */
  of (client: string): number { return this.#seated.get(client)?.size ?? 0 }

  /** Whether `take` would give this client a place. */
  has (client: string): boolean { return this.#size < this.#max || this.#loserTo(client) !== undefined }

  /** @returns `false`: every place is taken, and no client has more places than this one would have */
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

  /** Gives a place back. Does nothing if the place was already given to another client. */
  give (client: string, seat: S): void {
    const own = this.#seated.get(client)
    if (own?.delete(seat) !== true) return
    this.#size--
    if (own.size === 0) this.#seated.delete(client)
  }

  * all (): Generator<S> {
    for (const seats of this.#seated.values()) yield * seats
  }

  /** The client that must give up a place for this one. */
  #loserTo (client: string): string | undefined {
    const own = this.#seated.get(client)?.size ?? 0
    let most: string | undefined
    let count = 0
    for (const [other, { size }] of this.#seated) {
      if (size <= count) continue
      most = other
      count = size
    }
    // If they differ by one place only, the two clients would just change roles.
    if (count > own + 1) return most
    return own > 0 ? client : undefined
  }
}
