/** The two ways out of a trace, as whoever carries the active context can offer them. */
export interface TraceWays {
  /** Something is active now that could be left. */
  inside (): boolean
  quietly<R> (work: () => R): R
  plainly<R> (work: () => R): R
}

/**
 * Ways out of whatever trace happens to be active where something starts. A loop or a connection that is made while a
 * request is under way would otherwise hang on to the request's span for ever, and instrumentation of the Redis
 * client would turn each of our commands into a span: with the payload in it, because a script has it as an argument.
 *
 * Until somebody says how contexts are carried in this process, there is nothing to leave and both ways just run the work.
 */
export class TraceExits {
  #ways: TraceWays | undefined

  /** False: going through `plainly` would change nothing, and the closure for it need not be made. */
  get open (): boolean { return this.#ways?.inside() === true }

  use (ways: TraceWays): void { this.#ways = ways }

  /** For work of the library's own: it belongs to no trace, and leaves no span, whoever instruments it. */
  quietly<R> (work: () => R): R { return this.#ways === undefined ? work() : this.#ways.quietly(work) }

  /** For the application's work that is called from the library's own: it belongs to no trace yet, and may leave spans. */
  plainly<R> (work: () => R): R { return this.#ways === undefined ? work() : this.#ways.plainly(work) }
}
