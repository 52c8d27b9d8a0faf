/** Reports errors of BullMQ's worker, each kind once in a while. */
import type { Clock } from '../../core/context.ts'
import { serverOf } from './advice.ts'
import { refusalCode, serverCode, toStoreError } from './errors.ts'
import type { ResolvedRedisStoreOptions } from './options.ts'

/** The same error is reported once in this time. */
const REPORT_AGAIN_MS = 30_000

/**
 * Passes errors of BullMQ's worker that belong to no settlement on to the owner of the consumer, each kind once in a while.
 * Lost connections are left out, because the store reports them once for all, and so are refused settlements, because their
 * attempts hear of them.
 */
export class Troubles {
  readonly #clock: Clock
  readonly #onError: (error: Error) => void
  readonly #reportedAt = new Map<string, number>()
  readonly #server: string | undefined
  #expected = 0

  constructor (clock: Clock, onError: (error: Error) => void, settings?: ResolvedRedisStoreOptions) {
    this.#server = settings && serverOf(settings)
    this.#clock = clock
    this.#onError = onError
  }

  /** The next so many errors are known already. */
  expect (count: number): void { this.#expected = count }

  /** Never throws. */
  report (error: unknown): void {
    if (refusalCode(error) !== undefined) return
    if (this.#expected > 0) {
      this.#expected--
      return
    }
    const code = serverCode(error)
    if (code === 'not connected' || /^E[A-Z_]{3,}$/.test(code)) return
    const now = this.#clock.monotonic()
    if (now - (this.#reportedAt.get(code) ?? -Infinity) < REPORT_AGAIN_MS) return
    this.#reportedAt.set(code, now)
    try { this.#onError(toStoreError(error, this.#server)) } catch { /* its own trouble */ }
  }
}
