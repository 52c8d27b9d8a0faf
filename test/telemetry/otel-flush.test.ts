/** A meter provider of the application's, fed from the registry: what its readers see is what `/metrics` shows. */
import type { MeterProvider as ApiMeterProvider } from '@opentelemetry/api'
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader, type MetricData } from '@opentelemetry/sdk-metrics'
import t from 'tap'
import { EarlyValues, MeterBridge } from '../../lib/telemetry/otel-flush.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'

interface Reader { collect (): Promise<Map<string, MetricData>>, readonly reader: PeriodicExportingMetricReader }

/** A reader that collects when it is told to. */
function reader (temporality = AggregationTemporality.CUMULATIVE): Reader {
  const exporter = new InMemoryMetricExporter(temporality)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 1e6 })
  return {
    reader,
    collect: async () => {
      exporter.reset()
      await reader.forceFlush()
      return new Map(exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics).filter(({ scope }) => scope.name === 'AsyncEndpoints').flatMap(({ metrics }) => metrics).map((metric) => [metric.descriptor.name, metric]))
    }
  }
}

function points (metrics: ReadonlyMap<string, MetricData>, name: string): Array<[unknown, unknown]> {
  return (metrics.get(name)?.dataPoints ?? []).map(({ attributes, value }) => [attributes, typeof value === 'number' ? value : [value.count, value.sum]])
}

function setUp (test: { teardown (end: () => unknown): void }, readers: readonly Reader[], { histograms = true, registry = new MetricsRegistry(), early }: { histograms?: boolean, registry?: MetricsRegistry, early?: EarlyValues } = {}) {
  const provider = new MeterProvider({ readers: readers.map(({ reader }) => reader) })
  test.teardown(() => provider.shutdown())
  const failures: unknown[] = []
  const instruments = {
    counter: registry.instrument({ name: 'jobs', kind: 'counter', unit: '{job}', description: 'Jobs', labels: ['a'] }),
    gauge: registry.instrument({ name: 'level', kind: 'gauge', unit: '%', description: 'Level', labels: ['a'] }),
    histogram: registry.instrument({ name: 'wait', kind: 'histogram', unit: 's', description: 'Wait', labels: ['a'], buckets: [1, 2] })
  }
  const bridge = new MeterBridge({ registry, provider, histograms, failed: (error) => failures.push(error) })
  bridge.start(early)
  return { provider, registry, bridge, failures, ...instruments }
}

t.test('counters, gauges and histograms, with their units and buckets', async (t) => {
  const one = reader()
  const { counter, gauge, histogram, failures } = setUp(t, [one])
  counter.bind({ a: '1' }).add(3)
  counter.bind({ a: 'from the start' })
  gauge.bind({ a: '1' }).set(50)
  for (const value of [0.5, 1, 1.5, 9]) histogram.bind({ a: '1' }).observe(value)
  const first = await one.collect()
  t.same(points(first, 'jobs'), [[{ a: '1' }, 3], [{ a: 'from the start' }, 0]])
  t.match(first.get('jobs'), { descriptor: { unit: '{job}', description: 'Jobs' }, isMonotonic: true })
  t.same(points(first, 'level'), [[{ a: '1' }, 50]])
  t.match(first.get('wait')?.dataPoints[0], { value: { count: 4, sum: 12, buckets: { boundaries: [1, 2], counts: [2, 1, 1] } } })
  counter.bind({ a: '1' }).add(2)
  gauge.bind({ a: '1' }).set(40)
  const second = await one.collect()
  t.same([points(second, 'jobs')[0], points(second, 'level')], [[{ a: '1' }, 5], [[{ a: '1' }, 40]]])
  t.same(failures, [])
})

t.test('two readers, collecting by turns and at once, see the same sums', async (t) => {
  const [one, other, delta] = [reader(), reader(), reader(AggregationTemporality.DELTA)]
  const { counter } = setUp(t, [one, other, delta])
  const cell = counter.bind({ a: '1' })
  const deltas: unknown[] = []
  const value = async (from: Reader): Promise<unknown> => points(await from.collect(), 'jobs')[0]?.[1]
  for (let round = 1; round <= 3; round++) {
    cell.add(10)
    t.equal(await value(one), 30 * round - 20)
    cell.add(10)
    t.equal(await value(other), 30 * round - 10)
    cell.add(10)
    t.same(await Promise.all([value(one), value(other)]), [30 * round, 30 * round])
    deltas.push(await value(delta))
  }
  t.same(deltas, [30, 30, 30])
})

t.test('a gauge that is gone is 0 a last time; one that came back under the same labels is told', async (t) => {
  const [one, delta] = [reader(), reader(AggregationTemporality.DELTA)]
  const { gauge } = setUp(t, [one, delta])
  gauge.bind({ a: 'gone' }).set(7)
  gauge.bind({ a: 'again' }).set(7)
  await one.collect()
  await delta.collect()
  gauge.remove({ a: 'gone' })
  gauge.remove({ a: 'again' })
  gauge.bind({ a: 'again' }).set(8)
  t.same(new Map(points(await one.collect(), 'level').map(([attributes, value]) => [JSON.stringify(attributes), value])), new Map([['{"a":"gone"}', 0], ['{"a":"again"}', 8]]))
  await delta.collect()
  t.same(points(await delta.collect(), 'level'), [[{ a: 'again' }, 8]], 'where the SDK lets it go, it is gone')
})

t.test('series that were forgotten: what is added later is added, never taken away', async (t) => {
  const one = reader()
  const { registry, bridge, counter } = setUp(t, [one])
  const held = counter.bind({ a: 'held' })
  held.add(3)
  counter.bind({ a: 'anew' }).add(3)
  bridge.flush()
  registry.sweep(0)
  held.add(1)
  counter.bind({ a: 'anew' }).add(1)
  t.same(points(await one.collect(), 'jobs'), [[{ a: 'held' }, 4], [{ a: 'anew' }, 4]])
})

t.test('instruments of the application that come later are fed as well; the overflow has its name', async (t) => {
  const one = reader()
  const { registry, counter, failures } = setUp(t, [one], { registry: new MetricsRegistry({ maxSeriesPerMetric: 1 }) })
  await one.collect()
  registry.instrument({ name: 'orders', kind: 'counter', unit: '', description: 'O', labels: [] }).bind({}).add(2)
  registry.instrument({ name: 'basket', kind: 'gauge', unit: '', description: 'B', labels: [] }).bind({}).set(3)
  registry.instrument({ name: 'checkout', kind: 'histogram', unit: 's', description: 'C', labels: [], buckets: [1] }).bind({}).observe(4)
  for (const a of ['1', '2']) counter.bind({ a }).add()
  const metrics = await one.collect()
  t.same([points(metrics, 'orders'), points(metrics, 'basket'), points(metrics, 'checkout')], [[[{}, 2]], [[{}, 3]], [[{}, [1, 4]]]])
  t.same(points(metrics, 'jobs'), [[{ a: '1' }, 1], [{ 'otel.metric.overflow': true }, 1]])
  t.same(failures, [])
})

t.test('histograms are left out on demand, and then nobody listens', async (t) => {
  const one = reader()
  const { histogram } = setUp(t, [one], { histograms: false })
  const cell = histogram.bind({ a: '1' })
  cell.observe(1)
  t.equal(cell.tap, undefined)
  t.notOk((await one.collect()).has('wait'))
})

t.test('what happened before there was a provider is told, up to a bound', async (t) => {
  const one = reader()
  const registry = new MetricsRegistry()
  const early = new EarlyValues()
  registry.tapHistograms(early.tap)
  const cell = registry.instrument({ name: 'wait', kind: 'histogram', unit: 's', description: 'Wait', labels: ['a'], buckets: [1, 2] }).bind({ a: '1' })
  for (let n = 0; n < 1_200; n++) cell.observe(0.5)
  setUp(t, [one], { registry, early })
  cell.observe(0.5)
  t.same(points(await one.collect(), 'wait'), [[{ a: '1' }, [1_001, 500.5]]])
})

t.test('at the end the last numbers are handed over, and nothing keeps the registry alive', async (t) => {
  const one = reader()
  const { registry, bridge, counter, histogram, failures } = setUp(t, [one])
  let collected = 0
  registry.onCollect(() => { collected++ })
  counter.bind({ a: '1' }).add(3)
  bridge.stop()
  bridge.stop()
  t.equal(collected, 1)
  const [cell, wait] = [counter.bind({ a: '1' }), histogram.bind({ a: '1' })]
  cell.add(4)
  wait.observe(1)
  t.same(points(await one.collect(), 'jobs'), [[{ a: '1' }, 3]])
  t.equal(collected, 1, 'the callback is gone')
  t.equal(wait.tap, undefined)
  t.same(failures, [])
})

t.test('two applications that feed one provider add up', async (t) => {
  const one = reader()
  const first = setUp(t, [one])
  const other = new MetricsRegistry()
  const bridge = new MeterBridge({ registry: other, provider: first.provider, histograms: true, failed: (error) => { t.fail(String(error)) } })
  other.instrument(first.counter.definition)
  bridge.start()
  first.counter.bind({ a: '1' }).add(3)
  other.instrument({ name: 'jobs', kind: 'counter', unit: '{job}', description: 'Jobs', labels: ['a'] }).bind({ a: '1' }).add(4)
  other.instrument({ name: 'level', kind: 'gauge', unit: '%', description: 'Level', labels: ['a'] }).bind({ a: '1' }).set(4)
  bridge.flush()
  t.same(points(await one.collect(), 'jobs'), [[{ a: '1' }, 7]])
})

t.test('a provider that was shut down before us, and instruments that throw', async (t) => {
  const one = reader()
  const { provider, bridge, counter, histogram, failures } = setUp(t, [one])
  await provider.shutdown()
  counter.bind({ a: '1' }).add(3)
  histogram.bind({ a: '1' }).observe(1)
  bridge.flush()
  bridge.stop()
  t.same(failures, [])

  const thrower = (): never => { throw new Error('broken instrument') }
  const meter = (broken: boolean): unknown => new Proxy({}, { get: () => broken ? thrower : () => ({ add: thrower, record: thrower, addCallback: thrower }) })
  const registry = new MetricsRegistry()
  for (const provider of [{ getMeter: thrower }, { getMeter: () => meter(true) }, { getMeter: () => meter(false) }] as unknown as ApiMeterProvider[]) {
    const seen: unknown[] = []
    const broken = new MeterBridge({ registry, provider, histograms: true, failed: (error) => seen.push(error) })
    registry.instrument({ name: 'jobs', kind: 'counter', unit: '', description: 'J', labels: [] })
    const wait = registry.instrument({ name: 'wait', kind: 'histogram', unit: 's', description: 'W', labels: [], buckets: [1] })
    registry.instrument({ name: 'level', kind: 'gauge', unit: '', description: 'L', labels: [] }).bind({}).set(1)
    t.doesNotThrow(() => {
      broken.start()
      registry.instrument({ name: 'jobs', kind: 'counter', unit: '', description: 'J', labels: [] }).bind({}).add()
      wait.bind({}).observe(1)
      broken.flush()
      broken.stop()
    })
    t.ok(seen.length > 0)
    t.ok(seen.every((error) => error instanceof Error && error.message === 'broken instrument'))
  }
})
