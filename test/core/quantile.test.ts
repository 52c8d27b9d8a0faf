import t from 'tap'
import { quantile } from '../../lib/core/quantile.ts'

const BOUNDS = [10, 100, 1_000]

t.test('between the bounds of its bucket, as if the values were spread evenly', async (t) => {
  t.same(quantile(0.5, [50, 0, 50, 0], BOUNDS), { value: 10, from: 0, to: 10 })
  t.same(quantile(0.95, [50, 0, 50, 0], BOUNDS), { value: 910, from: 100, to: 1_000 })
  t.same(quantile(0.5, new Uint32Array([0, 1, 0, 0]), BOUNDS), { value: 55, from: 10, to: 100 })
})

t.test('beyond the last bound nothing is made up; of nothing there is none', async (t) => {
  t.same(quantile(0.95, [0, 0, 0, 10], BOUNDS), { value: 1_000, from: 1_000, to: undefined })
  t.same(quantile(0.95, [0, 0, 0, 0], BOUNDS), { value: 1_000, from: 1_000, to: undefined })
  t.same(quantile(0.95, [], []), { value: 0, from: 0, to: undefined })
})
