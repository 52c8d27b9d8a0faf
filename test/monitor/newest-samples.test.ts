import t from 'tap'
import { NewestSamples } from '../../lib/monitor/newest-samples.ts'

t.test('the newest samples, and no more', async (t) => {
  const samples = new NewestSamples<number>(3)
  t.same(samples.newest(), [])
  for (const n of [1, 2]) samples.add(n)
  t.same(samples.newest(), [2, 1])
  for (const n of [3, 4, 5]) samples.add(n)
  t.same(samples.newest(), [5, 4, 3])
  t.same(samples.newest(2), [5, 4])
  t.same(samples.newest(0), [])
  t.equal(samples.size, 3)
})
