import type { Clock, TimerHandle } from './context.ts'

export interface PeriodicParts {
  readonly clock: Clock
  readonly intervalMs: number
  readonly firstDelayMs: number
  /** The work of one turn. Must not reject. */
  readonly turn: () => Promise<void>
}

/**
 * Runs work again and again, never two turns at a time: the pause before the next turn begins when the last one has
 * ended.
 *
 * ```
 * new ──start──▶ waiting ──(timer | hurry)──▶ turning ──▶ waiting        stop ends either state
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

  start (): void { this.#arm(this.#parts.firstDelayMs) }

  /** Starts the next turn at once. Does nothing while a turn is running. */
  hurry (): void {
    if (this.#stopped || this.#turning !== undefined) return
    this.#clear()
    this.#run()
  }

  /** Starts no further turn. @returns a promise for the end of the running turn */
  async stop (): Promise<void> {
    this.#stopped = true
    this.#clear()
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
    this.#turning = this.#parts.turn().then(ended, ended)
  }

  #clear (): void {
    if (this.#timer !== undefined) this.#parts.clock.clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
