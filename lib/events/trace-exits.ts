/** The two ways to leave the active trace, implemented by the code that carries the active context. */
export interface TraceWays {
  /** Whether a context is active now. */
  inside (): boolean
  quietly<R> (work: () => R): R
  plainly<R> (work: () => R): R
}

/**
 * Runs work outside of the active trace. Without it, a loop or a connection that is created during a request would
 * keep that request's span for ever, and an instrumented Redis client would make a span of each command of this
 * library, with the payload in it, because scripts take the payload as an argument.
 *
 * Until `use()` is called, no context is carried in this process, and both methods just run the work.
 */
export class TraceExits {
  #ways: TraceWays | undefined

  /** `false`: `plainly` would change nothing, so the caller can save the closure for it. */
  get open (): boolean { return this.#ways?.inside() === true }

  use (ways: TraceWays): void { this.#ways = ways }

  /** For internal work: it belongs to no trace, and instrumentation makes no spans of it. */
  quietly<R> (work: () => R): R { return this.#ways === undefined ? work() : this.#ways.quietly(work) }

  /** For work of the application that internal work calls: it belongs to no trace yet, and may create spans. */
  plainly<R> (work: () => R): R { return this.#ways === undefined ? work() : this.#ways.plainly(work) }
}
