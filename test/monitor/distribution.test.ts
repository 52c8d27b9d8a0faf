import t from 'tap'
import { durations, grown, together } from '../../lib/monitor/distribution.ts'
import { Samples } from '../../lib/monitor/samples.ts'
import { Window } from '../../lib/monitor/window.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'

const BOUNDS = [0.01, 0.1, 1, 10]

t.test('percentiles, and between which bounds they really lie', async (t) => {
  t.equal(durations({ count: 0, sum: 0, buckets: [0, 0, 0, 0, 0] }, BOUNDS), undefined)
  t.same(durations({ count: 100, sum: 30, buckets: [50, 0, 50, 0, 0] }, BOUNDS), { count: 100, meanMs: 300, p50Ms: 10, p95Ms: 910, p95FromMs: 100, p95ToMs: 1_000 })
  t.match(durations({ count: 1, sum: 0.5, buckets: [0, 0, 1, 0, 0] }, BOUNDS), { p50Ms: 550, p95Ms: 955, p95FromMs: 100, p95ToMs: 1_000 })
  t.match(durations({ count: 10, sum: 900, buckets: [0, 0, 0, 0, 10] }, BOUNDS), { p50Ms: 10_000, p95Ms: 10_000, p95FromMs: 10_000, p95ToMs: null }, 'beyond the last bound nothing is made up')
})

t.test('what was added, and parts together', async (t) => {
  const cell = new MetricsRegistry().instrument({ name: 'x', kind: 'histogram', unit: 's', description: 'x', labels: [], buckets: BOUNDS }).bind({})
  cell.observe(0.05)
  const before = grown(cell, undefined)
  const copy = { ...before, buckets: [...before.buckets] }
  cell.observe(5)
  cell.observe(5)
  const more = grown(cell, copy)
  t.same(more, { count: 2, sum: 10, buckets: [0, 0, 0, 2, 0] })
  t.same(together([copy, more]), { count: 3, sum: 10.05, buckets: [0, 1, 0, 2, 0] })
})

t.test('the newest samples, and no more', async (t) => {
  const samples = new Samples<number>(3)
  t.same(samples.newest(), [])
  for (const n of [1, 2]) samples.add(n)
  t.same(samples.newest(), [2, 1])
  for (const n of [3, 4, 5]) samples.add(n)
  t.same(samples.newest(), [5, 4, 3])
  t.same(samples.newest(2), [5, 4])
  t.same(samples.newest(0), [])
  t.equal(samples.size, 3)
})

t.test('the window is what was recorded since then, and reaches no further', async (t) => {
  let now = 0
  const registry = new MetricsRegistry()
  const histogram = registry.instrument({ name: 'x', kind: 'histogram', unit: 's', description: 'x', labels: ['a'], buckets: BOUNDS })
  const counter = registry.instrument({ name: 'y', kind: 'counter', unit: '1', description: 'y', labels: [] })
  const window = new Window([histogram], [counter], 60_000, () => now)
  t.equal(window.coveredMs, 0)
  histogram.bind({ a: 'old' }).observe(5)
  counter.bind({}).add(7)
  const loop = { meanMs: 0, lagMs: 1, worstMs: 1, utilization: 0.2 }
  window.take({ loop, loads: [] })
  t.same(window.histogram(histogram), [], 'nothing since')
  histogram.bind({ a: 'new' }).observe(5)
  counter.bind({}).add(2)
  t.same(window.histogram(histogram).map(([labels, { count }]) => [labels.a, count]), [['new', 1]])
  t.same(window.counter(counter).map(([, n]) => n), [2])
  // Points that come too close are folded into one, with the worst of the lags.
  now = 500
  window.take({ loop: { meanMs: 0, lagMs: 9, worstMs: 10, utilization: 0.4 }, loads: [] })
  t.same(window.moments().map((moment) => moment.loop), [{ meanMs: 0, lagMs: 9, worstMs: 10, utilization: 0.30000000000000004 }])
  t.equal(window.latest?.loop?.lagMs, 9)
  for (now = 1_000; now <= 1_000_000; now += 1_000) {
    histogram.bind({ a: 'new' }).observe(5)
    window.take({ loop, loads: [] })
  }
  now -= 1_000
  t.equal(window.coveredMs, 60_000)
  t.same(window.histogram(histogram).map(([, { count }]) => count), [60])
  t.ok(window.moments().length <= 61)
  t.same(window.counter(counter), [], 'long ago')
})
