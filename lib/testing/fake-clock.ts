import { setImmediate as turn } from 'node:timers/promises'
import type { Clock, TimerHandle } from '../core/context.ts'

export interface FakeClockOptions {
  /** Where the wall clock starts, milliseconds since the epoch. @defaultValue 1767225600000 (2026-01-01T00:00:00Z) */
  startAt?: number | undefined
  /**
   * How many turns of the event loop run after each timer, before time goes on, so that promises can settle. More are needed only
   * for chains of real input and output. @defaultValue 4
   */
  settleTurns?: number | undefined
}

interface FakeTimer {
  readonly dueAt: number
  readonly order: number
  readonly callback: () => void
}

const START = Date.UTC(2026, 0, 1)
/** With a timer that arms itself again without a delay, `advance` would never end. It throws after this many at one moment. */
const MAX_AT_ONE_MOMENT = 100_000

/**
 * A clock that stands still until a test moves it: delays, backoffs, timeouts, leases and retention of hours pass in
 * no time. Give it to the plugin as `clock`, and move it in the test:
 *
 * ```ts
 * const clock = new FakeClock()
 * await clock.advance(60_000) // everything that is due within the minute happens, in order
 * ```
 */
export class FakeClock implements Clock {
  readonly #settleTurns: number
  /** Sorted by time, then by order of arming. */
  readonly #timers: FakeTimer[] = []
  #elapsed = 0
  #wallOffset: number
  #armed = 0
  #moving: Promise<void> = Promise.resolve()

  constructor (options: FakeClockOptions = {}) {
    this.#wallOffset = options.startAt ?? START
    this.#settleTurns = options.settleTurns ?? 4
  }

  now (): number { return this.#wallOffset + this.#elapsed }

  monotonic (): number { return this.#elapsed }

  /** Timers that are armed: 0 at the end of a test shows that nothing was left behind. */
  get pending (): number { return this.#timers.length }

  setTimeout (callback: () => void, delayMs: number): TimerHandle {
    // As in Node, what is not a number of milliseconds ahead means: as soon as possible.
    const timer: FakeTimer = { dueAt: this.#elapsed + (delayMs > 0 ? delayMs : 0), order: this.#armed++, callback }
    this.#timers.splice(this.#indexOf(timer), 0, timer)
    return timer
  }

  clearTimeout (handle: TimerHandle): void {
    const timer = handle as FakeTimer | undefined
    if (timer === undefined || timer === null) return
    const index = this.#indexOf(timer)
    if (this.#timers[index] === timer) this.#timers.splice(index, 1)
  }

  /**
   * Moves time on. Timers fire in the order of their times, each at its own time, those armed on the way included;
   * after each, promises and the event loop get the time to settle. `advance(0)` fires what is due already. Calls that
   * overlap run one after the other.
   *
   * @throws whatever a timer's callback throws
   */
  advance (ms: number): Promise<void> {
    const moved = this.#moving.then(() => this.#advance(ms))
    this.#moving = moved.catch(() => { /* the caller of that advance gets the error */ })
    return moved
  }

  /**
   * Moves time on without firing a timer: a process that was frozen, an event loop that was blocked. What became due
   * fires, late, with the next {@link advance}.
   */
  jump (ms: number): void {
    this.#elapsed += ms
  }

  /** Sets the wall clock alone, forwards or backwards, as an administrator or NTP does; measured time goes on. */
  setWallClock (epochMs: number): void {
    this.#wallOffset = epochMs - this.#elapsed
  }

  async #advance (ms: number): Promise<void> {
    const end = this.#elapsed + Math.max(ms, 0)
    await this.#settle()
    let atThisMoment = 0
    for (let next = this.#timers[0]; next !== undefined && next.dueAt <= end; next = this.#timers[0]) {
      this.#timers.shift()
      // After a jump a timer fires late: time never goes back for it.
      if (next.dueAt > this.#elapsed) {
        this.#elapsed = next.dueAt
        atThisMoment = 0
      } else if (++atThisMoment > MAX_AT_ONE_MOMENT) {
        const why = 'something arms a timer without a delay, again and again'
        throw new Error(`FakeClock.advance(${ms}) fired ${MAX_AT_ONE_MOMENT} timers at one moment: ${why}`)
      }
      next.callback()
      await this.#settle()
    }
    this.#elapsed = Math.max(this.#elapsed, end)
    await this.#settle()
  }

  async #settle (): Promise<void> {
    for (let n = 0; n < this.#settleTurns; n++) await turn()
  }

  /** Where the timer stands, or would stand, in the sorted list. */
  #indexOf (timer: FakeTimer): number {
    let low = 0
    let high = this.#timers.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const other = this.#timers[middle] as FakeTimer
      if (other.dueAt < timer.dueAt || (other.dueAt === timer.dueAt && other.order < timer.order)) low = middle + 1
      else high = middle
    }
    return low
  }
}
