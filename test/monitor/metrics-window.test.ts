import t from 'tap'
import { MetricsWindow } from '../../lib/monitor/metrics-window.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'

const BOUNDS = [0.01, 0.1, 1, 10]

t.test('the window is what was recorded since then, and reaches no further', async (t) => {
  let now = 0
  const registry = new MetricsRegistry()
  const histogram = registry.instrument({ name: 'x', kind: 'histogram', unit: 's', description: 'x', labels: ['a'], buckets: BOUNDS })
  const counter = registry.instrument({ name: 'y', kind: 'counter', unit: '1', description: 'y', labels: [] })
  const window = new MetricsWindow([histogram], [counter], 60_000, () => now)
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
