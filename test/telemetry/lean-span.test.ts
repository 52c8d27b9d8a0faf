/** Spans of our own beside those of the SDK: whoever processes or exports them must not see which is which. */
import { createTraceState, INVALID_SPAN_CONTEXT, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, type Context, type Span, type SpanOptions } from '@opentelemetry/api'
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor, type ReadableSpan, type SpanProcessor } from '@opentelemetry/sdk-trace-node'
import t from 'tap'
import { QUIET_CONTEXT } from '../../lib/telemetry/trace-context.ts'
import { LeanTracer } from '../../lib/telemetry/sdk/lean-tracer.ts'

const RESOURCE = { attributes: { 'service.name': 'shop' } }
const SCOPE = { name: 'AsyncEndpoints', version: '1' }
const PARENT = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', traceFlags: 1, isRemote: true }
const WITHIN_MS = 250

type Start = (name: string, options: SpanOptions, context: Context) => Span

/** Whoever makes it, and what an exporter got of it. */
function makers (): Array<{ readonly name: string, readonly start: Start, readonly exported: () => ReadableSpan[] }> {
  const [ofSdk, ours] = [new InMemorySpanExporter(), new InMemorySpanExporter()]
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(ofSdk)] })
  const tracer = provider.getTracer(SCOPE.name, SCOPE.version)
  const processors = [new SimpleSpanProcessor(ours)]
  const lean = new LeanTracer({ resource: RESOURCE, instrumentationScope: SCOPE, processors: () => processors })
  return [
    { name: 'the SDK', start: (name, options, context) => tracer.startSpan(name, options, context), exported: () => ofSdk.getFinishedSpans() },
    { name: 'ours', start: (name, options, context) => lean.startSpan(name, options, context), exported: () => ours.getFinishedSpans() }
  ]
}

/** Everything that can be compared between two runs. */
function told (span: ReadableSpan): object {
  const { name, kind, status, attributes, links, events, ended, parentSpanContext, droppedAttributesCount, droppedEventsCount, droppedLinksCount } = span
  const { traceId, spanId, traceFlags, traceState } = span.spanContext()
  return {
    name, kind, status, attributes, links, ended, parentSpanContext, droppedAttributesCount, droppedEventsCount, droppedLinksCount,
    scope: { name: span.instrumentationScope.name, version: span.instrumentationScope.version },
    events: events.map(({ name, attributes, droppedAttributesCount }) => ({ name, attributes, droppedAttributesCount })),
    ids: [traceId === PARENT.traceId ? traceId : traceId.length, spanId.length, /^[0-9a-f]+$/.test(traceId + spanId), traceFlags, traceState?.serialize()]
  }
}

const ms = ([seconds, nanos]: readonly [number, number]): number => seconds * 1_000 + nanos / 1e6

/** What is done to a span. */
const STORIES: ReadonlyArray<readonly [what: string, options: SpanOptions, context: Context, tell: (span: Span) => void]> = [
  ['nothing at all', {}, ROOT_CONTEXT, () => {}],
  ['a kind, attributes from the start and later, one of them replaced', { kind: SpanKind.CONSUMER, attributes: { a: 1, b: 'x' } }, ROOT_CONTEXT, (span) => {
    span.setAttribute('b', 'y').setAttributes({ c: true, d: ['p', 'q'], e: [1, null, 2] as number[] })
  }],
  ['values that are none', {}, ROOT_CONTEXT, (span) => {
    for (const value of [undefined, null, {}, [1, 'x'], [{}], () => 1, Symbol('s')]) span.setAttribute('bad', value as never)
    span.setAttribute('', 'no name').setAttributes({ none: undefined, good: 0 })
    span.addEvent('event', { bad: {} as never, list: [true], good: 'yes' })
  }],
  ['a parent from elsewhere, with a state', {}, trace.setSpanContext(ROOT_CONTEXT, { ...PARENT, traceState: createTraceState('vendor=1') }), () => {}],
  ['a parent that is none', {}, trace.setSpanContext(ROOT_CONTEXT, INVALID_SPAN_CONTEXT), () => {}],
  ['a parent with ids that are none', {}, trace.setSpanContext(ROOT_CONTEXT, { ...PARENT, traceId: 'x'.repeat(32) }), () => {}],
  ['links', { links: [{ context: PARENT }, { context: PARENT, attributes: { why: 'retry' } }] }, ROOT_CONTEXT, (span) => { span.addLink({ context: PARENT }).addLinks([{ context: PARENT }]) }],
  ['an error', {}, ROOT_CONTEXT, (span) => {
    span.recordException(Object.assign(new TypeError('boom'), { stack: 'stack' }))
    span.recordException('only a text')
    span.recordException({ code: 'E1', message: 'coded' })
    span.recordException({ name: '', message: '' })
    span.setStatus({ code: SpanStatusCode.ERROR, message: 'boom' })
  }],
  ['statuses, of which Unset says nothing and Ok is final', {}, ROOT_CONTEXT, (span) => {
    span.setStatus({ code: SpanStatusCode.ERROR, message: 'x' }).setStatus({ code: SpanStatusCode.UNSET })
    span.setStatus({ code: SpanStatusCode.OK, message: 'not kept' }).setStatus({ code: SpanStatusCode.ERROR, message: 'too late' })
  }],
  ['a status with a message that is none', {}, ROOT_CONTEXT, (span) => { span.setStatus({ code: SpanStatusCode.ERROR, message: 5 as never }) }],
  ['another name', {}, ROOT_CONTEXT, (span) => { span.updateName('other') }],
  ['more of everything than is kept', {}, ROOT_CONTEXT, (span) => {
    for (let index = 0; index < 200; index++) span.setAttribute(`a${index}`, index).addEvent(`e${index}`, { index }).addLink({ context: PARENT })
    span.setAttribute('a5', 'replaced although it is full')
  }],
  ['after its end', {}, ROOT_CONTEXT, (span) => {
    span.end()
    span.setAttribute('late', 1).setAttributes({ late: 1 }).addEvent('late').addLink({ context: PARENT }).setStatus({ code: SpanStatusCode.ERROR }).updateName('late')
    span.recordException('late')
  }]
]

for (const [what, options, context, tell] of STORIES) {
  t.test(`${what}: told like the SDK's`, async (t) => {
    const [sdk, own] = makers().map(({ start, exported }) => {
      // The attributes of ours become its own.
      const span = start('span', { ...options, ...(options.attributes === undefined ? {} : { attributes: { ...options.attributes } }) }, context)
      t.equal(span.isRecording(), true)
      tell(span)
      span.end()
      t.equal(span.isRecording(), false)
      const [finished] = exported()
      if (finished === undefined) throw new Error('nothing was exported')
      return told(finished)
    })
    t.strictSame(own, sdk)
  })
}

t.test('times: of the span, of its events, given in every form', async (t) => {
  for (const { name, start, exported } of makers()) {
    const before = Date.now()
    const span = start('now', {}, ROOT_CONTEXT)
    span.addEvent('one')
    const until = performance.now() + 20
    while (performance.now() < until) { /* time passes */ }
    span.addEvent('two', { x: 1 }).addEvent('given', before + 5).addEvent('both', {}, new Date(before + 6)).addEvent('pair', [Math.floor(before / 1_000), 7_000_000])
    span.end()
    const began = before - 5_000
    const past = start('past', { startTime: began }, ROOT_CONTEXT)
    past.addEvent('young', performance.now())
    past.end(began + 1_234.5)
    start('backwards', { startTime: began }, ROOT_CONTEXT).end(began - 10)
    start('open end', { startTime: began }, ROOT_CONTEXT).end()
    const [now, given, backwards, open] = exported()
    if (now === undefined || given === undefined || backwards === undefined || open === undefined) throw new Error('not all were exported')

    t.ok(Math.abs(ms(now.startTime) - before) < WITHIN_MS, `${name}: starts now`)
    t.ok(ms(now.duration) >= 20 && ms(now.duration) < 20 + WITHIN_MS, `${name}: ${ms(now.duration)} ms long`)
    t.ok(Math.abs(ms(now.endTime) - ms(now.startTime) - ms(now.duration)) < 0.01, `${name}: from start to end`)
    const at = Object.fromEntries(now.events.map(({ name, time }) => [name, ms(time)]))
    t.ok(at['two'] as number - (at['one'] as number) >= 20, `${name}: events have moments`)
    t.match([at['given'], at['both']], [before + 5, before + 6], `${name}: given moments are kept`)
    t.same(now.events.at(-1)?.time, [Math.floor(before / 1_000), 7_000_000], name)
    t.same([given.startTime, given.duration], [[Math.floor(began / 1_000), (began % 1_000) * 1e6], [1, 234_500_000]], `${name}: a past that was given`)
    t.ok(Math.abs(ms(given.events[0]?.time ?? [0, 0]) - Date.now()) < WITHIN_MS, `${name}: a reading of performance.now() is one`)
    t.same(backwards.duration, [0, 0], `${name}: none ends before it began`)
    t.ok(ms(open.duration) >= 5_000 && ms(open.duration) < 5_000 + WITHIN_MS, `${name}: from a given start to now`)
    for (const { startTime, endTime, duration } of [now, given, open]) {
      for (const [seconds, nanos] of [startTime, endTime, duration]) t.ok(Number.isInteger(seconds) && Number.isInteger(nanos) && nanos >= 0 && nanos < 1e9, `${name}: ${seconds} s and ${nanos} ns`)
    }
  }
})

t.test('an attribute of an event without a value is none', async (t) => {
  const exporter = new InMemorySpanExporter()
  const processors = [new SimpleSpanProcessor(exporter)]
  const span = new LeanTracer({ resource: RESOURCE, instrumentationScope: SCOPE, processors: () => processors }).startSpan('x', {}, ROOT_CONTEXT)
  span.addEvent('progress', { done: 1, total: undefined }).end()
  t.strictSame(exporter.getFinishedSpans()[0]?.events[0]?.attributes, { done: 1 })
})

t.test('processors: told of start and end, in order, by who listens at the time', async (t) => {
  const calls: string[] = []
  const processor = (name: string): SpanProcessor => ({
    onStart: (span, context) => { calls.push(`${name} start ${span.isRecording()} ${context === ROOT_CONTEXT}`) },
    onEnding: (span) => {
      calls.push(`${name} ending ${span.isRecording()}`)
      span.setAttribute('last', name)
    },
    onEnd: (span) => { calls.push(`${name} end ${String(span.ended)} ${String(span.attributes['last'])}`) },
    forceFlush: async () => {},
    shutdown: async () => {}
  })
  let processors = [processor('a')]
  const tracer = new LeanTracer({ resource: RESOURCE, instrumentationScope: SCOPE, processors: () => processors })
  const span = tracer.startSpan('x', {}, ROOT_CONTEXT)
  processors = [...processors, processor('b')]
  span.end()
  span.end()
  t.same(calls, ['a start true true', 'a ending true', 'b ending true', 'a end true b', 'b end true b'])
})

t.test('what is not recorded: suppressed, or decided by the parent', async (t) => {
  const started: string[] = []
  const processor: SpanProcessor = { onStart: (span) => { started.push(span.name) }, onEnd: () => {}, forceFlush: async () => {}, shutdown: async () => {} }
  const tracer = new LeanTracer({ resource: RESOURCE, instrumentationScope: SCOPE, processors: () => [processor] })
  const quiet = tracer.startSpan('quiet', {}, QUIET_CONTEXT)
  t.same(quiet.spanContext(), INVALID_SPAN_CONTEXT)
  const unsampled = tracer.startSpan('unsampled', {}, trace.setSpanContext(ROOT_CONTEXT, { ...PARENT, traceFlags: 0 }))
  t.equal(unsampled.isRecording(), false)
  t.match(unsampled.spanContext(), { traceId: PARENT.traceId, spanId: /^(?!b7ad6b7169203331)[0-9a-f]{16}$/, traceFlags: 0 })
  const ids = new Set(Array.from({ length: 1_000 }, () => tracer.startSpan('root', {}, ROOT_CONTEXT).spanContext()).flatMap(({ traceId, spanId }) => [traceId, spanId]))
  t.equal(ids.size, 2_000, 'every trace and every span has an id of its own')
  t.same(new Set(started), new Set(['root']))
})
