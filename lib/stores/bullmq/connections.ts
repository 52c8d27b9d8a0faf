/** The connections of one store, from the first to the last: who uses which, and what is reported about them. */
import type { Cluster } from 'ioredis'
import { EXPIRED, withDeadline } from '../../core/deadline.ts'
import type { AsyncEndpointsError } from '../../core/errors.ts'
import type { StoreHost } from '../../jobs/store.ts'
import { adviceOn, serverOf } from './advice.ts'
import { ClientFactory, DISCONNECT_MS, isLive, type IoRedis } from './clients.ts'
import { closed, serverCode, toStoreError, unavailable, unsupported } from './errors.ts'
import type { Client } from './internals.ts'
import type { ResolvedRedisStoreOptions } from './options.ts'
import { Refusals } from './refusals.ts'
import { Replication } from './replication.ts'
import { defineScripts } from './scripts.ts'
import { describeServer, OLDEST_VERSION, SAFE_EVICTION_POLICY, type ServerDescription } from './server.ts'
import { destroySocket, DeadConnectionWatch } from './dead-connection-watch.ts'
import { listenOnCluster } from './listen-on-cluster.ts'
import type { ShardListener } from './shard-listener.ts'

/**
 * The start waits no longer than this for the server, whatever an operation may take: Fastify gives a plugin ten
 * seconds.
 */
const START_MS = 3_000

/** A connection that listens: on a cluster one to the node of the channels, otherwise a client. */
export type Listening = Client | ShardListener

/** What {@link Connections.open} makes. */
interface Made {
  readonly producer: Client
  readonly submitter: Client
  readonly replication: Replication | undefined
  readonly deadConnections: DeadConnectionWatch
}

/**
 * The connections of one store: one that produces and fails fast, one for consuming and one that subscribes, both
 * patient and made when they are first needed. Each has its error listener before anything else.
 *
 * ```
 * new ──open (makes the clients)──▶ made ──start──▶ away ◀──(ready, server checked | connection lost)──▶ connected ──close──▶ closed
 * ```
 */
export class Connections {
  readonly refusals: Refusals
  /** Host and port, for messages. */
  readonly server: string | undefined
  readonly #settings: ResolvedRedisStoreOptions
  readonly #host: StoreHost
  readonly #clients: ClientFactory
  #made: Made | undefined
  readonly #onReady: Array<() => void> = []
  readonly #detach: Array<() => void> = []
  /** With the number of consumers that use each; the last one is for new consumers. */
  readonly #consumers = new Map<Client, number>()
  #subscriber: Listening | undefined
  #state: 'new' | 'made' | 'away' | 'connected' | 'closed' = 'new'
  #refusal: AsyncEndpointsError | undefined
  #lastCode = 'not connected'
  #reported: 'connected' | 'disconnected' | undefined
  #warnedOf: string | undefined
  #started: () => void = () => {}

  /** @param trial a submission on trial: whether the server takes writes (again) */
  constructor (settings: ResolvedRedisStoreOptions, host: StoreHost, ioredis: IoRedis, trial: () => Promise<void>) {
    this.#settings = settings
    this.#host = host
    this.server = serverOf(settings)
    const { clock } = host.context
    this.refusals = new Refusals({
      clock,
      report: (report) => host.report(report),
      reconnect: (code) => this.#reconnect(code),
      probe: trial,
      server: this.server
    })
    this.#clients = new ClientFactory({
      settings,
      ioredis,
      clock,
      heard: (code) => this.#heard(code),
      notSelected: (database, code) => this.#notSelected(database, code)
    })
  }

  /**
   * Makes the clients and teaches them the scripts. A client that the application gave is watched and taught from now
   * on, too.
   *
   * @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED` when that client is none of ioredis
   */
  open (): void {
    if (this.#state !== 'new') return
    this.#state = 'made'
    const { acknowledge, operationTimeoutMs } = this.#settings
    const producer = this.#clients.producer()
    const replicated = acknowledge === 'replica'
    const submitter = replicated ? this.#clients.submitter(producer) : producer
    this.#made = {
      producer,
      submitter,
      replication: replicated ? new Replication(submitter, Math.ceil(operationTimeoutMs / 2)) : undefined,
      deadConnections: new DeadConnectionWatch({
        clock: this.#host.context.clock,
        connectMs: Math.max(operationTimeoutMs, connectTimeoutOf(producer)),
        clients: () => [...new Set([producer, ...this.#clients.own])].map((client) => ({ client, blocking: this.#clients.blocking.has(client) })),
        silent: (client) => { if (client === producer) this.#lastCode = 'ETIMEDOUT' }
      })
    }
    this.#watch(producer)
    defineScripts(producer)
  }

  get producer (): Client { return this.#need().producer }

  /** Submissions go over it: the producer, or a connection of its own where replicas are waited for. */
  get submitter (): Client { return this.#need().submitter }

  /** Whether a command sent now would reach a server. */
  get live (): boolean { return this.#made !== undefined && isLive(this.#made.producer) && this.#refusal === undefined }

  /**
   * @throws {AsyncEndpointsError} `FAE_STORE_UNSUPPORTED`: nothing at all may be sent to this server, not by BullMQ
   * either
   */
  assertSupported (): void { if (this.#refusal !== undefined) throw this.#refusal }

  /**
   * Connects. Resolves when the server was reached and checked, or at the first sign that it is away; then it goes on
   * in the background.
   */
  async start (): Promise<void> {
    if (this.#state !== 'made') return
    this.#state = 'away'
    const started = new Promise<void>((resolve) => { this.#started = resolve })
    if (isLive(this.producer)) this.#ready()
    else if (this.producer.status === 'wait') this.producer.connect().catch(() => { /* its events say so too */ })
    this.#need().deadConnections.start()
    await withDeadline(this.#host.context.clock, Math.min(this.#settings.operationTimeoutMs, START_MS), started)
  }

  /** Called each time the server can be used (again). */
  onReady (listener: () => void): void { this.#onReady.push(listener) }

  /**
   * Runs one operation on the producing connection.
   *
   * @throws {AsyncEndpointsError} what a caller of the store may see; nothing of the client's own errors
   */
  run<T> (operation: (client: Client) => Promise<T>): Promise<T> {
    return this.#run(this.producer, operation)
  }

  /** Runs one operation on the connection of submissions: what is sent over it arrives in this order. */
  submit<T> (operation: (client: Client) => Promise<T>): Promise<T> {
    return this.#run(this.submitter, operation)
  }

  /**
   * Resolves when what was submitted, and answered, before is as safe as `acknowledge` asks for. `undefined`: it is
   * already.
   *
   * @throws {AsyncEndpointsError} `FAE_STORE_UNAVAILABLE`: nobody knows whether it is
   */
  acknowledged (): Promise<void> | undefined {
    const { replication } = this.#need()
    return replication === undefined ? undefined : this.#run(this.submitter, () => replication.confirm())
  }

  async #run<T> (client: Client, operation: (client: Client) => Promise<T>): Promise<T> {
    if (this.#state === 'closed') throw closed()
    this.assertSupported()
    if (!isLive(client)) throw unavailable(this.#lastCode, this.server)
    let answer: T | typeof EXPIRED
    try {
      const pending = operation(client)
      // Our own connection has the deadline built in; a client of the application may wait for ever.
      answer = this.#settings.client === undefined ? await pending : await withDeadline(this.#host.context.clock, this.#settings.operationTimeoutMs, pending)
    } catch (error) {
      this.heard(error)
      throw toStoreError(error, this.server)
    }
    if (answer === EXPIRED) throw unavailable('ETIMEDOUT', this.server)
    return answer
  }

  /** Takes the error of any command, also of one that a script has caught. */
  heard (error: unknown): void { this.#heard(serverCode(error)) }

  /** For one more consumer, until {@link Connections.release}. `fresh`: the present connection does not do. */
  consumer (fresh = false): Client {
    let client = fresh ? undefined : [...this.#consumers.keys()].at(-1)
    client ??= this.#clients.consumer(this.producer)
    this.#consumers.set(client, (this.#consumers.get(client) ?? 0) + 1)
    return client
  }

  /** The consumer needs its connection no more. One that was replaced is closed with the last that uses it. */
  release (client: Client): void {
    const users = (this.#consumers.get(client) ?? 0) - 1
    if (users > 0 || client === [...this.#consumers.keys()].at(-1)) {
      if (this.#consumers.has(client)) this.#consumers.set(client, Math.max(0, users))
      return
    }
    this.#consumers.delete(client)
    this.#clients.own.delete(client)
    client.disconnect()
  }

  /** Whether messages about jobs are sharded, see `lua/parts/publish.lua`. */
  get sharded (): boolean { return Reflect.get(this.#settings.client ?? {}, 'isCluster') === true }

  /** For pub/sub. Who uses it joins its channels again each time that it is ready. */
  subscriber (): Listening {
    const { producer } = this
    this.#subscriber ??= 'nodes' in producer ? this.#shardListener(producer) : this.#clients.subscriber(producer)
    return this.#subscriber
  }

  #shardListener (cluster: Cluster): ShardListener {
    const { prefix, operationTimeoutMs } = this.#settings
    const listener = listenOnCluster(cluster, {
      prefix,
      context: this.#host.context,
      attemptMs: Math.max(operationTimeoutMs, connectTimeoutOf(cluster)),
      run: (operation) => this.run(operation),
      toNode: (node) => this.#state === 'closed' ? undefined : this.#clients.toNode(node),
      release: (client) => {
        this.#clients.own.delete(client)
        client.disconnect()
      }
    })
    this.#detach.push(() => listener.close())
    return listener
  }

  /** A connection for one question, to be handed back to {@link Connections.release}. */
  temporary (): Client { return this.#clients.temporary(this.producer) }

  /** Lets go of what was made here. Never takes longer than the deadline, also when the server does not answer. */
  async close (deadlineMs: number): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    void this.#made?.deadConnections.stop()
    this.refusals.stop()
    this.#clients.close()
    for (const detach of this.#detach) detach()
    this.#started()
    const { clock } = this.#host.context
    await Promise.all([...this.#clients.own].map(async (client) => {
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
    this.#clients.own.clear()
  }

  #need (): Made {
    if (this.#made === undefined) throw closed()
    return this.#made
  }

  #watch (producer: Client): void {
    const listen = (event: string, listener: (...args: unknown[]) => void): void => {
      producer.on(event, listener)
      this.#detach.push(() => producer.off(event, listener))
    }
    // Without a listener the client prints every failed attempt.
    listen('error', (error) => { this.#lastCode = serverCode(error) })
    listen('connect', () => { this.#lookWhetherLoading() })
    listen('ready', () => { this.#ready() })
    listen('close', () => { this.#lost() })
  }

  #heard (code: string): void {
    if (this.#state !== 'closed') this.refusals.heard(code)
  }

  /** Connects again: the server refuses, and another one may have taken over its address. */
  #reconnect (code: string): void {
    this.#lastCode = code
    for (const client of new Set([this.producer, ...this.#clients.own])) {
      // A cluster follows its nodes by itself; one that is just connecting will see.
      if (!client.isCluster && client.status === 'ready') client.disconnect(true)
    }
  }

  /** The client waits until the server has loaded its data, and does not say so. */
  #lookWhetherLoading (): void {
    const { producer } = this
    if (this.#state !== 'away' || producer.isCluster || !this.#clients.own.has(producer)) return
    producer.info('persistence').then((info) => { if (/^loading:1/m.test(String(info))) this.#lastCode = 'LOADING' }, () => { /* not while it connects */ })
  }

  #ready (): void {
    this.#check().then(() => {
      if (this.#state !== 'away') return
      this.#state = 'connected'
      if (this.#refusal === undefined) {
        this.#reported = 'connected'
        this.#host.report({ kind: 'connected', server: this.server })
        for (const listener of this.#onReady) listener()
      }
      this.#started()
    }, () => { /* the connection went away meanwhile; `close` says so */ })
  }

  #lost (): void {
    if (this.#state === 'closed') return
    this.#state = 'away'
    // Once per outage, not per attempt to end it.
    if (this.#reported !== 'disconnected') this.#host.report({ kind: 'disconnected', code: this.#lastCode, server: this.server, message: adviceOn(this.#lastCode).replace(/^: /, '') })
    this.#reported = 'disconnected'
    this.#started()
  }

  /** BullMQ's own checks would leave a queue broken for good when the server is away at the wrong moment. */
  async #check (): Promise<void> {
    let info: string
    try {
      info = String(await this.producer.info())
    } catch (error) {
      // The user may not run INFO: version and eviction policy stay unchecked.
      if (!isLive(this.producer)) throw error
      this.#refuse(await this.#checkDatabase())
      return
    }
    const server = describeServer(info)
    this.#refuse(this.#checkVersion(server) ?? await this.#checkDatabase())
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

  /**
   * A client of the application goes on in database 0 when it may not have its own, and nobody need have listened
   * when it said so.
   */
  async #checkDatabase (): Promise<AsyncEndpointsError | undefined> {
    const { producer } = this
    if ('nodes' in producer || this.#clients.own.has(producer)) return undefined
    const wanted = Number(producer.options.db ?? 0)
    if (wanted === 0) return undefined
    try {
      const used = /(?:^| )db=(\d+)/.exec(String(await producer.call('CLIENT', 'INFO')))?.[1]
      return used === undefined || Number(used) === wanted ? undefined : noDatabase(wanted, `it is in ${used}`)
    } catch {
      // Not allowed to ask, or too old to know.
      return undefined
    }
  }

  #notSelected (database: number, code: string): void { if (this.#state !== 'closed') this.#refuse(noDatabase(database, code)) }

  #refuse (refusal: AsyncEndpointsError | undefined): void {
    if (refusal !== undefined && refusal.message !== this.#refusal?.message) this.#host.report({ kind: 'error', code: refusal.code, message: refusal.message })
    this.#refusal = refusal
  }
}

/** The default of ioredis, which it also gives to clients whose options name no such time. */
const IOREDIS_CONNECT_MS = 10_000

/**
 * How long the options of a client, of the store or of the application, allow it to connect, in milliseconds; 0: they
 * do not say.
 */
function connectTimeoutOf (client: Client): number {
  const options = 'nodes' in client ? client.options.redisOptions : client.options
  const allowed = Number(options?.connectTimeout ?? 0)
  return allowed === IOREDIS_CONNECT_MS ? 0 : allowed
}

function noDatabase (database: number, reason: string): AsyncEndpointsError {
  return unsupported(`The Redis server does not let the job store use database ${database} (${reason}): name one that it has, or raise "databases" in redis.conf`)
}
