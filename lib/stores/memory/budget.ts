/** Bounds the bytes that the memory store takes. */
import { AsyncEndpointsError } from '../../core/errors.ts'
import { KEY_BYTES, type IdempotencyKeys } from './idempotency.ts'
import type { Retention } from './retention.ts'
import type { StoredJob } from './record.ts'

/**
 * How many bytes everything in a store takes. Counted at every change, by lengths that are known: nothing is walked
 * through.
 */
export class Budget {
  readonly #maxBytes: number
  readonly #keys: IdempotencyKeys
  readonly #retention: Retention
  #bytes = 0

  constructor (maxBytes: number, keys: IdempotencyKeys, retention: Retention) {
    this.#maxBytes = maxBytes
    this.#keys = keys
    this.#retention = retention
  }

  added (job: StoredJob): void { this.#bytes += job.bytes }
  forgotten (job: StoredJob): void { this.#bytes -= job.bytes }
  /** While a job is worked on, its input is there a second time: parsed, for the handler. */
  claimed (job: StoredJob): void { this.#bytes += job.inputBytes }
  released (job: StoredJob): void { this.#bytes -= job.inputBytes }

  hasResult (job: StoredJob, result: string | undefined): void {
    this.#bytes += result?.length ?? 0
    job.result = result
  }

  /** What steps may take beyond `maxBytes`: sagas go on, and give their results back, while submissions are refused. */
  get stepReserve (): number { return this.#maxBytes / 8 }

  /** The steps of a job have got longer, or shorter. */
  stepsGrew (bytes: number): void { this.#bytes += bytes }

  dropInput (job: StoredJob): void {
    this.#bytes -= job.inputBytes
    job.dropInput()
  }

  /**
   * Whether the bytes fit when finished jobs go. Changes nothing.
   *
   * @param reserve how many bytes beyond `maxBytes` may be taken
   * @throws {AsyncEndpointsError} `FAE_STORE_FULL`; `FAE_JOB_TOO_LARGE`: they would not fit into an empty store either
   */
  assertRoom (bytes = 0, reserve = 0): void {
    if (bytes > this.#maxBytes) throw new AsyncEndpointsError('FAE_JOB_TOO_LARGE', `The job takes ${bytes} bytes, more than maxBytes of the memory store (${this.#maxBytes}): submit a smaller one, or raise maxBytes`)
    if (this.#bytes - this.#retention.bytes <= this.#limit(bytes) + reserve) return
    throw new AsyncEndpointsError(
      'FAE_STORE_FULL',
      'Jobs that wait or run in the memory store take maxBytes: let more of them run, limit them with maxQueued, or keep them on Redis',
      { retryAfterSeconds: 5 }
    )
  }

  /**
   * Forgets finished jobs until so many bytes more fit. What would not fit even without them pushes out none.
   *
   * @throws {AsyncEndpointsError} as {@link Budget.assertRoom}
   */
  makeRoom (bytes: number, reserve = 0): void {
    this.assertRoom(bytes, reserve)
    const limit = this.#limit(bytes)
    while (this.#bytes > limit && this.#retention.makeRoom()) { /* until it fits */ }
  }

  #limit (bytes: number): number { return this.#maxBytes - bytes - this.#keys.size * KEY_BYTES }
}
