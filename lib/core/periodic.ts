import type { Clock, TimerHandle } from './context.ts'

export interface PeriodicParts {
  readonly clock: Clock
  readonly intervalMs: number
  readonly firstDelayMs: number
  /** What a turn does. Must not reject. */
  readonly turn: () => Promise<void>
}

/**
 * A turn now and then, never two at once: the next is counted from the end of the one before.
 *
 * ```
 * new ──start──▶ waiting ──(timer | hurry)──▶ turning ──▶ waiting        stop ends both
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

  /** A turn at once instead of at its time; nothing when one is under way. */
  hurry (): void {
    if (this.#stopped || this.#turning !== undefined) return
    this.#clear()
    this.#run()
  }

  /** No further turn. @returns the end of the one that is under way */
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
