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
import { jobOptionProperties } from '../lib/jobs/compile-definition.ts'
import type { JobDefinition, JobDefinitionInput, JobOptions, JobTypes } from '../lib/jobs/definition.ts'
import { DEFINER, JobDefiner } from '../lib/http/define-job.ts'
import { JobRegistry } from '../lib/jobs/registry.ts'
import { StoreCounts } from '../lib/jobs/store-counts.ts'
import type { JobStore } from '../lib/jobs/store.ts'
import { stepOpener } from '../lib/saga/handler-steps.ts'
import { factsOf } from '../lib/stores/facts.ts'
import { memoryStore } from '../lib/stores/memory/index.ts'
import { ObservedStore, storeHost } from '../lib/stores/observed.ts'

export interface JobStoreOptions {
  /** Where jobs are stored. @defaultValue memoryStore(): in this process, and lost when it ends */
  store?: JobStore | undefined
  /** Defaults for all jobs. The options of a definition replace them. */
  jobs?: JobOptions | undefined
  /**
   * How many milliseconds a submission may wait for the store. If the store has not confirmed it by then, it is
   * refused with 503, but may have been stored. A submission that could not even be sent within this time, because
   * the process has too many others under way, is refused too, and is not stored.
   *
   * @defaultValue 2000
   */
  submitTimeoutMs?: number | undefined
  /** More names whose values are replaced by `[FILTERED]` in log lines, span attributes, stored headers and errors. */
  redact?: RedactOptions | undefined
  /** Replaces the system clock, for tests. */
  clock?: Clock | undefined
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Listens to lifecycle events. */
    jobEvents: JobEvents
    /** Submits, reads, cancels and redrives jobs from code, and waits for them. */
    jobs: Jobs
    /**
     * Defines a job without a route.
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
    store: { isObject: true, description: 'a store, such as memoryStore() or redisStore({ url })' },
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
  if (options.store !== undefined && !isStore(options.store)) {
    throw invalidOptions('jobStore', ['store must be a JobStore, for example redisStore({ url })'])
  }
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
    runners: new Map(),
    jobDefaults: options.jobs,
    store,
    counts: new StoreCounts(store, context.clock, (work) => traceExits.quietly(work)),
    traceExits,
    currentJobs: new CurrentJobs(),
    submitMiddleware: [],
    attemptMiddleware: [],
    handlerSpanMiddleware: [],
    stepMiddleware: [],
    handlerMiddleware: []
  }
  const backbone = new Backbone({ store, clock: context.clock })
  const client = new Client(runtime, backbone, { submitTimeoutMs: options.submitTimeoutMs })

  runtime.submitChild = childSubmitter(client)
  runtime.openSteps = stepOpener(runtime)
  REGISTERED.publish({ store: () => factsOf(inner) })
  app.decorate(RUNTIME, runtime)
  app.decorate(BACKBONE, backbone)
  app.decorate('jobEvents', new Subscriptions(bus))
  app.decorate('jobs', client)
  const definer = new JobDefiner(runtime)
  app.decorate(DEFINER, definer)
  app.addHook('onReady', async () => { definer.ready() })
  app.decorate('defineJob', function defineJob<T extends JobTypes> (
    this: FastifyInstance | undefined, input: JobDefinitionInput<T>
  ) {
    // `this` is the context on which it is called. A call without `this` means the context in which the plugin is
    // registered.
    return definer.define(this ?? app, input)
  })

  // onClose hooks run in reverse order and this one was added first, so it runs last: a handler that is still running
  // while the worker drains may submit further jobs.
  app.addHook('onClose', async () => {
    client.close()
    backbone.close()
    await store.close(CLOSE_TIMEOUT_MS)
  })
  closeIdleConnections(app, context.clock)
  closeSessions(app)
  const host = storeHost(store.type, context, bus)
  // All plugins have added their listeners by then.
  app.addHook('onReady', async () => { host.listening() })
  await store.open(host)
}

/**
 * Ends open HTTP/2 sessions: their requests are still answered, but no new ones are accepted. Without this, a client
 * could keep a session open for ever, and the plugins would not be closed until it ends.
 */
function closeSessions (app: FastifyInstance): void {
  const sessions = new Set<ClosableSession>()
  app.server.on('session', (session: ClosableSession) => {
    sessions.add(session)
    session.once('close', () => { sessions.delete(session) })
  })
  app.addHook('preClose', async () => { for (const session of sessions) session.close() })
}

/** The part of a `node:http2` session that is used here. */
interface ClosableSession {
  close (): void
  once (event: 'close', listener: () => void): unknown
}

/**
 * Closes the connections of requests that are open when the server begins to close. Node would otherwise wait for
 * these kept-alive connections until their `keepAliveTimeout` (72 s in Fastify), which is longer than the grace
 * period of an orchestrator, and the plugins would not be closed before that.
 */
function closeIdleConnections (app: FastifyInstance, clock: Clock): void {
  const closing = new Periodic({
    clock,
    intervalMs: CLOSE_IDLE_EVERY_MS,
    turn: () => { app.server.closeIdleConnections?.() }
  })
  app.addHook('preClose', async () => { closing.start() })
  app.addHook('onClose', async () => { closing.cancel() })
}

/**
 * Whether something is already registered with the OpenTelemetry API, for example by an SDK started with `--import`.
 * Then the API is loaded, and connections that are opened here must not keep the active span. Otherwise no part of
 * OpenTelemetry is loaded here.
 */
function openTelemetryIsThere (): boolean {
  return Reflect.get(globalThis, Symbol.for('opentelemetry.js.api.1')) !== undefined
}

/** Detects a wrong `store` option, such as a promise of a store or the options of one. */
function isStore (store: JobStore): boolean {
  return typeof store.open === 'function' && typeof store.create === 'function' && typeof store.consume === 'function'
}

/** Adds the store, `app.jobs` and `app.defineJob`. The other plugins of this package need it. */
export const jobStore = fp(jobStorePlugin, { name: PLUGIN.jobStore, fastify: '5.x' })
export default jobStore
