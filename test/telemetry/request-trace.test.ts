import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import t from 'tap'
import { silentLogger } from '../../lib/core/context.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { TraceContext } from '../../lib/telemetry/context.ts'
import { TelemetryFailures } from '../../lib/telemetry/failures.ts'
import { beginRequest, finishRequest, RequestTrace } from '../../lib/telemetry/request-trace.ts'
import { TracerSource } from '../../lib/telemetry/tracer-source.ts'
import { attempt, attemptScope, INBOUND, INBOUND_UNSAMPLED, submit, tracingUnderTest } from './support.ts'

const FACTS = { method: 'POST', route: '/reports/:year', path: '/reports/2026', scheme: 'http' }
const facts = () => FACTS

t.test('request → submission → attempt: one trace, continued from the caller', async (t) => {
  const under = tracingUnderTest({ perSecond: 0 })
  const begun = beginRequest(under.source, { traceparent: INBOUND, tracestate: 'a=1' }, true, facts)
  await attempt(under, attemptScope({ trace: await submit(under, begun) }))
  finishRequest(begun, 202)
  const server = under.span('POST /reports/:year')
  t.match(server, { kind: SpanKind.SERVER, status: { code: SpanStatusCode.UNSET }, parentSpanContext: { spanId: INBOUND.slice(36, 52) } })
  t.same(server.attributes, { 'http.request.method': 'POST', 'http.route': '/reports/:year', 'url.path': '/reports/2026', 'url.scheme': 'http', 'http.response.status_code': 202 })
  t.equal(under.span('send default').parentSpanContext?.spanId, server.spanContext().spanId)
  for (const span of under.spans()) t.equal(span.spanContext().traceId, INBOUND.slice(3, 35), span.name)
})

t.test('a request of nobody else: one token for server span and submission together', async (t) => {
  const under = tracingUnderTest({ perSecond: 1 })
  const first = beginRequest(under.source, {}, true, facts)
  t.match(await submit(under, first), { traceparent: /-01$/ })
  finishRequest(first, 503)
  t.match(under.span('POST /reports/:year'), { status: { code: SpanStatusCode.ERROR }, attributes: { 'error.type': '503' } })
  const second = beginRequest(under.source, {}, true, facts)
  t.ok(second?.dropped)
  t.equal(await submit(under, second), undefined)
  t.equal(under.spans().length, 2)
})

t.test('an unsampled caller is passed on as text; a broken one is ignored', async (t) => {
  const under = tracingUnderTest()
  t.same(await submit(under, beginRequest(under.source, { traceparent: INBOUND_UNSAMPLED, tracestate: 'a=1' }, true, facts)), { traceparent: INBOUND_UNSAMPLED, tracestate: 'a=1' })
  t.same(under.spans(), [])
  const broken = beginRequest(under.source, { traceparent: 'broken', tracestate: 'a=1' }, true, facts)
  t.match(await submit(under, broken), { traceparent: /^00-.*-01$/, tracestate: undefined })
  t.equal(broken?.span?.spanContext().traceId === INBOUND.slice(3, 35), false)
})

t.test('without a tracer the caller is passed on, and without a caller nothing is kept', async (t) => {
  const source = new TracerSource(new TraceContext('explicit'), new TelemetryFailures(new EventBus(silentLogger), silentLogger))
  t.equal(beginRequest(source, {}, true, () => { throw new Error('not asked') }), undefined)
  const begun = beginRequest(source, { traceparent: INBOUND }, true, facts)
  const under = tracingUnderTest()
  under.tracing.use(source)
  const carrier = await submit(under, begun)
  t.same(carrier, { traceparent: INBOUND })
  const scope = attemptScope({ trace: carrier })
  await attempt(under, scope)
  t.match(scope.traceIds, { traceId: INBOUND.slice(3, 35) }, 'log lines find the caller')
  t.same(under.spans(), [])
})

t.test('somebody else made a server span: it is the parent, and no second one is made', async (t) => {
  const contexts = new TraceContext('private')
  const under = tracingUnderTest({ own: false, contexts })
  const theirs = under.source.startSpan('their server span', {}, ROOT_CONTEXT)
  if (theirs === undefined) throw new Error('no span')
  const begun = contexts.run(trace.setSpan(ROOT_CONTEXT, theirs), () => beginRequest(under.source, { traceparent: INBOUND }, true, facts))
  t.equal(begun?.span, undefined)
  await submit(under, begun)
  finishRequest(begun, 202)
  theirs.end()
  t.equal(under.span('send default').parentSpanContext?.spanId, theirs.spanContext().spanId)
  t.equal(under.spans().length, 2)
})

t.test('serverSpans: false', async (t) => {
  const under = tracingUnderTest({ perSecond: 1 })
  t.equal(beginRequest(under.source, {}, false, facts), undefined)
  await submit(under, beginRequest(under.source, { traceparent: INBOUND }, false, facts))
  t.equal(under.span('send default').parentSpanContext?.spanId, INBOUND.slice(36, 52))
  t.match(await submit(under, undefined), { traceparent: /-01$/ }, 'the token is still there')
})

t.test('a method nobody knows is no span name', async (t) => {
  const under = tracingUnderTest()
  const begun = beginRequest(under.source, {}, true, () => ({ ...FACTS, method: 'BREW' }))
  finishRequest(begun, 200)
  t.equal(under.span('HTTP /reports/:year').attributes['http.request.method'], '_OTHER')
})

t.test('finishing what never began', async (t) => {
  t.doesNotThrow(() => { finishRequest(undefined, 200); finishRequest({ span: 1 }, 200); finishRequest(new RequestTrace(ROOT_CONTEXT), 200) })
})
