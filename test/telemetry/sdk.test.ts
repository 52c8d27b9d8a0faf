import { ROOT_CONTEXT } from '@opentelemetry/api'
import { AlwaysOnSampler, InMemorySpanExporter, ParentBasedSampler, SimpleSpanProcessor, TraceIdRatioBasedSampler, type SpanProcessor } from '@opentelemetry/sdk-trace-node'
import t from 'tap'
import { silentLogger, systemClock, type Logger } from '../../lib/core/context.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { readOtelEnvironment } from '../../lib/telemetry/environment.ts'
import { TraceContext } from '../../lib/telemetry/trace-context.ts'
import { TelemetryFailures } from '../../lib/telemetry/telemetry-failures.ts'
import { resolveTracing } from '../../lib/telemetry/resolve-tracing.ts'
import { TokenBucket } from '../../lib/telemetry/sampler.ts'
import { attachWatcher } from '../../lib/telemetry/sdk/span-watch.ts'
import { createPrivateTracing, type PrivateTracingParts } from '../../lib/telemetry/sdk/traces.ts'
import { TracerSource, type OwnSampling } from '../../lib/telemetry/tracer-source.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

function parts (given: Partial<PrivateTracingParts> = {}): PrivateTracingParts & { readonly warnings: string[] } {
  const warnings: string[] = []
  const logger: Logger = { ...silentLogger, warn: (_fields, message) => { warnings.push(String(message)) } }
  return {
    spanProcessors: [], exporters: [], sampler: undefined, bucket: new TokenBucket(50, () => 0), environment: readOtelEnvironment({}), resource: { 'service.name': 'x' },
    clock: systemClock, logger, exportFailed: () => {}, warnings, ...given
  }
}

t.test('nothing to export to, no provider', async (t) => {
  t.equal(await createPrivateTracing(parts()), undefined)
  t.equal(await createPrivateTracing(parts({ environment: readOtelEnvironment({ OTEL_TRACES_EXPORTER: 'none' }) })), undefined)
})

t.test('OTEL_SDK_DISABLED switches it off, whatever else is said', async (t) => {
  const environment = readOtelEnvironment({ OTEL_SDK_DISABLED: 'true', OTEL_TRACES_EXPORTER: 'console' })
  t.equal(await createPrivateTracing(parts({ environment, exporters: [new InMemorySpanExporter()] })), undefined)
})

t.test('spans carry our resource; the bucket samples', async (t) => {
  const exporter = new InMemorySpanExporter()
  const own = await createPrivateTracing(parts({ spanProcessors: [new SimpleSpanProcessor(exporter)], bucket: new TokenBucket(1, () => 0), resource: { 'service.name': 'shop', 'service.instance.id': '1' } }))
  t.ok(own?.bucket)
  own?.provider.getTracer('x').startSpan('one').end()
  own?.provider.getTracer('x').startSpan('two').end()
  t.same(exporter.getFinishedSpans().map(({ name, resource }) => [name, resource.attributes]), [['one', { 'service.name': 'shop', 'service.instance.id': '1' }]])
  await own?.shutdown()
})

t.test('who makes the spans of jobs: we do, unless somebody else has a say in it', async (t) => {
  const given = (more: Partial<PrivateTracingParts> = {}): ReturnType<typeof createPrivateTracing> => createPrivateTracing(parts({ exporters: [new InMemorySpanExporter()], ...more }))
  for (const [made, what, more] of [
    [true, 'by default', {}],
    [false, 'a sampler of the application', { sampler: new AlwaysOnSampler() }],
    [false, 'a sampler of the environment', { environment: readOtelEnvironment({ OTEL_TRACES_SAMPLER: 'always_on' }) }],
    [false, 'limits of the environment', { environment: readOtelEnvironment({ OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT: '5' }) }]
  ] as const) {
    const own = await given(more)
    t.equal(own?.jobTracer !== undefined, made, what)
    await own?.shutdown()
  }
})

t.test('spans of ours and of the provider go the same way, also to whoever listens later', async (t) => {
  const exporter = new InMemorySpanExporter()
  const own = await createPrivateTracing(parts({ spanProcessors: [new SimpleSpanProcessor(exporter)] }))
  if (own?.jobTracer === undefined) throw new Error('it makes none')
  const ended: string[] = []
  const detach = attachWatcher(own.provider, { onStart: () => {}, onEnd: (span) => { ended.push(span.spanContext().spanId) }, forceFlush: async () => {}, shutdown: async () => {} })
  const [job, other] = [own.jobTracer.startSpan('job', {}, ROOT_CONTEXT), own.provider.getTracer('x').startSpan('other')]
  job.end()
  other.end()
  detach?.()
  own.jobTracer.startSpan('unwatched', {}, ROOT_CONTEXT).end()
  t.same(ended, [job, other].map((span) => span.spanContext().spanId))
  const spans = exporter.getFinishedSpans()
  t.same(spans.map(({ name }) => name), ['job', 'other', 'unwatched'])
  t.equal(spans[0]?.resource, spans[1]?.resource, 'one resource: exporters group by it')
  t.equal(spans[0]?.instrumentationScope.name, 'AsyncEndpoints')
  await own.shutdown()
  own.jobTracer.startSpan('too late', {}, ROOT_CONTEXT).end()
  t.equal(ended.length, 2)
})

t.test('an exporter gets a batch processor, and what is left at shutdown', async (t) => {
  const exported: string[] = []
  const exporter = { export: (spans: ReadonlyArray<{ name: string }>, done: (result: { code: number }) => void) => { exported.push(...spans.map(({ name }) => name)); done({ code: 0 }) }, shutdown: async () => {} }
  const own = await createPrivateTracing(parts({ exporters: [exporter] }))
  own?.provider.getTracer('x').startSpan('late').end()
  t.same(exported, [])
  await own?.shutdown()
  t.same(exported, ['late'])
})

t.test('a sampler of the application, or of the environment, replaces the bucket', async (t) => {
  const given = await createPrivateTracing(parts({ exporters: [new InMemorySpanExporter()], sampler: new TraceIdRatioBasedSampler(0) }))
  t.equal(given?.bucket, undefined)
  t.equal(given?.provider.getTracer('x').startSpan('y').isRecording(), false)
  await given?.shutdown()
  t.teardown(() => { delete process.env.OTEL_TRACES_SAMPLER })
  process.env.OTEL_TRACES_SAMPLER = 'always_off'
  const environment = await createPrivateTracing(parts({ exporters: [new InMemorySpanExporter()], environment: readOtelEnvironment() }))
  t.equal(environment?.bucket, undefined)
  t.equal(environment?.provider.getTracer('x').startSpan('y').isRecording(), false)
  await environment?.shutdown()
})

t.test('who follows the parent is known, so that nothing is made for what will not be recorded', async (t) => {
  const follows = async (given: Partial<PrivateTracingParts>): Promise<boolean | undefined> => {
    const own = await createPrivateTracing(parts({ exporters: [new InMemorySpanExporter()], ...given }))
    await own?.shutdown()
    return own?.followsParent
  }
  t.equal(await follows({}), true, 'ours')
  t.equal(await follows({ sampler: new ParentBasedSampler({ root: new AlwaysOnSampler() }) }), true)
  t.equal(await follows({ sampler: new ParentBasedSampler({ root: new AlwaysOnSampler(), remoteParentNotSampled: new AlwaysOnSampler() }) }), false)
  t.equal(await follows({ sampler: new AlwaysOnSampler() }), false)
  t.equal(await follows({ sampler: { shouldSample: () => ({ decision: 0 }), toString: () => { throw new Error('nameless') } } }), false)
  t.teardown(() => { delete process.env.OTEL_TRACES_SAMPLER })
  for (const [sampler, expected] of [['parentbased_traceidratio', true], ['always_on', false]] as const) {
    process.env.OTEL_TRACES_SAMPLER = sampler
    t.equal(await follows({ environment: readOtelEnvironment() }), expected, sampler)
  }
})

t.test('what to do, before anything is made', async (t) => {
  const failures = new TelemetryFailures(new EventBus(silentLogger), silentLogger)
  const provider = { getTracer: () => ({ startSpan: () => { throw new Error('not asked') }, startActiveSpan: () => {} }) } as never
  const caller = (traceFlags: number, isRemote = true) => ({ traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), traceFlags, isRemote })
  const bucket = (): TokenBucket => new TokenBucket(1, () => 0)
  const decide = (sampling?: OwnSampling, given: unknown = provider): string[] => {
    const source = new TracerSource(new TraceContext('explicit'), failures, (given ?? undefined) as never, sampling)
    return [source.decide(undefined), source.decide(undefined), source.decide(caller(1)), source.decide(caller(1)), source.decide(caller(1, false)), source.decide(caller(0)), source.decideAttempt(undefined), source.decideAttempt(caller(1)), source.decideAttempt(caller(0))]
  }
  t.same(decide({ bucket: bucket(), followsParent: true }), ['sampled', 'pass', 'ask', 'ask', 'ask', 'pass', 'pass', 'ask', 'pass'], 'our own bucket')
  t.same(decide({ bucket: bucket(), remoteBucket: bucket(), followsParent: true }), ['sampled', 'pass', 'ask', 'over', 'ask', 'pass', 'pass', 'ask', 'pass'], 'with a limit for others')
  t.same(decide({ followsParent: false }), Array(9).fill('ask'), 'a sampler that was given decides')
  t.same(decide({ followsParent: true }), ['ask', 'ask', 'ask', 'ask', 'ask', 'pass', 'pass', 'ask', 'pass'], 'as far as it can say yes')
  t.same(decide(), Array(9).fill('ask'), 'an application\'s provider decides')
  t.same(decide(undefined, null), Array(9).fill('pass'), 'nobody collects spans')
})

t.test('problems of the variables are said once, and nobody is asked for packages in vain', async (t) => {
  const under = parts({ environment: readOtelEnvironment({ OTEL_TRACES_EXPORTER: 'zipkin' }) })
  t.equal(await createPrivateTracing(under), undefined)
  t.match(under.warnings, [/"zipkin" is not one of/])
  t.equal(under.warnings.length, 1)
})

t.test('a shutdown that hangs or fails is given up after two seconds', async (t) => {
  const clock = new FakeClock()
  const processor = (shutdown: () => Promise<void>): SpanProcessor => ({ onStart: () => {}, onEnd: () => {}, forceFlush: async () => {}, shutdown })
  const hanging = parts({ clock, spanProcessors: [processor(() => new Promise(() => {}))] })
  const own = await createPrivateTracing(hanging)
  let over = false
  const ending = own?.shutdown().then(() => { over = true })
  await clock.advance(1_999)
  t.equal(over, false)
  await clock.advance(1)
  await ending
  t.match(hanging.warnings, [/within 2000 ms/])
  const failing = parts({ spanProcessors: [processor(async () => { throw new Error('collector away') })] })
  await (await createPrivateTracing(failing))?.shutdown()
  t.match(failing.warnings, [/could not be exported at shutdown/])
})

t.test('who makes the spans: what is given, else what is registered, else what the environment asks for', async (t) => {
  const under = parts()
  const failures = new TelemetryFailures(new EventBus(silentLogger), silentLogger)
  const resolve = (given: object = {}, env: Record<string, string> = {}) => resolveTracing({ environment: readOtelEnvironment(env), resource: {}, clock: systemClock, logger: under.logger, failures, ...given })
  t.match((await resolve()).source, { enabled: false, own: false })

  const exporter = new InMemorySpanExporter()
  const own = await resolve({ exporters: [exporter] })
  t.match(own.source, { enabled: true, own: true })
  await own.shutdown()

  const provider = (await createPrivateTracing(parts({ exporters: [exporter] })))?.provider
  const given = await resolve({ tracerProvider: provider }, { OTEL_TRACES_EXPORTER: 'console' })
  t.match(given.source, { enabled: true, own: false })
  await given.shutdown()
  t.ok(given.source.startSpan('x', {}, (await import('@opentelemetry/api')).ROOT_CONTEXT)?.isRecording(), 'a provider that was given is not shut down')

  const asked = await resolve({}, { OTEL_TRACES_EXPORTER: 'console' })
  t.match(asked.source, { enabled: true, own: true })
  await asked.shutdown()
})

t.test('a sampled traceparent forces no more traces each second than we would begin ourselves', async (t) => {
  const clock = new FakeClock()
  const failures = new TelemetryFailures(new EventBus(silentLogger), silentLogger)
  const followed = async (given: object, env: Record<string, string> = {}): Promise<number[]> => {
    const environment = readOtelEnvironment(env)
    const { source, shutdown } = await resolveTracing({ environment, resource: {}, clock, logger: silentLogger, failures, exporters: [new InMemorySpanExporter()], ...given })
    const burst = (): number => Array.from({ length: 200 }, () => source.decide({ traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), traceFlags: 1, isRemote: true })).filter((decision) => decision === 'ask').length
    const counts = [burst()]
    await clock.advance(1_000)
    counts.push(burst())
    await shutdown()
    return counts
  }
  t.same(await followed({}), [50, 50])
  t.same(await followed({ trustInbound: true }), [50, 50])
  t.same(await followed({ sampler: new ParentBasedSampler({ root: new AlwaysOnSampler() }) }), [50, 50], 'with a sampler of the application, which follows its parents')
  t.same(await followed({}, { OTEL_TRACES_SAMPLER: 'parentbased_always_on' }), [50, 50], 'with one of the environment')
  t.same(await followed({ maxRemoteTracesPerSecond: 10 }), [10, 10])
  t.same(await followed({ maxRemoteTracesPerSecond: 0 }), [0, 0])
  t.same(await followed({ maxRemoteTracesPerSecond: false }), [200, 200])
  t.same(await followed({ trustInbound: () => true }), [200, 200], 'whoever is let in by a function is no stranger')
  t.same(await followed({ trustInbound: () => true, maxRemoteTracesPerSecond: 10 }), [10, 10])
})
