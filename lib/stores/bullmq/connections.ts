import type { Cluster, Redis } from 'ioredis'
import type { TimerHandle } from '../../core/context.ts'
import { EXPIRED, withDeadline } from '../../core/deadline.ts'
import type { AsyncEndpointsError } from '../../core/errors.ts'
import type { StoreHost } from '../../jobs/store.ts'
import { closed, serverCode, toStoreError, unavailable, unsupported } from './errors.ts'
import type { Client } from './internals.ts'
import type { RedisSettings } from './options.ts'
import { defineScripts } from './scripts.ts'
import { describeServer, OLDEST_VERSION, SAFE_EVICTION_POLICY, type ServerDescription } from './server.ts'

/** Reconnecting never waits longer than this, so that jobs flow again soon after the server is back. */
const MAX_RETRY_MS = 1_000
/**
 * How often each connection for commands has to answer a PING. One that does not, twice, is dead (a cable was pulled)
 * and made anew; without that the system notices after a quarter of an hour. BullMQ watches its blocking ones itself.
 */
const WATCH_MS = 5_000

/**
 * How long a connection that ends waits for the server's half. The client starts the timer also for a socket that is closed
 * already (of a worker's connection that is just being made anew because it stopped claiming), and then nothing stops it: so
 * long it holds up the end of the process.
 */
const DISCONNECT_MS = 500

export interface IoRedis {
  readonly Redis: typeof Redis
  readonly Cluster: typeof Cluster
}

type Options = Record<string, unknown>

/**
 * The connections of one store: one that produces and fails fast, one that consumes and is patient, one that
 * subscribes; the last two are made when they are first needed. Each has its error listener before anything else.
 *
 * ```
 * new ──start──▶ away ◀──(ready, server checked | connection lost)──▶ connected ──close──▶ closed
 * ```
 */
export class Connections {
  readonly producer: Client
  readonly #settings: RedisSettings
  readonly #host: StoreHost
  readonly #ioredis: IoRedis
  /** Made here, to be closed here. */
  readonly #own = new Set<Client>()
  readonly #onReady: Array<() => void> = []
  readonly #detach: Array<() => void> = []
  #consumer: Client | undefined
  #subscriber: Client | undefined
  #state: 'new' | 'away' | 'connected' | 'closed' = 'new'
  #refusal: AsyncEndpointsError | undefined
  #lastCode = 'not connected'
  #told: 'connected' | 'disconnected' | undefined
  #warnedOf: string | undefined
  #timer: TimerHandle
  /** PINGs in a row that were not answered. */
  readonly #unanswered = new Map<Client, number>()
  #started: () => void = () => {}

  constructor (settings: RedisSettings, host: StoreHost, ioredis: IoRedis) {
    this.#settings = settings
    this.#host = host
    this.#ioredis = ioredis
    const { client } = settings
    if (client === undefined) {
      this.producer = this.#make({
        // Refuse at once what cannot be sent now: the caller answers 503 instead of hanging.
        enableOfflineQueue: false,
        maxRetriesPerRequest: 0,
        commandTimeout: settings.operationTimeoutMs
      })
    } else {
      if (!isClient(client)) throw unsupported('client must be a client or cluster of ioredis')
      this.producer = client
    }
    this.#watch()
    defineScripts(this.producer)
  }

  /** Whether a command sent now would reach a server. */
  get live (): boolean { return isLive(this.producer) && this.#refusal === undefined }

  /**
   * Connects. Resolves when the server was reached and checked, or at the first sign that it is away; then it goes on
   * in the background.
   */
  async start (): Promise<void> {
    if (this.#state !== 'new') return
    this.#state = 'away'
    const started = new Promise<void>((resolve) => { this.#started = resolve })
    if (isLive(this.producer)) this.#ready()
    else if (this.producer.status === 'wait') this.producer.connect().catch(() => { /* told by its events */ })
    this.#watchSilence()
    await withDeadline(this.#host.context.clock, this.#settings.operationTimeoutMs, started)
  }

  #watchSilence (): void {
    const { clock } = this.#host.context
    this.#timer = clock.setTimeout(() => {
      for (const client of [this.producer, this.#consumer, this.#subscriber]) {
        if (client === undefined || !this.#own.has(client) || !isLive(client) || client.isCluster) continue
        const unanswered = this.#unanswered.get(client) ?? 0
        if (unanswered >= 2) {
          this.#unanswered.delete(client)
          destroySocket(client)
          continue
        }
        this.#unanswered.set(client, unanswered + 1)
        client.ping().then(() => { this.#unanswered.delete(client) }, () => { /* still unanswered */ })
      }
      this.#watchSilence()
    }, WATCH_MS)
  }

  /** Called each time the server can be used (again). */
  onReady (listener: () => void): void { this.#onReady.push(listener) }

  /**
   * Runs one operation on the producing connection.
   *
   * @throws {AsyncEndpointsError} what a caller of the store may see; nothing of the client's own errors
   */
  async run<T> (operation: (client: Client) => Promise<T>): Promise<T> {
    if (this.#state === 'closed') throw closed()
    if (this.#refusal !== undefined) throw this.#refusal
    if (!isLive(this.producer)) throw unavailable(this.#lastCode)
    let answer: T | typeof EXPIRED
    try {
      const pending = operation(this.producer)
      // Our own connection has the deadline built in; a client of the application may wait for ever.
      answer = this.#settings.client === undefined ? await pending : await withDeadline(this.#host.context.clock, this.#settings.operationTimeoutMs, pending)
    } catch (error) {
      throw toStoreError(error)
    }
    if (answer === EXPIRED) throw unavailable('ETIMEDOUT')
    return answer
  }

  /** For BullMQ's workers: waits for the server as long as it takes, so that no finished work is lost. */
  consumer (): Client {
    if (this.#consumer === undefined) {
      this.#consumer = this.#duplicate({ maxRetriesPerRequest: null, commandTimeout: undefined, enableOfflineQueue: true })
      defineScripts(this.#consumer)
      this.#catchDuplicates(this.#consumer)
    }
    return this.#consumer
  }

  /** For pub/sub. Resubscribes by itself after a reconnect. */
  subscriber (): Client {
    this.#subscriber ??= this.#duplicate({ maxRetriesPerRequest: null, commandTimeout: undefined, enableOfflineQueue: true, autoResubscribe: true })
    return this.#subscriber
  }

  /** A connection for one question, to be handed back to {@link Connections.release}. */
  temporary (): Client {
    return this.#duplicate({ maxRetriesPerRequest: 0, commandTimeout: this.#settings.operationTimeoutMs, enableOfflineQueue: true, autoResubscribe: false })
  }

  release (client: Client): void {
    this.#own.delete(client)
    client.disconnect()
  }

  /** Lets go of what was made here. Never takes longer than the deadline, also when the server does not answer. */
  async close (deadlineMs: number): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#host.context.clock.clearTimeout(this.#timer)
    for (const detach of this.#detach) detach()
    this.#started()
    const { clock } = this.#host.context
    await Promise.all([...this.#own].map(async (client) => {
      const { status } = client
      // Between two attempts there is no socket, and no event will come.
      if (status === 'end' || status === 'reconnecting') {
        client.disconnect()
        return destroySocket(client)
      }
      const ended = new Promise<void>((resolve) => { client.once('end', () => resolve()) })
      client.disconnect()
      // `disconnect` waits for the server to close its half; a frozen one never does.
      if (await withDeadline(clock, Math.min(deadlineMs, DISCONNECT_MS), ended) === EXPIRED) destroySocket(client)
    }))
    this.#own.clear()
  }

  #watch (): void {
    const { producer } = this
    const listen = (event: string, listener: (...args: unknown[]) => void): void => {
      producer.on(event, listener)
      this.#detach.push(() => producer.off(event, listener))
    }
    // Without a listener the client prints every failed attempt.
    listen('error', (error) => { this.#lastCode = serverCode(error) })
    listen('ready', () => { this.#ready() })
    listen('close', () => { this.#lost() })
  }

  #ready (): void {
    this.#check().then(() => {
      if (this.#state !== 'away') return
      this.#state = 'connected'
      if (this.#refusal === undefined) {
        this.#told = 'connected'
        this.#host.report({ kind: 'connected' })
        for (const listener of this.#onReady) listener()
      }
      this.#started()
    }, () => { /* the connection went away meanwhile; `close` tells */ })
  }

  #lost (): void {
    if (this.#state === 'closed') return
    this.#state = 'away'
    // Once per outage, not per attempt to end it.
    if (this.#told !== 'disconnected') this.#host.report({ kind: 'disconnected', code: this.#lastCode })
    this.#told = 'disconnected'
    this.#started()
  }

  /** BullMQ's own checks would leave a queue broken for good when the server is away at the wrong moment. */
  async #check (): Promise<void> {
    let info: string
    try {
      info = String(await this.producer.info())
    } catch (error) {
      // A user who may not ask (NOPERM) has to know for himself.
      if (isLive(this.producer)) return
      throw error
    }
    const server = describeServer(info)
    this.#refusal = this.#checkVersion(server)
    if (this.#refusal !== undefined) this.#host.report({ kind: 'error', code: this.#refusal.code, message: this.#refusal.message })
    const { evictionPolicy } = server
    if (evictionPolicy !== undefined && evictionPolicy !== SAFE_EVICTION_POLICY && evictionPolicy !== this.#warnedOf) {
      this.#warnedOf = evictionPolicy
      this.#host.report({ kind: 'warning', code: 'eviction-policy', message: `The maxmemory-policy of the Redis server is ${evictionPolicy}: it may throw jobs away when memory runs short. Set it to ${SAFE_EVICTION_POLICY}` })
    }
  }

  #checkVersion ({ tooOld, version = '' }: ServerDescription): AsyncEndpointsError | undefined {
    const short = version.split('.', 2).join('.')
    return tooOld ? unsupported(`The Redis server has version ${short}; the job store needs ${OLDEST_VERSION.join('.')} or newer`) : undefined
  }

  #make (role: Options): Client {
    const { url, connection } = this.#settings
    const options = { ...connection, ...role, retryStrategy, reconnectOnError, lazyConnect: false, disconnectTimeout: DISCONNECT_MS }
    const { Redis } = this.#ioredis
    return this.#adopt(url === undefined ? new Redis(options) : new Redis(url, options))
  }

  #duplicate (role: Options): Client {
    const { client } = this.#settings
    const options = { ...role, retryStrategy, reconnectOnError, lazyConnect: false, disconnectTimeout: DISCONNECT_MS }
    const made = client === undefined
      ? this.#make(role)
      : this.#adopt(this.producer instanceof this.#ioredis.Cluster
        ? this.producer.duplicate([], { ...this.producer.options, redisOptions: { ...this.producer.options.redisOptions, ...options } })
        : this.producer.duplicate(options))
    return made
  }

  #adopt (client: Client): Client {
    this.#own.add(client)
    client.on('error', () => { /* what fails because of it is told where it fails */ })
    return client
  }

  /** BullMQ makes a blocking connection per worker out of ours; should it hang, it must be closed from here. */
  #catchDuplicates (client: Client): void {
    const original: unknown = client.duplicate
    if (typeof original !== 'function') return
    Reflect.set(client, 'duplicate', (...args: unknown[]) => {
      const copy: unknown = Reflect.apply(original, client, args)
      if (isClient(copy)) this.#adopt(copy).once('end', () => { this.#own.delete(copy) })
      return copy
    })
  }
}

function retryStrategy (times: number): number { return Math.min(100 * times, MAX_RETRY_MS) }

/** After a failover the old server refuses writes: connect anew, and send the command once more. */
function reconnectOnError (error: Error): 2 | false { return error.message.startsWith('READONLY') ? 2 : false }

function isClient (value: unknown): value is Client {
  return typeof value === 'object' && value !== null && typeof Reflect.get(value, 'defineCommand') === 'function' && typeof Reflect.get(value, 'duplicate') === 'function'
}

/** Whether a command sent over it now would leave at once. */
export function isLive ({ status, isCluster }: Client): boolean {
  return status === 'ready' || (isCluster && status === 'connect')
}

function destroySocket (client: Client): void {
  const socket: unknown = Reflect.get(client, 'stream')
  const destroy: unknown = typeof socket === 'object' && socket !== null ? Reflect.get(socket, 'destroy') : undefined
  if (typeof destroy === 'function') Reflect.apply(destroy, socket, [])
}
