import { SpanKind, SpanStatusCode } from '@opentelemetry/api'
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import Fastify from 'fastify'
import t from 'tap'
import { deliveryId } from '../../lib/jobs/webhook.ts'
import asyncEndpoints from '../../plugins/async-endpoints.ts'
import { LOCAL, SECRET, WebhookReceiver } from '../support/webhook-receiver.ts'

t.test('each attempt has a client span, without the URL, tied to the trace of the job', async (t) => {
  const exporter = new InMemorySpanExporter()
  const receiver = await WebhookReceiver.start()
  const app = Fastify()
  t.teardown(async () => {
    await app.close()
    await receiver.close()
  })
  receiver.replies = [{ status: 503 }, { status: 204 }]
  await app.register(asyncEndpoints, {
    webhooks: { secret: SECRET, outbound: LOCAL, scheduleMs: [0, 1] },
    observability: { tracing: { spanProcessors: [new SimpleSpanProcessor(exporter)] } }
  })
  app.asyncEndpoint({ method: 'POST', url: '/reports', name: 'report', webhook: receiver.url('/hook?token=hush'), handler: () => 1 })
  const { id } = (await app.inject({ method: 'POST', url: '/reports', payload: {} })).json<{ id: string }>()
  await app.jobs.waitFor(deliveryId(id, 0))
  const { trace } = await app.jobs.get(id) ?? {}
  const spans = exporter.getFinishedSpans()
  const posts = spans.filter(({ name }) => name === 'POST')
  t.same(posts.map(({ kind, attributes, status }) => [kind, attributes['http.response.status_code'], attributes['error.type'], status.code]), [
    [SpanKind.CLIENT, 503, '503', SpanStatusCode.ERROR], [SpanKind.CLIENT, 204, undefined, SpanStatusCode.UNSET]
  ])
  for (const { attributes } of posts) {
    t.match(attributes, { 'http.request.method': 'POST', 'server.address': '127.0.0.1', 'server.port': Number(new URL(receiver.url()).port) })
  }
  t.notMatch(JSON.stringify(spans.map(({ attributes, events, name }) => ({ attributes, events, name }))), /hush/)
  const attempts = spans.filter(({ name, attributes }) => name === 'process webhooks' && attributes['job.name'] === 'webhook-delivery')
  const traceId = trace?.traceparent.slice(3, 35)
  t.ok(attempts.length > 0)
  for (const span of attempts) {
    t.ok(span.spanContext().traceId === traceId || span.links.some(({ context }) => context.traceId === traceId), 'the same trace, or a link to it')
  }
})
