import swagger from '@fastify/swagger'
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { asyncEndpoints, type AsyncEndpointsOptions, type BottleneckReport } from '../../plugins/async-endpoints.ts'

async function build (test: Pick<typeof t, 'teardown'>, options: AsyncEndpointsOptions = {}, before: (app: FastifyInstance) => Promise<void> = async () => {}): Promise<FastifyInstance> {
  const app = Fastify()
  test.teardown(() => app.close())
  await before(app)
  await app.register(asyncEndpoints, { health: { pressure: false }, ...options })
  app.asyncEndpoint({
    method: 'POST',
    url: '/reports',
    name: 'report',
    spanAttributes: { input: () => ({ 'db.system': 'postgresql', 'db.statement': 'select * from orders where id = 7' }) },
    handler: async () => ({ rows: 1 })
  })
  await app.ready()
  return app
}

async function run (app: FastifyInstance): Promise<void> {
  const submitted = await app.inject({ method: 'POST', url: '/reports', payload: {} })
  await app.jobs.waitFor(submitted.json<{ id: string }>().id, { timeoutMs: 5_000 })
}

t.test('GET /metrics/bottlenecks after a few jobs', async (t) => {
  const app = await build(t, { observability: { performance: { slowMs: 0 } } })
  await run(app)
  app.jobMonitor.monitor('reckon', () => 1)
  const response = await app.inject('/metrics/bottlenecks')
  t.match(response.headers, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' })
  const report = response.json<BottleneckReport>()
  t.match(report, {
    verdict: 'Nothing limits the throughput now.',
    limitedBy: null,
    findings: [],
    queues: [{ queue: 'default', wait: { count: 1 }, active: 0, concurrency: 10 }],
    handlers: [{ name: 'report', queue: 'default', duration: { count: 1 }, errors: 0, timePercent: 100 }]
  })
  t.ok(report.store.operations.some(({ operation }) => operation === 'create'))
  t.match(report.slowOperations.map(({ operation }) => operation).slice(0, 1), ['reckon'])
  t.ok(report.slowOperations.some(({ operation }) => operation === 'submit'), 'of our own, without being measured twice')
  t.equal((await app.inject('/metrics/bottlenecks?samples=1')).json<BottleneckReport>().slowOperations.length, 1)
  for (const samples of ['-1', '1001', 'x', '', '1.5']) {
    const refused = await app.inject(`/metrics/bottlenecks?samples=${samples}`)
    t.equal(refused.statusCode, 400, samples)
    t.match(refused.json(), { code: 'FAE_INVALID_REQUEST' })
  }
  t.equal((await app.inject({ method: 'HEAD', url: '/metrics/bottlenecks' })).statusCode, 200)
  const page = (await app.inject('/metrics')).payload
  t.match(page, /^asyncendpoints_operation_duration_seconds_count\{operation="reckon"\} 1$/m)
  t.notMatch(page, /operation="submit"/, 'that has a metric of its own')
})

t.test('who may see the metrics may see the bottlenecks, and nobody else', async (t) => {
  const app = await build(t, { observability: { metrics: { authorize: ({ headers }) => headers.authorization === 'Bearer x' } } })
  const refused = await app.inject('/metrics/bottlenecks')
  t.equal(refused.statusCode, 403)
  t.match(refused.json(), { code: 'FAE_FORBIDDEN' })
  t.notMatch(refused.payload, /verdict/)
  t.equal((await app.inject({ url: '/metrics/bottlenecks', headers: { authorization: 'Bearer x' } })).statusCode, 200)
})

t.test('in the OpenAPI document, at the path of the metrics', async (t) => {
  const app = await build(t, { observability: { metrics: { path: '/ops/metrics', authorize: () => true } } }, async (app) => { await app.register(swagger, { openapi: { openapi: '3.1.0' } }) })
  const { paths } = app.swagger() as { paths?: Record<string, unknown> }
  t.same(Object.keys(paths ?? {}).filter((path) => path.startsWith('/ops')), ['/ops/metrics/jobs', '/ops/metrics/bottlenecks'])
  t.match(paths?.['/ops/metrics/bottlenecks'], {
    get: {
      operationId: 'getBottlenecks',
      tags: ['metrics'],
      parameters: [{ in: 'query', name: 'samples' }],
      responses: { 200: { content: { 'application/json': { schema: { required: ['verdict'], properties: { findings: {}, queues: {} } } } } }, 400: {}, 403: {} }
    }
  })
})

t.test('an application\'s own compilers have no part in it', async (t) => {
  const app = await build(t, { health: false, http: false }, async (app) => {
    app.setValidatorCompiler(() => { throw new Error('not for this schema') })
    app.setSerializerCompiler(() => { throw new Error('not for this schema') })
  })
  t.equal((await app.inject('/metrics/bottlenecks')).statusCode, 200)
})

t.test('switches', async (t) => {
  const status = async (options: AsyncEndpointsOptions): Promise<[number, boolean, boolean]> => {
    const app = await build(t, options)
    await run(app)
    t.equal(app.jobMonitor.monitor('x', () => 5), 5)
    const page = (await app.inject('/metrics')).payload
    return [(await app.inject('/metrics/bottlenecks')).statusCode, app.jobMonitor.bottlenecks() !== undefined, page.includes('asyncendpoints_operation_duration_seconds')]
  }
  t.same(await status({}), [200, true, true])
  t.same(await status({ observability: { performance: true } }), [200, true, true])
  t.same(await status({ observability: { performance: false } }), [404, false, false])
  t.same(await status({ observability: { performance: { bottlenecks: false } } }), [404, false, true])
  t.same(await status({ observability: { metrics: { path: false } } }), [404, true, false], 'without a route it can still be asked')
  t.same(await status({ observability: { metrics: false } }), [404, false, false])
  t.same(await status({ observability: { enabled: false } }), [404, false, false])
  t.same(await status({ observability: false }), [404, false, false])
  await t.rejects(build(t, { observability: { performance: { slowQueryMs: -1, windowMs: 1 } } }), { code: 'FAE_INVALID_OPTIONS', message: /observability\.performance\.slowQueryMs.*observability\.performance\.windowMs/s })
})

t.test('database spans of a private provider, and of one that is given', async (t) => {
  const seen: unknown[] = []
  const exporter = new InMemorySpanExporter()
  const app = await build(t, { observability: { performance: { slowQueryMs: 0 }, tracing: { spanProcessors: [new SimpleSpanProcessor(exporter)] } } })
  app.jobEvents.on('performance.slow_query', (event) => { seen.push(event) })
  await run(app)
  const query = { system: 'postgresql', operation: 'select', target: 'orders', statement: 'select * from orders where id = ?' }
  t.match(seen, [query, query], 'the attempt and its handler were given such attributes')
  t.equal(seen.length, 2, 'our other spans are no queries')
  t.ok(exporter.getFinishedSpans().length >= 4)

  const provider = new NodeTracerProvider()
  const given = await build(t, { observability: { performance: { slowQueryMs: 0 }, tracing: { tracerProvider: provider } } })
  const ask = (): void => { provider.getTracer('db').startSpan('q', { startTime: Date.now() - 50, attributes: { 'db.system': 'mysql', 'db.statement': 'delete from carts' } }).end() }
  ask()
  t.match(given.jobMonitor.bottlenecks(), { slowQueries: [{ system: 'mysql', operation: 'delete', target: 'carts' }] })
  await given.close()
  ask()
  t.equal(given.jobMonitor.bottlenecks()?.slowQueries.length, 1, 'taken away at the close')
})

t.test('two applications in one process: each its own monitor', async (t) => {
  const [one, other] = [await build(t), await build(t)]
  one.jobMonitor.monitor('mine', () => 1)
  t.match((await one.inject('/metrics')).payload, /operation="mine"/)
  t.notMatch((await other.inject('/metrics')).payload, /operation="mine"/)
  await one.close()
  t.equal((await other.inject('/metrics/bottlenecks')).statusCode, 200)
})
