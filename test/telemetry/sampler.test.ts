import { ROOT_CONTEXT, trace } from '@opentelemetry/api'
import t from 'tap'
import { bucketSampler, markSampled, TokenBucket } from '../../lib/telemetry/sampler.ts'

t.test('so many a second, and after a pause a second\'s worth at once', async (t) => {
  let now = 0
  const bucket = new TokenBucket(50, () => now)
  const take = (times: number): number => Array.from({ length: times }, () => bucket.take()).filter(Boolean).length
  t.equal(take(1_000), 50)
  now = 100
  t.equal(take(1_000), 5)
  now = 60_000
  t.equal(take(1_000), 50)
  const slow = new TokenBucket(0.5, () => now)
  t.same([slow.take(), slow.take()], [true, false])
  now += 2_000
  t.same([slow.take(), slow.take()], [true, false])
  const none = new TokenBucket(0, () => now)
  now += 1_000_000
  t.equal(none.take(), false)
})

t.test('what came in keeps its decision; only new traces need a token', async (t) => {
  const sampler = bucketSampler(new TokenBucket(1, () => 0))
  const parent = (traceFlags: number) => trace.setSpanContext(ROOT_CONTEXT, { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), traceFlags })
  t.equal(sampler.shouldSample(parent(1), '').decision, 2)
  t.equal(sampler.shouldSample(parent(0), '').decision, 0)
  t.equal(sampler.shouldSample(markSampled(ROOT_CONTEXT), '').decision, 2, 'its token was taken before')
  t.equal(sampler.shouldSample(ROOT_CONTEXT, '').decision, 2)
  t.equal(sampler.shouldSample(ROOT_CONTEXT, '').decision, 0)
  t.match(String(sampler), /TokenBucket/)
})
