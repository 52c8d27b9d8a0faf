/** The spans of steps: their tree, their attributes, and what happens to them when a step fails or never ends. */
import { SpanKind, SpanStatusCode } from '@opentelemetry/api'
import { InMemorySpanExporter, SimpleSpanProcessor, type ReadableSpan } from '@opentelemetry/sdk-trace-node'
import Fastify from 'fastify'
import t from 'tap'
import { discard } from '../../lib/jobs/outcome.ts'
import type { AttemptScope, StepScope } from '../../lib/jobs/seams.ts'
import asyncEndpoints from '../../plugins/async-endpoints.ts'
import { attempt, attemptScope, definition, INBOUND_UNSAMPLED, NOW, submit, tracingUnderTest, type TracingUnderTest } from './support.ts'

const idOf = (span: ReadableSpan): string => span.spanContext().spanId
const parentOf = (span: ReadableSpan): string | undefined => span.parentSpanContext?.spanId
const events = (span: ReadableSpan): string[] => span.events.map(({ name }) => name)

function stepScope (attempt: AttemptScope, parts: Partial<StepScope> = {}): StepScope {
  return { attempt, kind: 'step', step: 'upload', order: 1, tryNumber: 1, maxTries: 3, parent: undefined, traceIds: undefined, spanRunner: undefined, ...parts }
}

/** Runs an attempt whose handler does this. */
async function inAttempt (under: TracingUnderTest, work: (scope: AttemptScope) => Promise<unknown>): Promise<AttemptScope> {
  const scope = attemptScope({ trace: await submit(under) })
  await attempt(under, scope, () => work(scope))
  return scope
}

const latch = (): { readonly open: () => void, readonly opened: Promise<void> } => {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => { open = resolve })
  return { open, opened }
}

t.test('a step is a child of the handler, with the attributes of the source documents', async (t) => {
  const under = tracingUnderTest()
  const seen: unknown[] = []
  await inAttempt(under, async (attempt) => {
    const scope = stepScope(attempt, { tryNumber: 2 })
    t.equal(await under.tracing.step(scope, async () => { seen.push(scope.traceIds, typeof scope.spanRunner); return 'kept' }), 'kept')
  })
  const span = under.span('step upload')
  t.equal(span.kind, SpanKind.INTERNAL)
  t.equal(parentOf(span), idOf(under.span('report')))
  t.equal(span.spanContext().traceId, under.span('send default').spanContext().traceId)
  t.same({ ...span.attributes, 'step.duration_ms': 0 }, {
    'messaging.message.conversation_id': 'corr-1', 'job.id': 'job-1', 'job.name': 'report', 'step.name': 'upload', 'step.order': 1, 'step.attempt': 2, 'step.max_attempts': 3,
    'step.status': 'completed', 'step.duration_ms': 0
  })
  t.type(span.attributes['step.duration_ms'], 'number')
  t.same(events(span), ['step.started', 'step.completed'])
  t.match(span.events[0]?.attributes, { 'step.name': 'upload', 'step.attempt': 2 })
  t.match(span.events[1]?.attributes, { 'step.name': 'upload', 'step.attempt': 2, 'step.duration_ms': Number })
  t.equal(span.status.code, SpanStatusCode.UNSET)
  t.match(seen, [{ spanId: idOf(span), traceFlags: '01' }, 'function'], 'events, log lines and child spans of the step belong to it')
})

t.test('siblings of a group overlap; each is a child of the group', async (t) => {
  const under = tracingUnderTest()
  const both = latch()
  await inAttempt(under, async (attempt) => {
    const group = stepScope(attempt, { kind: 'group', step: 'renditions', order: 2 })
    await under.tracing.step(group, async () => {
      let running = 0
      await Promise.all(['hd', 'uhd'].map(async (name, index) => {
        await under.tracing.step(stepScope(attempt, { step: `renditions/${name}`, order: 3 + index, parent: group }), async () => {
          if (++running === 2) both.open()
          await both.opened
        })
      }))
    })
  })
  const [group, hd, uhd] = [under.span('group renditions'), under.span('step renditions/hd'), under.span('step renditions/uhd')]
  t.same([hd, uhd].map(parentOf), [idOf(group), idOf(group)])
  t.equal(parentOf(group), idOf(under.span('report')))
  const at = ([seconds, nanos]: readonly [number, number]): number => seconds * 1e9 + nanos
  // Each span without an active parent has a clock of its own, which begins with the millisecond of the wall clock.
  const slack = 2e6
  t.ok(at(hd.startTime) <= at(uhd.endTime) + slack && at(uhd.startTime) <= at(hd.endTime) + slack, 'they overlap')
  t.same(events(group), [])
  t.notOk('step.attempt' in group.attributes, 'a group is not tried')
})

t.test('every try is a span: the error on the one that failed, once', async (t) => {
  const under = tracingUnderTest()
  await inAttempt(under, async (attempt) => {
    await t.rejects(under.tracing.step(stepScope(attempt), async () => { throw new TypeError('no disk') }), { message: 'no disk' })
    await under.tracing.step(stepScope(attempt, { tryNumber: 2 }), async () => 1)
  })
  const [first, second] = under.spans().filter(({ name }) => name === 'step upload')
  t.match(first, { status: { code: SpanStatusCode.ERROR, message: 'no disk' }, attributes: { 'step.attempt': 1, 'step.status': 'failed', 'error.type': 'TypeError' } })
  t.match(second, { status: { code: SpanStatusCode.UNSET }, attributes: { 'step.attempt': 2, 'step.status': 'completed' } })
  if (first === undefined) throw new Error('no first try')
  t.same(events(first), ['step.started', 'exception', 'step.failed'])
  t.match(first.events[2]?.attributes, { 'error.type': 'TypeError', 'step.name': 'upload', 'step.duration_ms': Number })
  t.equal(under.span('report').status.code, SpanStatusCode.UNSET, 'the saga went on')
})

t.test('an error that passes group and handler is written in full to the step alone', async (t) => {
  const under = tracingUnderTest()
  await inAttempt(under, async (attempt) => {
    const group = stepScope(attempt, { kind: 'group', step: 'g' })
    await under.tracing.step(group, async () => await under.tracing.step(stepScope(attempt, { step: 'g/a', parent: group }), async () => { throw new Error('deep') }))
  })
  for (const name of ['step g/a', 'group g', 'report']) t.equal(under.span(name).status.code, SpanStatusCode.ERROR, name)
  t.equal(under.spans().flatMap(events).filter((name) => name === 'exception').length, 1)
})

t.test('a discard is no error of the step', async (t) => {
  const under = tracingUnderTest()
  await inAttempt(under, async (attempt) => {
    await t.rejects(under.tracing.step(stepScope(attempt), async () => { throw discard('useless') as unknown as Error }))
  })
  const span = under.span('step upload')
  t.equal(span.status.code, SpanStatusCode.UNSET)
  t.same(events(span), ['step.started', 'step.completed'])
})

t.test('compensations: their own names and words, under one span', async (t) => {
  const under = tracingUnderTest()
  await inAttempt(under, async (attempt) => {
    const all = stepScope(attempt, { kind: 'compensation', step: '', order: 0 })
    await under.tracing.step(all, async () => {
      await under.tracing.step(stepScope(attempt, { kind: 'undo', step: 'probe', order: 2, parent: all }), async () => {})
      await under.tracing.step(stepScope(attempt, { kind: 'undo', maxTries: 5, parent: all }), async () => { throw new Error('still locked') }).catch(() => {})
    })
  })
  const [all, probe, upload] = [under.span('compensation'), under.span('compensate probe'), under.span('compensate upload')]
  t.same([probe, upload].map(parentOf), [idOf(all), idOf(all)])
  t.equal(all.attributes['step.status'], 'compensated')
  t.notOk('step.name' in all.attributes || 'step.order' in all.attributes)
  t.match(probe, { attributes: { 'step.status': 'compensated', 'step.order': 2 }, status: { code: SpanStatusCode.UNSET } })
  t.same(events(probe), ['step.compensating', 'step.compensated'])
  t.match(upload, { attributes: { 'step.status': 'failed', 'step.max_attempts': 5, 'error.type': 'Error' }, status: { code: SpanStatusCode.ERROR } })
  t.same(events(upload), ['step.compensating', 'exception', 'step.compensation_failed'])
})

t.test('a step of an ordinary handler has a span without a place in a list', async (t) => {
  const under = tracingUnderTest()
  await inAttempt(under, async (attempt) => await under.tracing.step(stepScope(attempt, { step: 'load', order: 0 }), async () => 1))
  t.notOk('step.order' in under.span('step load').attributes)
})

t.test('a step that ignores its abort: its span ends with its attempt, and once', async (t) => {
  const under = tracingUnderTest()
  const stuck = latch()
  let late: Promise<unknown> = Promise.resolve()
  await inAttempt(under, async (attempt) => { late = under.tracing.step(stepScope(attempt), async () => { await stuck.opened }) })
  const span = under.span('step upload')
  t.match(span, { status: { code: SpanStatusCode.ERROR }, attributes: { 'step.status': 'failed', 'error.type': 'FAE_ABORTED' } })
  stuck.open()
  await late
  t.equal(under.spans().filter(({ name }) => name === 'step upload').length, 1)
  t.same(under.failures, [], 'and nothing was written to it after that')
})

t.test('child spans of a step are its children', async (t) => {
  const under = tracingUnderTest()
  await inAttempt(under, async (attempt) => {
    const scope = stepScope(attempt)
    await under.tracing.step(scope, async () => await scope.spanRunner?.('resize', () => 1))
  })
  t.equal(parentOf(under.span('resize')), idOf(under.span('step upload')))
})

t.test('unsampled: no spans, no ids, and the step is called', async (t) => {
  const under = tracingUnderTest()
  const scope = attemptScope({ trace: { traceparent: INBOUND_UNSAMPLED } })
  const step = stepScope(scope)
  let called = 0
  await attempt(under, scope, async () => { await under.tracing.step(step, async () => { called++ }) })
  t.equal(called, 1)
  t.same([step.traceIds, step.spanRunner], [undefined, undefined])
  t.same(under.spans(), [])
})

t.test('a step of an attempt that another attempt has replaced is not recorded under the other', async (t) => {
  const under = tracingUnderTest()
  const old = attemptScope()
  await inAttempt(under, async () => await under.tracing.step(stepScope(old), async () => 1))
  t.same(under.spans().filter(({ name }) => name.startsWith('step')), [])
})

t.test('a saga has one trace however often it is claimed; `link` is obeyed', async (t) => {
  const saga = { ...definition, handlerType: 'saga' as const }
  for (const [given, links] of [[saga, 0], [{ ...saga, propagation: 'link' as const }, 1], [definition, 1]] as const) {
    const under = tracingUnderTest()
    const trace = await submit(under)
    // Weeks after its submission, after a crash, and redriven.
    const scope = attemptScope({ trace, attempts: 2, createdAt: NOW - 1e9, error: { code: 'E', message: '' } }, { again: true }, given)
    await attempt(under, scope)
    const [send, process] = [under.span('send default'), under.span('process default')]
    t.equal(process.links.length, links)
    t.equal(process.spanContext().traceId === send.spanContext().traceId, links === 0)
  }
})

t.test('an attempt shows on its span that it waits, and why it undoes its steps', async (t) => {
  const exporter = new InMemorySpanExporter()
  const app = Fastify()
  await app.register(asyncEndpoints, { observability: { tracing: { spanProcessors: [new SimpleSpanProcessor(exporter)], maxTracesPerSecond: 1_000 } } })
  app.saga({
    name: 'transcode',
    steps: (s) => s.step('upload', { run: () => 1, compensate: () => {} }).sleep('cool-down', 1).step('publish', { attempts: 1, run: () => { throw new Error('refused') } })
  })
  await app.ready()
  const { id } = await app.jobs.submit('transcode' as never)
  await app.jobs.waitFor(id, { timeoutMs: 10_000 })
  const spans = [...exporter.getFinishedSpans()]
  await app.close()
  const attempts = spans.filter(({ name }) => name === 'process default')
  const [waits, undoes] = attempts.map(({ events }) => [...events])
  t.match(waits?.at(-1), { name: 'State Applied: scheduled', attributes: { 'job.delay_ms': Number } })
  t.match(undoes?.filter(({ name }) => name.startsWith('saga.')), [
    { name: 'saga.resumed', attributes: { done: Number, 'saga.phase': 'forward' } }, { name: 'saga.compensating', attributes: { 'step.name': 'publish', reason: 'failed', 'error.type': 'Error' } }
  ])
  t.equal(new Set(spans.map((span) => span.spanContext().traceId)).size, 1, 'one trace over both attempts')
})
