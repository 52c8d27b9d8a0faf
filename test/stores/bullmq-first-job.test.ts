import t from 'tap'
import { FirstJob } from '../../lib/stores/bullmq/first-job.ts'
import { newJob, openStore, play, until } from '../support/redis-jobs.ts'
import { sharedRedis } from '../support/redis.ts'

t.test('the claim after the first job of an empty queue makes way, once', async (t) => {
  const first = new FirstJob()
  t.equal(first.goesFirst(), false, 'nothing was claimed yet')
  first.claimed(true)
  t.equal(first.goesFirst(), false, 'there were jobs when the worker started: it fills its slots')
  first.claimed(false)
  t.equal(first.goesFirst(), false, 'the queue is empty')
  first.claimed(true)
  t.equal(first.goesFirst(), true, 'a job came: it begins before more is claimed')
  t.equal(first.goesFirst(), false)
  first.claimed(true)
  t.equal(first.goesFirst(), false, 'more came with it: the worker fills its slots')
  first.claimed(false)
  first.claimed(true)
  first.began()
  t.equal(first.goesFirst(), false, 'the only slot was taken, and the job has begun')
})

t.test('jobs that come together to an idle worker all begin at once', async (t) => {
  const redis = await sharedRedis()
  t.teardown(() => redis.stop())
  const store = await openStore({ url: redis.url, prefix: redis.prefix })
  t.teardown(() => store.close(1_000))
  const { attempt, consumer } = play(store, { concurrency: 5 })
  await store.create(newJob())
  await (await attempt(1)).settle({ kind: 'completed', result: undefined, resultBytes: undefined })
  const before = consumer.lastSeenAt
  await store.create(newJob())
  await attempt(2)
  await until('it has looked again', () => consumer.lastSeenAt > before)
  await Promise.all(Array.from({ length: 4 }, () => store.create(newJob())))
  // None of them ends meanwhile. A wake-up that was lost would show after five seconds, when the worker looks by itself.
  await until('all slots are taken', () => consumer.active === 5, 3_000)
})
