import { AsyncEndpointsError } from '../core/errors.ts'

/** More clients than this are not remembered: the one that was idle for longest is forgotten, as if it had sent nothing. */
const MAX_CLIENTS = 10_000

/**
 * Limits how many submissions a client sends in a minute, in this process. A client that was quiet may send a minute's
 * worth at once; after that it gets one more for each part of a minute that has passed.
 */
export class SubmissionLimit {
  readonly #perMinute: number
  readonly #spacingMs: number
  readonly #monotonic: () => number
  /** When the submissions of a client would all have been evenly spaced out; the client that was quiet for longest first. */
  readonly #spacedUntil = new Map<string, number>()

  /** @param monotonic milliseconds of a clock that never goes back */
  constructor (perMinute: number, monotonic: () => number) {
    this.#perMinute = perMinute
    this.#spacingMs = 60_000 / perMinute
    this.#monotonic = monotonic
  }

  /** How many clients are remembered. */
  get clients (): number { return this.#spacedUntil.size }

  /**
   * Counts a submission.
   *
   * @param client from `clientKey`
   * @throws {AsyncEndpointsError} `FAE_TOO_MANY_SUBMISSIONS`
   */
  count (client: string): void {
    const now = this.#monotonic()
    const until = Math.max(now, this.#spacedUntil.get(client) ?? 0)
    const tooEarlyMs = until + this.#spacingMs - now - 60_000
    // A thousandth of a millisecond is what adding fractions may have lost.
    if (tooEarlyMs > 0.001) {
      throw new AsyncEndpointsError('FAE_TOO_MANY_SUBMISSIONS', `At most ${this.#perMinute} submissions a minute are accepted`, {
        retryAfterSeconds: Math.max(1, Math.ceil(tooEarlyMs / 1_000))
      })
    }
    this.#spacedUntil.delete(client)
    this.#spacedUntil.set(client, until + this.#spacingMs)
    if (this.#spacedUntil.size <= MAX_CLIENTS) return
    const [quietest] = this.#spacedUntil.keys()
    if (quietest !== undefined) this.#spacedUntil.delete(quietest)
  }
}
