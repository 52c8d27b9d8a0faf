/** What the SDK's own readers and exporters get to see of the registry. */
import { AggregationTemporality, DataPointType, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader, type ResourceMetrics } from '@opentelemetry/sdk-metrics'
import t from 'tap'
import { RegistryProducer, type TemporalityPreference } from '../../lib/telemetry/otel-producer.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'
import { SCOPE_NAME, SCOPE_VERSION } from '../../lib/telemetry/version.ts'

function setUp (prefers?: TemporalityPreference) {
  let now = 1_000_500
  const registry = new MetricsRegistry({ now: () => now, maxSeriesPerMetric: 2 })
  const failures: unknown[] = []
  const producer = new RegistryProducer({ registry, resource: { 'service.name': 'shop' }, now: () => now, failed: (error) => failures.push(error), ...(prefers === undefined ? {} : { prefers }) })
  return {
    registry,
    producer,
    failures,
    counter: registry.instrument({ name: 'jobs', kind: 'counter', unit: '{job}', description: 'Jobs', labels: ['a'] }),
    gauge: registry.instrument({ name: 'level', kind: 'gauge', unit: '%', description: 'Level', labels: ['a'] }),
    histogram: registry.instrument({ name: 'wait', kind: 'histogram', unit: 's', description: 'Wait', labels: ['a'], buckets: [1, 2] }),
    at: (ms: number) => { now = ms }
  }
}

const DELTA: TemporalityPreference = { selectAggregationTemporality: () => AggregationTemporality.DELTA }

t.test('counters, gauges and histograms as the data model wants them', async (t) => {
  const { producer, counter, gauge, histogram, at } = setUp()
  counter.bind({ a: '1' }).add(3)
  gauge.bind({ a: '1' }).set(50)
  histogram.bind({ a: '1' }).observe(1.5)
  at(1_002_000)
  const { resourceMetrics, errors } = await producer.collect()
  t.same(errors, [])
  t.same(resourceMetrics.resource.attributes, { 'service.name': 'shop' })
  t.same(resourceMetrics.scopeMetrics.map(({ scope }) => scope), [{ name: SCOPE_NAME, version: SCOPE_VERSION }])
  const span = { startTime: [1_000, 500_000_000], endTime: [1_002, 0] }
  t.same(resourceMetrics.scopeMetrics[0]?.metrics, [
    { descriptor: { name: 'jobs', unit: '{job}', description: 'Jobs', valueType: 1 }, aggregationTemporality: AggregationTemporality.CUMULATIVE, dataPointType: DataPointType.SUM, isMonotonic: true, dataPoints: [{ attributes: { a: '1' }, ...span, value: 3 }] },
    { descriptor: { name: 'level', unit: '%', description: 'Level', valueType: 1 }, aggregationTemporality: AggregationTemporality.CUMULATIVE, dataPointType: DataPointType.GAUGE, dataPoints: [{ attributes: { a: '1' }, ...span, value: 50 }] },
    {
      descriptor: { name: 'wait', unit: 's', description: 'Wait', valueType: 1 },
      aggregationTemporality: AggregationTemporality.CUMULATIVE,
      dataPointType: DataPointType.HISTOGRAM,
      dataPoints: [{ attributes: { a: '1' }, ...span, value: { count: 1, sum: 1.5, buckets: { boundaries: [1, 2], counts: [0, 1, 0] } } }]
    }
  ])
  histogram.bind({ a: '1' }).observe(0.5)
  t.match(resourceMetrics.scopeMetrics[0]?.metrics[2]?.dataPoints[0], { value: { count: 1, buckets: { counts: [0, 1, 0] } } }, 'what was collected stays as it was')
})

t.test('the overflow series has the name that OpenTelemetry gives it; an empty registry has no scope', async (t) => {
  const { producer, counter } = setUp()
  t.same((await producer.collect()).resourceMetrics.scopeMetrics, [])
  for (const a of ['1', '2', '3']) counter.bind({ a }).add()
  const metrics = (await producer.collect()).resourceMetrics.scopeMetrics[0]?.metrics
  t.same(metrics?.find(({ descriptor }) => descriptor.name === 'jobs')?.dataPoints.map(({ attributes }) => attributes), [{ a: '1' }, { a: '2' }, { 'otel.metric.overflow': true }])
})

t.test('a series that began anew says so by its start', async (t) => {
  const { registry, producer, counter, at } = setUp()
  counter.bind({ a: '1' }).add(5)
  registry.sweep(0)
  at(2_000_000)
  counter.bind({ a: '1' }).add(1)
  counter.bind({ a: '2' }).add(1)
  const points = (await producer.collect()).resourceMetrics.scopeMetrics[0]?.metrics[0]?.dataPoints
  t.match(points, [{ startTime: [2_000, 0], value: 1 }, { startTime: [2_000, 0], value: 1 }])
})

t.test('who wants deltas gets what came since its last time, and others are not concerned', async (t) => {
  const { registry, producer, counter, gauge, histogram, at } = setUp(DELTA)
  const other = new RegistryProducer({ registry, resource: {}, now: () => 0, failed: () => {} })
  const [cell, wait] = [counter.bind({ a: '1' }), histogram.bind({ a: '1' })]
  cell.add(3)
  gauge.bind({ a: '1' }).set(50)
  wait.observe(0.5)
  wait.observe(1.5)
  at(1_010_000)
  const first = (await producer.collect()).resourceMetrics.scopeMetrics[0]?.metrics
  t.match(first, [
    { aggregationTemporality: AggregationTemporality.DELTA, dataPoints: [{ value: 3, startTime: [1_000, 500_000_000], endTime: [1_010, 0] }] },
    { dataPoints: [{ value: 50 }] },
    { aggregationTemporality: AggregationTemporality.DELTA, dataPoints: [{ value: { count: 2, sum: 2, buckets: { counts: [1, 1, 0] } } }] }
  ])
  await other.collect()
  at(1_020_000)
  t.same((await producer.collect()).resourceMetrics.scopeMetrics[0]?.metrics.map(({ descriptor }) => descriptor.name), ['level'], 'nothing happened: only the level is told')
  cell.add(2)
  wait.observe(9)
  at(1_030_000)
  t.match((await producer.collect()).resourceMetrics.scopeMetrics[0]?.metrics, [
    { dataPoints: [{ value: 2, startTime: [1_020, 0], endTime: [1_030, 0] }] }, {}, { dataPoints: [{ value: { count: 1, sum: 9, buckets: { counts: [0, 0, 1] } } }] }
  ])
  t.match((await other.collect()).resourceMetrics.scopeMetrics[0]?.metrics[0]?.dataPoints, [{ value: 5 }])
})

t.test('a preference that throws, a registry that throws', async (t) => {
  const { producer, counter, failures } = setUp({ selectAggregationTemporality: () => { throw new Error('no preference') } })
  counter.bind({ a: '1' }).add()
  t.match((await producer.collect()).resourceMetrics.scopeMetrics[0]?.metrics[0], { aggregationTemporality: AggregationTemporality.CUMULATIVE })
  t.match(failures, [{ message: 'no preference' }, { message: 'no preference' }])
  const broken = new RegistryProducer({ registry: { startedAt: 0, families: () => { throw new Error('broken') } }, resource: {}, now: () => 0, failed: (error) => failures.push(error) })
  t.match(await broken.collect(), { resourceMetrics: { scopeMetrics: [] }, errors: [{ message: 'broken' }] })
  t.equal(failures.length, 3)
})

t.test('a reader of the SDK takes it, and its exporter sees the same as from the SDK itself', async (t) => {
  const { registry, producer } = setUp()
  const definition = { name: 'wait.2', unit: 's', description: 'Wait', buckets: [1, 2] }
  const ours = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const theirs = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter: ours, exportIntervalMillis: 1e6 })
  reader.setMetricProducer(producer)
  const theirReader = new PeriodicExportingMetricReader({ exporter: theirs, exportIntervalMillis: 1e6 })
  const provider = new MeterProvider({ readers: [theirReader] })
  const cell = registry.instrument({ ...definition, kind: 'histogram', labels: ['a'] }).bind({ a: '1' })
  const histogram = provider.getMeter(SCOPE_NAME, SCOPE_VERSION).createHistogram('wait.2', { unit: 's', description: 'Wait', advice: { explicitBucketBoundaries: definition.buckets } })
  for (const value of [0, 1, 1.5, 2, 2.5]) {
    cell.observe(value)
    histogram.record(value, { a: '1' })
  }
  await reader.forceFlush()
  await theirReader.forceFlush()
  const shape = (exporter: { getMetrics (): ResourceMetrics[] }): unknown => exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics).map(({ scope, metrics }) => ({
    scope: [scope.name, scope.version],
    metrics: metrics.map(({ descriptor: { name, unit, description, valueType }, dataPointType, aggregationTemporality, dataPoints }) => ({
      name, unit, description, valueType, dataPointType, aggregationTemporality, points: dataPoints.map(({ attributes, value }) => typeof value === 'number' ? value : ({ attributes, count: value.count, sum: value.sum, buckets: 'buckets' in value ? value.buckets : undefined }))
    }))
  }))
  t.same(shape(ours), shape(theirs))
  await reader.shutdown()
  await provider.shutdown()
})
