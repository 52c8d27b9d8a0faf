/** The contract of a job store over the engine: opening, lists, consumers, closing. */
import { setImmediate as turn } from 'node:timers/promises'
import { AsyncEndpointsError } from '../../core/errors.ts'
import type { JobInput, JobPlace, JobProgress, JobRecord, NewJob } from '../../jobs/job.ts'
import type {
  CancelVerdict, Claim, ConsumeOptions, Consumer, Created, FeedListener, JobFeed, JobPage, JobStore, ListQuery, QueueCounts, RedriveVerdict, StoreHost
} from '../../jobs/store.ts'
import type { StepStore } from '../../jobs/store.ts'
import { clusterReport } from './cluster.ts'
import { MemoryConsumer } from './consumer.ts'
import { Engine } from './engine.ts'
import type { ResolvedMemoryStoreOptions } from './options.ts'
import type { StoredJob } from './record.ts'

/**
 * Jobs that a list looks at before the event loop has its turn: a rare owner among a million jobs is found in peace.
 */
const LIST_STEPS = 5_000
const MAX_LIMIT = 100
const CURSOR = /^m([0-9a-z]{1,11})$/

/**
 * Jobs in the memory of this process: nothing to install, gone when the process ends.
 *
 * ```
 * new ──open──▶ open ──close──▶ closed
 *  └────────────close────────────▲
 * ```
 */
export class MemoryStore implements JobStore {
  readonly type = 'memory'
  readonly steps: StepStore = {
    checkpoint: async (claim, checkpoint) => this.#use().checkpoint(claim, checkpoint),
    journal: async (id) => {
      const job = this.#use().find(id)
      return job && this.#use().journal(job)
    },
    signal: async (id, name, value) => {
      const job = this.#use().find(id)
      return job && this.#use().signal(job, name, value)
    }
  }

  readonly #settings: ResolvedMemoryStoreOptions
  readonly #consumers = new Set<MemoryConsumer>()
  #host: StoreHost | undefined
  #engine: Engine | undefined
  #closed = false

  constructor (settings: ResolvedMemoryStoreOptions) {
    this.#settings = settings
  }

  /** @throws {AsyncEndpointsError} `FAE_CLOSED`; `FAE_INVALID_OPTIONS` when another application has opened it */
  async open (host: StoreHost): Promise<void> {
    if (this.#closed) throw closed('The memory store was closed; make a new one with memoryStore()')
    if (this.#host === host) return
    if (this.#host !== undefined) throw new AsyncEndpointsError('FAE_INVALID_OPTIONS', 'This memory store belongs to another application already; make one for each with memoryStore()')
    this.#host = host
    this.#engine = new Engine(host.context, this.#settings)
    const warning = clusterReport()
    if (warning !== undefined) host.report(warning)
    host.report({ kind: 'connected' })
  }

  create (job: NewJob): Promise<Created> {
    // Not an async function: this is the hot path, and one promise is enough for it.
    try {
      return Promise.resolve(this.#use().create(job))
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async get (id: string): Promise<JobRecord | undefined> { return this.#use().find(id)?.shown() }

  async getMany (jobs: readonly JobPlace[]): Promise<ReadonlyArray<JobRecord | undefined>> {
    const engine = this.#use()
    return jobs.map(({ id }) => engine.find(id)?.shown())
  }

  async input (id: string): Promise<JobInput | undefined> {
    const job = this.#use().find(id)
    return job === undefined || job.state === 'completed' || job.state === 'cancelled' ? undefined : job.input()
  }

  async result (id: string): Promise<string | undefined> { return this.#use().find(id)?.result }

  /** Newest first. */
  async list (query: ListQuery): Promise<JobPage> {
    const engine = this.#use()
    const limit = Math.min(Math.max(Math.trunc(query.limit) || 1, 1), MAX_LIMIT)
    const found: StoredJob[] = []
    // One more than asked for shows whether there is another page.
    const visitor = (job: StoredJob): boolean => {
      if (matches(job, query)) found.push(job)
      return found.length <= limit
    }
    let from = engine.log.visit(readCursor(query.cursor) ?? engine.log.end, LIST_STEPS, visitor)
    while (from >= 0 && found.length <= limit) {
      await turn()
      from = this.#use().log.visit(from, LIST_STEPS, visitor)
    }
    const page = found.slice(0, limit)
    const last = page.at(-1)
    // What changed while the event loop had its turns is shown as it is now; what was forgotten is left out.
    const jobs = page.filter((job) => engine.find(job.id) === job && matches(job, query)).map((job) => job.listed())
    return found.length > limit && last !== undefined ? { jobs, cursor: `m${last.serial.toString(36)}` } : { jobs }
  }

  async counts (queue: string): Promise<QueueCounts> { return this.#use().counts(queue) }

  async cancel (id: string, reason: string): Promise<CancelVerdict | undefined> {
    const engine = this.#use()
    const job = engine.find(id)
    return job && engine.cancel(job, reason)
  }

  async redrive (id: string, limit?: number): Promise<RedriveVerdict | undefined> {
    const engine = this.#use()
    const job = engine.find(id)
    return job && engine.redrive(job, limit)
  }

  async remove (id: string): Promise<'removed' | 'active' | undefined> {
    const engine = this.#use()
    const job = engine.find(id)
    return job && engine.remove(job)
  }

  async progress (claim: Claim, progress: JobProgress): Promise<boolean> { return this.#use().progress(claim, progress) }

  /** @throws {AsyncEndpointsError} `FAE_CLOSED` when the store is not open */
  consume (options: ConsumeOptions): Consumer {
    const consumer = new MemoryConsumer(this.#use(), options)
    for (const other of this.#consumers) if (other.closed) this.#consumers.delete(other)
    this.#consumers.add(consumer)
    consumer.start()
    return consumer
  }

  /** @throws {AsyncEndpointsError} `FAE_CLOSED` when the store is not open */
  listen (listener: FeedListener): JobFeed { return this.#use().listen(listener) }

  async ping (): Promise<void> { this.#use() }

  /** @throws {AsyncEndpointsError} `FAE_STORE_FULL` */
  async probe (): Promise<void> { this.#use().assertRoom() }

  async close (): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const consumer of this.#consumers) await consumer.close()
    this.#consumers.clear()
    this.#engine?.close()
    this.#engine = undefined
  }

  #use (): Engine {
    if (this.#engine === undefined) throw closed(this.#closed ? 'The memory store is closed' : 'The memory store is not open yet; the jobStore plugin opens it')
    return this.#engine
  }
}

function closed (message: string): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_CLOSED', message)
}

/** The serial of the last job of the page before; anything else starts from the beginning. */
function readCursor (cursor: string | undefined): number | undefined {
  const text = CURSOR.exec(cursor ?? '')?.[1]
  return text === undefined ? undefined : Number.parseInt(text, 36)
}

function matches (job: StoredJob, { queue, name, exceptName, state, owner }: ListQuery): boolean {
  return (queue === undefined || job.queue === queue) && (name === undefined || job.name === name) &&
    job.name !== exceptName && (state === undefined || job.state === state) &&
    (owner === undefined || job.owner === owner)
}
