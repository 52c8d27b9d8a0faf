/**
 * `redisStore()`: the job store on Redis. Each method of the contract is here; what a method needs is in the files
 * beside.
 */
import { withDeadline } from '../../core/deadline.ts'
import { AsyncEndpointsError } from '../../core/errors.ts'
import type { JobInput, JobPlace, JobProgress, JobRecord, NewJob } from '../../jobs/job.ts'
import type {
  CancelVerdict, Claim, ConsumeOptions, Consumer, Created, FeedListener, JobFeed, JobPage, JobStore, ListQuery, QueueCounts,
  RedriveVerdict, StoreHost, UnattendedQueue
} from '../../jobs/store.ts'
import { Attendance } from './attendance.ts'
import { ClaimPace } from './claim-pace.ts'
import { Coalescer, type Held } from './coalescer.ts'
import { Connections } from './connections.ts'
import { BullConsumer, LONGEST_BLOCK_MS } from './consumer.ts'
import { countsIn } from './counts.ts'
import { DeniedCheck } from './denied.ts'
import { saysDenied } from './denied-text.ts'
import { loadDrivers, type Drivers } from './drivers.ts'
import { encodeNotes, parseInput } from './envelope.ts'
import { closed, unavailable } from './errors.ts'
import { Finder, JOB_ID } from './finder.ts'
import { checkedScripts, type Script } from './internals.ts'
import { limitsOf } from './keeping.ts'
import { Lister } from './list.ts'
import { readRedisOptions, type ResolvedRedisStoreOptions, type RedisStoreOptions } from './options.ts'
import { Probe } from './probe.ts'
import { QueueBook } from './queues.ts'
import { recordOf, type StoredRecord } from './record.ts'
import { factsIn } from './step-args.ts'
import { RedisSteps } from './steps.ts'
import { Retention } from './retention.ts'
import { Running } from './running.ts'
import { runScript } from './scripts.ts'
import { readTime, ServerClock } from './server-clock.ts'
import { RedisSharedState } from './shared.ts'
import { remember } from './targets.ts'
import { readable, Repairs } from './unreadable.ts'
import { RedisFeed, Subscriptions } from './feeds.ts'
import { controlChannel, Publisher } from './updates.ts'
import { finishScript } from './wrapped-scripts.ts'

export type { RedisClientLike, RedisConnectionOptions, RedisRetentionOptions, RedisStoreOptions } from './options.ts'

/** How often a process notes which queues it works on. */
const ATTENDANCE_MS = 10_000

/**
 * Keeps jobs on a Redis or Valkey server, by means of BullMQ: they survive restarts, and any number of processes can
 * submit and work on them. Needs the packages `bullmq` and `ioredis`, and a server of version 6.2 or newer with
 * `maxmemory-policy noeviction`.
 *
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`
 */
export function redisStore (options?: RedisStoreOptions): JobStore {
  const settings = readRedisOptions(options)
  return remember(new RedisStore(settings), settings)
}

/** What an open store consists of. */
interface Parts {
  readonly drivers: Drivers
  readonly clock: ServerClock
  readonly connections: Connections
  readonly book: QueueBook
  readonly coalescer: Coalescer
  readonly finish: Script
  readonly publisher: Publisher
  readonly subscriptions: Subscriptions
  readonly retention: Retention
  readonly repairs: Repairs
  readonly attendance: Attendance
  readonly denied: DeniedCheck
  readonly probe: Probe
  readonly lister: Lister
  readonly finder: Finder
}

/**
 * ```
 * new ──open──▶ opening ──▶ open ──close──▶ closed
 * ```
 */
class RedisStore implements JobStore {
  readonly type = 'bullmq'
  readonly longestLookMs = LONGEST_BLOCK_MS
  readonly shared: RedisSharedState
  readonly steps: RedisSteps
  readonly #settings: ResolvedRedisStoreOptions
  readonly #consumers = new Set<BullConsumer>()
  #host: StoreHost | undefined
  #opening: Promise<void> | undefined
  #parts: Parts | undefined
  #closed = false

  constructor (settings: ResolvedRedisStoreOptions) {
    this.#settings = settings
    this.steps = new RedisSteps({
      run: (operation) => this.#need().connections.run(operation),
      find: (id, look) => this.#need().finder.find(id, look),
      now: () => this.now(),
      leaseMs: settings.leaseMs
    })
    this.shared = new RedisSharedState(settings.prefix, (operation) => this.#with(({ connections }) => connections.run(operation)))
  }

  /** @throws {AsyncEndpointsError} `FAE_CLOSED`; `FAE_INVALID_OPTIONS` when another application has opened it */
  open (host: StoreHost): Promise<void> {
    if (this.#closed) return Promise.reject(closed())
    if (this.#host !== undefined && this.#host !== host) {
      return Promise.reject(new AsyncEndpointsError('FAE_INVALID_OPTIONS', 'This Redis store belongs to another application already; make one for each with redisStore()'))
    }
    this.#host = host
    this.#opening ??= this.#open(host)
    return this.#opening
  }

  async #open (host: StoreHost): Promise<void> {
    const drivers = await loadDrivers()
    if (this.#closed) throw closed()
    const scripts = checkedScripts(drivers.bull)
    const settings = this.#settings
    const report = (code: string, message: string): void => host.report({ kind: 'warning', code, message })
    const connections = new Connections(settings, host, drivers.ioredis, () => this.probe())
    const clock = new ServerClock(host.context.clock, () => connections.run((client) => readTime(client, settings.prefix)))
    const book = new QueueBook(drivers.bull, connections, clock, settings.prefix, report)
    const subscriptions = new Subscriptions(connections, clock, settings.operationTimeoutMs)
    const publisher = new Publisher(connections, clock)
    const repairs = new Repairs({ connections, clock, settings, report })
    const retention = new Retention(connections, book, clock, settings, repairs, report)
    const attendance = new Attendance({
      connections, book, clock, shared: this.shared, report, everyMs: Math.min(ATTENDANCE_MS, retention.everyMs), consumed: () => new Set([...this.#consumers].map(({ queue }) => queue))
    })
    const denied = new DeniedCheck({ connections, clock, prefix: settings.prefix, channel: controlChannel(settings.prefix), acknowledge: settings.acknowledge, probe: () => this.probe(), report, timeoutMs: settings.operationTimeoutMs })
    const parts: Parts = {
      drivers,
      clock,
      connections,
      book,
      coalescer: new Coalescer(connections, scripts, settings),
      finish: finishScript(scripts, settings, connections.sharded),
      publisher,
      subscriptions,
      retention,
      repairs,
      attendance,
      denied,
      probe: new Probe(scripts, settings),
      lister: new Lister(connections, book, clock, retention.expired),
      finder: new Finder(book, retention, repairs)
    }
    connections.open()
    parts.coalescer.start()
    parts.probe.start(connections.submitter)
    // Listens for the server from the beginning: the first answer to it may come before this is open.
    book.start()
    connections.onReady(() => {
      clock.renew()
      denied.look().catch(() => { /* what else is wrong is reported where it fails */ })
    })
    this.#parts = parts
    await connections.start()
    // Asked before the first job is submitted or claimed; a server that is away is asked when it comes.
    if (connections.live) await clock.ready()
    if (this.#closed) return
    for (const service of [clock, retention, attendance]) service.start()
  }

  create (job: NewJob): Promise<Created> {
    try {
      const { clock, connections } = this.#need()
      connections.assertSupported()
      if (!JOB_ID.test(job.id)) throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', 'On Redis the id of a job is a UUID in lower case')
      return clock.known || !connections.live ? this.#createNow(job) : this.#createTimed(job)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #createNow (job: NewJob): Promise<Created> {
    const { book, coalescer } = this.#need()
    return coalescer.add(book.use(job.queue), job).then((held) => held === undefined ? { created: true, id: job.id } : this.#replay(job, held))
  }

  /** The job was drafted before the server's clock was known. */
  async #createTimed (job: NewJob): Promise<Created> {
    const { clock } = this.#need()
    const before = clock.now() - clock.monotonic()
    await clock.ready()
    const shift = Math.round(clock.now() - clock.monotonic() - before)
    return await this.#createNow({ ...job, createdAt: job.createdAt + shift, runAt: job.runAt + shift })
  }

  #replay ({ queue, idempotency }: NewJob, { id, fingerprint, job }: Held): Created {
    const record = job === undefined ? undefined : recordOf(id, queue, job).record
    const expired = record === undefined || this.#need().retention.expired(record)
    const sameRequest = fingerprint === idempotency?.fingerprint
    return { created: false, id, job: expired ? undefined : record, sameRequest }
  }

  async get (id: string): Promise<JobRecord | undefined> {
    return (await this.#read(id))?.record
  }

  async input (id: string): Promise<JobInput | undefined> {
    const found = await this.#need().finder.find(id, (client, prefixes) => runScript(client, 'input', prefixes, id))
    return found === undefined ? undefined : parseInput(found.answer[2], found.stored.envelope !== undefined)
  }

  async result (id: string): Promise<string | undefined> {
    const { book, clock } = this.#need()
    if (!JOB_ID.test(id)) return undefined
    const found = await book.search((client, prefixes) => readable(id, runScript(client, 'result', prefixes, id)))
    if (found === undefined) return undefined
    const [endedAt, text] = found.answer
    return typeof text === 'string' && Number(endedAt) + this.#settings.retention.completedMs > clock.now() ? text : undefined
  }

  list (query: ListQuery): Promise<JobPage> {
    return this.#with(({ lister }) => lister.list(query))
  }

  async counts (queue: string): Promise<QueueCounts> {
    const { connections, book, clock } = this.#need()
    const counts = countsIn(queue, await connections.run((client) => runScript(client, 'counts', [book.prefixOf(queue)])), clock.now())
    const { queued, scheduled, 'in-progress': running, cancelled } = counts.states
    // The set of queues may have been lost: it is to name every queue that has jobs, also those that only other
    // processes use.
    if (queued + scheduled + running + cancelled > 0) book.know(queue)
    return counts
  }

  async cancel (id: string, reason: string): Promise<CancelVerdict | undefined> {
    const found = await this.#cancel(id, reason)
    if (found === undefined) return undefined
    const { verdict, job } = found
    switch (verdict) {
      case 'cancelled': return { kind: 'cancelled', already: false, job }
      case 'already': return { kind: 'cancelled', already: true, job }
      case 'requested': return { kind: 'requested', already: found.asked, job }
      default: return { kind: 'finished', job }
    }
  }

  async redrive (id: string, limit = -1): Promise<RedriveVerdict | undefined> {
    const { clock, finder } = this.#need()
    // A job past its time is gone already, although nobody has swept it: it must not come back.
    if (await this.#read(id) === undefined) return undefined
    const now = clock.now()
    const found = await finder.find(id, (client, prefixes) => runScript(client, 'redrive', prefixes, id, now, encodeNotes({ r: now }), limit))
    if (found === undefined) return undefined
    const { stored: { record: job }, answer: [, , verdict] } = found
    if (verdict !== 'redriven') return { kind: verdict === 'limit' ? 'limit' : 'not-failed', job }
    return { kind: 'redriven', job }
  }

  async remove (id: string): Promise<'removed' | 'active' | undefined> {
    const found = await this.#read(id)
    if (found === undefined) return undefined
    const { record: { queue, state }, envelope } = found
    if (state === 'in-progress') return 'active'
    const { connections, book } = this.#need()
    const { prefix, bull } = book.use(queue)
    const removed = await connections.run(() => bull.getBackend().remove(id, false))
    if (removed !== 1) return 'active'
    await connections.run((client) => runScript(client, 'forget', [prefix], id, envelope?.o ?? '', envelope?.k ?? ''))
    return 'removed'
  }

  async progress (claim: Claim, progress: JobProgress): Promise<boolean> {
    const { connections } = this.#need()
    if (!(claim instanceof Running)) return false
    const { job: { id }, prefix, token } = claim
    const text = JSON.stringify(progress)
    const write = async (): Promise<boolean> => await connections.run((client) => runScript(client, 'progress', [prefix], id, token, text)) === 1
    // A handler that reports after it has blocked the event loop for longer than its lease comes before the renewal.
    return await write() || (await claim.takeBack() && await write())
  }

  consume (options: ConsumeOptions): Consumer {
    const { drivers, clock, connections, book, publisher, finish, subscriptions, repairs, attendance } = this.#need()
    // One that takes the place of a consumer that went silent must not depend on the same connection.
    const replaces = [...this.#consumers].some(({ queue }) => queue === options.queue)
    const client = connections.consumer(replaces)
    const consumer: BullConsumer = new BullConsumer({
      bull: drivers.bull,
      warn: (message) => { this.#host?.report({ kind: 'warning', code: 'bullmq-changed', message }) },
      clock,
      client,
      pace: new ClaimPace(connections.refusals),
      handle: book.use(options.queue),
      settings: this.#settings,
      publisher,
      finish,
      onFault: (handle) => repairs.soon(handle),
      onClosed: () => {
        this.#consumers.delete(consumer)
        connections.release(client)
      }
    }, options)
    try {
      consumer.start()
    } catch (error) {
      connections.release(client)
      throw error
    }
    if (this.#consumers.size === 0) {
      // Should it not come into force now, it does when the server is back.
      subscriptions.add(controlChannel(this.#settings.prefix), (id) => { for (const each of this.#consumers) each.hinted(id) }).catch(() => {})
    }
    this.#consumers.add(consumer)
    attendance.note(options.queue).catch(() => { /* the next look notes it */ })
    return consumer
  }

  getMany (jobs: readonly JobPlace[]): Promise<ReadonlyArray<JobRecord | undefined>> {
    return this.#with(({ finder, connections }) => finder.findMany(jobs, (operation) => connections.run(operation)))
  }

  listen (listener: FeedListener): JobFeed {
    return new RedisFeed(this.#need().subscriptions, this.#settings.prefix, listener)
  }

  async ping (): Promise<void> {
    await this.#need().connections.run((client) => client.ping())
  }

  async probe (): Promise<void> {
    const { connections, probe, clock, denied } = this.#need()
    try {
      await connections.submit((client) => probe.run(client, clock.now()))
      await connections.acknowledged()
    } catch (error) {
      const names = saysDenied(error) ? await denied.names() : []
      throw names.length > 0 ? unavailable(`NOPERM: ${names.join(', ')}`, connections.server) : error
    }
  }

  now (): number { return (this.#parts?.clock ?? this.#host?.context.clock ?? Date).now() }

  unattended (): readonly UnattendedQueue[] { return this.#parts?.attendance.unattended ?? [] }

  async close (deadlineMs: number): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const parts = this.#parts
    if (parts === undefined) return
    const { clock, connections, publisher, subscriptions, retention, book, attendance } = parts
    const until = clock.monotonic() + deadlineMs
    const left = (): number => Math.max(0, until - clock.monotonic())
    // A turn that is under way waits for the server, and ends with the connections.
    for (const service of [clock, book, retention, attendance]) void service.stop()
    await Promise.all([...this.#consumers].map((consumer) => consumer.close(left())))
    publisher.close()
    subscriptions.close()
    await withDeadline(clock, left(), book.close())
    await connections.close(left())
  }

  #need (): Parts {
    if (this.#parts === undefined || this.#closed) throw closed()
    return this.#parts
  }

  async #with<T> (work: (parts: Parts) => Promise<T>): Promise<T> {
    return await work(this.#need())
  }

  async #read (id: string): Promise<StoredRecord | undefined> {
    const found = await this.#need().finder.find(id, (client, prefixes) => runScript(client, 'lookup', prefixes, id))
    if (found === undefined) return undefined
    const { stored, answer: [, , texts] } = found
    const facts = factsIn(texts)
    return facts === undefined ? stored : { ...stored, record: { ...stored.record, facts } }
  }

  async #cancel (
    id: string, reason: string
  ): Promise<{ verdict: unknown, asked: boolean, job: JobRecord } | undefined> {
    const { clock, finder } = this.#need()
    const now = clock.now()
    const asked = { m: reason }
    const notes = [encodeNotes({ x: 1, ...asked }), encodeNotes({ x: 1, ...asked, t: now }), encodeNotes(asked)]
    const found = await finder.find(id, (client, prefixes) => runScript(client, 'cancel', prefixes, id, ...notes, now, controlChannel(this.#settings.prefix), ...limitsOf(this.#settings)))
    if (found === undefined) return undefined
    const { answer: [, , verdict, before], stored: { record } } = found
    return { verdict, asked: before === 1, job: record }
  }
}
