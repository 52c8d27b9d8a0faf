import { once } from 'node:events'
import { EventEmitter } from 'node:events'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest, type FastifyServerOptions } from 'fastify'
import fp from 'fastify-plugin'
import { RUNTIME } from '../../lib/events/runtime.ts'
import { Backbone } from '../../lib/channels/backbone.ts'
import { readListeningOptions, type ListeningOptions } from '../../lib/channels/options.ts'
import { Client } from '../../lib/client/client.ts'
import { createContext, systemClock, type Clock } from '../../lib/core/context.ts'
import { readRedactOptions } from '../../lib/core/redact.ts'
import { AsyncEndpointsError } from '../../lib/core/errors.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { EVENT_NAMES, type EventName } from '../../lib/events/catalogue.ts'
import type { JobRuntime } from '../../lib/events/runtime.ts'
import { defineEndpoint, type AnyEndpointOptions } from '../../lib/http/endpoint.ts'
import { addJobRoutes } from '../../lib/http/job-routes.ts'
import { readHttpOptions, type HttpOptions } from '../../lib/http/options.ts'
import { addRefusals } from '../../lib/http/refusals.ts'
import { createHttpRuntime, type HttpRuntime } from '../../lib/http/http-runtime.ts'
import { compileDefinition } from '../../lib/jobs/compile-definition.ts'
import { compilersOf } from '../../lib/http/schema-compilers.ts'
import type { JobPlace, JobRecord, NewJob } from '../../lib/jobs/job.ts'
import { StoreCounts } from '../../lib/jobs/store-counts.ts'
import { JobRegistry } from '../../lib/jobs/registry.ts'
import type { CancelVerdict, Consumer, Created, FeedListener, JobFeed, JobPage, JobStore, QueueCounts, RedriveVerdict } from '../../lib/jobs/store.ts'

type Call = 'create' | 'get' | 'result' | 'counts' | 'getMany' | 'follow' | 'cancel' | 'redrive'

/**
 * A store without workers: a test says what happens to a job, and can make the store fail or hang. Says when it was
 * called, so that tests wait on that.
 */
export class FakeStore implements JobStore {
  readonly type = 'fake'
  readonly jobs = new Map<string, JobRecord>()
  readonly results = new Map<string, string>()
  readonly created: NewJob[] = []
  readonly #keys = new Map<string, { id: string, fingerprint: string }>()
  readonly #listeners = new Set<FeedListener>()
  /** How many jobs are followed. */
  listeners = 0
  readonly #calls = new EventEmitter()
  readonly #counts = new Map<Call, number>()
  /** Operations that fail, or never answer. */
  readonly faults = new Map<Call, 'reject' | 'hang'>()
  queued = 0

  count (call: Call): number { return this.#counts.get(call) ?? 0 }

  /** Resolves when the operation has been called this often in all. */
  async called (call: Call, times: number): Promise<void> {
    const signal = AbortSignal.timeout(5_000)
    while (this.count(call) < times) {
      await once(this.#calls, call, { signal }).catch(() => { throw new Error(`waited in vain for ${times} calls of ${call}; there were ${this.count(call)}`) })
    }
  }

  async #enter (call: Call): Promise<void> {
    this.#counts.set(call, this.count(call) + 1)
    this.#calls.emit(call)
    const fault = this.faults.get(call)
    if (fault === 'reject') throw new AsyncEndpointsError('FAE_STORE_UNAVAILABLE', 'connect ECONNREFUSED 10.1.2.3:6379 password=hunter2')
    if (fault === 'hang') await new Promise(() => {})
  }

  /** Changes a job and tells the listeners. */
  change (id: string, patch: Partial<JobRecord>): void {
    const before = this.#require(id)
    const job = { ...before, version: (before.version ?? 0) + 1, ...patch }
    this.jobs.set(id, job)
    for (const listener of this.#listeners) listener.changed({ id, state: job.state, version: job.version })
  }

  complete (id: string, result?: unknown): void {
    const text = JSON.stringify(result)
    if (text !== undefined) this.results.set(id, text)
    this.change(id, { state: 'completed', finishedAt: Date.now(), attempts: 1, resultBytes: text?.length })
  }

  #require (id: string): JobRecord {
    const job = this.jobs.get(id)
    if (job === undefined) throw new Error(`the test changes a job that is not there: ${id}`)
    return job
  }

  async open (): Promise<void> {}

  async create (job: NewJob): Promise<Created> {
    await this.#enter('create')
    const { idempotency } = job
    const known = idempotency === undefined ? undefined : this.#keys.get(idempotency.key)
    if (known !== undefined) return { created: false, id: known.id, job: this.jobs.get(known.id), sameRequest: known.fingerprint === idempotency?.fingerprint }
    if (idempotency !== undefined) this.#keys.set(idempotency.key, { id: job.id, fingerprint: idempotency.fingerprint })
    this.created.push(job)
    const state = job.runAt > job.createdAt ? 'scheduled' : 'queued'
    const { idempotency: _, ...kept } = job
    this.jobs.set(job.id, { ...kept, state, startedAt: undefined, finishedAt: undefined, attempts: 0, progress: undefined, error: undefined, cancelRequested: false, resultBytes: undefined, version: 1 })
    return { created: true, id: job.id }
  }

  async get (id: string): Promise<JobRecord | undefined> {
    await this.#enter('get')
    return this.jobs.get(id)
  }

  async input (id: string): Promise<NewJob['input'] | undefined> { return this.created.find((job) => job.id === id)?.input }

  async result (id: string): Promise<string | undefined> {
    await this.#enter('result')
    return this.results.get(id)
  }

  async list (): Promise<JobPage> { return { jobs: [...this.jobs.values()] } }

  async counts (queue: string): Promise<QueueCounts> {
    await this.#enter('counts')
    return { queue, states: { queued: this.queued, scheduled: 0, 'in-progress': 0, completed: 0, failed: 0, cancelled: 0 }, oldestQueuedAt: undefined, stuck: 0 }
  }

  async cancel (id: string): Promise<CancelVerdict | undefined> {
    await this.#enter('cancel')
    const job = this.jobs.get(id)
    if (job === undefined) return undefined
    if (job.state === 'cancelled') return { kind: 'cancelled', already: true, job }
    if (job.state === 'completed' || job.state === 'failed') return { kind: 'finished', job }
    this.change(id, job.state === 'in-progress' ? { cancelRequested: true } : { state: 'cancelled', finishedAt: Date.now() })
    return job.state === 'in-progress' ? { kind: 'requested', job: this.#require(id) } : { kind: 'cancelled', already: false, job: this.#require(id) }
  }

  async redrive (id: string, limit = Infinity): Promise<RedriveVerdict | undefined> {
    await this.#enter('redrive')
    const job = this.jobs.get(id)
    if (job === undefined) return undefined
    if (job.state !== 'failed') return { kind: 'not-failed', job }
    if ((job.redrives ?? 0) >= limit) return { kind: 'limit', job }
    this.change(id, { state: 'queued', attempts: 0, error: undefined, finishedAt: undefined, redrives: (job.redrives ?? 0) + 1 })
    return { kind: 'redriven', job: this.#require(id) }
  }

  async remove (): Promise<'removed' | 'active' | undefined> { return undefined }
  async progress (): Promise<boolean> { return false }
  consume (): Consumer { throw new Error('the fake store runs no jobs') }

  async getMany (jobs: readonly JobPlace[]): Promise<ReadonlyArray<JobRecord | undefined>> {
    await this.#enter('getMany')
    return jobs.map(({ id }) => this.jobs.get(id))
  }

  /** Hears of every job: what it does not follow is nothing to the backbone. */
  listen (listener: FeedListener): JobFeed {
    this.#listeners.add(listener)
    return {
      follow: async () => {
        this.listeners++
        await this.#enter('follow')
      },
      unfollow: () => { this.listeners-- },
      close: () => { this.#listeners.delete(listener) }
    }
  }

  async ping (): Promise<void> {}
  async close (): Promise<void> {}
}

export interface TestApp {
  readonly app: FastifyInstance
  readonly store: FakeStore
  readonly http: HttpRuntime
  /** Every event so far, in order. */
  readonly events: ReadonlyArray<{ readonly name: EventName, readonly event: Record<string, unknown> }>
}

export interface TestAppOptions {
  readonly http?: HttpOptions
  readonly listening?: ListeningOptions
  readonly fastify?: FastifyServerOptions
  readonly clock?: Clock
  readonly submitTimeoutMs?: number
  readonly store?: FakeStore
  /** The context that the plugin is registered in. */
  readonly prefix?: string
  /** Called in that context, after the plugin; for what has to be registered under the prefix. */
  readonly setup?: (app: FastifyInstance) => void | Promise<void>
  /** Called before anything of ours is registered. */
  readonly before?: (app: FastifyInstance) => void | Promise<void>
}

/** The answers without an error that routes of this package give by themselves. */
const ANSWERS: ReadonlySet<number> = new Set([200, 202, 204, 304])

/**
 * Every test is also one of the OpenAPI document: what a route of this package answers by itself must be described. Not
 * what hooks, owner functions and response factories of a test answer, and no failure of the server.
 *
 * @throws {Error} which the test sees as an answer with status 500
 */
function assertDescribed ({ method, routeOptions: { url, config, schema } }: FastifyRequest, { statusCode }: FastifyReply, payload: unknown): void {
  const { kind }: { readonly kind?: string } = (config as { asyncEndpoints?: object } | undefined)?.asyncEndpoints ?? {}
  if (kind === undefined || kind === 'refusal' || statusCode === 500) return
  if (statusCode < 400 ? !ANSWERS.has(statusCode) : !String(payload).includes('"code":"FAE_')) return
  if (Object.hasOwn(Object(schema?.response) as object, statusCode)) return
  const message = `${method} ${String(url)} answers ${statusCode}, which its OpenAPI document does not show`
  process.stderr.write(`${message}\n`)
  throw new Error(message)
}

/** The decorators of the real plugins over a {@link FakeStore}, and the HTTP http on top. */
export async function testApp (options: TestAppOptions = {}): Promise<TestApp> {
  const root = Fastify(options.fastify)
  root.addHook('onSend', async (request, reply, payload) => {
    assertDescribed(request, reply, payload)
    return payload
  })
  await options.before?.(root)
  const store = options.store ?? new FakeStore()
  const events: Array<{ name: EventName, event: Record<string, unknown> }> = []
  let http: HttpRuntime | undefined
  const plugin = fp(async (app: FastifyInstance) => {
    const context = createContext({ clock: options.clock ?? systemClock, logger: app.log })
    const bus = new EventBus(context.logger)
    for (const name of EVENT_NAMES) bus.on(name, (event) => { events.push({ name, event: { ...event } }) })
    const runtime: JobRuntime = { context, bus, registry: new JobRegistry(), store, counts: new StoreCounts(store, context.clock), redaction: readRedactOptions(), submitMiddleware: [], attemptMiddleware: [], handlerSpanMiddleware: [], stepMiddleware: [], handlerMiddleware: [] }
    const backbone = new Backbone({ store, clock: context.clock })
    const client = new Client(runtime, backbone, { submitTimeoutMs: options.submitTimeoutMs ?? 2_000 })
    const made = createHttpRuntime({ runtime, jobs: client, backbone, options: readHttpOptions(options.http), listening: readListeningOptions(options.listening), prefix: app.prefix })
    app.decorate(RUNTIME, runtime)
    app.decorate('jobs', client)
    app.decorate('asyncEndpoint', function (this: FastifyInstance, endpoint: unknown) {
      return defineEndpoint(this, made, (input, compilers) => {
        const definition = compileDefinition(input, {}, compilersOf(this, compilers))
        runtime.registry.add(definition)
        return definition
      }, endpoint as AnyEndpointOptions)
    } as FastifyInstance['asyncEndpoint'])
    app.addHook('preClose', async () => { made.waiting.close() })
    addJobRoutes(app, made)
    addRefusals(app, made)
    http = made
  })
  const load = async (app: FastifyInstance): Promise<void> => {
    await app.register(plugin)
    await options.setup?.(app)
  }
  if (options.prefix === undefined) await load(root)
  else await root.register(load, { prefix: options.prefix })
  if (http === undefined) throw new Error('the plugin was not loaded')
  return { app: root, store, http, events }
}

export const echo = async (): Promise<unknown> => ({})
