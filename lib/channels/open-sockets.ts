import type { Clock, TimerHandle } from '../core/context.ts'
import type { SocketReason, SocketSession } from './socket-session.ts'

/** Over how long the connections end when the process begins to drain, so that not all clients come back at once. */
const DRAIN_MS = 3_000

export interface OpenSocketsParts {
  readonly clock: Clock
  /** Between two looks at every connection, in milliseconds. */
  readonly pingMs: number
  /** @defaultValue Math.random */
  readonly random?: () => number
}

/** The open WebSockets of this process: one timer for all of them, and their end when the process ends. */
export class OpenSockets {
  readonly #clock: Clock
  readonly #pingMs: number
  readonly #random: () => number
  readonly #sessions = new Map<SocketSession, TimerHandle | undefined>()
  #beat: TimerHandle | undefined
  #ending: SocketReason | undefined

  constructor ({ clock, pingMs, random = Math.random }: OpenSocketsParts) {
    this.#clock = clock
    this.#pingMs = pingMs
    this.#random = random
  }

  get size (): number { return this.#sessions.size }

  /** Why no new connection may open: the process drains, or closes. */
  get ending (): SocketReason | undefined { return this.#ending }

  add (session: SocketSession): void {
    this.#sessions.set(session, undefined)
    this.#beat ??= this.#clock.setTimeout(this.#onBeat, this.#pingMs)
    if (this.#ending !== undefined) session.leave(this.#ending)
  }

  /** To be called when its connection has ended. */
  delete (session: SocketSession): void {
    const timer = this.#sessions.get(session)
    if (timer !== undefined) this.#clock.clearTimeout(timer)
    this.#sessions.delete(session)
    if (this.#sessions.size > 0 || this.#beat === undefined) return
    this.#clock.clearTimeout(this.#beat)
    this.#beat = undefined
  }

  /** Ends the connections one by one, and opens no more. */
  drain (): void {
    if (this.#ending !== undefined) return
    this.#ending = 'draining'
    for (const session of this.#sessions.keys()) {
      this.#sessions.set(session, this.#clock.setTimeout(() => { session.leave('draining') }, this.#random() * DRAIN_MS))
    }
  }

  /** Ends all connections now. */
  close (): void {
    this.#ending = 'closing'
    for (const session of [...this.#sessions.keys()]) session.leave('closing')
  }

  readonly #onBeat = (): void => {
    this.#beat = this.#clock.setTimeout(this.#onBeat, this.#pingMs)
    for (const session of [...this.#sessions.keys()]) session.beat()
  }
}
