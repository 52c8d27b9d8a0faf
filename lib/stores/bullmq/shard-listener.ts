/** Listens to the channels of a store on a cluster, over one connection to the node that serves them. */
import { EventEmitter } from 'node:events'
import type { Redis } from 'ioredis'
import type { Clock } from '../../core/context.ts'
import { EXPIRED, orReject, sleep, withDeadline } from '../../core/deadline.ts'
import { Periodic } from '../../core/periodic.ts'
import { closed, serverCode, unavailable } from './errors.ts'
import { ShardConnection, type Way } from './shard-connection.ts'

/** Between two attempts to find the node. */
const FIRST_RETRY_MS = 100
const MAX_RETRY_MS = 1_000
/** How often the connection proves that it hears what is published. */
const GREET_MS = 5_000
/** A greeting that was published is heard within this time. */
const HEARD_MS = 2_000

export interface ShardListenerParts {
  readonly clock: Clock
  /**
   * A client that connects to the node that serves the channels, `undefined` if nobody knows it.
   *
   * @param again what was known before was of no use
   */
  readonly connect: (again: boolean) => Promise<Redis | undefined>
  /** Disconnects a client, and lets it go. */
  readonly release: (client: Redis) => void
  /** Publishes a message the way that the scripts publish changes of jobs. @returns that way */
  readonly greet: (channel: string, message: string) => Promise<Way>
  /** In the slot of the store, and nobody else's. */
  readonly ownChannel: string
  /** An attempt takes no longer. */
  readonly attemptMs: number
}

/** Somebody who joins channels and needs a connection. */
interface Waiting {
  readonly resolve: (connection: ShardConnection) => void
  readonly reject: (error: unknown) => void
}

/**
 * Joins and leaves channels like a client that listens. Which node serves the channels, and how messages are published
 * there, may change at any moment: a slot moves, a replica takes over, servers are replaced by newer ones, and not every
 * such change is reported to a connection. So a connection is used only after a greeting has arrived over it, which a
 * script publishes like every change of a job; and a greeting is sent again every few seconds.
 *
 * ```
 * new ──subscribe──▶ looking ──(greeting heard: `ready`)──▶ listening ──(lost: `close`)──▶ looking
 *
 * looking     one attempt after the other, with a pause; holds the connection on trial
 * listening   holds one connection; while that hears no greetings, also one on trial, which may take its place: `close`,
 *             then `ready`
 * close ends each
 * ```
 */
export class ShardListener extends EventEmitter<{ message: [channel: string, message: string], ready: [], close: [] }> {
  readonly #parts: ShardListenerParts
  readonly #rounds: Periodic
  readonly #closing = new AbortController()
  /** Channels to join: one that is left while there is no connection is not joined by the next. */
  readonly #wanted = new Set<string>()
  readonly #waiting = new Set<Waiting>()
  #state: 'new' | 'looking' | 'listening' | 'closed' = 'new'
  #connection: ShardConnection | undefined
  readonly #trials = new Set<ShardConnection>()
  /** The last greeting was not heard. */
  #doubtful = false
  /** Attempts in all, and since a connection has proved to last. */
  #attempts = 0
  #tries = 0
  #greetings = 0
  readonly #greeted = new Map<string, () => void>()

  constructor (parts: ShardListenerParts) {
    super()
    this.#parts = parts
    this.#rounds = new Periodic({ clock: parts.clock, intervalMs: GREET_MS, turn: () => this.#checkUp() })
  }

  /**
   * Resolves when messages of these channels arrive, however long it takes to find their node.
   *
   * @throws the server's refusal to a user who may not listen
   */
  async subscribe (...channels: string[]): Promise<void> {
    for (const channel of channels) this.#wanted.add(channel)
    for (;;) {
      const connection = await this.#listening()
      try {
        return await connection.join(channels.filter((channel) => this.#wanted.has(channel)))
      } catch (error) {
        if (serverCode(error) === 'NOPERM') throw error
        this.#lose(connection)
      }
    }
  }

  async unsubscribe (...channels: string[]): Promise<void> {
    for (const channel of channels) this.#wanted.delete(channel)
    this.#connection?.leave(channels)
  }

  close (): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#closing.abort()
    this.#rounds.cancel()
    for (const trial of this.#trials) trial.end()
    this.#connection?.end()
    this.#rejectWaiting(closed())
    this.removeAllListeners()
  }

  /** The connection, as soon as there is one. */
  #listening (): Promise<ShardConnection> {
    if (this.#state === 'closed') return Promise.reject(closed())
    if (this.#connection !== undefined) return Promise.resolve(this.#connection)
    if (this.#state === 'new') {
      this.#rounds.start()
      this.#look()
    }
    return new Promise((resolve, reject) => { this.#waiting.add({ resolve, reject }) })
  }

  #look (): void {
    this.#state = 'looking'
    this.#find().then((connection) => {
      if (connection !== undefined) this.#use(connection)
    }, () => { /* it never rejects */ })
  }

  #use (connection: ShardConnection): void {
    if (this.#state === 'closed') return connection.end()
    this.#state = 'listening'
    this.#connection = connection
    this.#doubtful = false
    connection.lost.then(() => { this.#lose(connection) }, () => { /* it never rejects */ })
    this.emit('ready')
    for (const { resolve } of this.#waiting) resolve(connection)
    this.#waiting.clear()
  }

  /** @returns a connection that is good; `undefined` when this is closed */
  async #find (): Promise<ShardConnection | undefined> {
    while (this.#state === 'looking') {
      const tries = this.#tries++
      const pauseMs = Math.min(tries * FIRST_RETRY_MS, MAX_RETRY_MS)
      if (tries > 0) await sleep(this.#parts.clock, pauseMs, this.#closing.signal)
      try {
        return await this.#attempt(this.#attempts++ > 0)
      } catch (error) {
        if (this.#state !== 'looking') return undefined
        // Waiting does not change a refusal. Should the user be allowed to listen later, `ready` follows.
        if (serverCode(error) === 'NOPERM') this.#rejectWaiting(error)
        this.emit('close')
      }
    }
    return undefined
  }

  async #attempt (again: boolean): Promise<ShardConnection> {
    const { clock, connect, greet, ownChannel, release, attemptMs } = this.#parts
    // To learn the way: nobody listens yet.
    const way = await greet(ownChannel, '')
    const client = await connect(again)
    if (client === undefined) throw unavailable('no node serves the channels')
    const connection = new ShardConnection(client, way, (channel, message) => { this.#hear(channel, message) }, release)
    this.#trials.add(connection)
    try {
      // Closed while the client was made. Nothing may begin that nobody waits for: its failure would end the process.
      if (this.#state === 'closed') throw closed()
      const good = connection.join([ownChannel]).then(() => this.#hears(connection))
      const answer = await withDeadline(clock, attemptMs, good)
      if (answer === EXPIRED || !answer) throw unavailable('it does not publish to its listeners')
      return connection
    } catch (error) {
      connection.end()
      throw error
    } finally {
      this.#trials.delete(connection)
    }
  }

  /**
   * Whether what is published now arrives over this connection.
   *
   * @throws when nothing can be published
   */
  async #hears (connection: ShardConnection): Promise<boolean> {
    const { clock, greet, ownChannel } = this.#parts
    const message = String(++this.#greetings)
    const heard = new Promise<boolean>((resolve) => { this.#greeted.set(message, () => { resolve(true) }) })
    try {
      if (await greet(ownChannel, message) !== connection.way) return false
      const answer = Promise.race([heard, connection.lost.then(() => false)])
      return await orReject(clock, HEARD_MS, answer, () => unavailable('ETIMEDOUT')).catch(() => false)
    } finally {
      this.#greeted.delete(message)
    }
  }

  /**
   * A connection that does not hear is kept until a better one is found: while a slot is on its way to another node, both
   * nodes publish, and only the old one takes listeners.
   */
  async #checkUp (): Promise<void> {
    const connection = this.#connection
    if (connection === undefined) return
    const hears = await this.#hears(connection).catch(() => undefined)
    // Where nothing can be published, nothing is missed.
    if (hears === undefined || this.#connection !== connection) return
    if (hears) {
      this.#tries = 0
      if (this.#doubtful) this.#replace(connection, connection)
      return
    }
    this.#doubtful = true
    const better = await this.#attempt(true).catch(() => undefined)
    if (better !== undefined) this.#replace(connection, better)
  }

  /** @param by may be the same one: it has missed something, and hears again */
  #replace (connection: ShardConnection, by: ShardConnection): void {
    if (this.#connection !== connection) return by.end()
    this.#connection = undefined
    if (by !== connection) connection.end()
    this.emit('close')
    this.#use(by)
  }

  #hear (channel: string, message: string): void {
    if (channel === this.#parts.ownChannel) this.#greeted.get(message)?.()
    else this.emit('message', channel, message)
  }

  #lose (connection: ShardConnection): void {
    connection.end()
    if (this.#connection !== connection || this.#state !== 'listening') return
    this.#connection = undefined
    this.emit('close')
    this.#look()
  }

  #rejectWaiting (error: unknown): void {
    for (const { reject } of this.#waiting) reject(error)
    this.#waiting.clear()
  }
}
