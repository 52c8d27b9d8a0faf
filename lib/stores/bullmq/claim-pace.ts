/** The pause between claims that fail. */
import type { Refusals } from './refusals.ts'

/** The first wait after a claim that failed, and the longest. */
const FIRST_MS = 50
const LONGEST_MS = 1_000

/**
 * Holds a consumer back while its claims fail: BullMQ asks again at once, thousands of times a second. Each failure
 * in a row makes the wait longer, with jitter, so that the workers of a fleet do not ask together; it ends when the
 * server serves again.
 */
export class ClaimPace {
  readonly #refusals: Refusals
  #failures = 0

  constructor (refusals: Refusals) {
    this.#refusals = refusals
  }

  /** Runs a claim. @throws what the claim throws, but not before the wait */
  async run<T> (claim: () => Promise<T>): Promise<T> {
    try {
      const answer = await claim()
      this.#failures = 0
      return answer
    } catch (error) {
      const longest = Math.min(FIRST_MS * 2 ** this.#failures++, LONGEST_MS)
      await this.#refusals.pause(longest * (0.5 + Math.random() / 2))
      throw error
    }
  }
}
