/** How the attempts of a job that comes back are tied to its submission. */
import { InMemorySpanExporter, ParentBasedSampler, SimpleSpanProcessor, TraceIdRatioBasedSampler, type ReadableSpan, type Sampler } from '@opentelemetry/sdk-trace-node'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { asyncEndpoints, snooze } from '../../plugins/async-endpoints.ts'
import { until } from '../support/redis-jobs.ts'

interface Traced {
  readonly app: FastifyInstance
  readonly attempts: () => ReadableSpan[]
  readonly sends: () => ReadableSpan[]
}

async function traced (test: Pick<typeof t, 'teardown'>, handler: (attempt: number) => unknown, sampler?: Sampler): Promise<Traced> {
  const exporter = new InMemorySpanExporter()
  const app = Fastify()
  test.teardown(() => app.close())
  await app.register(asyncEndpoints, { observability: { tracing: { spanProcessors: [new SimpleSpanProcessor(exporter)], sampler } } })
  let calls = 0
  app.asyncEndpoint({ method: 'POST', url: '/again', name: 'again', retry: { attempts: 2, backoff: { type: 'fixed', delayMs: 1 } }, handler: async () => handler(++calls) })
  await app.ready()
  const named = (start: string) => () => exporter.getFinishedSpans().filter(({ name }) => name.startsWith(start))
  return { app, attempts: named('process'), sends: named('send') }
}

t.test('a snooze, however short, is linked and in a trace of its own', async (t) => {
  const { app, attempts } = await traced(t, (call) => call < 4 ? snooze(5) : 'done')
  await app.inject({ method: 'POST', url: '/again', headers: { prefer: 'wait=5' } })
  await until('four attempts', () => attempts().length === 4)
  t.same(attempts().map(({ links }) => links.length), [0, 1, 1, 1])
  t.equal(new Set(attempts().map((span) => span.spanContext().traceId)).size, 4)
})

t.test('a redriven job is linked', async (t) => {
  const { app, attempts } = await traced(t, (call) => { if (call < 3) throw new Error('x'); return 1 })
  const { id } = await app.jobs.submit('again')
  await app.jobs.waitFor(id)
  await app.jobs.redrive(id)
  await app.jobs.waitFor(id)
  await until('three attempts', () => attempts().length === 3)
  t.same(attempts().map(({ links }) => links.length), [0, 1, 1])
})

t.test('a sampler of the application: the retry of every recorded submission is recorded', async (t) => {
  const sampler = new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(0.3) })
  const { app, attempts, sends } = await traced(t, (call) => { if (call % 2 === 1) throw new Error('x'); return 1 }, sampler)
  const jobs = 40
  for (let index = 0; index < jobs; index++) await app.inject({ method: 'POST', url: '/again', headers: { prefer: 'wait=5' } })
  await until('two attempts of each recorded submission', () => attempts().length === 2 * sends().length)
  t.ok(sends().length > 0 && sends().length < jobs, `${sends().length} of ${jobs} are recorded`)
  const seconds = attempts().filter(({ attributes }) => attributes['retry.count'] === 1)
  t.equal(seconds.length, sends().length)
  const known = new Set(sends().map((span) => span.spanContext().traceId))
  for (const span of seconds) t.ok(span.links.length === 1 || known.has(span.spanContext().traceId), 'linked, or in the trace of its submission')
})
