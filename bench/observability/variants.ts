/**
 * What is compared: one Fastify application each, that takes submissions at `POST /reports` and works them off itself, over
 * the same store, with the same logger and a handler that does nothing.
 */
import { createRequire } from 'node:module'
import type { BatchSpanProcessor, ParentBasedSampler } from '@opentelemetry/sdk-trace-node'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import fp from 'fastify-plugin'
import { PLUGIN } from '../../lib/core/plugin-names.ts'
import { runtimeOf } from '../../lib/events/runtime.ts'
import asyncEndpoints, { memoryStore, redisStore, type AsyncEndpointsOptions, type JobStore, type ObservabilityOptions } from '../../plugins/async-endpoints.ts'
import { obvious, obviousMetrics } from './obvious.ts'

type Sdk = typeof import('@opentelemetry/sdk-trace-node')

export const CONCURRENCY = 50
const PATIENCE_MS = 60_000
const RETENTION = { completedMs: 86_400_000, failedMs: 604_800_000, maxCount: 1_000 }
/** At which `bullmq-otel` is compared. */
const RATIO = 0.01

export const BODY = { year: 2026, rows: 1_000, customer: 'c-1029384756', format: 'pdf', sections: ['summary', 'detail', 'totals'], note: 'x'.repeat(256) }
const SCHEMA = {
  type: 'object',
  required: ['year', 'rows'],
  properties: {
    year: { type: 'integer' },
    rows: { type: 'integer', minimum: 0 },
    customer: { type: 'string' },
    format: { type: 'string', enum: ['pdf', 'csv'] },
    sections: { type: 'array', items: { type: 'string' } },
    note: { type: 'string' }
  }
}

/** Where jobs live. */
export interface Place { readonly url: string, readonly prefix: string }

/** The `url` of the memory of the process itself. */
export const MEMORY = 'memory:'

export interface Subject {
  readonly app: FastifyInstance
  /** Attempts that are not over yet. */
  active (): number
  /** Spans that the exporter was given, once everything was flushed; `undefined`: none are made. */
  spans (): Promise<number | undefined>
}

/** What the handler calls: the only thing it does. */
type Handled = () => void
type Build = (place: Place, handled: Handled) => Promise<Subject>

/** Pino as it is set up where lines matter: they are collected, and written four kilobytes at a time. */
function collecting (): NonNullable<FastifyServerOptions['loggerInstance']> {
  const { pino } = createRequire(createRequire(import.meta.url).resolve('fastify'))('pino') as typeof import('pino')
  return pino({ level: 'info' }, pino.destination({ dest: '/dev/null', sync: false, minLength: 4_096 }))
}

function plain (collect = false): FastifyInstance {
  // On a machine that others use as well, an application may stand still, and its connections wait for their turn.
  const patience = { pluginTimeout: PATIENCE_MS, keepAliveTimeout: 10 * PATIENCE_MS, http: { headersTimeout: 0, requestTimeout: 0 } }
  // The lines of the requests are written by all alike; the file is Fastify's way to pino's own fast stream.
  if (collect) return Fastify({ ...patience, loggerInstance: collecting() })
  return Fastify({ ...patience, logger: { level: 'info', file: '/dev/null' } })
}

/** Takes every span and keeps none. */
class Discard {
  received = 0
  export (spans: readonly unknown[], done: (result: { code: 0 }) => void): void {
    this.received += spans.length
    done({ code: 0 })
  }

  async forceFlush (): Promise<void> {}
  async shutdown (): Promise<void> {}
}

function storeAt (place: Place): JobStore {
  if (place.url === MEMORY) return memoryStore({ retention: { maxCount: RETENTION.maxCount } })
  return redisStore({ url: place.url, prefix: place.prefix, operationTimeoutMs: PATIENCE_MS, retention: RETENTION })
}

interface Ours {
  readonly observability: AsyncEndpointsOptions['observability']
  readonly exporter?: Discard
  readonly processor?: BatchSpanProcessor
  /** Lines are written many at a time. */
  readonly collect?: boolean
  /** Done before the umbrella is registered, and after. */
  readonly before?: (app: FastifyInstance) => Promise<void>
  readonly after?: (app: FastifyInstance) => void
}

async function ours (place: Place, handled: Handled, { observability, exporter, processor, collect, before, after }: Ours): Promise<Subject> {
  const app = plain(collect)
  await before?.(app)
  await app.register(asyncEndpoints, { store: storeAt(place), submitTimeoutMs: PATIENCE_MS, worker: { concurrency: CONCURRENCY }, health: { pressure: false }, observability })
  after?.(app)
  app.asyncEndpoint({ url: '/reports', name: 'report', schema: { body: SCHEMA }, handler: async () => { handled() } })
  return {
    app,
    active: () => app.jobWorker.active,
    async spans () {
      await processor?.forceFlush()
      return exporter?.received
    }
  }
}

/** The umbrella registers no part whose name is registered already: so nothing of observability is there. */
async function withoutObservability (app: FastifyInstance): Promise<void> {
  await app.register(fp(async () => {}, { name: PLUGIN.observability }))
}

/** Metrics, and spans into an exporter that discards them. */
async function traced (place: Place, handled: Handled, tracing: (sdk: Sdk) => ObservabilityOptions['tracing'], after?: (app: FastifyInstance) => void): Promise<Subject> {
  const sdk = await import('@opentelemetry/sdk-trace-node')
  const exporter = new Discard()
  const processor = new sdk.BatchSpanProcessor(exporter)
  const options = tracing(sdk)
  return await ours(place, handled, { observability: { logging: false, tracing: { ...(typeof options === 'object' ? options : {}), spanProcessors: [processor] } }, exporter, processor, ...(after === undefined ? {} : { after }) })
}

/** Metrics, traces and our log lines. */
async function logged (place: Place, handled: Handled, collect: boolean): Promise<Subject> {
  const sdk = await import('@opentelemetry/sdk-trace-node')
  const exporter = new Discard()
  const processor = new sdk.BatchSpanProcessor(exporter)
  return await ours(place, handled, { observability: { tracing: { spanProcessors: [processor] } }, exporter, processor, collect })
}

/** What our two lines say at `info`, put together where they are needed. */
function writeLines (app: FastifyInstance): void {
  const { bus } = runtimeOf(app)
  const round = (ms: number): number => Math.round(ms * 100) / 100
  bus.on('job.started', ({ jobId, jobName, queue, workerId, correlationId, attempt }) => {
    app.log.info({ eventId: 10110, event: 'job.started', component: 'asyncendpoints.job', job_id: jobId, job_name: jobName, queue, worker_id: workerId, correlation_id: correlationId, attempt }, 'job started')
  })
  bus.on('job.completed', ({ jobId, jobName, queue, workerId, correlationId, attempt, totalMs, queueWaitMs, processingMs, resultBytes }) => {
    app.log.info({
      eventId: 10111,
      event: 'job.completed',
      component: 'asyncendpoints.job',
      job_id: jobId,
      job_name: jobName,
      queue,
      worker_id: workerId,
      correlation_id: correlationId,
      attempt,
      totalMs: round(totalMs),
      queueMs: round(queueWaitMs),
      processMs: round(processingMs),
      resultBytes
    }, 'job completed')
  })
}

function oneInAHundred (sdk: Sdk): ParentBasedSampler {
  return new sdk.ParentBasedSampler({ root: new sdk.TraceIdRatioBasedSampler(RATIO) })
}

/** Fastify and BullMQ put together by hand. */
async function bullmq (place: Place, handled: Handled, telemetry: boolean): Promise<Subject> {
  if (place.url === MEMORY) throw new Error('BullMQ has no memory of its own')
  const { Queue, Worker } = await import('bullmq')
  const { hostname: host, port } = new URL(place.url)
  const connection = { host, port: Number(port) }
  const exporter = new Discard()
  let processor: BatchSpanProcessor | undefined
  if (telemetry) {
    const sdk = await import('@opentelemetry/sdk-trace-node')
    processor = new sdk.BatchSpanProcessor(exporter)
    new sdk.NodeTracerProvider({ spanProcessors: [processor], sampler: oneInAHundred(sdk) }).register()
    obviousMetrics()
  }
  const { BullMQOtel } = createRequire(import.meta.url)('bullmq-otel') as typeof import('bullmq-otel')
  const watched = telemetry ? { telemetry: new BullMQOtel({ tracerName: 'bench', enableMetrics: true }) } : {}
  const queue = new Queue('reports', { connection, prefix: place.prefix, ...watched })
  const app = plain()
  app.post('/reports', { schema: { body: SCHEMA } }, async (request, reply) => {
    const job = await queue.add('report', request.body, {
      attempts: 3,
      backoff: { type: 'exponential', delay: 1_000 },
      removeOnComplete: { age: 86_400, count: RETENTION.maxCount },
      removeOnFail: { age: 604_800 }
    })
    reply.code(202).header('location', `/jobs/${String(job.id)}`)
    return { id: job.id, status: 'queued' }
  })
  let active = 0
  const worker = new Worker('reports', async () => { handled() }, { connection: { ...connection, maxRetriesPerRequest: null }, prefix: place.prefix, concurrency: CONCURRENCY, ...watched })
  worker.on('active', () => { active++ })
  worker.on('completed', () => { active-- })
  app.addHook('onClose', async () => {
    await worker.close()
    await queue.close()
  })
  return {
    app,
    active: () => active,
    async spans () {
      await processor?.forceFlush()
      return telemetry ? exporter.received : undefined
    }
  }
}

export const BUILD = {
  /** Nothing of observability: what the others are compared with. */
  off: (place, handled) => ours(place, handled, { observability: true, before: withoutObservability }),
  disabled: (place, handled) => ours(place, handled, { observability: false }),
  metrics: (place, handled) => ours(place, handled, { observability: { tracing: false, logging: false } }),
  /** Metrics and traces; at full load nearly every request finds the token bucket empty. */
  default: (place, handled) => traced(place, handled, () => ({})),
  /** The same, and our log lines. */
  info: (place, handled) => logged(place, handled, false),
  /** The same two lines written with the logger alone. */
  'info-obvious': (place, handled) => traced(place, handled, () => ({}), writeLines),
  /** Both again with a logger that collects its lines: most of what a line costs elsewhere is its own write to the system. */
  'off-collected': (place, handled) => ours(place, handled, { observability: true, collect: true, before: withoutObservability }),
  'info-collected': (place, handled) => logged(place, handled, true),
  /** Three spans for every job. */
  sampled: (place, handled) => traced(place, handled, () => ({ serverSpans: false, maxTracesPerSecond: 1e9 })),
  /** And one for its request, as an application without instrumentation of its own gets it. */
  'sampled+server': (place, handled) => traced(place, handled, () => ({ maxTracesPerSecond: 1e9 })),
  /** The same three spans and eight records, written with OpenTelemetry the way its documentation shows. */
  obvious: async (place, handled) => {
    const exporter = new Discard()
    const { processor, attach } = await obvious(exporter)
    return await ours(place, handled, { observability: true, before: withoutObservability, after: attach, exporter, processor })
  },
  /** One job in a hundred, by the sampler that OpenTelemetry has for it. */
  'ours-1pct': (place, handled) => traced(place, handled, (sdk) => ({ sampler: oneInAHundred(sdk) })),
  bullmq: (place, handled) => bullmq(place, handled, false),
  'bullmq-otel': (place, handled) => bullmq(place, handled, true)
} as const satisfies Record<string, Build>

export type Variant = keyof typeof BUILD
export const VARIANTS = Object.keys(BUILD) as Variant[]

export function isVariant (text: string): text is Variant { return text in BUILD }

/** Spans of one job when all are sampled; the check that none was dropped. */
export const SPANS_PER_JOB: { readonly [V in Variant]?: number } = { sampled: 3, 'sampled+server': 4, obvious: 3 }
