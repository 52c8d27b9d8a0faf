import { MAX_DELAY_MS } from './outcome.ts'
import { takeRejection } from '../core/rejections.ts'

/** The argument of a custom backoff. `attempt` is the attempt that just ended, from 1. */
export interface BackoffContext {
  readonly attempt: number
  readonly maxAttempts: number
  /** What the handler threw; if the attempt stalled, the error that is stored for the stall. */
  readonly error: unknown
}

/** The wait before the next attempt. */
export interface BackoffOptions {
  /** `fixed`: always `delayMs`. `exponential`: `delayMs · 2^(attempt−1)`. @defaultValue 'exponential' */
  type?: 'fixed' | 'exponential' | undefined
  /** @defaultValue 1000 */
  delayMs?: number | undefined
  /** The longest wait. @defaultValue 3600000 */
  maxDelayMs?: number | undefined
  /**
   * The random share of the wait, 0 to 1, so that jobs that failed at the same time are not retried at the same time.
   *
   * @defaultValue 0.2
   */
  jitter?: number | undefined
}

/**
 * Returns how many milliseconds to wait. If it returns a negative number or `NaN`, or throws, the job fails without
 * another attempt.
 */
export type CustomBackoff = (context: BackoffContext) => number

export const DEFAULT_BACKOFF: Readonly<Required<BackoffOptions>> = Object.freeze({
  type: 'exponential', delayMs: 1_000, maxDelayMs: 3_600_000, jitter: 0.2
})

/** How many milliseconds to wait before the next attempt; -1 if a custom backoff gives up. */
export type Backoff = (context: BackoffContext) => number

/**
 * Compiles a backoff. The jitter only shortens a wait, so no wait is longer than `maxDelayMs`.
 *
 * @param random a number from 0 (inclusive) to 1 (exclusive)
 */
export function compileBackoff (
  options: BackoffOptions | CustomBackoff = {}, random: () => number = Math.random
): Backoff {
  if (typeof options === 'function') {
    return (context) => {
      let delay: unknown
      // If the backoff throws, the job must not be lost: it fails, and keeps the handler's error.
      try { delay = options(context) } catch { return -1 }
      takeRejection(delay)
      return typeof delay === 'number' && delay >= 0 ? Math.min(delay, MAX_DELAY_MS) : -1
    }
  }
  const { type, delayMs, maxDelayMs, jitter } = { ...DEFAULT_BACKOFF, ...options }
  return ({ attempt }) => {
    const base = type === 'fixed' ? delayMs : delayMs * 2 ** Math.min(attempt - 1, 52)
    const capped = Math.min(base, maxDelayMs, MAX_DELAY_MS)
    return Math.round(capped - capped * jitter * random())
  }
}
