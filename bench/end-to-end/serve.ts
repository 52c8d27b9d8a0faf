/** The measured process of `bench/end-to-end.ts`: takes submissions, runs them and answers status, in one of three ways. */
import { randomUUID } from 'node:crypto'
import { Queue, Worker, type Telemetry } from 'bullmq'
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import { Counter, Histogram, Registry } from 'prom-client'
import asyncEndpoints, { redisStore } from '../../plugins/async-endpoints.ts'

export const KINDS = ['ours', 'by-hand', 'by-hand-otel'] as const
export type Kind = typeof KINDS[number]

/** What the parent asks, and what is answered. */
export type Order = { readonly expect: number } | 'close'
export type Answer = { readonly port: number } | { readonly cpuMicros: number }

export const CONCURRENCY = 50
export const PATH = '/reports'
export const BODY = { year: 2026, rows: 1_000, customer: 'c-1029384756', format: 'pdf', note: 'x'.repeat(256) }
const SCHEMA = {
  type: 'object',
  required: ['year', 'rows'],
  properties: { year: { type: 'integer' }, rows: { type: 'integer' }, customer: { type: 'string' }, format: { type: 'string' }, note: { type: 'string' } }
}
const KEPT = { attempts: 3, backoff: { type: 'exponential', delay: 1_000 }, removeOnComplete: { age: 86_400, count: 10_000 }, removeOnFail: { age: 604_800, count: 10_000 } }

async function report (body: { readonly year: number, readonly rows: number }): Promise<{ readonly rows: number, readonly url: string }> {
  return { rows: body.rows, url: `https://files.example/${body.year}/report.pdf` }
}

type Serve = (app: FastifyInstance, url: string, prefix: string, completed: () => void) => Promise<void>

const ours: Serve = async (app, url, prefix, completed) => {
  await app.register(asyncEndpoints, { store: redisStore({ url, prefix }), worker: { concurrency: CONCURRENCY } })
  app.asyncEndpoint<{ body: typeof BODY }>({ method: 'POST', url: PATH, name: 'report', schema: { body: SCHEMA }, handler: (job) => report(job.body) })
  app.jobEvents.on('job.completed', completed)
}

/** What a team writes first: a queue, a worker, three instruments, a status route. */
function byHand (telemetry?: () => Promise<Telemetry>): Serve {
  return async (app, url, prefix, completed) => {
    const made = await telemetry?.()
    const traced = made === undefined ? {} : { telemetry: made }
    const registry = new Registry()
    const labels = { labelNames: ['job_name', 'status'] as const, registers: [registry] }
    const created = new Counter({ name: 'jobs_created_total', help: 'Jobs submitted', ...labels })
    const processed = new Counter({ name: 'jobs_processed_total', help: 'Jobs ended', ...labels })
    const duration = new Histogram({ name: 'job_duration_seconds', help: 'How long a job ran', ...labels })
    const connection = new Redis(url, { maxRetriesPerRequest: null })
    const blocking = connection.duplicate()
    const queue = new Queue<typeof BODY>('reports', { connection, prefix, ...traced })
    const worker = new Worker<typeof BODY>('reports', async (job) => {
      const done = duration.startTimer({ job_name: job.name })
      try {
        const result = await report(job.data)
        processed.inc({ job_name: job.name, status: 'completed' })
        done({ status: 'completed' })
        return result
      } catch (error) {
        processed.inc({ job_name: job.name, status: 'failed' })
        done({ status: 'failed' })
        throw error
      }
    }, { connection: blocking, prefix, concurrency: CONCURRENCY, ...traced })
    worker.on('completed', completed)

    app.post<{ Body: typeof BODY }>(PATH, { schema: { body: SCHEMA } }, async (request, reply) => {
      const job = await queue.add('report', request.body, { jobId: randomUUID(), ...KEPT })
      created.inc({ job_name: 'report' })
      reply.code(202).header('location', `/jobs/${String(job.id)}`)
      return { id: job.id, status: 'queued' }
    })
    app.get<{ Params: { id: string } }>('/jobs/:id', async (request, reply) => {
      const job = await queue.getJob(request.params.id)
      if (job === undefined) return reply.code(404).send({ error: 'not found' })
      return { id: job.id, status: await job.getState(), result: job.returnvalue }
    })
    app.get('/metrics', async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()))
    app.addHook('onClose', async () => {
      await worker.close()
      await queue.close()
      await Promise.all([connection.quit(), blocking.quit()])
    })
  }
}

/** `bullmq-otel` with one trace in a hundred, sent to nobody. */
async function tracedAtOnePercent (): Promise<Telemetry> {
  const [{ BullMQOtel }, { BatchSpanProcessor, NodeTracerProvider, ParentBasedSampler, TraceIdRatioBasedSampler }] = await Promise.all([import('bullmq-otel'), import('@opentelemetry/sdk-trace-node')])
  const exporter = { export (_spans: unknown, done: (result: { code: number }) => void) { done({ code: 0 }) }, async shutdown () {} }
  new NodeTracerProvider({ sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(0.01) }), spanProcessors: [new BatchSpanProcessor(exporter)] }).register()
  return new BullMQOtel({ tracerName: 'bench' })
}

export const SERVERS: Record<Kind, Serve> = { ours, 'by-hand': byHand(), 'by-hand-otel': byHand(tracedAtOnePercent) }

/** The child: serves, and says what it used of the processor until so many jobs had completed. */
async function serve (kind: Kind, url: string, prefix: string): Promise<void> {
  const app = Fastify()
  let left = 0
  let since = process.cpuUsage()
  const answer = (text: Answer): void => { process.send?.(text) }
  await SERVERS[kind](app, url, prefix, () => {
    if (--left !== 0) return
    const { user, system } = process.cpuUsage(since)
    answer({ cpuMicros: user + system })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  process.on('message', (order: Order) => {
    if (order === 'close') app.close().then(() => { process.exit() }, (error: unknown) => { throw error })
    else {
      left = order.expect
      since = process.cpuUsage()
    }
  })
  const address = app.server.address()
  answer({ port: typeof address === 'object' && address !== null ? address.port : 0 })
}

const [flag, kind, url, prefix] = process.argv.slice(2)
if (flag === '--serve' && url !== undefined && prefix !== undefined) await serve(kind as Kind, url, prefix)
