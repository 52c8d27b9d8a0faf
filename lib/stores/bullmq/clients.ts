/** Makes the clients of ioredis that a store uses, each with the options for its purpose. */
import type { Cluster, Redis, RedisOptions } from 'ioredis'
import type { Clock, TimerHandle } from '../../core/context.ts'
import { endSubscribersOnce } from './cluster-subscriber.ts'
import { serverCode, unsupported } from './errors.ts'
import type { Client } from './internals.ts'
import type { ResolvedRedisStoreOptions } from './options.ts'
import { defineScripts } from './scripts.ts'
import { destroySocket } from './dead-connection-watch.ts'

export interface IoRedis {
  readonly Redis: typeof Redis
  readonly Cluster: typeof Cluster
}

/** Reconnecting never waits longer than this, so that jobs flow again soon after the server is back. */
const MAX_RETRY_MS = 1_000
/**
 * A server that loads its data set is asked again after this; the client would wait for as long as the server
 * guesses.
 */
const LOADING_RETRY_MS = 500
/**
 * How long a connection that ends waits for the server to close its side. The client also starts this timer for a
 * socket that is closed already, and nothing stops the timer then: it delays the end of the process by this time.
 */
export const DISCONNECT_MS = 500
/** A Sentinel that does not answer is left for the next one. */
const SENTINEL_MS = 2_000
/** Sentinels whose connection was lost are listened to again after this. */
const SENTINEL_RECONNECT_MS = 5_000
/** A client that gave up, although nobody closed it, connects again after this. */
const REVIVE_MS = 100

type Role = Pick<RedisOptions,
  'enableOfflineQueue' | 'maxRetriesPerRequest' | 'commandTimeout' | 'autoResubscribe' | 'enableReadyCheck' | 'failoverDetector'>

export interface ClientFactoryParts {
  readonly settings: ResolvedRedisStoreOptions
  readonly ioredis: IoRedis
  readonly clock: Clock
  /** Hears the code of every error that the server answers to a client made here. */
  readonly heard: (code: string) => void
  /** The server has no such database, or the user may not use it. */
  readonly notSelected: (database: number, code: string) => void
}

/** Makes the clients of a store, each for its purpose, and knows those that are to be closed with it. */
export class ClientFactory {
  /** Made here, to be closed here. */
  readonly own = new Set<Client>()
  /** Of {@link ClientFactory.own}: those on which BullMQ's workers wait for jobs. */
  readonly blocking = new WeakSet<Client>()
  readonly #parts: ClientFactoryParts
  readonly #reviving = new Set<TimerHandle>()
  #closing = false

  constructor (parts: ClientFactoryParts) {
    this.#parts = parts
  }

  /**
   * Refuses at once what cannot be sent now (the caller answers 503 instead of hanging), and sends nothing a second
   * time. A client of the application is used as it is.
   *
   * @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED`
   */
  producer (): Client {
    const { client } = this.#parts.settings
    if (client === undefined) return this.#make(this.#failFast())
    if (!isClient(client)) throw unsupported('client must be a client or cluster of ioredis')
    endSubscribersOnce(client)
    return client
  }

  /** As the producer, on a connection of its own: here also for a client of the application. */
  submitter (producer: Client): Client {
    const client = this.#duplicate(producer, this.#failFast())
    defineScripts(client)
    return client
  }

  /** For BullMQ's workers: waits for the server as long as it takes, so that no finished work is lost. */
  consumer (producer: Client): Client {
    const client = this.#duplicate(producer, { maxRetriesPerRequest: null, commandTimeout: undefined, enableOfflineQueue: true })
    defineScripts(client)
    this.#catchDuplicates(client)
    return client
  }

  /**
   * For pub/sub. Who uses it joins its channels again after a reconnect. Without a ready check: ioredis 5 sends `SUBSCRIBE`
   * before the `INFO` of that check, which is an error on a connection that listens, and connects once more.
   */
  subscriber (producer: Client): Client {
    const role = { maxRetriesPerRequest: null, commandTimeout: undefined, enableOfflineQueue: true, autoResubscribe: false }
    return this.#duplicate(producer, { ...role, enableReadyCheck: false })
  }

  /** For pub/sub on a cluster: connects to one of its nodes, and never again once that connection is lost. */
  toNode (node: Redis): Redis {
    const client = node.duplicate({
      ...this.#common(),
      maxRetriesPerRequest: null,
      commandTimeout: undefined,
      enableOfflineQueue: true,
      autoResubscribe: false,
      enableReadyCheck: false,
      readOnly: false,
      retryStrategy: () => null
    })
    this.#adopt(client)
    return client
  }

  /** For one question. Fails fast, and waits for its connection first. */
  temporary (producer: Client): Client {
    return this.#duplicate(producer, { ...this.#failFast(), enableOfflineQueue: true, autoResubscribe: false })
  }

  /** From now on clients may end. */
  close (): void {
    this.#closing = true
    for (const timer of this.#reviving) this.#parts.clock.clearTimeout(timer)
    this.#reviving.clear()
  }

  #failFast (): Role {
    return { enableOfflineQueue: false, maxRetriesPerRequest: 0, commandTimeout: this.#parts.settings.operationTimeoutMs }
  }

  #make (role: Role): Client {
    const { connection } = this.#parts.settings
    const sentinel = connection['sentinels'] === undefined
      ? {}
      // A planned failover leaves the connections to the old primary open, which goes on taking writes for seconds.
      : { failoverDetector: true, sentinelCommandTimeout: SENTINEL_MS, sentinelReconnectStrategy: () => SENTINEL_RECONNECT_MS }
    return this.#adopt(new this.#parts.ioredis.Redis({ ...sentinel, ...connection, ...this.#common(), ...role }))
  }

  #duplicate (producer: Client, role: Role): Client {
    if (this.#parts.settings.client === undefined) return this.#make(role)
    const options = { ...this.#common(), ...role }
    if (producer instanceof this.#parts.ioredis.Cluster) {
      return this.#adopt(producer.duplicate([], { ...producer.options, redisOptions: { ...producer.options.redisOptions, ...options } }))
    }
    return this.#adopt('nodes' in producer ? producer.duplicate() : producer.duplicate(options))
  }

  #common (): RedisOptions {
    return {
      retryStrategy: (times) => Math.min(100 * times, MAX_RETRY_MS),
      // Only listens: which connections have to be made again is decided in one place for all.
      reconnectOnError: (error) => {
        // Nothing depends on INFO: a user who may not ask is no fault of the server.
        if (serverCode(error) !== 'NOPERM' || failedCommand(error).name !== 'info') this.#parts.heard(serverCode(error))
        return false
      },
      lazyConnect: false,
      enableReadyCheck: true,
      maxLoadingRetryTime: LOADING_RETRY_MS,
      disconnectTimeout: DISCONNECT_MS
    }
  }

  #adopt (client: Client): Client {
    this.own.add(client)
    quietReadyCheck(client)
    endSubscribersOnce(client)
    // What fails because of an error is reported where it fails; except for this:
    client.on('error', (error: unknown) => {
      const database = unselected(error)
      if (database === undefined) return
      // The client would go on in database 0, among the jobs of somebody else.
      this.#parts.notSelected(database, serverCode(error))
      destroySocket(client)
    })
    client.on('end', () => { this.#revive(client) })
    return client
  }

  /**
   * News of a failover that arrives while a client is asking the Sentinels for the new primary ends it for good
   * (ioredis 6.0).
   */
  #revive (client: Client): void {
    if (!this.#mustLive(client)) return
    const timer = this.#parts.clock.setTimeout(() => {
      this.#reviving.delete(timer)
      if (this.#mustLive(client)) client.connect().catch(() => { /* its events say so too */ })
    }, REVIVE_MS)
    this.#reviving.add(timer)
  }

  /** BullMQ ends and connects its blocking ones itself. */
  #mustLive (client: Client): boolean {
    return !this.#closing && client.status === 'end' && this.own.has(client) && !this.blocking.has(client)
  }

  /**
   * BullMQ duplicates the client for the blocking connection of a worker. The copy is adopted: if it hangs, it must
   * be closed here.
   */
  #catchDuplicates (client: Client): void {
    const original: unknown = client.duplicate
    if (typeof original !== 'function') return
    Reflect.set(client, 'duplicate', (...args: unknown[]) => {
      // Each detector listens to every Sentinel; a blocked command is answered with an error when its server is
      // demoted.
      const given = client.isCluster ? args : [{ ...(typeof args[0] === 'object' ? args[0] : {}), failoverDetector: false }]
      const copy: unknown = Reflect.apply(original, client, given)
      if (!isClient(copy)) return copy
      this.blocking.add(copy)
      this.#adopt(copy)
      // BullMQ ends it to interrupt a worker that waits, and connects it again.
      copy.on('end', () => { this.own.delete(copy) })
      copy.on('connecting', () => { this.own.add(copy) })
      return copy
    })
  }
}

/** The database of a SELECT that the server refused. */
function unselected (error: unknown): number | undefined {
  const { name, args } = failedCommand(error)
  return name === 'select' && Array.isArray(args) ? Number(args[0]) : undefined
}

/** The command that the client says an error belongs to. */
function failedCommand (error: unknown): { readonly name?: unknown, readonly args?: unknown } {
  const command: unknown = error instanceof Error ? Reflect.get(error, 'command') : undefined
  return typeof command === 'object' && command !== null ? { name: Reflect.get(command, 'name'), args: Reflect.get(command, 'args') } : {}
}

/**
 * Answers the client's own INFO, which it sends before it is ready, as by a server that has loaded its data, if the
 * user may not send it. Otherwise the client prints a warning on the console, once for each connection.
 */
function quietReadyCheck (client: Client): void {
  if (client.isCluster) return
  const info: unknown = client.info
  if (typeof info !== 'function') return
  Reflect.set(client, 'info', (...args: unknown[]): unknown => {
    const done = args.at(-1)
    if (typeof done !== 'function') return Reflect.apply(info, client, args)
    const quiet = (error: unknown, answer: unknown): unknown => serverCode(error) === 'NOPERM' ? done(null, '') : done(error, answer)
    return Reflect.apply(info, client, [...args.slice(0, -1), quiet])
  })
}

function isClient (value: unknown): value is Client {
  return typeof value === 'object' && value !== null && typeof Reflect.get(value, 'defineCommand') === 'function' && typeof Reflect.get(value, 'duplicate') === 'function'
}

/** Whether a command sent over it now would leave at once. */
export function isLive ({ status, isCluster }: Client): boolean {
  return status === 'ready' || (isCluster && status === 'connect')
}
