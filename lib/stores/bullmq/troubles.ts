import type { Clock } from '../../core/context.ts'
import { serverOf } from './advice.ts'
import { refusalCode, serverCode, toStoreError } from './errors.ts'
import type { ResolvedRedisStoreOptions } from './options.ts'

/** The same trouble is told once in this time. */
const TELL_AGAIN_MS = 30_000

/**
 * Errors of BullMQ's worker that belong to no settlement, on their way to whoever asked to hear of them. Lost
 * connections are told by the store, once for all; refused settlements are told to their attempts.
 */
export class Troubles {
  readonly #clock: Clock
  readonly #onError: (error: Error) => void
  readonly #told = new Map<string, number>()
  readonly #server: string | undefined
  #expected = 0

  constructor (clock: Clock, onError: (error: Error) => void, settings?: ResolvedRedisStoreOptions) {
    this.#server = settings && serverOf(settings)
    this.#clock = clock
    this.#onError = onError
  }

  /** The next so many are known already. */
  expect (count: number): void { this.#expected = count }

  /** Never throws. */
  tell (error: unknown): void {
    if (refusalCode(error) !== undefined) return
    if (this.#expected > 0) {
      this.#expected--
      return
    }
    const code = serverCode(error)
    if (code === 'not connected' || /^E[A-Z_]{3,}$/.test(code)) return
    const now = this.#clock.monotonic()
    if (now - (this.#told.get(code) ?? -Infinity) < TELL_AGAIN_MS) return
    this.#told.set(code, now)
    try { this.#onError(toStoreError(error, this.#server)) } catch { /* its own trouble */ }
  }
}
