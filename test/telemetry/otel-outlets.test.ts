/** Which ways out there are, and that none of them can do harm. */
import { metrics, type MeterProvider as ApiMeterProvider } from '@opentelemetry/api'
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, MetricReader, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import t from 'tap'
import { silentLogger, systemClock, type Logger } from '../../lib/core/context.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { readOtelEnvironment } from '../../lib/telemetry/environment.ts'
import { TelemetryFailures } from '../../lib/telemetry/telemetry-failures.ts'
import { readTelemetryOptions } from '../../lib/telemetry/options/index.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'
import { MetricsOut, registeredMeterProvider, type MetricsOutParts } from '../../lib/telemetry/metrics-outlets.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

function setUp (given: Partial<MetricsOutParts> = {}, env: Record<string, string> = {}) {
  const warnings: string[] = []
  const logger: Logger = { ...silentLogger, warn: (fields, message) => { warnings.push(`${String((fields as { source?: unknown }).source)}: ${String((fields as { err?: { message?: string } }).err?.message ?? message)}`) } }
  const failures = new TelemetryFailures(new EventBus(silentLogger), logger)
  const counted: string[] = []
  failures.count = (source) => { counted.push(source) }
  const registry = new MetricsRegistry()
  const out = new MetricsOut({ registry, bridgeHistograms: true, environment: readOtelEnvironment(env), resource: { 'service.name': 'shop' }, clock: systemClock, logger, failures, quietly: (work) => work(), ...given })
  out.keepEarlyValues()
  const counter = registry.instrument({ name: 'jobs', kind: 'counter', unit: '', description: 'J', labels: [] }).bind({})
  registry.instrument({ name: 'level', kind: 'gauge', unit: '', description: 'L', labels: [] }).bind({}).set(1)
  const histogram = registry.instrument({ name: 'wait', kind: 'histogram', unit: 's', description: 'W', labels: [], buckets: [1] }).bind({})
  return { out, counter, histogram, warnings, counted }
}

/** A reader that only remembers. */
class PlainReader extends MetricReader {
  ends = 0
  protected async onForceFlush (): Promise<void> {}
  protected async onShutdown (): Promise<void> { this.ends++ }
  async value (): Promise<unknown> { return (await this.collect()).resourceMetrics.scopeMetrics[0]?.metrics[0]?.dataPoints[0]?.value }
}

t.test('readers, exporters and a provider, all at once', async (t) => {
  const [reader, exporter, foreign] = [new PlainReader(), new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE), new PlainReader()]
  const meterProvider = new MeterProvider({ readers: [foreign] })
  const { out, counter, histogram, warnings, counted } = setUp({ readers: [reader], exporters: [exporter], meterProvider })
  histogram.observe(0.5)
  await out.start()
  counter.add(2)
  histogram.observe(1.5)
  t.equal(await reader.value(), 2)
  t.equal(await foreign.value(), 2)
  t.match((await foreign.collect()).resourceMetrics.scopeMetrics[0]?.metrics.find(({ descriptor }) => descriptor.name === 'wait')?.dataPoints, [{ value: { count: 2, sum: 2 } }])
  await out.stop(2_000)
  t.match(exporter.getMetrics()[0], { resource: { attributes: { 'service.name': 'shop' } }, scopeMetrics: [{ metrics: [{ dataPoints: [{ value: 2 }] }] }] })
  t.equal(reader.ends, 1)
  t.equal(foreign.ends, 0, 'the provider is the application\'s to end')
  t.same([warnings, counted], [[], []])
  await meterProvider.shutdown()
})

t.test('the environment is asked when nobody else wants anything, and not otherwise', async (t) => {
  const printed: unknown[] = []
  const { dir } = console
  t.teardown(() => { console.dir = dir })
  console.dir = (what: unknown) => { printed.push(what) }
  const exportOnce = async (given: Partial<MetricsOutParts>, env: Record<string, string> = { OTEL_METRICS_EXPORTER: 'console' }): Promise<number> => {
    printed.length = 0
    const { out, counter } = setUp(given, env)
    await out.start()
    counter.add()
    await out.stop(2_000)
    return printed.length
  }
  t.equal(await exportOnce({}), 3)
  t.equal(await exportOnce({ readers: [new PlainReader()] }), 0)
  t.equal(await exportOnce({ exporters: [new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)] }), 0)
  t.equal(await exportOnce({ meterProvider: new MeterProvider() }), 0)
  const unasked: Array<Record<string, string>> = [{}, { OTEL_METRICS_EXPORTER: 'none' }, { OTEL_METRICS_EXPORTER: 'prometheus' }, { OTEL_METRICS_EXPORTER: 'console', OTEL_SDK_DISABLED: 'true' }]
  for (const env of unasked) t.equal(await exportOnce({}, env), 0, JSON.stringify(env))
  const { out, warnings } = setUp({}, { OTEL_METRICS_EXPORTER: 'statsd', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' })
  await out.start()
  t.match(warnings, [/metrics: OTEL_METRICS_EXPORTER: "statsd" is not one of/, /http\/json or http\/protobuf/])
  await out.stop(2_000)
})

t.test('the interval: the option, else the variable, else a minute', async (t) => {
  for (const [exportIntervalMs, env, expected] of [[5_000, { OTEL_METRIC_EXPORT_INTERVAL: '7000' }, 5_000], [undefined, { OTEL_METRIC_EXPORT_INTERVAL: '7000' }, 7_000], [undefined, {}, 60_000]] as const) {
    const clock = new FakeClock()
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
    const { out } = setUp({ clock, exporters: [exporter], ...(exportIntervalMs === undefined ? {} : { exportIntervalMs }) }, env)
    await out.start()
    await clock.advance(expected - 1)
    t.equal(exporter.getMetrics().length, 0)
    await clock.advance(1)
    t.equal(exporter.getMetrics().length, 1, String(expected))
    await out.stop(2_000)
  }
})

t.test('an SDK that is disabled by the environment: nothing is attached, everything is ended', async (t) => {
  const [reader, exporter] = [new PlainReader(), new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)]
  const { out, counter } = setUp({ readers: [reader], exporters: [exporter] }, { OTEL_SDK_DISABLED: 'true' })
  await out.start()
  counter.add()
  await t.rejects(reader.collect(), /not bound/)
  await out.stop(2_000)
  t.same([exporter.getMetrics(), reader.ends], [[], 1])
})

t.test('what was never started is ended as well: a reader may listen on a port', async (t) => {
  const reader = new PlainReader()
  const { out, histogram } = setUp({ readers: [reader] })
  await out.stop(2_000)
  await out.stop(2_000)
  t.equal(reader.ends, 1)
  t.equal(histogram.tap, undefined)
  await out.start()
  await t.rejects(reader.collect())
})

t.test('readers that belong to somebody else, throw, or hang: told once each, and nothing else happens', async (t) => {
  const taken = new PlainReader()
  const owner = new MeterProvider({ readers: [taken] })
  const clock = new FakeClock()
  class Hanging extends PlainReader { override shutdown (): Promise<void> { return new Promise(() => {}) } }
  class Throwing extends PlainReader {
    override collect (): Promise<never> { throw new Error('cannot collect') }
    override async shutdown (): Promise<void> { await this.collect() }
  }
  const fine = new PlainReader()
  const { out, counter, warnings, counted } = setUp({ clock, readers: [taken, new Hanging(), new Throwing(), fine] })
  await out.start()
  t.same(counted, ['metrics.reader'])
  t.match(warnings, [/metrics\.reader: MetricReader can not be bound to a MeterProvider again/])
  counter.add(2)
  t.equal(await fine.value(), 2)
  const stopping = out.stop(2_000)
  await clock.advance(2_000)
  await t.resolves(stopping)
  t.equal(fine.ends, 1)
  t.equal(counted.length, 3)
  t.equal(warnings.length, 1, 'once for a source, however often')
  await owner.shutdown()
})

t.test('an exporter that hangs for ever does not keep the end waiting, nor a process alive', async (t) => {
  const clock = new FakeClock()
  const exporter = { export: () => {}, forceFlush: () => new Promise<void>(() => {}), shutdown: () => new Promise<void>(() => {}) }
  const { out, counter, counted } = setUp({ clock, exporters: [exporter] })
  await out.start()
  counter.add()
  const stopping = out.stop(2_000)
  await clock.advance(2_000)
  await t.resolves(stopping)
  t.same(counted, ['metrics.exporter'])
  t.equal(clock.pending, 0)
})

t.test('a provider that is registered is found; one without meters is not', async (t) => {
  t.equal(registeredMeterProvider(), undefined)
  const provider = new MeterProvider()
  metrics.setGlobalMeterProvider(provider)
  t.equal(registeredMeterProvider(), provider)
  metrics.disable()
  metrics.setGlobalMeterProvider({ getMeter: () => { throw new Error('no meters') } } as ApiMeterProvider)
  t.equal(registeredMeterProvider(), undefined)
  metrics.disable()
})

t.test('options that are no readers, exporters or providers are refused together', async (t) => {
  const wrong = { readers: [{}, new PlainReader()], exporters: [{ send: () => {} }], meterProvider: {}, exportIntervalMs: 1 }
  t.throws(() => readTelemetryOptions({ metrics: wrong as object }), {
    code: 'FAE_INVALID_OPTIONS',
    message: /readers\.0 has no setMetricProducer\(\).*exporters\.0 has no export\(\).*meterProvider has no getMeter\(\)/
  })
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  t.ok(readTelemetryOptions({ metrics: { readers: [new PeriodicExportingMetricReader({ exporter })], exporters: [exporter], meterProvider: new MeterProvider() } }).metrics)
})
