import type { Clock } from './context.ts'

/**
 * An answer that several callers ask for: one question is under way at a time, all callers share its answer, and the
 * answer is reused while it is fresh. A failure reaches the callers that waited for it and is not kept.
 */
export class CachedAnswer<T> {
  readonly #clock: Clock
  readonly #freshMs: number
  readonly #ask: () => Promise<T>
  #newest: { readonly at: number, readonly value: T } | undefined
  #asking: Promise<T> | undefined

  /** @param freshMs how long an answer is reused, counted from its arrival */
  constructor (clock: Clock, freshMs: number, ask: () => Promise<T>) {
    this.#clock = clock
    this.#freshMs = freshMs
    this.#ask = ask
  }

  /** The newest answer, however old; `undefined` before the first one. */
  get newest (): T | undefined { return this.#newest?.value }

  get fresh (): boolean { return this.#newest !== undefined && this.#clock.monotonic() - this.#newest.at < this.#freshMs }

  async get (): Promise<T> {
    if (this.#newest !== undefined && this.fresh) return this.#newest.value
    this.#asking ??= this.#fetch()
    return await this.#asking
  }

  async #fetch (): Promise<T> {
    try {
      const value = await this.#ask()
      this.#newest = { at: this.#clock.monotonic(), value }
      return value
    } finally {
      this.#asking = undefined
    }
  }
}
