import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import type { ReadableSpan } from '@opentelemetry/sdk-trace-node'
import t from 'tap'
import { AsyncEndpointsError } from '../../lib/core/errors.ts'
import { readRedactOptions } from '../../lib/core/redact.ts'
import { compileDefinition } from '../../lib/jobs/compile-definition.ts'
import { snooze } from '../../lib/jobs/outcome.ts'
import { TelemetryFailures } from '../../lib/telemetry/telemetry-failures.ts'
import { fromCarrier } from '../../lib/telemetry/propagation.ts'
import { RequestTrace } from '../../lib/telemetry/request-trace.ts'
import { TracerSource } from '../../lib/telemetry/tracer-source.ts'
import { attempt, attemptScope, COMPLETED, fakeRuntime, INBOUND, INBOUND_UNSAMPLED, NOW, STORED, submit, submitScope, tracingUnderTest } from './support.ts'

const parentOf = (span: ReadableSpan): string | undefined => span.parentSpanContext?.spanId
const idOf = (span: ReadableSpan): string => span.spanContext().spanId
const events = (span: ReadableSpan): string[] => span.events.map(({ name }) => name)

t.test('submit → attempt → handler is one trace', async (t) => {
  const under = tracingUnderTest()
  const carrier = await submit(under)
  const scope = attemptScope({ trace: carrier })
  let seen: { ids: unknown, trace: unknown } | undefined
  await attempt(under, scope, () => { seen = { ids: scope.traceIds, trace: scope.trace } })

  const [send, process, handler] = [under.span('send default'), under.span('process default'), under.span('report')]
  t.equal(carrier?.traceparent, `00-${send.spanContext().traceId}-${idOf(send)}-01`)
  t.same(new Set(under.spans().map((span) => span.spanContext().traceId)).size, 1)
  t.equal(parentOf(send), undefined)
  t.equal(parentOf(process), idOf(send))
  t.equal(parentOf(handler), idOf(process))
  t.same([send.kind, process.kind, handler.kind], [SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.INTERNAL])
  t.same(process.links, [])
  t.match(seen, { ids: { spanId: idOf(handler), traceFlags: '01' }, trace: { traceparent: `00-${handler.spanContext().traceId}-${idOf(handler)}-01` } }, 'the handler logs and passes on its own span')
  t.match(scope.traceIds, { spanId: idOf(process) }, 'events after it point at the attempt')
  t.equal(under.tracing.live.size, 0)
})

t.test('attributes: the keys of the source document and the messaging conventions, and no payload', async (t) => {
  const under = tracingUnderTest()
  const carrier = await submit(under)
  await attempt(under, attemptScope({ trace: carrier, attempts: 1 }))
  const messaging = { 'messaging.system': 'memory', 'messaging.destination.name': 'default', 'messaging.message.id': 'job-1', 'messaging.message.conversation_id': 'corr-1' }
  const job = { 'job.id': 'job-1', 'job.name': 'report', 'store.type': 'memory' }
  t.same(under.span('send default').attributes, { ...messaging, ...job, 'messaging.operation.name': 'send', 'messaging.operation.type': 'send', 'job.status': 'queued', 'handler.type': 'function' })
  const attempted = { ...job, 'worker.id': 'worker-1', 'handler.type': 'function', 'retry.count': 0 }
  t.same(under.span('process default').attributes, {
    ...messaging,
    ...attempted,
    'messaging.operation.name': 'process',
    'messaging.operation.type': 'process',
    'messaging.client.id': 'worker-1',
    'job.status': 'completed',
    'job.queue.duration': 1,
    'job.available_at': new Date(NOW).toISOString()
  })
  t.same(under.span('report').attributes, { ...attempted, 'job.status': 'in-progress', 'messaging.message.conversation_id': 'corr-1' })
  t.notMatch(JSON.stringify(under.spans().map(({ attributes, events }) => ({ attributes, events }))), /payload|secret/)
})

t.test('state transitions are span events; success leaves the status unset', async (t) => {
  const under = tracingUnderTest()
  const carrier = await submit(under)
  await attempt(under, attemptScope({ trace: carrier }))
  t.same(events(under.span('send default')), ['State Applied: queued'])
  t.same(events(under.span('process default')), ['State Applied: in-progress', 'State Applied: completed'])
  t.match(under.span('process default').events[1]?.attributes, { 'state.old': 'in-progress', 'state.new': 'completed' })
  for (const span of under.spans()) t.equal(span.status.code, SpanStatusCode.UNSET, span.name)
})

t.test('the attempt ends when the store has answered, not before', async (t) => {
  const under = tracingUnderTest()
  const scope = attemptScope({ trace: await submit(under) })
  await under.tracing.attempt(scope, async () => COMPLETED)
  t.equal(under.spans().some((span) => span.name === 'process default'), false)
  t.equal(under.tracing.live.size, 1)
  scope.settle(STORED, COMPLETED)
  t.ok(under.span('process default'))
})

t.test('a stall: told where another worker accounts for it, without a wait and without a handler', async (t) => {
  const carrier = await submit(tracingUnderTest())
  for (const [settlement, state] of [[{ kind: 'postpone', delayMs: 1_000 }, 'scheduled'], [{ kind: 'failed', error: { code: 'FAE_STALLED', message: 'it stalled' } }, 'failed']] as const) {
    const under = tracingUnderTest()
    const scope = attemptScope({ trace: carrier, attempts: 2 }, { stalled: true })
    await under.tracing.attempt(scope, async () => settlement)
    scope.settle(STORED, settlement)
    const span = under.span('process default')
    t.same(events(span), ['State Applied: queued', 'State Applied: in-progress', `State Applied: ${state}`])
    t.match(span, { status: { code: SpanStatusCode.ERROR }, attributes: { 'error.type': 'FAE_STALLED', 'job.status': state, 'retry.count': 1 } })
    t.notOk('job.queue.duration' in span.attributes || 'job.available_at' in span.attributes, 'nothing waited to be run')
    t.equal(span.links.length, 1, 'a trace of its own that points at the submission')
  }
})

t.test('an error: status and error.type on handler and attempt, the exception once, bounded', async (t) => {
  const under = tracingUnderTest()
  const scope = attemptScope({ trace: await submit(under) })
  const error = Object.assign(new Error(`bad ${'x'.repeat(100_000)}\u0007`), { code: 'E_BAD', query: 'SELECT secret' })
  await attempt(under, scope, async () => {
    await scope.spanRunner?.('inner', () => { throw error })
  }, { kind: 'retry', error: { code: 'E_BAD', message: 'bad' }, delayMs: 500 })
  const [inner, handler, process] = [under.span('inner'), under.span('report'), under.span('process default')]
  for (const span of [inner, handler, process]) t.match(span, { status: { code: SpanStatusCode.ERROR }, attributes: { 'error.type': 'E_BAD' } }, span.name)
  t.same([inner, handler, process].map((span) => events(span).filter((name) => name === 'exception').length), [1, 0, 0], 'recorded where it happened')
  const recorded = inner.events[0]?.attributes ?? {}
  t.ok(JSON.stringify(recorded).length < 7_000, `${JSON.stringify(recorded).length} characters`)
  t.match(recorded, { 'exception.type': 'E_BAD', 'exception.stacktrace': /tracing\.test/ })
  t.notMatch(JSON.stringify(recorded), /secret/)
  t.match(process.events.at(-1), { name: 'State Applied: scheduled', attributes: { 'job.delay_ms': 500 } })
})

t.test('OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN=logs: no exception event', async (t) => {
  t.teardown(() => { delete process.env.OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN })
  process.env.OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN = 'logs'
  const under = tracingUnderTest()
  await attempt(under, attemptScope({ trace: await submit(under) }), () => { throw new Error('x') }, { kind: 'failed', error: { code: 'Error', message: 'x' } })
  t.same(events(under.span('report')), [])
  t.match(under.span('report').status, { code: SpanStatusCode.ERROR, message: 'x' })
})

t.test('whatever is thrown; an outcome that is thrown is no error', async (t) => {
  for (const thrown of ['text', undefined, null, 5, { secret: 1 }, Object.create(null)]) {
    const under = tracingUnderTest()
    await attempt(under, attemptScope({ trace: await submit(under) }), () => { throw thrown }, { kind: 'failed', error: { code: 'FAE_HANDLER_ERROR', message: 'm' } })
    t.match(under.span('report'), { attributes: { 'error.type': 'FAE_HANDLER_ERROR' }, events: [{ name: 'exception' }] }, String(typeof thrown))
    t.same(under.failures, [])
  }
  const under = tracingUnderTest()
  await attempt(under, attemptScope({ trace: await submit(under) }), () => { throw snooze(1) }, { kind: 'snooze', delayMs: 1 })
  t.same(events(under.span('report')), [])
  t.equal(under.span('report').status.code, SpanStatusCode.UNSET)
  t.equal(under.span('process default').status.code, SpanStatusCode.UNSET)
})

t.test('every ending of an attempt', async (t) => {
  const unset = { code: SpanStatusCode.UNSET }
  const cases = [
    [COMPLETED, STORED, 'completed', unset, undefined],
    [{ kind: 'failed', error: { code: 'E', message: 'm' } }, STORED, 'failed', { code: SpanStatusCode.ERROR, message: 'm' }, 'E'],
    [{ kind: 'cancelled', reason: 'r' }, STORED, 'cancelled', { code: SpanStatusCode.ERROR, message: 'Operation was cancelled' }, 'OperationCancelled'],
    [{ kind: 'release' }, STORED, 'queued', unset, undefined],
    [{ kind: 'snooze', delayMs: 5 }, STORED, 'scheduled', unset, undefined],
    [COMPLETED, { kind: 'refused', code: 'FAE_LEASE_LOST' }, 'in-progress', { code: SpanStatusCode.ERROR }, 'FAE_LEASE_LOST'],
    [COMPLETED, { kind: 'error', error: new AsyncEndpointsError('FAE_STORE_UNAVAILABLE', 'away') }, 'in-progress', { code: SpanStatusCode.ERROR, message: 'away' }, 'FAE_STORE_UNAVAILABLE']
  ] as const
  for (const [settlement, verdict, status, spanStatus, errorType] of cases) {
    const under = tracingUnderTest()
    await attempt(under, attemptScope({ trace: await submit(under) }), () => 1, settlement, verdict)
    const span = under.span('process default')
    t.match(span.status, spanStatus, `${settlement.kind} ${verdict.kind}`)
    t.equal(span.attributes['job.status'], status)
    t.equal(span.attributes['error.type'], errorType)
    if (verdict.kind === 'error') t.match(span.events.at(-1), { name: 'job.state_update_failed', attributes: { 'error.type': 'FAE_STORE_UNAVAILABLE', 'state.new': 'completed' } })
  }
})

t.test('auto: parent for a prompt first attempt, a linked trace of its own for all else', async (t) => {
  const hour = 3_600_000
  const cases: ReadonlyArray<readonly [what: string, job: object, claim: object, linked: boolean]> = [
    ['first, prompt', {}, {}, false],
    ['first, planned for later, on time', { createdAt: NOW - 1_800_000 }, {}, false],
    ['a retry', { attempts: 2 }, {}, true],
    ['after a snooze', {}, { again: true }, true],
    ['later than planned, and never claimed before', {}, { availableAt: NOW + 60_000 }, false],
    ['redriven', { error: { code: 'E', message: 'm' } }, {}, true],
    ['waited for hours', { createdAt: NOW - hour - 1 }, {}, true]
  ]
  for (const [what, job, claim, linked] of cases) {
    const under = tracingUnderTest()
    const carrier = await submit(under)
    await attempt(under, attemptScope({ trace: carrier, ...job }, claim))
    const [send, process, handler] = [under.span('send default'), under.span('process default'), under.span('report')]
    t.equal(process.spanContext().traceId !== send.spanContext().traceId, linked, what)
    t.same(process.links.map(({ context }) => context.spanId), linked ? [idOf(send)] : [], what)
    t.equal(parentOf(process), linked ? undefined : idOf(send), what)
    t.equal(parentOf(handler), idOf(process), what)
  }
})

t.test('parent and link hold whatever the attempt', async (t) => {
  for (const propagation of ['parent', 'link'] as const) {
    for (const attempts of [1, 2]) {
      const under = tracingUnderTest({ parts: { propagation } })
      await attempt(under, attemptScope({ trace: await submit(under), attempts }))
      t.equal(under.span('process default').links.length, propagation === 'link' ? 1 : 0, `${propagation} ${attempts}`)
    }
  }
})

t.test('a job says by itself how its attempts are tied to its submission', async (t) => {
  for (const [propagation, attempts, links] of [['link', 1, 1], ['parent', 2, 0], ['auto', 1, 0], ['auto', 2, 1]] as const) {
    const under = tracingUnderTest({ parts: { propagation: propagation === 'parent' ? 'link' : 'parent' } })
    const definition = compileDefinition({ name: 'report', handler: async () => {}, propagation })
    await attempt(under, attemptScope({ trace: await submit(under), attempts }, {}, definition))
    t.equal(under.span('process default').links.length, links, `${propagation} ${attempts}`)
  }
})

t.test('auto: who was not sampled is not for its retries either; link: the attempt decides by itself', async (t) => {
  for (const [propagation, recorded] of [['auto', 0], ['parent', 0], ['link', 2]] as const) {
    const under = tracingUnderTest({ own: false, parts: { propagation } })
    await attempt(under, attemptScope({ trace: { traceparent: INBOUND_UNSAMPLED }, attempts: 2 }))
    t.equal(under.spans().length, recorded, propagation)
  }
})

t.test('somebody had asked the job to stop: that is how it ended, whatever the attempt wanted', async (t) => {
  const under = tracingUnderTest()
  await attempt(under, attemptScope({ trace: await submit(under) }), () => { throw new Error('x') }, { kind: 'retry', error: { code: 'E', message: 'x' }, delayMs: 5 }, { kind: 'stored', instead: 'cancelled' })
  const process = under.span('process default')
  t.match(process, { attributes: { 'job.status': 'cancelled', 'error.type': 'OperationCancelled' } })
  t.same([process.events.at(-1)?.name, process.events.at(-1)?.attributes], ['State Applied: cancelled', { 'state.old': 'in-progress', 'state.new': 'cancelled' }])
})

t.test('messages and stacks go through the redaction', async (t) => {
  const redaction = { ...readRedactOptions(), text: (text: string) => text.replaceAll('hunter2', '[FILTERED]') }
  const under = tracingUnderTest({ parts: { redaction } })
  const scope = attemptScope({ trace: await submit(under) })
  await attempt(under, scope, function hunter2 () { throw new Error('password=hunter2') }, { kind: 'failed', error: { code: 'Error', message: 'password=hunter2' } })
  const all = JSON.stringify(under.spans().map(({ attributes, events, status }) => ({ attributes, events, status })))
  t.notMatch(all, /hunter2/)
  t.match(under.span('report'), { status: { message: 'password=[FILTERED]' }, events: [{ attributes: { 'exception.message': 'password=[FILTERED]', 'exception.stacktrace': /FILTERED/ } }] })
  t.match(under.span('process default').status, { message: 'password=[FILTERED]' })
})

t.test('a thrown text is recorded once as well', async (t) => {
  const under = tracingUnderTest()
  const scope = attemptScope({ trace: await submit(under) })
  await attempt(under, scope, async () => { await scope.spanRunner?.('inner', () => { throw 'text' }) }, { kind: 'failed', error: { code: 'E', message: 'm' } })
  t.same([under.span('inner'), under.span('report'), under.span('process default')].map((span) => events(span).filter((name) => name === 'exception').length), [1, 0, 0])
})

t.test('a linked attempt takes no second token: what was sampled stays sampled', async (t) => {
  const under = tracingUnderTest({ perSecond: 1 })
  const carrier = await submit(under)
  await attempt(under, attemptScope({ trace: carrier, attempts: 2 }))
  t.ok(under.span('process default'))
  t.equal(await submit(under), undefined, 'the bucket is empty')
})

t.test('an unsampled job with our own provider: no ids, no carrier, no span', async (t) => {
  const under = tracingUnderTest({ perSecond: 0 })
  t.equal(await submit(under), undefined)
  const scope = attemptScope()
  await attempt(under, scope)
  t.same(under.spans(), [])
  t.same([scope.trace, scope.traceIds, scope.spanRunner], [undefined, undefined, undefined])
  const noNext = under.tracing.attempt(attemptScope(), () => Promise.resolve(COMPLETED))
  t.ok(noNext instanceof Promise)
})

t.test('an unsampled caller: its context is handed on as it came', async (t) => {
  const under = tracingUnderTest()
  const unsampled = fromCarrier({ traceparent: INBOUND_UNSAMPLED, tracestate: 'a=1' })
  if (unsampled === undefined) throw new Error('the fixture is broken')
  const carrier = await submit(under, new RequestTrace(trace.setSpanContext(ROOT_CONTEXT, unsampled)))
  t.same(carrier, { traceparent: INBOUND_UNSAMPLED, tracestate: 'a=1' })
  const scope = attemptScope({ trace: carrier })
  await attempt(under, scope)
  t.same(scope.trace, carrier)
  t.equal(scope.traceIds, undefined)
  t.same(under.spans(), [])
})

t.test('a sampled caller is followed without limit', async (t) => {
  const under = tracingUnderTest({ perSecond: 0 })
  const sampled = fromCarrier({ traceparent: INBOUND, tracestate: 'a=1' })
  if (sampled === undefined) throw new Error('the fixture is broken')
  const carrier = await submit(under, new RequestTrace(trace.setSpanContext(ROOT_CONTEXT, sampled)))
  t.equal(under.span('send default').spanContext().traceId, sampled.traceId)
  t.equal(parentOf(under.span('send default')), sampled.spanId)
  t.equal(carrier?.tracestate, 'a=1')
  await attempt(under, attemptScope({ trace: carrier }))
  t.equal(under.span('process default').spanContext().traceId, sampled.traceId)
})

t.test('a foreign provider decides by itself, also about jobs that came without a context', async (t) => {
  const under = tracingUnderTest({ own: false })
  await attempt(under, attemptScope())
  t.equal(parentOf(under.span('process default')), undefined)
  t.ok(under.span('report'))
})

t.test('a broken trace context in a job is ignored', async (t) => {
  const under = tracingUnderTest({ own: false })
  for (const traceparent of ['nonsense', `00-${'0'.repeat(32)}-b7ad6b7169203331-01`, 'ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01']) {
    await attempt(under, attemptScope({ trace: { traceparent, tracestate: 'a=1' } }))
  }
  t.same(under.spans().filter((span) => span.name === 'process default').map((span) => [parentOf(span), span.links.length]), [[undefined, 0], [undefined, 0], [undefined, 0]])
})

t.test('excluded jobs: no spans, the caller is passed on', async (t) => {
  const under = tracingUnderTest({ parts: { excluded: () => true } })
  const sampled = fromCarrier({ traceparent: INBOUND })
  if (sampled === undefined) throw new Error('the fixture is broken')
  const carrier = await submit(under, new RequestTrace(trace.setSpanContext(ROOT_CONTEXT, sampled)))
  t.equal(carrier?.traceparent, INBOUND)
  const scope = attemptScope({ trace: carrier })
  await attempt(under, scope)
  t.same(under.spans(), [])
  t.match(scope.traceIds, { traceId: sampled.traceId, traceFlags: '01' }, 'log lines still find the caller')
})

t.test('a context that was given with the submission is not overwritten', async (t) => {
  const under = tracingUnderTest()
  const scope = submitScope()
  scope.job.trace = { traceparent: INBOUND }
  await under.tracing.submit(scope, async () => ({ created: true, id: 'job-1' }))
  t.same(scope.job.trace, { traceparent: INBOUND })
})

t.test('the store refuses a submission: the span says so, the error goes on', async (t) => {
  const under = tracingUnderTest()
  const error = new AsyncEndpointsError('FAE_STORE_UNAVAILABLE', 'away')
  await t.rejects(under.tracing.submit(submitScope(), () => Promise.reject(error)), { code: 'FAE_STORE_UNAVAILABLE' })
  t.match(under.span('send default'), { status: { code: SpanStatusCode.ERROR, message: 'away' }, attributes: { 'error.type': 'FAE_STORE_UNAVAILABLE' } })
})

t.test('a replayed submission carries the id of the job that is there', async (t) => {
  const under = tracingUnderTest()
  const { job } = attemptScope({ id: 'old-job', state: 'completed' }).claim
  await under.tracing.submit(submitScope(), async () => ({ created: false, id: 'old-job', job, sameRequest: true }))
  t.match(under.span('send default'), { attributes: { 'job.id': 'old-job', 'messaging.message.id': 'old-job', 'job.status': 'completed', 'job.replayed': true } })
  t.same(events(under.span('send default')), [], 'its state did not change')
})

t.test('job.span nests under the handler, in explicit mode too', async (t) => {
  const under = tracingUnderTest()
  const scope = attemptScope({ trace: await submit(under) })
  await attempt(under, scope, async () => {
    t.equal(await scope.spanRunner?.('load rows', () => 42), 42)
  })
  t.equal(parentOf(under.span('load rows')), idOf(under.span('report')))
})

t.test('a handler that outlives its attempt ends with it, once', async (t) => {
  const under = tracingUnderTest()
  const scope = attemptScope({ trace: await submit(under) })
  let letGo: () => void = () => {}
  let late: Promise<unknown> = Promise.resolve()
  const settled = await under.tracing.attempt(scope, async () => {
    late = under.tracing.handler(scope, () => new Promise<void>((resolve) => { letGo = resolve }))
    return { kind: 'failed' as const, error: { code: 'FAE_ATTEMPT_TIMEOUT', message: 'm' } }
  })
  scope.settle(STORED, settled)
  t.match(under.span('report'), { attributes: { 'error.type': 'FAE_ABORTED' } })
  letGo()
  await late
  t.equal(under.spans().length, 3, 'nothing was ended twice')
  t.same(under.failures, [])
})

t.test('detailed tracing adds the store', async (t) => {
  const under = tracingUnderTest({ parts: { detailed: true } })
  await attempt(under, attemptScope({ trace: await submit(under) }))
  t.equal(parentOf(under.span('store create')), idOf(under.span('send default')))
  t.equal(parentOf(under.span('settle default')), idOf(under.span('process default')))
  t.match(under.span('settle default').attributes, { 'messaging.operation.type': 'settle' })
})

t.test('a span processor that throws breaks nothing', async (t) => {
  const broken = { getTracer: () => ({ startSpan: () => { throw new Error('broken SDK') }, startActiveSpan: () => {} }) }
  const under = tracingUnderTest()
  const runtime = fakeRuntime()
  const told: string[] = []
  runtime.bus.on('telemetry.listener_failed', ({ source, message }) => told.push(`${source} ${message}`))
  under.tracing.use(new TracerSource(under.source.contexts, new TelemetryFailures(runtime.bus, runtime.context.logger), broken as never))
  t.equal(await submit(under), undefined)
  await attempt(under, attemptScope())
  t.same(told, ['tracing broken SDK'], 'told once')
})

t.test('job.span takes a kind and attributes, bounded as those of spanAttributes', async (t) => {
  const under = tracingUnderTest()
  const scope = attemptScope({ trace: await submit(under) })
  await attempt(under, scope, async () => { await scope.spanRunner?.('ask', () => 1, { kind: 'client', attributes: { 'peer.service': 'bank', 'job.id': 'mine' } }) })
  const { kind, attributes } = under.span('ask')
  t.equal(kind, SpanKind.CLIENT)
  t.equal(attributes['peer.service'], 'bank')
  t.equal(attributes['job.id'], 'job-1', 'what the library says of a job is not for an application to change')
})
