import t from 'tap'
import { OVERFLOW_LABELS } from '../../lib/telemetry/instrument.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'
import { Retention } from '../../lib/telemetry/series-retention.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

const HOUR = 3_600_000
const COUNTER = { name: 'c', kind: 'counter', unit: '', description: 'C', labels: ['a'] } as const

function values (registry: MetricsRegistry, name = 'c'): Array<[Readonly<Record<string, string>>, number]> {
  return registry.families().filter((family) => family.name === name).flatMap((family) => family.kind === 'histogram' ? [] : family.points.map((point): [Readonly<Record<string, string>>, number] => [point.labels, point.value]))
}

async function started (t: { teardown (end: () => unknown): void }, registry: MetricsRegistry, retentionMs: number, beforeSweep: () => void = () => {}): Promise<FakeClock> {
  const clock = new FakeClock({ settleTurns: 1 })
  const retention = new Retention({ registry, clock, retentionMs, beforeSweep, quietly: (work) => work() })
  await retention.start()
  t.teardown(() => retention.stop(0))
  return clock
}

t.test('a series nobody records into is forgotten after the time of retention, and not before', async (t) => {
  const registry = new MetricsRegistry()
  const counter = registry.instrument(COUNTER)
  const [silent, busy] = [counter.bind({ a: 'silent' }), counter.bind({ a: 'busy' })]
  silent.add(3)
  const clock = await started(t, registry, 24 * HOUR)
  for (let hour = 0; hour < 24; hour++) {
    busy.add()
    await clock.advance(HOUR)
  }
  t.same(values(registry), [[{ a: 'silent' }, 3], [{ a: 'busy' }, 24]], 'up to a whole day of silence is no reason')
  busy.add()
  await clock.advance(HOUR)
  t.same(values(registry), [[{ a: 'busy' }, 25]])
  t.equal(counter.size, 1, 'its place is free')
})

t.test('gauges that are set and histograms that are fed stay, what is kept stays, and a metric without labels too', async (t) => {
  const registry = new MetricsRegistry()
  const gauge = registry.instrument({ name: 'g', kind: 'gauge', unit: '', description: 'G', labels: ['a'] })
  const histogram = registry.instrument({ name: 'h', kind: 'histogram', unit: 's', description: 'H', labels: ['a'], buckets: [1] })
  const cell = histogram.bind({ a: '1' })
  registry.onCollect(() => { gauge.bind({ a: '1' }).set(5) })
  gauge.bind({ a: 'queue that is gone' }).set(7)
  histogram.bind({ a: 'silent' }).observe(1)
  registry.instrument(COUNTER).keep({ a: 'from the start' })
  registry.instrument({ name: 'plain', kind: 'counter', unit: '', description: 'P', labels: [] }).bind({}).add()
  const clock = await started(t, registry, HOUR)
  for (let n = 0; n < 60; n++) {
    registry.families()
    cell.observe(2)
    await clock.advance(HOUR / 24)
  }
  t.same(registry.families().map(({ name, points }) => [name, points.map(({ labels }) => labels)]), [
    ['g', [{ a: '1' }]], ['h', [{ a: '1' }]], ['c', [{ a: 'from the start' }]], ['plain', [{}]]
  ])
})

t.test('who still holds a cell that was forgotten loses no number', async (t) => {
  const registry = new MetricsRegistry()
  const counter = registry.instrument(COUNTER)
  const held = counter.bind({ a: '1' })
  held.add(3)
  registry.sweep(0)
  t.same(values(registry), [])
  held.add()
  t.same(values(registry), [[{ a: '1' }, 4]], 'it takes its place again, with what it had')

  registry.sweep(1)
  registry.sweep(1)
  const other = counter.bind({ a: '1' })
  t.not(other, held)
  other.add()
  held.add(10)
  held.add(10)
  t.same(values(registry), [[{ a: '1' }, 21]], 'somebody else took its labels in the meantime: one series, one sum')

  const histogram = registry.instrument({ name: 'h', kind: 'histogram', unit: 's', description: 'H', labels: ['a'], buckets: [1] })
  const durations = histogram.bind({ a: '1' })
  durations.observe(0.5)
  registry.sweep(0)
  durations.observe(2)
  t.match(registry.families().find(({ name }) => name === 'h')?.points, [{ count: 2, sum: 2.5, bucketCounts: [1, 1] }])

  const gauge = registry.instrument({ name: 'g', kind: 'gauge', unit: '', description: 'G', labels: ['a'] })
  const level = gauge.bind({ a: '1' })
  gauge.remove({ a: '1' })
  t.same(values(registry, 'g'), [])
  level.set(4)
  t.same(values(registry, 'g'), [[{ a: '1' }, 4]])
  const newer = gauge.remove({ a: '1' }) && gauge.bind({ a: '1' })
  level.set(5)
  t.match(newer, { value: 5 })
})

t.test('a forgotten cell counts into the overflow while the cap is full, and as itself again when there is a place', async (t) => {
  const registry = new MetricsRegistry({ maxSeriesPerMetric: 2 })
  const counter = registry.instrument(COUNTER)
  const held = counter.bind({ a: 'held' })
  held.add()
  registry.sweep(0)
  const [one, two] = [counter.bind({ a: 'one' }), counter.bind({ a: 'two' })]
  one.add()
  two.add()
  held.add(5)
  held.add(5)
  t.same(values(registry), [[{ a: 'one' }, 1], [{ a: 'two' }, 1], [OVERFLOW_LABELS, 10]])
  registry.sweep(1)
  one.add()
  registry.sweep(1)
  held.add()
  t.same(values(registry), [[{ a: 'one' }, 2], [{ a: 'held' }, 2], [OVERFLOW_LABELS, 10]])
})

t.test('a series that begins anew says since when, one that was there from the start does not', async (t) => {
  let now = 1_000
  const registry = new MetricsRegistry({ now: () => now })
  const counter = registry.instrument(COUNTER)
  counter.bind({ a: '1' }).add()
  t.equal(counter.bind({ a: '1' }).startedAt, undefined)
  registry.sweep(0)
  now = 9_000
  counter.bind({ a: '1' }).add()
  t.match(registry.snapshot().families[0]?.points[0], { value: 1, startedAt: 9_000 })
})

t.test('a flood of labels, day by day, stays bounded in the registry', async (t) => {
  const registry = new MetricsRegistry({ maxSeriesPerMetric: 50 })
  const counter = registry.instrument(COUNTER)
  const clock = await started(t, registry, 24 * HOUR)
  for (let day = 0; day < 5; day++) {
    for (let n = 0; n < 40; n++) counter.bind({ a: `${day}:${n}` }).add()
    await clock.advance(25 * HOUR)
  }
  t.equal(counter.size, 0)
  t.notOk(values(registry).some(([labels]) => labels === OVERFLOW_LABELS), 'no day had to share')
})

t.test('the last numbers are read before they are forgotten; stopping leaves no timer', async (t) => {
  const registry = new MetricsRegistry()
  const seen: number[] = []
  registry.instrument(COUNTER).bind({ a: '1' }).add(3)
  const clock = new FakeClock({ settleTurns: 1 })
  const retention = new Retention({ registry, clock, retentionMs: 1, beforeSweep: () => { seen.push(values(registry).length) }, quietly: (work) => work() })
  await retention.start()
  await clock.advance(2_000)
  t.same(seen, [1, 1], 'sweeps are a second apart at least')
  t.same(values(registry), [])
  await retention.stop(0)
  t.equal(clock.pending, 0)
})
