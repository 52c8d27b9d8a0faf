/** Notices connections on which nothing arrives any more, and destroys their sockets. */
import type { Clock } from '../../core/context.ts'
import { Periodic } from '../../core/periodic.ts'
import type { Client } from './internals.ts'

const TICK_MS = 1_000
/** A connection on which nothing has arrived for so long is asked for a sign of life. */
const QUIET_MS = 3_000
/** One that has not answered after this is dead. */
const ANSWER_MS = 7_000
/** A blocking command of BullMQ's holds up the answer to what was sent after it, for ten seconds at most. */
const BLOCKED_ANSWER_MS = 12_000
/** To connect, with TLS, the greeting and the ready check. */
const CONNECT_MS = 3_000
/** A tick that is so late comes out of an event loop that was blocked: what has arrived meanwhile was not read yet. */
const LATE_MS = 500

/** What this class sees of a connection: a client, or one node of a cluster. */
interface Connection {
  readonly status: string
  ping (): Promise<unknown>
}

interface Socket {
  readonly bytesRead: number
  destroy (): void
}

interface Watch {
  socket: Socket | undefined
  bytesRead: number
  connecting: boolean
  /** When something last arrived, or the attempt to connect began; monotonic. */
  since: number
  askedAt: number | undefined
}

export interface DeadConnectionWatchParts {
  readonly clock: Clock
  /** Clients and clusters to watch now; `blocking` ones are blocked by a command of BullMQ's most of the time. */
  readonly clients: () => Iterable<{ readonly client: Client, readonly blocking: boolean }>
  /** To connect may take at least so long. */
  readonly connectMs: number
  /** Called before the socket of a connection is destroyed. */
  readonly silent: (client: Client) => void
}

/**
 * Notices connections whose other side accepts everything and answers nothing (a pulled cable, a sidecar or load
 * balancer whose way to the server is gone) and destroys their sockets, so that the client connects again. Without it
 * the system notices after a quarter of an hour, and a client that waits for its ready check never does.
 *
 * Anything that arrives is a sign of life: also a refusal, as the answer to a PING.
 */
export class DeadConnectionWatch {
  readonly #parts: DeadConnectionWatchParts
  readonly #connectMs: number
  readonly #watches = new WeakMap<object, Watch>()
  readonly #round: Periodic
  #tickedAt = 0

  constructor (parts: DeadConnectionWatchParts) {
    this.#parts = parts
    this.#connectMs = Math.max(CONNECT_MS, parts.connectMs)
    this.#round = new Periodic({ clock: parts.clock, firstDelayMs: TICK_MS, intervalMs: TICK_MS, turn: async () => { this.#tick() } })
  }

  start (): void {
    this.#tickedAt = this.#parts.clock.monotonic()
    this.#round.start()
  }

  stop (): Promise<void> { return this.#round.stop() }

  #tick (): void {
    const now = this.#parts.clock.monotonic()
    const late = now - this.#tickedAt - TICK_MS
    this.#tickedAt = now
    for (const { client, blocking } of this.#parts.clients()) {
      for (const connection of connectionsOf(client)) {
        const watch = this.#watchOf(connection, now)
        // Nobody is declared dead for the time in which this process did not look.
        if (late > LATE_MS) {
          watch.since += late
          if (watch.askedAt !== undefined) watch.askedAt += late
        }
        if (this.#isSilent(connection, watch, now, blocking)) this.#destroy(client, watch, now)
      }
    }
  }

  #watchOf (connection: Connection, now: number): Watch {
    const socket = socketOf(connection)
    const connecting = connection.status === 'connecting' || connection.status === 'connect'
    const bytesRead = socket?.bytesRead ?? 0
    let watch = this.#watches.get(connection)
    if (watch === undefined) {
      watch = { socket, bytesRead, connecting, since: now, askedAt: undefined }
      this.#watches.set(connection, watch)
    } else if (watch.socket !== socket || watch.connecting !== connecting || (!connecting && watch.bytesRead !== bytesRead)) {
      Object.assign(watch, { socket, bytesRead, connecting, since: now, askedAt: undefined })
    }
    return watch
  }

  #isSilent (connection: Connection, watch: Watch, now: number, blocking: boolean): boolean {
    if (watch.connecting) return now - watch.since >= this.#connectMs
    if (connection.status !== 'ready') {
      watch.since = now
      return false
    }
    if (watch.askedAt !== undefined) return now - watch.askedAt >= (blocking ? BLOCKED_ANSWER_MS : ANSWER_MS)
    if (now - watch.since >= QUIET_MS) {
      watch.askedAt = now
      connection.ping().catch(() => { /* an answer all the same, or the connection is gone */ })
    }
    return false
  }

  #destroy (client: Client, watch: Watch, now: number): void {
    watch.since = now
    watch.askedAt = undefined
    this.#parts.silent(client)
    watch.socket?.destroy()
  }
}

/** A cluster has a connection for each of its nodes, and one more that listens. */
function connectionsOf (client: Client): Connection[] {
  if (!('nodes' in client)) return [client]
  const subscriber: unknown = Reflect.get(client, 'subscriber')
  const getInstance: unknown = isObject(subscriber) ? Reflect.get(subscriber, 'getInstance') : undefined
  const listening: unknown = typeof getInstance === 'function' ? Reflect.apply(getInstance, subscriber, []) : undefined
  return [...client.nodes('all'), ...(isConnection(listening) ? [listening] : [])]
}

function isObject (value: unknown): value is object { return typeof value === 'object' && value !== null }

function isConnection (value: unknown): value is Connection {
  return isObject(value) && typeof Reflect.get(value, 'status') === 'string' && typeof Reflect.get(value, 'ping') === 'function'
}

function socketOf (connection: object): Socket | undefined {
  const socket: unknown = Reflect.get(connection, 'stream')
  return isSocket(socket) ? socket : undefined
}

function isSocket (value: unknown): value is Socket {
  return isObject(value) && typeof Reflect.get(value, 'destroy') === 'function' && typeof Reflect.get(value, 'bytesRead') === 'number'
}

/** Ends the socket of a client at once, also when the other side never closes its half. */
export function destroySocket (client: object): void {
  socketOf(client)?.destroy()
}
