import type { Clock } from './context.ts'

/** The value that {@link withDeadline} resolves with when the time is up first. */
export const EXPIRED: unique symbol = Symbol('expired')

/**
 * Waits for a promise, but no longer than `deadlineMs`. The promise itself continues; a late rejection is handled
 * here, so that it never becomes an unhandled rejection.
 */
export function withDeadline<T> (clock: Clock, deadlineMs: number, promise: Promise<T>): Promise<T | typeof EXPIRED> {
  return new Promise((resolve, reject) => {
    const timer = clock.setTimeout(() => resolve(EXPIRED), deadlineMs)
    promise.then(
      (value) => { clock.clearTimeout(timer); resolve(value) },
      (error) => { clock.clearTimeout(timer); reject(error) }
    )
  })
}

/**
 * Like {@link withDeadline}, but rejects when the time is up, with an error that is created only then. An event loop
 * that was blocked fires its timers before it reads the answers that have arrived meanwhile; so the deadline waits
 * one more turn for the answer.
 */
export function orReject<T> (clock: Clock, deadlineMs: number, promise: Promise<T>, expired: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    let timer = clock.setTimeout(() => { timer = clock.setTimeout(() => reject(expired()), 0) }, deadlineMs)
    promise.then(
      (value) => { clock.clearTimeout(timer); resolve(value) },
      (error) => { clock.clearTimeout(timer); reject(error) }
    )
  })
}

/** Sleeps, or resolves early (without an error) when the signal aborts. */
export function sleep (clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) return resolve()
    const done = (): void => {
      clock.clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = clock.setTimeout(done, delayMs)
    signal?.addEventListener('abort', done, { once: true })
  })
}
