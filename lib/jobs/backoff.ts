import { MAX_DELAY_MS } from './outcome.ts'
import { takeRejection } from '../core/rejections.ts'

/** What a custom backoff is told. `attempt` is the one that just ended, from 1. */
export interface BackoffContext {
  readonly attempt: number
  readonly maxAttempts: number
  /** What the handler threw, or the stored error when the attempt ended without one of its own (a stall). */
  readonly error: unknown
}

/** The wait before the next attempt. */
export interface BackoffOptions {
  /** `fixed`: always `delayMs`. `exponential`: `delayMs · 2^(attempt−1)`. @defaultValue 'exponential' */
  type?: 'fixed' | 'exponential' | undefined
  /** @defaultValue 1000 */
  delayMs?: number | undefined
  /** The wait never grows beyond this. @defaultValue 3600000 */
  maxDelayMs?: number | undefined
  /** Share of the wait that is random, 0 to 1, so that jobs that failed together do not return together. @defaultValue 0.2 */
  jitter?: number | undefined
}

/** Returns milliseconds to wait, 0 for at once. A negative number, `NaN` or a throw means: give up, fail the job. */
export type CustomBackoff = (context: BackoffContext) => number

export const DEFAULT_BACKOFF: Readonly<Required<BackoffOptions>> = Object.freeze({
  type: 'exponential', delayMs: 1_000, maxDelayMs: 3_600_000, jitter: 0.2
})

/** Milliseconds to wait before the next attempt, or -1 when a custom backoff says to give up. */
export type Backoff = (context: BackoffContext) => number

/**
 * Compiles a backoff. The cap holds after the jitter: no wait is ever longer than `maxDelayMs`.
 *
 * @param random a number from 0 (inclusive) to 1 (exclusive)
 */
export function compileBackoff (options: BackoffOptions | CustomBackoff = {}, random: () => number = Math.random): Backoff {
  if (typeof options === 'function') {
    return (context) => {
      let delay: unknown
      // A backoff that throws must not lose the job: it ends as failed, with the handler's error kept.
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
