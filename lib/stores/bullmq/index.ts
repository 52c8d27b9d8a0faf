import type { Clock } from '../../core/context.ts'
import { withDeadline } from '../../core/deadline.ts'
import { AsyncEndpointsError } from '../../core/errors.ts'
import type { JobInput, JobProgress, JobRecord, JobUpdate, NewJob } from '../../jobs/job.ts'
import type {
  CancelVerdict, Claim, ConsumeOptions, Consumer, Created, JobPage, JobStore, ListQuery, QueueCounts, RedriveVerdict, StoreHost
} from '../../jobs/store.ts'
import { Coalescer, type Held } from './coalescer.ts'
import { Connections } from './connections.ts'
import { BullConsumer, LONGEST_BLOCK_MS } from './consumer.ts'
import { loadDrivers, type Drivers } from './drivers.ts'
import { encodeNotes, parseInput } from './envelope.ts'
import { closed } from './errors.ts'
import { bullScripts, finishAndKeep, type Script } from './internals.ts'
import { afterEnd, limitsOf } from './keeping.ts'
import { Lister } from './list.ts'
import { readRedisOptions, type RedisSettings, type RedisStoreOptions } from './options.ts'
import { QueueBook } from './queues.ts'
import { claimableSince, rawJob, recordOf, type StoredRecord } from './record.ts'
import { Retention } from './retention.ts'
import { Running } from './running.ts'
import { runScript } from './scripts.ts'
import { RedisSharedState } from './shared.ts'
import { channels, progressMessage, Publisher, Subscriptions, UpdateListeners } from './updates.ts'

export type { RedisClientLike, RedisConnectionOptions, RedisRetentionOptions, RedisStoreOptions } from './options.ts'

/** Anything else cannot be the id of a job, and never reaches the server, where it could name another key. */
const JOB_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/**
 * Keeps jobs on a Redis or Valkey server, by means of BullMQ: they survive restarts, and any number of processes can
 * submit and work on them. Needs the packages `bullmq` and `ioredis`, and a server of version 6.2 or newer with
 * `maxmemory-policy noeviction`.
 *
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`
 */
export function redisStore (options?: RedisStoreOptions): JobStore {
  return new RedisStore(readRedisOptions(options))
}

/** What an open store consists of. */
interface Parts {
  readonly drivers: Drivers
  readonly clock: Clock
  readonly connections: Connections
  readonly book: QueueBook
  readonly coalescer: Coalescer
  readonly finish: Script
  readonly publisher: Publisher
  readonly subscriptions: Subscriptions
  readonly listeners: UpdateListeners
  readonly retention: Retention
  readonly lister: Lister
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
  readonly #settings: RedisSettings
  readonly #channels: ReturnType<typeof channels>
  readonly #consumers = new Set<BullConsumer>()
  #opening: Promise<void> | undefined
  #parts: Parts | undefined
  #closed = false

  constructor (settings: RedisSettings) {
    this.#settings = settings
    this.#channels = channels(settings.prefix)
    this.shared = new RedisSharedState(settings.prefix, (operation) => this.#with(({ connections }) => connections.run(operation)))
  }

  open (host: StoreHost): Promise<void> {
    if (this.#closed) return Promise.reject(closed())
    this.#opening ??= this.#open(host)
    return this.#opening
  }

  async #open (host: StoreHost): Promise<void> {
    const drivers = await loadDrivers()
    if (this.#closed) throw closed()
    const settings = this.#settings
    const { clock } = host.context
    const connections = new Connections(settings, host, drivers.ioredis)
    const book = new QueueBook(drivers.bull, connections, clock, settings.prefix)
    const subscriptions = new Subscriptions(connections, clock, settings.operationTimeoutMs)
    const retention = new Retention(connections, book, clock, settings)
    this.#parts = {
      drivers,
      clock,
      connections,
      book,
      coalescer: new Coalescer(connections, drivers.bull, settings),
      finish: finishAndKeep(bullScripts(drivers.bull), afterEnd(settings)),
      publisher: new Publisher(connections, clock, this.#channels.updates),
      subscriptions,
      listeners: new UpdateListeners(subscriptions, this.#channels.updates),
      retention,
      lister: new Lister(connections, book, retention.expired)
    }
    await connections.start()
    if (!this.#closed) retention.start()
  }

  create (job: NewJob): Promise<Created> {
    try {
      const { book, coalescer } = this.#need()
      if (!JOB_ID.test(job.id)) throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', 'On Redis the id of a job is a UUID in lower case')
      const added = coalescer.add(book.use(job.queue), job)
      return added.then((held) => held === undefined ? { created: true, id: job.id } : this.#replay(job, held))
    } catch (error) {
      return Promise.reject(error)
    }
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
    const { book, retention } = this.#need()
    if (!JOB_ID.test(id)) return undefined
    const found = await book.search((client, prefixes) => runScript(client, 'input', prefixes, id))
    const stored = found === undefined ? undefined : recordIn(id, found)
    if (stored === undefined || retention.expired(stored.record)) return undefined
    return parseInput(found?.answer[2], stored.envelope !== undefined)
  }

  async result (id: string): Promise<string | undefined> {
    const { book, clock } = this.#need()
    if (!JOB_ID.test(id)) return undefined
    const found = await book.search((client, prefixes) => runScript(client, 'result', prefixes, id))
    if (found === undefined) return undefined
    const [endedAt, text] = found.answer
    return typeof text === 'string' && Number(endedAt) + this.#settings.retention.completedMs > clock.now() ? text : undefined
  }

  list (query: ListQuery): Promise<JobPage> {
    return this.#with(({ lister }) => lister.list(query))
  }

  async counts (queue: string): Promise<QueueCounts> {
    const { connections, book } = this.#need()
    const answer = await connections.run((client) => runScript(client, 'counts', [book.prefixOf(queue)]))
    const parts: readonly unknown[] = Array.isArray(answer) ? answer : []
    const [wait, prioritized, delayed, active, completed, failed, cancelled, cancelling, stuck] = parts.slice(0, 9).map(Number) as [number, number, number, number, number, number, number, number, number]
    const since = parts.slice(9, 11).map((fields) => Array.isArray(fields) ? claimableSince(fields[0], fields[1], fields[2]) : undefined)
    const due = parts[11] === null ? undefined : Number(parts[11])
    const waiting = [...since, due].filter((time) => time !== undefined && time <= this.#need().clock.now()) as number[]
    return {
      queue,
      states: {
        // Cancelled ones that still stand in the line are counted as what they are.
        queued: Math.max(0, wait + prioritized - cancelling),
        scheduled: delayed,
        'in-progress': active,
        completed,
        failed: Math.max(0, failed - cancelled),
        cancelled: cancelled + cancelling
      },
      oldestQueuedAt: waiting.length === 0 ? undefined : Math.min(...waiting),
      stuck,
      stuckIds: Array.isArray(parts[12]) ? parts[12].map(String) : undefined
    }
  }

  async cancel (id: string, reason: string): Promise<CancelVerdict | undefined> {
    const found = await this.#cancel(id, reason)
    if (found === undefined) return undefined
    const { verdict, job } = found
    switch (verdict) {
      case 'cancelled':
        this.#need().publisher.publish(id, 'cancelled')
        return { kind: 'cancelled', already: false, job }
      case 'already': return { kind: 'cancelled', already: true, job }
      case 'requested': return { kind: 'requested', job }
      default: return { kind: 'finished', job }
    }
  }

  async redrive (id: string): Promise<RedriveVerdict | undefined> {
    const { book, clock, publisher, retention } = this.#need()
    if (!JOB_ID.test(id)) return undefined
    // A job past its time is gone already, although nobody has swept it: it must not come back.
    const before = await this.#read(id)
    if (before === undefined || retention.expired(before.record)) return undefined
    const now = clock.now()
    const found = await book.search((client, prefixes) => runScript(client, 'redrive', prefixes, id, now, encodeNotes({ r: now })))
    const job = found === undefined ? undefined : recordIn(id, found)?.record
    if (found === undefined || job === undefined) return undefined
    if (found.answer[2] !== 'redriven') return { kind: 'not-failed', job }
    publisher.publish(id, 'queued')
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
    return await connections.run((client) => runScript(client, 'progress', [prefix], id, token, text, this.#channels.updates, progressMessage(id, text))) === 1
  }

  consume (options: ConsumeOptions): Consumer {
    const { drivers, clock, connections, book, publisher, finish, subscriptions } = this.#need()
    const consumer = new BullConsumer({
      bull: drivers.bull,
      clock,
      client: connections.consumer(),
      handle: book.use(options.queue),
      settings: this.#settings,
      publisher,
      finish,
      onClosed: (closed) => { this.#consumers.delete(closed) }
    }, options)
    if (this.#consumers.size === 0) {
      // Should it not come into force now, it does when the server is back.
      subscriptions.add(this.#channels.control, (id) => { for (const each of this.#consumers) each.cancelled(id) }).catch(() => {})
    }
    this.#consumers.add(consumer)
    return consumer
  }

  subscribe (listener: (update: JobUpdate) => void): Promise<() => void> {
    return this.#with(({ connections, listeners }) => connections.run(() => listeners.add(listener)))
  }

  async ping (): Promise<void> {
    await this.#need().connections.run((client) => client.ping())
  }

  /** Writes under a name that no queue has, so that a server that is full, or takes no writes, is found. */
  async probe (): Promise<void> {
    await this.#need().connections.run((client) => runScript(client, 'probe', [`${this.#settings.prefix}::probe`]))
  }

  async close (deadlineMs: number): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const parts = this.#parts
    if (parts === undefined) return
    const { clock, connections, publisher, retention, book } = parts
    const until = clock.monotonic() + deadlineMs
    const left = (): number => Math.max(0, until - clock.monotonic())
    retention.stop()
    await Promise.all([...this.#consumers].map((consumer) => consumer.close(left())))
    publisher.close()
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
    const { book, retention } = this.#need()
    if (!JOB_ID.test(id)) return undefined
    const found = await book.search((client, prefixes) => runScript(client, 'lookup', prefixes, id))
    const stored = found === undefined ? undefined : recordIn(id, found)
    return stored === undefined || retention.expired(stored.record) ? undefined : stored
  }

  async #cancel (id: string, reason: string): Promise<{ verdict: unknown, job: JobRecord } | undefined> {
    const { book, clock, retention } = this.#need()
    if (!JOB_ID.test(id)) return undefined
    const now = clock.now()
    const asked = { m: reason }
    const limits = limitsOf(this.#settings)
    const found = await book.search((client, prefixes) => runScript(
      client, 'cancel', prefixes, id, encodeNotes({ x: 1, ...asked }), encodeNotes({ x: 1, ...asked, t: now }),
      encodeNotes(asked), now, this.#channels.control, ...limits))
    const job = found === undefined ? undefined : recordIn(id, found)?.record
    return found === undefined || job === undefined || retention.expired(job) ? undefined : { verdict: found.answer[2], job }
  }
}

function recordIn (id: string, { queue, answer }: { queue: string, answer: readonly unknown[] }): StoredRecord | undefined {
  const raw = rawJob(answer[0], answer[1])
  return raw === undefined ? undefined : recordOf(id, queue, raw)
}
