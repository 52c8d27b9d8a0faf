/** One WebSocket: what its client may ask, what it hears, and when the connection ends. */
import type { Clock, TimerHandle } from '../core/context.ts'
import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobRecord } from '../jobs/job.ts'
import type { Backbone } from './backbone.ts'
import type { Channel } from './open-channels.ts'
import { MAX_MESSAGE_BYTES, readMessage, type SocketMessage, type WantedJob } from './socket-messages.ts'
import { JobSubscription } from './job-subscription.ts'

/** How many jobs one connection can be subscribed to. */
export const MAX_SUBSCRIPTIONS = 50
/** What a client may say at once, and how fast it may go on after that. Pings count as well. */
const BURST = 30
const MESSAGES_PER_SECOND = 5
/** A client that ignores the closing frame keeps the connection open: this long, in milliseconds. */
const CLOSE_GRACE_MS = 500
/** Without a subscription for this long, the connection is not used. */
const IDLE_MS = 60_000
/** With more unsent bytes, changes wait: only the newest of each job is kept. */
const HELD_ABOVE_BYTES = 65_536
/** With more unsent bytes, a client that asks and does not read the answers is cut off. */
const MAX_UNSENT_BYTES = 262_144
/** A client that reads nothing for so long is cut off, in milliseconds. */
const MAX_HELD_MS = 30_000
/** The code of `ws` for a message that is longer than its `maxPayload`. */
const TOO_LONG = 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH'

/** RFC 6455 §7.4.1, and the registry of close codes that it made. */
export const CLOSE = {
  normal: 1000,
  goingAway: 1001,
  protocolError: 1002,
  unsupportedData: 1003,
  policy: 1008,
  tooBig: 1009,
  internalError: 1011,
  tryLater: 1013
} as const

/**
 * Why a connection ended: the `reason` in the last message, in the closing frame and in the telemetry. `client`: it was
 * the client that ended it.
 */
export type SocketReason =
  | 'client' | 'idle' | 'max-age' | 'draining' | 'closing' | 'limit' | 'slow' | 'silent' | 'binary' | 'too-large' | 'bad-frame' |
  'too-many-messages' | 'error'

const CODES: Readonly<Record<SocketReason, number>> = {
  client: CLOSE.normal,
  idle: CLOSE.normal,
  'max-age': CLOSE.goingAway,
  draining: CLOSE.goingAway,
  closing: CLOSE.goingAway,
  limit: CLOSE.tryLater,
  slow: CLOSE.tryLater,
  silent: CLOSE.goingAway,
  binary: CLOSE.unsupportedData,
  'too-large': CLOSE.tooBig,
  'bad-frame': CLOSE.protocolError,
  'too-many-messages': CLOSE.policy,
  error: CLOSE.internalError
}

/** The part of a WebSocket of `ws` that is used here. */
export interface Socket {
  /** Bytes that were sent and are not yet written to the network. */
  readonly bufferedAmount: number
  send (text: string, sent: (error?: Error) => void): void
  ping (): void
  close (code: number, reason: string): void
  terminate (): void
  on (event: 'message', listener: (data: { readonly length: number }, isBinary: boolean) => void): unknown
  on (event: 'ping' | 'pong' | 'close', listener: () => void): unknown
  on (event: 'error', listener: (error: Error & { readonly code?: string }) => void): unknown
}

/** A job that the client may read. */
export interface ReadableJob {
  readonly job: JobRecord
  /** When that right ends, in milliseconds since the epoch. Absent: it does not. */
  readonly until?: number | undefined
}

export interface SocketSessionParts {
  readonly socket: Socket
  readonly clock: Clock
  readonly backbone: Pick<Backbone, 'watch'>
  /** Asks again for each subscription who the client is. In the order of `jobs`; `undefined`: it may not read the job. */
  readonly find: (jobs: readonly WantedJob[]) => Promise<ReadonlyArray<ReadableJob | undefined>>
  /** The status document as this client gets it. */
  readonly show: (job: JobRecord) => Promise<unknown>
  /** What the client may know of an error: further members of the message. */
  readonly describe: (error: unknown) => object
  /** How long the connection lives, in milliseconds: who may listen is then decided again. */
  readonly maxAgeMs: number
  /** A job could not be shown. The connection is closed. */
  readonly failed: (error: unknown) => void
  /** The connection has ended. */
  readonly closed: (end: { readonly reason: SocketReason, readonly sent: number }) => void
}

/**
 * ```
 * open ──leave()──▶ leaving ──▶ closed        leaving: at most CLOSE_GRACE_MS, nothing is sent or heard any more
 *   └──── connection ends ────────▲
 * ```
 *
 * Messages are handled one after the other, so that what a client says last is what holds.
 */
export class SocketSession implements Channel {
  readonly kind = 'websocket'
  readonly #parts: SocketSessionParts
  readonly #subscriptions = new Map<string, JobSubscription>()
  readonly #endsAt: number
  #phase: 'open' | 'leaving' | 'closed' = 'open'
  #reason: SocketReason = 'client'
  #inbox: Promise<void> = Promise.resolve()
  #mayStillSay = BURST
  #countedAt: number
  #idleSince: number
  #heldSince: number | undefined
  #alive = true
  #sent = 0
  #terminating: TimerHandle | undefined

  /** Listens from now on: a message that comes with the handshake is not lost. */
  constructor (parts: SocketSessionParts) {
    this.#parts = parts
    const { socket, clock } = parts
    this.#countedAt = this.#idleSince = clock.monotonic()
    this.#endsAt = clock.monotonic() + parts.maxAgeMs
    socket.on('message', (data, isBinary) => { this.#hear(data, isBinary) })
    socket.on('ping', () => { this.#mayGoOn() })
    socket.on('pong', () => { this.#alive = true })
    socket.on('close', () => { this.#ended() })
    // A frame that breaks the protocol: `ws` has sent the closing frame.
    socket.on('error', ({ code }) => { this.#leaving(code === TOO_LONG ? 'too-large' : 'bad-frame') })
  }

  /** How many jobs it is subscribed to. */
  get size (): number { return this.#subscriptions.size }

  /** Called by `Places`, when another client gets the place of this connection. */
  end (): void { this.leave('limit') }

  /** Says goodbye and closes the connection, by force if the client does not answer in time. */
  leave (reason: SocketReason): void {
    if (this.#phase !== 'open') return
    this.#write({ type: 'bye', reason })
    this.#leaving(reason)
    this.#parts.socket.close(CODES[reason], reason)
  }

  /** To be called every now and then: looks whether the client is still there, and whether it is time to end. */
  beat (): void {
    if (this.#phase !== 'open') return
    const now = this.#parts.clock.monotonic()
    if (!this.#alive) this.#cut('silent')
    else if (this.#heldSince !== undefined && now - this.#heldSince >= MAX_HELD_MS) this.#cut('slow')
    else if (now >= this.#endsAt) this.leave('max-age')
    else if (this.#subscriptions.size === 0 && now - this.#idleSince >= IDLE_MS) this.leave('idle')
    else {
      this.#alive = false
      this.#parts.socket.ping()
    }
  }

  #hear (data: { readonly length: number }, isBinary: boolean): void {
    if (this.#phase !== 'open' || !this.#mayGoOn()) return
    this.#alive = true
    if (isBinary) this.leave('binary')
    // An application may have registered @fastify/websocket with a larger limit.
    else if (data.length > MAX_MESSAGE_BYTES) this.leave('too-large')
    else {
      const message = readMessage(String(data))
      this.#inbox = this.#inbox.then(() => this.#handle(message)).catch((error: unknown) => { this.#refuse(error) })
    }
  }

  /** @returns `false`: the client says too much, and the connection is being closed */
  #mayGoOn (): boolean {
    const now = this.#parts.clock.monotonic()
    const regained = (now - this.#countedAt) / 1_000 * MESSAGES_PER_SECOND
    this.#mayStillSay = Math.min(BURST, this.#mayStillSay + regained) - 1
    this.#countedAt = now
    if (this.#mayStillSay >= 0) return true
    this.leave('too-many-messages')
    return false
  }

  async #handle (message: SocketMessage): Promise<void> {
    if (this.#phase !== 'open') return
    switch (message.type) {
      case 'invalid': throw new AsyncEndpointsError('FAE_INVALID_REQUEST', message.problem)
      case 'ping': return this.#write({ type: 'pong' })
      case 'unsubscribe': return message.ids.forEach((id) => { this.#drop(id) })
      case 'subscribe': return await this.#subscribe(message.jobs)
    }
  }

  async #subscribe (wanted: readonly WantedJob[]): Promise<void> {
    const known = wanted.filter(({ id }) => this.#subscriptions.has(id))
    const fresh = wanted.filter(({ id }) => !this.#subscriptions.has(id))
    const free = MAX_SUBSCRIPTIONS - this.#subscriptions.size
    const accepted = [...known, ...fresh.slice(0, free)]
    const refused = fresh.slice(free).map(({ id }) => id)
    if (refused.length > 0) this.#refuse(tooMany(), refused)
    if (accepted.length === 0) return
    const ids = accepted.map(({ id }) => id)
    const found = await this.#parts.find(accepted).catch((error: unknown) => { this.#refuse(error, ids) })
    if (found === undefined || this.#phase !== 'open') return
    accepted.forEach((job, at) => { this.#begin(job, found[at]) })
  }

  #begin ({ id, since }: WantedJob, readable: ReadableJob | undefined): void {
    this.#drop(id)
    if (readable === undefined) {
      this.#write({ type: 'gone', id })
      return
    }
    const { backbone, clock, show } = this.#parts
    this.#subscriptions.set(id, new JobSubscription({
      ...readable,
      since,
      backbone,
      clock,
      show,
      mayWrite: () => this.#heldSince === undefined,
      write: (message) => { this.#write(message) },
      ended: () => { this.#drop(id) },
      failed: (error) => { this.#fail(error) }
    }))
  }

  #fail (error: unknown): void {
    if (this.#phase !== 'open') return
    this.#parts.failed(error)
    this.leave('error')
  }

  #drop (id: string): void {
    const subscription = this.#subscriptions.get(id)
    if (subscription === undefined) return
    this.#subscriptions.delete(id)
    subscription.stop()
    this.#idleSince = this.#parts.clock.monotonic()
  }

  #refuse (error: unknown, ids?: readonly string[]): void {
    this.#write({ type: 'error', ids, ...this.#parts.describe(error) })
  }

  #write (message: object): void {
    const { socket, clock } = this.#parts
    if (this.#phase !== 'open') return
    // Only answers come to this: changes of jobs are held back long before.
    if (socket.bufferedAmount > MAX_UNSENT_BYTES) return this.#cut('slow')
    this.#sent++
    socket.send(JSON.stringify(message), this.#onSent)
    if (socket.bufferedAmount > HELD_ABOVE_BYTES) this.#heldSince ??= clock.monotonic()
  }

  readonly #onSent = (): void => {
    if (this.#heldSince === undefined || this.#parts.socket.bufferedAmount > HELD_ABOVE_BYTES) return
    this.#heldSince = undefined
    for (const subscription of [...this.#subscriptions.values()]) subscription.goOn()
  }

  /** Without a goodbye: the client would not hear it. */
  #cut (reason: SocketReason): void {
    if (this.#phase !== 'open') return
    this.#leaving(reason)
    this.#parts.socket.terminate()
  }

  #leaving (reason: SocketReason): void {
    if (this.#phase !== 'open') return
    this.#phase = 'leaving'
    this.#reason = reason
    this.#stopAll()
    this.#terminating = this.#parts.clock.setTimeout(() => { this.#parts.socket.terminate() }, CLOSE_GRACE_MS)
  }

  #ended (): void {
    if (this.#phase === 'closed') return
    this.#phase = 'closed'
    this.#stopAll()
    if (this.#terminating !== undefined) this.#parts.clock.clearTimeout(this.#terminating)
    this.#parts.closed({ reason: this.#reason, sent: this.#sent })
  }

  #stopAll (): void {
    for (const subscription of this.#subscriptions.values()) subscription.stop()
    this.#subscriptions.clear()
  }
}

function tooMany (): AsyncEndpointsError {
  return new AsyncEndpointsError(
    'FAE_TOO_MANY_SUBSCRIPTIONS', `A connection can be subscribed to ${MAX_SUBSCRIPTIONS} jobs: unsubscribe from others first`
  )
}
