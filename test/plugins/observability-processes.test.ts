/** One trace over two real processes and a real Redis: the API here, the worker in a process of its own. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import asyncEndpoints, { redisStore } from '../../plugins/async-endpoints.ts'
import { sharedRedis } from '../support/redis.ts'
import type { ToldSpan, WorkerMessage } from '../telemetry/fixtures/traced-worker.ts'

const WAIT_MS = 20_000

/** The next message of a kind; says what it waited for. */
function message<K extends WorkerMessage['kind']> (child: ChildProcess, kind: K): Promise<Extract<WorkerMessage, { kind: K }>> {
  return new Promise((resolve, reject) => {
    const deadline = setTimeout(() => { reject(new Error(`waited ${WAIT_MS} ms for the worker process to tell "${kind}"`)) }, WAIT_MS)
    child.on('message', function listen (told: WorkerMessage) {
      if (told.kind !== kind) return
      clearTimeout(deadline)
      child.off('message', listen)
      resolve(told as Extract<WorkerMessage, { kind: K }>)
    })
  })
}

const redis = await sharedRedis()
const exporter = new InMemorySpanExporter()
const app: FastifyInstance = Fastify()
await app.register(asyncEndpoints, {
  store: redisStore({ url: redis.url, prefix: redis.prefix }),
  worker: false,
  observability: { tracing: { spanProcessors: [new SimpleSpanProcessor(exporter)] } }
})
app.asyncEndpoint({ method: 'POST', url: '/reports', name: 'report', handler: async () => { throw new Error('runs elsewhere') } })
await app.ready()
const worker = fork(fileURLToPath(new URL('../telemetry/fixtures/traced-worker.js', import.meta.url)), [JSON.stringify({ url: redis.url, prefix: redis.prefix })])
const exited = once(worker, 'exit')
await message(worker, 'ready')

t.teardown(async () => {
  worker.disconnect()
  const deadline = setTimeout(() => { worker.kill('SIGKILL') }, WAIT_MS)
  const [code] = await exited as [number | null]
  clearTimeout(deadline)
  await app.close()
  await redis.stop()
  if (code !== 0) throw new Error(`the worker process ended with ${code}`)
})

/** Submits, waits for the end; the spans of both processes that belong to it, the worker's metrics, the result. */
async function run (failTimes: number): Promise<{ api: ToldSpan[], worker: readonly ToldSpan[], metrics: string, trace: unknown }> {
  exporter.reset()
  const before = await ask()
  const submitted = await app.inject({ method: 'POST', url: '/reports', payload: { failTimes } })
  const { id } = submitted.json<{ id: string }>()
  const job = await app.jobs.waitFor(id, { timeoutMs: WAIT_MS })
  if (job.state !== 'completed') throw new Error(`the job is ${job.state}: ${job.error?.message}`)
  // The worker ends its span after the store has answered, a moment after the waiter heard of it.
  let after = await ask()
  for (const end = Date.now() + WAIT_MS; after.spans.length < before.spans.length + 2 * (failTimes + 1); after = await ask()) {
    if (Date.now() > end) throw new Error(`waited ${WAIT_MS} ms for ${2 * (failTimes + 1)} more spans of the worker`)
  }
  const api = exporter.getFinishedSpans().map((span) => ({ name: span.name, traceId: span.spanContext().traceId, spanId: span.spanContext().spanId, parent: span.parentSpanContext?.spanId, links: [], error: undefined }))
  const { trace } = await app.jobs.result(id) as { trace: unknown }
  return { api, worker: after.spans.slice(before.spans.length), metrics: after.metrics, trace }
}

async function ask (): Promise<Extract<WorkerMessage, { kind: 'spans' }>> {
  const told = message(worker, 'spans')
  worker.send('spans')
  return await told
}

t.test('from the request to the handler in another process: one trace', async (t) => {
  const { api, worker, metrics, trace } = await run(0)
  const all = [...api, ...worker]
  t.same(all.map(({ name }) => name).sort(), ['POST /reports', 'process default', 'report', 'send default'])
  t.equal(new Set(all.map(({ traceId }) => traceId)).size, 1, 'one trace id')
  const names = new Map(all.map(({ spanId, name }) => [spanId, name]))
  t.same(Object.fromEntries(all.map(({ name, parent }) => [name, names.get(parent ?? '')])), {
    'POST /reports': undefined, 'send default': 'POST /reports', 'process default': 'send default', report: 'process default'
  })
  const handler = all.find(({ name }) => name === 'report')
  t.equal(trace, `00-${handler?.traceId}-${handler?.spanId}-01`, 'the handler can pass it on')
  t.match(metrics, /asyncendpoints_jobs_processed_total\{job_name="report",status="completed",store_type="bullmq"\} 1\n/)
})

t.test('a retry is a trace of its own that points at the submission', async (t) => {
  const { api, worker } = await run(1)
  const send = api.find(({ name }) => name === 'send default')
  const [first, second] = worker.filter(({ name }) => name === 'process default')
  t.match(first, { parent: send?.spanId, traceId: send?.traceId, error: 'E_NOT_YET' })
  t.same(first?.links, [])
  t.same([second?.parent, second?.links, second?.error], [undefined, [send?.spanId], undefined])
  t.not(second?.traceId, send?.traceId)
})
