import { trace } from '@opentelemetry/api'
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'

async function traced (t: Test, sampleRate: number | undefined, headers: Record<string, string> = {}, serverSpans: 'auto' | false = 'auto'): Promise<{ jobs: number, spans: string[] }> {
  const exporter = new InMemorySpanExporter()
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { health: false, observability: { tracing: { serverSpans, maxTracesPerSecond: 1_000, maxRemoteTracesPerSecond: false, spanProcessors: [new SimpleSpanProcessor(exporter)] } } })
  app.asyncEndpoint({ url: '/a', name: 'a', ...(sampleRate === undefined ? {} : { tracing: { sampleRate } }), handler: async () => 1 })
  await app.ready()
  const jobs = 60
  for (let sent = 0; sent < jobs; sent++) await app.inject({ method: 'POST', url: '/a', headers: { prefer: 'wait=5', ...headers } })
  const fromCode = await app.jobs.submit('a', {})
  await app.jobs.waitFor(fromCode.id)
  // The exporter forgets them when the application ends.
  return { jobs, spans: exporter.getFinishedSpans().map(({ name }) => name) }
}

for (const serverSpans of ['auto', false] as const) {
  t.test(`of one job less is recorded, server spans: ${serverSpans}`, async (t) => {
    const count = ({ spans }: { spans: string[] }): number => spans.filter((name) => name.startsWith('process')).length
    t.equal((await traced(t, 0, {}, serverSpans)).spans.length, 0)
    t.equal(count(await traced(t, 1, {}, serverSpans)), 61)
    const half = count(await traced(t, 0.5, {}, serverSpans))
    t.ok(half > 5 && half < 56, `about half: ${half} of 61`)
  })
}

t.test('who comes with a trace has decided', async (t) => {
  const { spans } = await traced(t, 0, { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' })
  t.equal(spans.filter((name) => name.startsWith('process')).length, 60)
})

t.test('a provider of the application\'s is not asked about what is left out', async (t) => {
  const exporter = new InMemorySpanExporter()
  new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register()
  t.teardown(() => trace.disable())
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { health: false })
  app.asyncEndpoint({ url: '/a', name: 'a', tracing: { sampleRate: 0 }, handler: async () => 1 })
  await app.inject({ method: 'POST', url: '/a', headers: { prefer: 'wait=5' } })
  t.equal(exporter.getFinishedSpans().length, 0)
})

t.test('a rate that is none is refused', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { health: false, observability: false })
  t.throws(() => app.asyncEndpoint({ url: '/a', name: 'a', tracing: { sampleRate: 2 }, handler: async () => 1 }), { code: 'FAE_INVALID_OPTIONS', message: /tracing\.sampleRate/ })
})
