import type { Clock } from './context.ts'

/** What {@link withDeadline} gives back when the time was up first. */
export const EXPIRED: unique symbol = Symbol('expired')

/**
 * Waits for a promise, but no longer than `deadlineMs`. The promise itself goes on; its late rejection is observed, so
 * that it never becomes an unhandled one.
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
 * Like {@link withDeadline}, but the time being up is an error, made only then. An event loop that was busy fires timers before it reads
 * what has arrived meanwhile: the answer has one more turn.
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

/** Sleeps, or wakes early (without an error) when the signal aborts. */
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
