/** How often the same trouble is reported. */
import type { Clock } from '../../core/context.ts'

/** The same trouble is reported once in this time. */
const REPORT_AGAIN_MS = 30_000

/** Lets a report of each kind through once in a while: an error that comes with every command must not fill the log. */
export class ReportPace {
  readonly #clock: Clock
  readonly #reportedAt = new Map<string, number>()

  constructor (clock: Clock) { this.#clock = clock }

  /** @returns whether this kind is to be reported now; the time until its next report begins then */
  due (kind: string): boolean {
    const now = this.#clock.monotonic()
    if (now - (this.#reportedAt.get(kind) ?? -Infinity) < REPORT_AGAIN_MS) return false
    this.#reportedAt.set(kind, now)
    return true
  }
}
