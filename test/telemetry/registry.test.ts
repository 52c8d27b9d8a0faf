import t from 'tap'
import { INSTRUMENTS } from '../../lib/telemetry/instruments.ts'
import { OVERFLOW_LABELS } from '../../lib/telemetry/instrument.ts'
import { DEFAULT_MAX_SERIES, MetricsRegistry } from '../../lib/telemetry/registry.ts'

const TRACE = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) }

t.test('a counter only grows', async (t) => {
  const cell = new MetricsRegistry().instrument(INSTRUMENTS.jobCreated).bind({ job_name: 'a', store_type: 'm' })
  cell.add()
  cell.add(2.5)
  cell.add(-1)
  cell.add(NaN)
  cell.add(0)
  t.equal(cell.value, 3.5)
})

t.test('a histogram puts a value on a bound into the bucket below it', async (t) => {
  const histogram = new MetricsRegistry().instrument({ name: 'h', kind: 'histogram', unit: 's', description: 'H', labels: [], buckets: [1, 2, 5] })
  const cell = histogram.bind({})
  for (const value of [0, 1, 1.5, 2, 5, 5.1, Infinity]) cell.observe(value)
  cell.observe(NaN)
  t.same(cell.bucketCounts, [2, 2, 1, 2])
  t.equal(cell.count, 7)
  t.equal(cell.sum, Infinity)
})

t.test('labels are bound once, whatever their order; gauges can be forgotten', async (t) => {
  const gauge = new MetricsRegistry().instrument({ name: 'g', kind: 'gauge', unit: '', description: 'G', labels: ['a', 'b'] })
  const cell = gauge.bind({ a: '1', b: '2' })
  t.equal(gauge.bind({ b: '2', a: '1' }), cell)
  t.not(gauge.bind({ a: '12', b: '' }), gauge.bind({ a: '1', b: '2' }))
  cell.set(7)
  t.ok(gauge.remove({ a: '1', b: '2' }))
  t.notOk(gauge.remove({ a: '1', b: '2' }))
  t.equal(gauge.bind({ a: '1', b: '2' }).value, 0)
})

t.test('series over the cap share one, and are counted', async (t) => {
  const registry = new MetricsRegistry({ maxSeriesPerMetric: 3 })
  const counter = registry.instrument({ name: 'c', kind: 'counter', unit: '', description: 'C', labels: ['error_type'] })
  for (let n = 0; n < 100_000; n++) counter.bind({ error_type: `E${n}` }).add()
  t.equal(counter.size, 3)
  const family = registry.families().find(({ name }) => name === 'c')
  t.same(family?.points.map(({ labels }) => labels), [{ error_type: 'E0' }, { error_type: 'E1' }, { error_type: 'E2' }, OVERFLOW_LABELS])
  t.match(family?.points.at(-1), { value: 99_997 })
  t.match(registry.families().find(({ name }) => name === INSTRUMENTS.seriesDropped.name)?.points[0], { labels: { metric: 'c' }, value: 99_997 })
  t.equal(DEFAULT_MAX_SERIES, 500)
})

t.test('label values are cut, and never taken apart', async (t) => {
  const registry = new MetricsRegistry()
  const counter = registry.instrument({ name: 'c', kind: 'counter', unit: '', description: 'C', labels: ['a', 'b'] })
  t.equal(counter.bind({ a: 'x'.repeat(10_000_000), b: '' }).labels.a?.length, 200)
  t.not(counter.bind({ a: 'x\u0000', b: 'y' }), counter.bind({ a: 'x', b: '\u0000y\u0000z' }))
  // From JavaScript anything may come.
  const odd = counter.bind({ a: undefined, b: 5 } as unknown as { a: string, b: string })
  t.same(odd.labels, { a: '', b: '5' })
  t.ok(Object.isFrozen(odd.labels))
})

t.test('exemplars: the newest per bucket, only when a trace is given, and not at all when off', async (t) => {
  let now = 1_000
  const cellOf = (exemplars: boolean) => new MetricsRegistry({ exemplars, now: () => now })
    .instrument({ name: 'h', kind: 'histogram', unit: 's', description: 'H', labels: [], buckets: [1, 2] }).bind({})
  const cell = cellOf(true)
  cell.observe(0.5)
  t.same([...cell.exemplars], [])
  cell.observe(1.5, TRACE)
  now = 2_000
  cell.observe(1.7, { ...TRACE, spanId: 'c'.repeat(16) })
  t.match(cell.exemplars[1], { traceId: TRACE.traceId, spanId: 'c'.repeat(16), value: 1.7, timestampMs: 2_000 })
  t.equal(cell.exemplars[0], undefined)
  const off = cellOf(false)
  off.observe(1.5, TRACE)
  t.same([...off.exemplars], [])
  const counter = new MetricsRegistry({ now: () => now }).instrument(INSTRUMENTS.jobCreated).bind({ job_name: 'a', store_type: 'm' })
  counter.add(1, TRACE)
  t.match(counter.exemplar, { value: 1, traceId: TRACE.traceId })
})

t.test('a snapshot stays as it is', async (t) => {
  let now = 5
  const registry = new MetricsRegistry({ now: () => now })
  const counter = registry.instrument(INSTRUMENTS.jobCreated).bind({ job_name: 'a', store_type: 'm' })
  const histogram = registry.instrument({ name: 'h', kind: 'histogram', unit: 's', description: 'H', labels: [], buckets: [1] }).bind({})
  counter.add()
  histogram.observe(0.5, TRACE)
  now = 9
  const snapshot = registry.snapshot()
  counter.add()
  histogram.observe(3)
  t.match(snapshot, { startedAt: 5, takenAt: 9 })
  t.match(snapshot.families[0], { kind: 'counter', points: [{ value: 1 }] })
  t.match(snapshot.families[1], { kind: 'histogram', buckets: [1], points: [{ count: 1, sum: 0.5, bucketCounts: [1, 0], exemplars: [{ value: 0.5 }, undefined] }] })
})

t.test('collectors run before a reading; one that throws spoils nothing', async (t) => {
  const registry = new MetricsRegistry()
  const gauge = registry.instrument({ name: 'g', kind: 'gauge', unit: '', description: 'G', labels: [] }).bind({})
  const errors: unknown[] = []
  registry.onCollectorError = (error) => errors.push(error)
  registry.onCollect(() => { throw new Error('broken') })
  const stop = registry.onCollect(() => { gauge.set(gauge.value + 1) })
  registry.families()
  stop()
  registry.families()
  t.equal(gauge.value, 1)
  t.equal(errors.length, 2)
})

t.test('definitions that cannot work are refused', async (t) => {
  const registry = new MetricsRegistry()
  const definition = { name: 'ok', kind: 'counter', unit: '', description: 'x', labels: ['a'] } as const
  t.equal(registry.instrument(definition), registry.instrument({ ...definition }), 'the same one, asked again')
  const bad: readonly object[] = [
    { ...definition, kind: 'gauge' },
    { ...definition, labels: ['b'] },
    { ...definition, name: '1st' },
    { ...definition, name: 'x', kind: 'count' },
    { name: 'x', kind: 'counter', unit: '1', description: 'x' },
    { name: 'x', kind: 'counter', labels: [] },
    { ...definition, name: 'x', labels: ['le'] },
    { ...definition, name: 'x', labels: ['a', 'a'] },
    { ...definition, name: 'x', labels: ['a b'] },
    { ...definition, name: 'x', kind: 'histogram', buckets: [2, 1] },
    { ...definition, name: 'x', kind: 'histogram', buckets: [] },
    { ...definition, name: 'x', kind: 'histogram', buckets: [1, Infinity] }
  ]
  for (const entry of bad) t.throws(() => registry.instrument(entry as typeof definition), { code: 'FAE_INVALID_OPTIONS' }, JSON.stringify(entry))
  t.throws(() => new MetricsRegistry({ buckets: [1, 1] }), { code: 'FAE_INVALID_OPTIONS' })
})

t.test('own buckets replace the job-scale ones, not those of the store', async (t) => {
  const registry = new MetricsRegistry({ buckets: [1, 60] })
  t.same(registry.instrument(INSTRUMENTS.jobProcessingDuration).buckets, [1, 60])
  t.equal(registry.instrument(INSTRUMENTS.storeOperationDuration).buckets, INSTRUMENTS.storeOperationDuration.buckets)
})

t.test('two registries share nothing', async (t) => {
  const [one, other] = [new MetricsRegistry(), new MetricsRegistry()]
  one.instrument(INSTRUMENTS.jobCreated).bind({ job_name: 'a', store_type: 'm' }).add()
  t.same(other.families(), [])
})
