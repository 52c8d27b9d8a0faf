/** Tracing inside one process, with a provider given by option. */
import { once } from 'node:events'
import { connect, type AddressInfo } from 'node:net'
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { asyncEndpoints, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { until } from '../support/redis-jobs.ts'

async function build (test: Pick<typeof t, 'teardown'>, options: AsyncEndpointsOptions, handler: () => Promise<unknown> = async () => 1): Promise<FastifyInstance> {
  const app = Fastify()
  test.teardown(() => app.close())
  await app.register(asyncEndpoints, options)
  app.asyncEndpoint({ method: 'POST', url: '/reports', name: 'report', handler })
  await app.ready()
  return app
}

async function run (app: FastifyInstance, headers: Record<string, string> = {}): Promise<number> {
  const { statusCode } = await app.inject({ method: 'POST', url: '/reports', payload: {}, headers: { prefer: 'wait=5', ...headers } })
  return statusCode
}

function recording (): { exporter: InMemorySpanExporter, spanProcessors: SimpleSpanProcessor[], names: () => string[] } {
  const exporter = new InMemorySpanExporter()
  return { exporter, spanProcessors: [new SimpleSpanProcessor(exporter)], names: () => exporter.getFinishedSpans().map(({ name }) => name).sort() }
}

const ONE_JOB = ['POST /reports', 'process default', 'report', 'send default']

t.test('two applications in one process share nothing', async (t) => {
  const [one, other] = [recording(), recording()]
  const app = await build(t, { observability: { tracing: { spanProcessors: one.spanProcessors, maxTracesPerSecond: 1 }, serviceName: 'one' } })
  const second = await build(t, { observability: { tracing: { spanProcessors: other.spanProcessors, maxTracesPerSecond: 1 }, serviceName: 'other' } })
  t.equal(await run(app), 200)
  t.same([one.names(), other.names()], [ONE_JOB, []])
  t.equal(await run(second), 200)
  t.same([one.names(), other.names()], [ONE_JOB, ONE_JOB], 'each has its own bucket')
  t.same([one, other].map(({ exporter }) => exporter.getFinishedSpans()[0]?.resource.attributes['service.name']), ['one', 'other'])
  other.exporter.reset()
  await app.close()
  const third = recording()
  const last = await build(t, { observability: { tracing: { spanProcessors: third.spanProcessors } } })
  t.equal(await run(last), 200)
  t.same([third.names(), other.names()], [ONE_JOB, []], 'the end of one is not the end of another')
})

t.test('a provider that is shut down before the application: requests and jobs go on', async (t) => {
  const { spanProcessors, names } = recording()
  const tracerProvider = new NodeTracerProvider({ spanProcessors })
  const app = await build(t, { observability: { tracing: { tracerProvider } } })
  t.equal(await run(app), 200)
  t.same(names(), ONE_JOB)
  await tracerProvider.shutdown()
  t.equal(await run(app), 200)
  await app.close()
})

t.test('span processors that throw: the job is done, and it is told', async (t) => {
  for (const moment of ['onStart', 'onEnding', 'onEnd'] as const) {
    const processor = { onStart () {}, onEnding () {}, onEnd () {}, forceFlush: async () => {}, shutdown: async () => {}, [moment]: () => { throw new Error(`broken ${moment}`) } }
    const app = await build(t, { observability: { tracing: { spanProcessors: [processor] } } })
    const told: string[] = []
    app.jobEvents.on('telemetry.listener_failed', ({ source, message }) => { told.push(`${source}: ${message}`) })
    t.equal(await run(app), 200)
    t.ok(told.includes(`tracing: broken ${moment}`), told.join(', '))
    await app.close()
  }
})

t.test('limits of spans from the environment hold for the spans of jobs', async (t) => {
  t.teardown(() => { delete process.env['OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT'] })
  process.env['OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT'] = '3'
  const { exporter, spanProcessors, names } = recording()
  const app = await build(t, { observability: { tracing: { spanProcessors } } })
  t.equal(await run(app), 200)
  t.same(names(), ONE_JOB)
  for (const { name, attributes, droppedAttributesCount } of exporter.getFinishedSpans()) {
    t.equal(Object.keys(attributes).length, 3, name)
    t.ok(droppedAttributesCount > 0, name)
  }
})

t.test('providers, tracers and spans that throw at everything', async (t) => {
  const fails = (): never => { throw new Error('broken SDK') }
  const span = { spanContext: fails, isRecording: fails, setAttribute: fails, setAttributes: fails, addEvent: fails, setStatus: fails, end: fails, recordException: fails, addLink: fails, addLinks: fails, updateName: fails }
  const providers = [
    { getTracer: fails },
    { getTracer: () => ({ startSpan: fails, startActiveSpan: fails }) },
    { getTracer: () => ({ startSpan: () => span, startActiveSpan: fails }) },
    { getTracer: () => ({ startSpan: () => undefined, startActiveSpan: fails }) }
  ]
  for (const tracerProvider of providers) {
    const app = await build(t, { observability: { detailedTracing: true, tracing: { tracerProvider: tracerProvider as never } } })
    t.equal(await run(app, { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' }), 200)
    await app.close()
  }
})

t.test('whatever a caller sends: one trace, and no harm', async (t) => {
  const { exporter, spanProcessors, names } = recording()
  const app = await build(t, { observability: { tracing: { spanProcessors } } })
  const valid = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const sent: ReadonlyArray<Record<string, string>> = [
    { traceparent: 'broken' }, { traceparent: `${valid}, ${valid}` }, { traceparent: 'x'.repeat(8_000) }, { traceparent: `00-${'0'.repeat(32)}-b7ad6b7169203331-01` },
    { tracestate: 'a=1' }, { traceparent: valid, tracestate: 'broken,,=' }, { traceparent: valid, tracestate: `a=${'x'.repeat(9_000)}` },
    { baggage: ';;=,%zz' }, { traceparent: valid, baggage: `a=${'b'.repeat(8_000)}` }
  ]
  for (const headers of sent) {
    exporter.reset()
    t.equal(await run(app, headers), 200)
    t.same(names(), ONE_JOB, JSON.stringify(headers).slice(0, 60))
    t.equal(new Set(exporter.getFinishedSpans().map((span) => span.spanContext().traceId)).size, 1)
    t.equal(exporter.getFinishedSpans().some((span) => span.spanContext().traceState !== undefined), false)
  }
})

t.test('a client that goes away before its answer leaves no server span open', async (t) => {
  const { exporter, spanProcessors } = recording()
  let letGo: () => void = () => {}
  const app = await build(t, { observability: { tracing: { spanProcessors } } }, () => new Promise<void>((resolve) => { letGo = resolve }))
  await app.listen({ port: 0, host: '127.0.0.1' })
  const client = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  await once(client, 'connect')
  client.write('POST /reports HTTP/1.1\r\nHost: x\r\nPrefer: wait=20\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}')
  await until('the job is submitted', () => exporter.getFinishedSpans().some(({ name }) => name === 'send default'))
  client.destroy()
  await until('the server span has ended', () => exporter.getFinishedSpans().some(({ name }) => name === 'POST /reports'))
  letGo()
  t.equal(exporter.getFinishedSpans().find(({ name }) => name === 'POST /reports')?.attributes['http.response.status_code'], undefined)
})
