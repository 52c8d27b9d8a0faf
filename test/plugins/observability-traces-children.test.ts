/** A job that is submitted inside the handler of another. */
import { context, trace } from '@opentelemetry/api'
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { asyncEndpoints, type JobContext } from '../../plugins/async-endpoints.ts'
import { CurrentJobs } from '../../lib/core/current-job.ts'
import type { SubmitMeta } from '../../lib/client/jobs.ts'
import { until } from '../support/redis-jobs.ts'

interface Ran {
  readonly app: FastifyInstance
  readonly exporter: InMemorySpanExporter
  readonly parent: string
  readonly child: { readonly correlationId: string, readonly traceparent: string | undefined }
}

async function parentAndChild (test: Pick<typeof t, 'teardown'>, meta: (job: JobContext) => SubmitMeta, tracing = true): Promise<Ran> {
  const exporter = new InMemorySpanExporter()
  const app = Fastify()
  test.teardown(() => app.close())
  await app.register(asyncEndpoints, { observability: { tracing: tracing && { spanProcessors: [new SimpleSpanProcessor(exporter)] } } })
  app.defineJob({ name: 'child', handler: async () => 1 })
  app.defineJob({ name: 'parent', handler: async (job) => (await app.jobs.submit('child', {}, meta(job))).id })
  await app.ready()
  const submission: SubmitMeta = tracing ? { correlationId: 'corr-parent' } : { correlationId: 'corr-parent', trace: { traceparent: GIVEN } }
  const { id } = await app.jobs.submit('parent', {}, submission)
  await app.jobs.waitFor(id)
  const childId = String(await app.jobs.result(id))
  const { correlationId, trace } = await app.jobs.waitFor(childId)
  if (tracing) await until('the spans of both jobs', () => exporter.getFinishedSpans().length === 6)
  return { app, exporter, parent: id, child: { correlationId, traceparent: trace?.traceparent } }
}

const GIVEN = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

t.test('what is passed on by hand: one trace, one correlation id, on every version of Node', async (t) => {
  const { exporter, child } = await parentAndChild(t, ({ correlationId, trace }) => ({ correlationId, trace }))
  t.equal(child.correlationId, 'corr-parent')
  const spans = exporter.getFinishedSpans()
  t.equal(new Set(spans.map((span) => span.spanContext().traceId)).size, 1)
  const handler = spans.find(({ name }) => name === 'parent')
  const sends = spans.filter(({ name }) => name.startsWith('send'))
  t.equal(sends[1]?.parentSpanContext?.spanId, handler?.spanContext().spanId, 'the submission is a child of the handler that made it')
})

t.test('where nothing is traced the trace context travels on all the same', async (t) => {
  const { child } = await parentAndChild(t, ({ trace }) => ({ trace }), false)
  t.equal(child.traceparent, GIVEN)
})

t.test('with a context manager of the application both go along by themselves', async (t) => {
  new NodeTracerProvider().register()
  trace.disable()
  t.teardown(() => { context.disable() })
  const { exporter, child } = await parentAndChild(t, () => ({}))
  t.equal(child.correlationId, 'corr-parent')
  t.equal(new Set(exporter.getFinishedSpans().map((span) => span.spanContext().traceId)).size, 1)
})

t.test('a trace that is none is refused with the submission', async (t) => {
  const { app } = await parentAndChild(t, () => ({}), false)
  for (const trace of [{ traceparent: 'x' }, { traceparent: GIVEN, tracestate: 5 as never }]) {
    await t.rejects(app.jobs.submit('child', {}, { trace }), { code: 'FAE_INVALID_SUBMISSION', message: /trace must be \{ traceparent, tracestate \}/ })
  }
})

t.test('the job that runs: on Node 24 at once, before that only when the application pays for a context manager', (t) => {
  const job = { id: '1', correlationId: 'c', trace: undefined }
  const [newer, older] = [new CurrentJobs(24), new CurrentJobs(22)]
  t.equal(newer.run(job, () => newer.current()?.id), '1')
  t.equal(newer.current(), undefined)
  t.equal(older.run(job, () => older.current()), undefined)
  older.carry()
  t.equal(older.run(job, () => older.current()?.id), '1')
  t.end()
})
