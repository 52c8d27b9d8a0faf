/** The clock of the Redis server, from which every moment that the store keeps or compares is taken. */
import type { Clock, TimerHandle } from '../../core/context.ts'
import { Periodic } from '../../core/periodic.ts'
import { unavailable } from './errors.ts'
import type { Client } from './internals.ts'
import { runScript } from './scripts.ts'

/** How often the server's clock is read. The clocks of two machines drift apart by a few milliseconds in that time. */
const READ_EVERY_MS = 30_000
/** Readings of one look; the one with the shortest round trip says most. */
const READINGS = 3
/** A reading that came back within this time is good enough to need no other. */
const GOOD_ROUND_TRIP_MS = 2
/** The wall clock of this host counts whole milliseconds, so a reading can be wrong by one of them. */
const ROUNDING_MS = 1
/** Wall clock and monotonic clock may part by this much between two looks; by more, somebody has set the wall clock. */
const STEP_MS = 100

/** How this host's wall clock relates to the server's, and the moment at which that was found. */
interface Reading {
  /** What has to be added to the wall clock. */
  readonly offset: number
  readonly serverAt: number
  readonly monotonicAt: number
}

/** One answer of the server: the offset is between `least` and `most`. */
interface Found {
  readonly least: number
  readonly most: number
  /** When the answer came, on the wall clock and on the monotonic clock. */
  readonly wallAt: number
  readonly monotonicAt: number
}

/**
 * The server's clock, as seen from here. Every moment that the store keeps or compares is taken from it: of the
 * processes on one server, some have a clock that is wrong, and one that is five minutes ahead would delete
 * everybody's jobs.
 *
 * A wall clock that agrees with the server's, as far as the round trip lets one see, is taken as it is. When it is set
 * while the process runs, the time is counted by the monotonic clock until the server has been asked again.
 *
 * ```
 * unread ──(server answered)──▶ read ◀──(wall clock was set | connected again)──▶ stale
 * ```
 */
export class ServerClock implements Clock {
  readonly #local: Clock
  readonly #read: () => Promise<number>
  #reading: Reading | undefined
  #fresh = false
  #again = false
  #looking: Promise<void> | undefined
  readonly #round: Periodic

  /** @param read the server's time in milliseconds; rejects when it cannot be read */
  constructor (local: Clock, read: () => Promise<number>) {
    this.#local = local
    this.#read = read
    this.#round = new Periodic({ clock: local, firstDelayMs: READ_EVERY_MS, intervalMs: READ_EVERY_MS, turn: () => this.#look() })
  }

  /** The server's time. When the wall clock of this host was set, the server is asked again in the background. */
  now (): number {
    const wall = this.#local.now()
    const reading = this.#reading
    if (reading === undefined) return wall
    const expected = reading.serverAt + this.#local.monotonic() - reading.monotonicAt
    const shown = wall + reading.offset
    if (Math.abs(shown - expected) <= STEP_MS) return shown
    if (this.#fresh) this.renew()
    return Math.round(expected)
  }

  monotonic (): number { return this.#local.monotonic() }
  setTimeout (callback: () => void, delayMs: number): TimerHandle { return this.#local.setTimeout(callback, delayMs) }
  clearTimeout (handle: TimerHandle): void { this.#local.clearTimeout(handle) }

  /** A moment of the server's clock as this host's wall clock shows it, for code that compares it with `Date.now()`. */
  toLocal (moment: number): number { return moment - this.now() + Date.now() }

  /** The server's clock has been read, if only long ago. */
  get known (): boolean { return this.#reading !== undefined }

  /** The last reading is recent, and nothing has happened since that makes it doubtful. */
  get fresh (): boolean { return this.#fresh }

  /**
   * Resolves when the server was asked, at once if it has been lately. Never rejects: without an answer the last
   * reading stands.
   */
  async ready (): Promise<void> {
    if (!this.#fresh) await this.#look()
  }

  /** Asks the server again: another one may answer now, or the wall clock was set. */
  renew (): void {
    this.#fresh = false
    // A look that is under way may have its answers from before: it is repeated.
    this.#again = this.#looking !== undefined
    this.#look().catch(() => { /* it never rejects */ })
  }

  start (): void { this.#round.start() }

  stop (): Promise<void> { return this.#round.stop() }

  #look (): Promise<void> {
    this.#looking ??= this.#lookUntilFresh().finally(() => { this.#looking = undefined })
    return this.#looking
  }

  async #lookUntilFresh (): Promise<void> {
    do {
      this.#again = false
      await this.#readServer()
    } while (this.#again)
  }

  async #readServer (): Promise<void> {
    let best: Found | undefined
    try {
      for (let count = 0; count < READINGS && (best === undefined || best.most - best.least > GOOD_ROUND_TRIP_MS); count++) {
        const [sentAt, sentMono] = [this.#local.now(), this.#local.monotonic()]
        const server = await this.#read()
        const monotonicAt = this.#local.monotonic()
        const roundTrip = monotonicAt - sentMono
        // The wall clock was set in between: nobody knows to which of its two times the answer belongs.
        if (Math.abs(this.#local.now() - sentAt - roundTrip) > STEP_MS) continue
        // The server read its clock at some moment of the round trip.
        const found = { least: server - sentAt - roundTrip - ROUNDING_MS, most: server - sentAt + ROUNDING_MS, wallAt: sentAt + roundTrip, monotonicAt }
        if (best === undefined || found.most - found.least < best.most - best.least) best = found
      }
    } catch {
      if (best === undefined) return
    }
    if (best === undefined) return
    const known = this.#reading?.offset ?? 0
    // What is known stands as long as the round trip alone can explain the difference.
    const offset = known >= best.least && known <= best.most ? known : Math.round((best.least + best.most) / 2)
    // The wall clock at the end of that reading, and not now: it may have been set since.
    this.#reading = { offset, serverAt: best.wallAt + offset, monotonicAt: best.monotonicAt }
    this.#fresh = !this.#again
  }
}

/**
 * The server's clock in milliseconds.
 * @throws {AsyncEndpointsError} `FAE_STORE_UNAVAILABLE` when the answer is no time
 */
export async function readTime (client: Client, prefix: string): Promise<number> {
  const answer = await runScript(client, 'time', [`${prefix}:time`])
  const [seconds, microseconds] = (Array.isArray(answer) ? answer : []).map(Number)
  if (seconds === undefined || microseconds === undefined || !Number.isFinite(seconds + microseconds)) throw unavailable('no time')
  return seconds * 1_000 + microseconds / 1_000
}
