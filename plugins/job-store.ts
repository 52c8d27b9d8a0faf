import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Backbone, BACKBONE } from '../lib/channels/backbone.ts'
import { childSubmitter } from '../lib/client/child.ts'
import { Client } from '../lib/client/client.ts'
import type { Jobs } from '../lib/client/jobs.ts'
import { createContext, type Clock } from '../lib/core/context.ts'
import { CurrentJobs } from '../lib/core/current-job.ts'
import { invalidOptions, readOptions, type OptionsSchema } from '../lib/core/options.ts'
import { PLUGIN } from '../lib/core/plugin-names.ts'
import { Periodic } from '../lib/core/periodic.ts'
import { REGISTERED } from '../lib/core/registered-channel.ts'
import { readRedactOptions, redactProperty, type RedactOptions } from '../lib/core/redact.ts'
import { EventBus } from '../lib/events/bus.ts'
import { Subscriptions, type JobEvents } from '../lib/events/subscribers.ts'
import { RUNTIME, type JobRuntime } from '../lib/events/runtime.ts'
import { TraceExits } from '../lib/events/trace-exits.ts'
import { jobOptionProperties, type JobDefinition, type JobDefinitionInput, type JobOptions, type JobTypes } from '../lib/jobs/definition.ts'
import { DEFINER, JobDefiner } from '../lib/http/define-job.ts'
import { JobRegistry } from '../lib/jobs/registry.ts'
import { StoreCounts } from '../lib/jobs/store-counts.ts'
import type { JobStore } from '../lib/jobs/store.ts'
import { factsOf } from '../lib/stores/facts.ts'
import { memoryStore } from '../lib/stores/memory/index.ts'
import { ObservedStore, storeHost } from '../lib/stores/observed.ts'

export interface JobStoreOptions {
  /** Where jobs live. @defaultValue memoryStore(): embedded, gone with the process */
  store?: JobStore | undefined
  /** Defaults of every job, under what its definition says. */
  jobs?: JobOptions | undefined
  /**
   * A submission that the store has not confirmed so long after it was sent is refused with 503; it may have been stored. One that
   * could not be sent for so long, because the process has too many others under way, is refused and is not stored.
   *
   * @defaultValue 2000
   */
  submitTimeoutMs?: number | undefined
  /** What is replaced by `[FILTERED]` in log lines, span attributes, stored headers and errors, besides what everybody hides. */
  redact?: RedactOptions | undefined
  /** Another clock, for tests. */
  clock?: Clock | undefined
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Listen to what happens: every lifecycle event, typed. */
    jobEvents: JobEvents
    /** Submit, read, cancel, redrive, wait for jobs from code. */
    jobs: Jobs
    /**
     * Registers a job without a route.
     *
     * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, `FAE_DUPLICATE_JOB`
     */
    defineJob<T extends JobTypes = JobTypes> (definition: JobDefinitionInput<T>): JobDefinition<T>
  }
}

export const jobStoreSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    store: { isObject: true },
    jobs: { type: 'object', additionalProperties: false, properties: jobOptionProperties },
    submitTimeoutMs: { type: 'number', minimum: 1 },
    redact: redactProperty,
    clock: { isObject: true }
  }
}

const CLOSE_TIMEOUT_MS = 5_000
const CLOSE_IDLE_EVERY_MS = 100

async function jobStorePlugin (app: FastifyInstance, given: JobStoreOptions): Promise<void> {
  const options = readOptions('jobStore', jobStoreSchema, { submitTimeoutMs: 2_000 }, given)
  if (options.store !== undefined && !isStore(options.store)) throw invalidOptions('jobStore', ['store must be a JobStore, for example redisStore({ url })'])
  const context = createContext({ logger: app.log, clock: options.clock })
  const redaction = readRedactOptions(options.redact)
  const bus = new EventBus(redaction.logger(context.logger))
  const inner = options.store ?? memoryStore()
  const traceExits = new TraceExits()
  if (openTelemetryIsThere()) traceExits.use((await import('../lib/telemetry/trace-context.ts')).GLOBAL_WAYS)
  const store = new ObservedStore(inner, context, bus, traceExits)
  const runtime: JobRuntime = {
    context,
    bus,
    redaction,
    registry: new JobRegistry(),
    jobDefaults: options.jobs,
    store,
    counts: new StoreCounts(store, context.clock, (work) => traceExits.quietly(work)),
    traceExits,
    currentJobs: new CurrentJobs(),
    submitMiddleware: [],
    attemptMiddleware: [],
    handlerSpanMiddleware: [],
    handlerMiddleware: []
  }
  const backbone = new Backbone(store)
  const client = new Client(runtime, backbone, { submitTimeoutMs: options.submitTimeoutMs })

  runtime.submitChild = childSubmitter(client)
  REGISTERED.publish({ store: () => factsOf(inner) })
  app.decorate(RUNTIME, runtime)
  app.decorate(BACKBONE, backbone)
  app.decorate('jobEvents', new Subscriptions(bus))
  app.decorate('jobs', client)
  const definer = new JobDefiner(runtime)
  app.decorate(DEFINER, definer)
  app.addHook('onReady', async () => { definer.ready() })
  app.decorate('defineJob', function defineJob<T extends JobTypes> (this: FastifyInstance | undefined, input: JobDefinitionInput<T>) {
    // `this` is the context it was called on; a detached call means the one it was made for.
    return definer.define(this ?? app, input)
  })

  // Last of all, because this hook is the first of the suite and onClose runs in reverse: a handler that is still running
  // while the worker drains may submit follow-up jobs.
  app.addHook('onClose', async () => {
    client.close()
    await store.close(CLOSE_TIMEOUT_MS)
  })
  closeIdleConnections(app, context.clock)
  closeSessions(app)
  const host = storeHost(store.type, context, bus)
  // Every plugin has connected its listeners by then.
  app.addHook('onReady', async () => { host.listening() })
  await store.open(host)
}

/**
 * An HTTP/2 session stays open as long as its client likes, and until the last is gone nothing of ours is closed. Each is told
 * to end: the requests under way on it are still answered, and no new ones are taken.
 */
function closeSessions (app: FastifyInstance): void {
  const sessions = new Set<ClosableSession>()
  app.server.on('session', (session: ClosableSession) => {
    sessions.add(session)
    session.once('close', () => { sessions.delete(session) })
  })
  app.addHook('preClose', async () => { for (const session of sessions) session.close() })
}

/** Of `node:http2`. */
interface ClosableSession {
  close (): void
  once (event: 'close', listener: () => void): unknown
}

/**
 * A request that is open when the server begins to close leaves a kept-alive connection behind, which Node would wait for
 * until its `keepAliveTimeout` (72 s in Fastify): longer than an orchestrator has patience, and until then nothing of ours
 * is closed.
 */
function closeIdleConnections (app: FastifyInstance, clock: Clock): void {
  const closing = new Periodic({ clock, intervalMs: CLOSE_IDLE_EVERY_MS, turn: () => { app.server.closeIdleConnections?.() } })
  app.addHook('preClose', async () => { closing.start() })
  app.addHook('onClose', async () => { closing.cancel() })
}

/**
 * Somebody has registered something with the OpenTelemetry API by now (an SDK started by `--import`), so it is loaded
 * anyway, and the connections made here must not hang on to a span. Without it no part of OpenTelemetry is loaded here.
 */
function openTelemetryIsThere (): boolean {
  return Reflect.get(globalThis, Symbol.for('opentelemetry.js.api.1')) !== undefined
}

/** Catches the promise of a store, or its options. */
function isStore (store: JobStore): boolean {
  return typeof store.open === 'function' && typeof store.create === 'function' && typeof store.consume === 'function'
}

/** Where jobs live, `app.jobs` and `app.defineJob`. The other plugins of this package stand on it. */
export const jobStore = fp(jobStorePlugin, { name: PLUGIN.jobStore, fastify: '5.x' })
export default jobStore
