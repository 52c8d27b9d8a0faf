import type { Clock, TimerHandle } from './context.ts'

export interface PeriodicParts {
  readonly clock: Clock
  /** From the end of one turn to the beginning of the next. */
  readonly intervalMs: number
  /** @defaultValue `intervalMs` */
  readonly firstDelayMs?: number
  /** What a turn does. Must neither throw nor reject. */
  readonly turn: () => Promise<void> | void
}

/**
 * A loop with a timer: one turn after the other, never two at once. The next turn is counted from the end of the one
 * before.
 *
 * ```
 * new ──start──▶ waiting ──(timer | hurry)──▶ turning ──▶ waiting        cancel and stop end both
 * ```
 */
export class Periodic {
  readonly #parts: PeriodicParts
  #timer: TimerHandle | undefined
  #turning: Promise<void> | undefined
  #stopped = false

  constructor (parts: PeriodicParts) {
    this.#parts = parts
  }

  start (): void { this.#arm(this.#parts.firstDelayMs ?? this.#parts.intervalMs) }

  /**
   * Begins a turn at once instead of waiting for the timer; instead of `start`, the first one. Does nothing while a
   * turn is under way.
   */
  hurry (): void {
    if (this.#stopped || this.#turning !== undefined) return
    this.#clear()
    this.#run()
  }

  /** Begins no further turn. The one that is under way ends by itself. */
  cancel (): void {
    this.#stopped = true
    this.#clear()
  }

  /** Begins no further turn. @returns the end of the one that is under way */
  async stop (): Promise<void> {
    this.cancel()
    await this.#turning
  }

  #arm (delayMs: number): void {
    if (this.#stopped) return
    this.#timer = this.#parts.clock.setTimeout(() => { this.#run() }, delayMs)
  }

  #run (): void {
    this.#timer = undefined
    const ended = (): void => {
      this.#turning = undefined
      this.#arm(this.#parts.intervalMs)
    }
    const turning = this.#parts.turn()
    if (turning === undefined) ended()
    else this.#turning = turning.then(ended, ended)
  }

  #clear (): void {
    if (this.#timer !== undefined) this.#parts.clock.clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
