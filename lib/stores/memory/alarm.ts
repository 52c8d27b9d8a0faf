/** The one timer of the memory store. */
import type { Clock, TimerHandle } from '../../core/context.ts'

/** The one timer of a store: it rings at the nearest of all the moments that were asked for. */
export class Alarm {
  readonly #clock: Clock
  readonly #ring: () => void
  #timer: TimerHandle | undefined
  /** On the monotonic clock. */
  #ringsAt = Infinity
  #stopped = false

  constructor (clock: Clock, ring: () => void) {
    this.#clock = clock
    this.#ring = ring
  }

  /** Rings in `delayMs` at the latest; a nearer moment asked for before stands. `from`: the monotonic time now. */
  within (delayMs: number, from: number): void {
    const at = from + delayMs
    if (at >= this.#ringsAt || this.#stopped) return
    this.#clear()
    this.#ringsAt = at
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = undefined
      this.#ringsAt = Infinity
      this.#ring()
    }, delayMs)
  }

  stop (): void {
    this.#stopped = true
    this.#clear()
  }

  #clear (): void {
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
    this.#ringsAt = Infinity
  }
}
