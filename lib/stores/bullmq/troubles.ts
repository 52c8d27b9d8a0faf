/** Reports errors of BullMQ's worker, each kind once in a while. */
import type { Clock } from '../../core/context.ts'
import { serverOf } from './advice.ts'
import { refusalCode, serverCode, toStoreError } from './errors.ts'
import type { ResolvedRedisStoreOptions } from './options.ts'
import { ReportPace } from './report-pace.ts'

/**
 * Passes errors of BullMQ's worker that belong to no settlement on to the owner of the consumer, each kind once in a
 * while. Lost connections are left out, because the store reports them once for all, and so are refused settlements,
 * because their attempts hear of them.
 */
export class Troubles {
  readonly #pace: ReportPace
  readonly #onError: (error: Error) => void
  readonly #server: string | undefined
  #expected = 0

  constructor (clock: Clock, onError: (error: Error) => void, settings?: ResolvedRedisStoreOptions) {
    this.#server = settings && serverOf(settings)
    this.#pace = new ReportPace(clock)
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
    if (!this.#pace.due(code)) return
    // A fault of the listener must not end the loop of the worker.
    try { this.#onError(toStoreError(error, this.#server)) } catch {}
  }
}
