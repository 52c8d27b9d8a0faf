import type { Finding } from './bottleneck-report.ts'

/**
 * How many windows a bottleneck must last before it is reported. More than one, because a single burst stays in the
 * numbers for one window and would look like a bottleneck that lasts.
 */
const LASTING = 1.1
/** Checks in one window, at most: a check costs as much as a report. */
const CHECKS = 30

/**
 * Decides when a bottleneck is reported without being asked for: when the same one has limited the throughput most at
 * every check for longer than the window, and then once per window until another one does, or none. Its end is not
 * reported.
 */
export class LastingBottleneck {
  readonly #windowMs: number
  #checkedAt = -Infinity
  /** What was found at the last check, since when, and when it was last reported. */
  #found: { readonly key: string, readonly since: number, reportedAt: number } | undefined

  constructor (windowMs: number) {
    this.#windowMs = windowMs
  }

  /** Whether the next check is due. @param now monotonic milliseconds */
  due (now: number): boolean { return now - this.#checkedAt >= 0.9 * this.#windowMs / CHECKS }

  /** @param limit what limits the throughput most now @returns the finding, if it must be reported now */
  check (limit: Finding | undefined, now: number): Finding | undefined {
    this.#checkedAt = now
    if (limit === undefined) {
      this.#found = undefined
      return undefined
    }
    const key = `${limit.cause} ${limit.subject ?? ''}`
    if (this.#found?.key !== key) this.#found = { key, since: now, reportedAt: -Infinity }
    if (now - this.#found.since < LASTING * this.#windowMs || now - this.#found.reportedAt < this.#windowMs) return undefined
    this.#found.reportedAt = now
    return limit
  }
}
