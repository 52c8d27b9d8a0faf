/** Shares the deliveries of one process fairly among the receivers. */
import type { Clock } from '../core/context.ts'

/** Failures in a row after which an origin counts as broken. */
const FAILURES = 5
const FIRST_PAUSE_MS = 30_000
const LONGEST_PAUSE_MS = 600_000
/** How long a delivery takes, as long as none was measured. */
const USUAL_MS = 500
const LONGEST_TURN_MS = 60_000
/** Origins that are remembered while nothing is sent to them. */
const REMEMBERED = 10_000

interface Origin {
  running: number
  /** Failures since the last request that the origin has answered. */
  failures: number
  /** Nothing is sent before this moment. */
  closedUntil: number
  /** When the next delivery that found no place comes back. */
  nextTurn: number
  /** About how long a request takes. */
  usualMs: number
}

/**
 * Counts what is on its way to each origin, and notes which origins are broken:
 *
 * ```
 * working ──(5 failures in a row)──▶ broken ──(the pause is over)──▶ on trial: one request at a time
 *    ▲                                  ▲                              │
 *    └──────────(an answer)─────────────┼──────────────────────────────┤
 *                                       └─(a failure: longer pause)────┘
 * ```
 *
 * A slow or broken receiver thus holds at most `maxPerOrigin` slots of the worker, and deliveries to it wait in the
 * store without spending an attempt.
 */
export class WebhookOrigins {
  readonly #clock: Clock
  readonly #maxPerOrigin: number
  readonly #random: () => number
  readonly #origins = new Map<string, Origin>()

  constructor (clock: Clock, maxPerOrigin: number, random: () => number = Math.random) {
    this.#clock = clock
    this.#maxPerOrigin = maxPerOrigin
    this.#random = random
  }

  /** How many origins are remembered. */
  get size (): number { return this.#origins.size }

  /** @returns milliseconds after which to ask again; `undefined`: it may be sent, and `leave` must follow */
  enter (name: string): number | undefined {
    const origin = this.#origins.get(name) ?? this.#add(name)
    const now = this.#clock.monotonic()
    if (now < origin.closedUntil) return this.#spread(origin.closedUntil - now)
    const places = origin.failures >= FAILURES ? 1 : this.#maxPerOrigin
    if (origin.running >= places) {
      // They come back one by one, as fast as places become free, instead of all together again and again.
      origin.nextTurn = Math.max(origin.nextTurn, now) + origin.usualMs / places
      return this.#spread(Math.min(origin.nextTurn - now, LONGEST_TURN_MS))
    }
    origin.running++
    return undefined
  }

  /**
   * @param answered whether the origin works: it has answered, even if it refused this message
   * @param durationMs how long the request took
   */
  leave (name: string, answered: boolean, durationMs: number): void {
    const origin = this.#origins.get(name)
    if (origin === undefined) return
    origin.running--
    origin.usualMs = origin.usualMs * 0.8 + durationMs * 0.2
    if (answered) {
      origin.failures = 0
      origin.closedUntil = -Infinity
    } else if (++origin.failures >= FAILURES) {
      const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(origin.failures - FAILURES, 10), LONGEST_PAUSE_MS)
      origin.closedUntil = this.#clock.monotonic() + pauseMs
    }
    if (origin.running === 0 && origin.failures === 0) this.#origins.delete(name)
  }

  /** Up to a fifth more, so that processes do not ask together. */
  #spread (delayMs: number): number { return Math.ceil(delayMs * (1 + this.#random() * 0.2)) }

  #add (name: string): Origin {
    if (this.#origins.size >= REMEMBERED) {
      for (const [other, { running }] of this.#origins) {
        if (running > 0) continue
        this.#origins.delete(other)
        break
      }
    }
    const origin = { running: 0, failures: 0, closedUntil: -Infinity, nextTurn: -Infinity, usualMs: USUAL_MS }
    this.#origins.set(name, origin)
    return origin
  }
}
