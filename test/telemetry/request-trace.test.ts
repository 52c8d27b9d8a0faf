import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import t from 'tap'
import { silentLogger } from '../../lib/core/context.ts'
import { readRedactOptions } from '../../lib/core/redact.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { TraceContext } from '../../lib/telemetry/trace-context.ts'
import { TelemetryFailures } from '../../lib/telemetry/telemetry-failures.ts'
import { RequestTrace } from '../../lib/telemetry/request-trace.ts'
import type { RequestRules, TracedRequest } from '../../lib/telemetry/request-tracing.ts'
import { TokenBucket } from '../../lib/telemetry/sampler.ts'
import { TracerSource } from '../../lib/telemetry/tracer-source.ts'
import { attempt, attemptScope, INBOUND, INBOUND_UNSAMPLED, submit, tracingUnderTest, type TracingUnderTest } from './support.ts'

function begin ({ tracing }: Pick<TracingUnderTest, 'tracing'>, headers: Readonly<Record<string, string>>, rules: Partial<RequestRules<TracedRequest>> = {}, request: Partial<TracedRequest> = {}): RequestTrace | undefined {
  return tracing.requests<TracedRequest>({ serverSpans: true, trustInbound: true, logIds: true, ...rules })
    .begin({ method: 'POST', url: '/reports/2026?token=secret', protocol: 'http', routeOptions: { url: '/reports/:year' }, headers, ...request }, 'report')
}

t.test('request → submission → attempt: one trace, continued from the caller', async (t) => {
  const under = tracingUnderTest({ perSecond: 0 })
  const begun = begin(under, { traceparent: INBOUND, tracestate: 'a=1' })
  await attempt(under, attemptScope({ trace: await submit(under, begun) }))
  begun?.finish(202)
  const server = under.span('POST /reports/:year')
  t.match(server, { kind: SpanKind.SERVER, status: { code: SpanStatusCode.UNSET }, parentSpanContext: { spanId: INBOUND.slice(36, 52) } })
  t.same(server.attributes, { 'http.request.method': 'POST', 'http.route': '/reports/:year', 'url.path': '/reports/2026', 'url.scheme': 'http', 'http.response.status_code': 202, 'job.id': 'job-1', 'job.name': 'report', 'messaging.message.conversation_id': 'corr-1' })
  t.equal(under.span('send default').parentSpanContext?.spanId, server.spanContext().spanId)
  for (const span of under.spans()) t.equal(span.spanContext().traceId, INBOUND.slice(3, 35), span.name)
})

t.test('a request of nobody else: one token for server span and submission together', async (t) => {
  const under = tracingUnderTest({ perSecond: 1 })
  const first = begin(under, {})
  t.match(await submit(under, first), { traceparent: /-01$/ })
  first?.finish(503)
  t.match(under.span('POST /reports/:year'), { status: { code: SpanStatusCode.ERROR }, attributes: { 'error.type': '503' } })
  const second = begin(under, {})
  t.ok(second?.dropped)
  t.equal(await submit(under, second), undefined)
  t.equal(under.spans().length, 2)
})

t.test('an unsampled caller is passed on as text; a broken one is ignored', async (t) => {
  const under = tracingUnderTest()
  t.same(await submit(under, begin(under, { traceparent: INBOUND_UNSAMPLED, tracestate: 'a=1' })), { traceparent: INBOUND_UNSAMPLED, tracestate: 'a=1' })
  t.same(under.spans(), [])
  const broken = begin(under, { traceparent: 'broken', tracestate: 'a=1' })
  t.match(await submit(under, broken), { traceparent: /^00-.*-01$/, tracestate: undefined })
  t.equal(broken?.span?.spanContext().traceId === INBOUND.slice(3, 35), false)
})

t.test('without a tracer the caller is passed on, and without a caller nothing is kept', async (t) => {
  const source = new TracerSource(new TraceContext('explicit'), new TelemetryFailures(new EventBus(silentLogger), silentLogger))
  const under = tracingUnderTest()
  under.tracing.use(source)
  t.equal(begin(under, {}), undefined)
  const begun = begin(under, { traceparent: INBOUND })
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
  const begun = contexts.run(trace.setSpan(ROOT_CONTEXT, theirs), () => begin(under, { traceparent: INBOUND }))
  t.equal(begun?.span, undefined)
  await submit(under, begun)
  begun?.finish(202)
  theirs.end()
  t.equal(under.span('send default').parentSpanContext?.spanId, theirs.spanContext().spanId)
  t.equal(under.spans().length, 2)
})

t.test('serverSpans: false', async (t) => {
  const under = tracingUnderTest({ perSecond: 1 })
  t.equal(begin(under, {}, { serverSpans: false }), undefined)
  await submit(under, begin(under, { traceparent: INBOUND }, { serverSpans: false }))
  t.equal(under.span('send default').parentSpanContext?.spanId, INBOUND.slice(36, 52))
  t.match(await submit(under, undefined), { traceparent: /-01$/ }, 'the token is still there')
})

t.test('a method nobody knows is no span name', async (t) => {
  const under = tracingUnderTest()
  const begun = begin(under, {}, {}, { method: 'BREW' })
  begun?.finish(200)
  t.equal(under.span('HTTP /reports/:year').attributes['http.request.method'], '_OTHER')
})

t.test('finishing what never began, and twice', async (t) => {
  new RequestTrace(ROOT_CONTEXT).finish(200)
  const under = tracingUnderTest()
  const begun = begin(under, {})
  t.ok(begun?.open)
  begun?.finish(undefined)
  begun?.finish(200)
  t.notOk(begun?.open)
  const server = under.span('POST /reports/:year')
  t.equal(server.attributes['http.response.status_code'], undefined, 'the caller went away: there was no answer')
  t.equal(server.status.code, SpanStatusCode.UNSET)
})

t.test('what we make of a caller that is not trusted: a link, and a decision of our own', async (t) => {
  const headers = { traceparent: INBOUND, tracestate: 'vendor=secret' }
  const rules: ReadonlyArray<RequestRules<TracedRequest>['trustInbound']> = [
    false,
    () => false,
    () => { throw new Error('broken') },
    // @ts-expect-error: a promise is no answer, and its rejection must not end the process
    () => Promise.reject(new Error('late')),
    // @ts-expect-error: only true is yes
    () => 'yes'
  ]
  for (const trustInbound of rules) {
    const under = tracingUnderTest({ perSecond: 1 })
    const begun = begin(under, headers, { trustInbound })
    const carrier = await submit(under, begun)
    begun?.finish(202)
    const [server, send] = [under.span('POST /reports/:year'), under.span('send default')]
    t.not(server.spanContext().traceId, INBOUND.slice(3, 35))
    t.equal(server.parentSpanContext, undefined)
    t.match(server.links, [{ context: { traceId: INBOUND.slice(3, 35), spanId: INBOUND.slice(36, 52), traceState: undefined } }])
    t.same([send.links, carrier?.tracestate], [[], undefined])
    t.equal(begin(under, headers, { trustInbound })?.dropped, true, 'its sampled flag is worth no token')
  }
  const trusted = tracingUnderTest({ perSecond: 0 })
  const begun = begin(trusted, headers, { trustInbound: ({ headers }) => headers.traceparent === INBOUND })
  t.match(await submit(trusted, begun), { traceparent: new RegExp(INBOUND.slice(3, 35)), tracestate: 'vendor=secret' })
})

t.test('an untrusted caller: nothing of it is stored when nothing is recorded, and the link is on the submission without server spans', async (t) => {
  const under = tracingUnderTest({ perSecond: 1 })
  const rules = { trustInbound: false, serverSpans: false }
  await submit(under, begin(under, { traceparent: INBOUND }, rules))
  t.match(under.span('send default').links, [{ context: { spanId: INBOUND.slice(36, 52) } }])
  t.equal(under.span('send default').parentSpanContext, undefined)
  t.equal(await submit(under, begin(under, { traceparent: INBOUND }, rules)), undefined)
  under.tracing.use(new TracerSource(new TraceContext('explicit'), new TelemetryFailures(new EventBus(silentLogger), silentLogger)))
  t.equal(await submit(under, begin(under, { traceparent: INBOUND }, rules)), undefined, 'nor without a tracer')
})

t.test('trustInbound is asked only about a caller that sent a valid context, and what it throws is counted', async (t) => {
  const under = tracingUnderTest()
  let asked = 0
  const trustInbound = (): boolean => { asked++; throw new Error('broken') }
  begin(under, {}, { trustInbound })
  begin(under, { traceparent: 'broken' }, { trustInbound })
  t.equal(asked, 0)
  begin(under, { traceparent: INBOUND }, { trustInbound })
  t.same([asked, under.failures], [1, ['tracing.trustInbound: broken']])
})

t.test('more sampled callers than are followed go on unrecorded, under a parent-id that says so', async (t) => {
  for (const serverSpans of [true, false]) {
    const under = tracingUnderTest({ perSecond: 0, remoteBucket: new TokenBucket(1, () => 0) })
    const headers = { traceparent: INBOUND, tracestate: 'a=1' }
    const first = begin(under, headers, { serverSpans })
    t.match(await submit(under, first), { traceparent: /-01$/ })
    first?.finish(202)
    const spans = under.spans().length
    const carrier = await submit(under, begin(under, headers, { serverSpans }))
    t.match(carrier?.traceparent, new RegExp(`^00-${INBOUND.slice(3, 35)}-[0-9a-f]{16}-00$`))
    t.not(carrier?.traceparent.slice(36, 52), INBOUND.slice(36, 52), 'a flag is changed only under a parent-id of our own')
    t.equal(carrier?.tracestate, 'a=1')
    const scope = attemptScope({ trace: carrier })
    await attempt(under, scope)
    t.same([under.spans().length, scope.traceIds], [spans, undefined], 'nor does the worker record it')
  }
})

t.test('an excluded job has no server span either; its caller is passed on', async (t) => {
  const under = tracingUnderTest({ parts: { excluded: () => true } })
  t.same(await submit(under, begin(under, { traceparent: INBOUND })), { traceparent: INBOUND })
  t.equal(await submit(under, begin(under, {})), undefined)
  t.same(under.spans(), [])
})

t.test('the server span is found by the job; the path shows no query and no credentials', async (t) => {
  const under = tracingUnderTest({ parts: { redaction: { ...readRedactOptions(), text: (text) => text.replace('2026', '[FILTERED]') } } })
  const begun = begin(under, {})
  await submit(under, begun)
  begun?.finish(202)
  t.match(under.span('POST /reports/:year').attributes, { 'job.id': 'job-1', 'job.name': 'report', 'url.path': '/reports/[FILTERED]' })
})
