import t from 'tap'
import { durations, grown, together } from '../../lib/monitor/distribution.ts'
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
