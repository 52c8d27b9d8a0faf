import type { Finding } from './bottleneck-report.ts'

/** In windows: a single burst is in the numbers for one window, and would look like something that lasts. */
const LASTING = 1.1
/** In a window, at most: a look costs as much as a report does. */
const LOOKS = 30

/**
 * Which bottleneck is told without being asked for: the one that limits the throughput most, when it has done so at every look for longer
 * than the window, and again once per window as long as it does. When the lines end, it is over.
 */
export class LastingBottleneck {
  readonly #windowMs: number
  #lookedAt = -Infinity
  /** What was found at the last look, since when, and when it was told. */
  #found: { readonly key: string, readonly since: number, toldAt: number } | undefined

  constructor (windowMs: number) {
    this.#windowMs = windowMs
  }

  /** @param now monotonic milliseconds */
  due (now: number): boolean { return now - this.#lookedAt >= 0.9 * this.#windowMs / LOOKS }

  /** @returns the finding, when it is to be told */
  look (limit: Finding | undefined, now: number): Finding | undefined {
    this.#lookedAt = now
    if (limit === undefined) {
      this.#found = undefined
      return undefined
    }
    const key = `${limit.cause} ${limit.subject ?? ''}`
    if (this.#found?.key !== key) this.#found = { key, since: now, toldAt: -Infinity }
    if (now - this.#found.since < LASTING * this.#windowMs || now - this.#found.toldAt < this.#windowMs) return undefined
    this.#found.toldAt = now
    return limit
  }
}
