/** The example server as people run it in production: one process that takes requests, two that work, a Redis between. */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { startRedis } from '../support/redis.ts'
import { boot, collector, eventually, json, metric, submit, untilOver, type SeenSpan } from './support.ts'

const KIND = { internal: 1, server: 2, producer: 4, consumer: 5 } as const

t.test('an API process and two workers share the work and the trace', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const otlp = await collector(t)
  const env = (role: string, service: string): Record<string, string> => ({
    ROLE: role,
    REDIS_URL: redis.url,
    LOG_LEVEL: 'warn',
    SHUTDOWN_DELAY_MS: '0',
    OTEL_SERVICE_NAME: service,
    OTEL_EXPORTER_OTLP_ENDPOINT: otlp.url,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_BSP_SCHEDULE_DELAY: '50'
  })
  const [api, first, second] = await Promise.all([boot(t, env('api', 'api')), boot(t, env('worker', 'worker-1')), boot(t, env('worker', 'worker-2'))])
  for (const { url } of [api, first, second]) {
    await eventually(`${url} to be ready`, async () => (await json(`${url}/health/ready`)).status === 200 || undefined)
  }

  const traceId = randomBytes(16).toString('hex')
  const traceparent = `00-${traceId}-${randomBytes(8).toString('hex')}-01`
  const submitted = await submit(`${api.url}/reports`, { year: 2026, rows: 500 }, { traceparent })
  t.equal(submitted.status, 202)
  t.match(await untilOver(api.url + submitted.headers.get('location')), { status: 'completed', traceId })
  t.match(await json(`${api.url}${submitted.headers.get('location')}/result`), { status: 200, body: { rows: 500 } })

  const spans = await eventually('the spans of both processes', async () => {
    const ours = otlp.spans.filter((span) => span.traceId === traceId)
    const find = (kind: number, name: RegExp): SeenSpan | undefined => ours.find((span) => span.kind === kind && name.test(span.name))
    const send = find(KIND.producer, /^send default$/)
    const process = find(KIND.consumer, /^process default$/)
    const step = find(KIND.internal, /^sum up sales$/)
    return send !== undefined && process !== undefined && step !== undefined ? { send, process, step, ours } : undefined
  })
  t.equal(spans.send.service, 'api')
  t.match(spans.process.service, /^worker-[12]$/, 'the trace went on in another process')
  t.equal(spans.process.parentSpanId, spans.send.spanId, 'as a child of the submission')
  t.equal(spans.step.service, spans.process.service)
  const parents = new Map(spans.ours.map((span) => [span.spanId, span.parentSpanId]))
  const ancestors: string[] = []
  for (let id = spans.step.parentSpanId; id !== undefined && ancestors.length < 20; id = parents.get(id)) ancestors.push(id)
  t.ok(ancestors.includes(spans.process.spanId), 'what the handler did stands below its attempt')

  await eventually('both workers to have worked', async () => {
    await Promise.all(Array.from({ length: 50 }, async () => await submit(`${api.url}/demo/sleep`, { ms: 20 })))
    const worked = await Promise.all([first, second].map(async ({ url }) => await metric(url, 'asyncendpoints_jobs_processed_total', 'job_name="demo-sleep"', 'status="completed"')))
    return worked.every((jobs) => jobs > 0) || undefined
  })
  t.ok(await metric(api.url, 'asyncendpoints_jobs_created_total', 'job_name="demo-sleep"') >= 50, 'the API process counts what it took')
  t.equal(await metric(api.url, 'asyncendpoints_jobs_processed_total', 'job_name="demo-sleep"'), 0, 'and works on none of it')

  const long = await submit(`${api.url}/demo/sleep`, { ms: 600_000 })
  await eventually('the sleep to begin', async () => (await json(api.url + long.headers.get('location'))).body['status'] === 'in-progress' || undefined)
  t.match(await json(api.url + long.headers.get('location'), { method: 'DELETE' }), { status: 202 })
  t.match(await untilOver(api.url + long.headers.get('location')), { status: 'cancelled' }, 'asked of one process, stopped in another')

  t.same(await Promise.all([first, second, api].map(async (server) => await server.end('SIGTERM'))), [0, 0, 0])
})

t.test('Redis is away when it starts: it listens, is not ready, and becomes so by itself', async (t) => {
  const redis = await startRedis()
  const port = new URL(redis.url).port
  await redis.stop()
  const server = await boot(t, { REDIS_URL: redis.url, LOG_LEVEL: 'silent', SHUTDOWN_DELAY_MS: '0' })
  t.match(await json(`${server.url}/health/ready`), { status: 503, body: { status: 'Unhealthy' } })
  t.equal((await json(`${server.url}/health/live`)).status, 200)
  t.match(await submit(`${server.url}/reports`, { year: 2026 }), { status: 503, body: { code: 'FAE_STORE_UNAVAILABLE' } })
  const back = await startRedis({ port: Number(port) })
  t.teardown(() => back.stop())
  await eventually('readiness after the return of Redis', async () => (await json(`${server.url}/health/ready`)).status === 200 || undefined)
  const submitted = await submit(`${server.url}/reports`, { year: 2026, rows: 100 })
  t.match(await untilOver(server.url + submitted.headers.get('location')), { status: 'completed' })
  t.equal(await server.end('SIGTERM'), 0)
})
