/** A consumer that is closed while the answer to its claim is still under way. */
import { Redis } from 'ioredis'
import t from 'tap'
import { startRedis } from '../support/redis.ts'
import { COMPLETED, Hearing, newJob, openStore, play, QUEUE, until } from '../support/redis-jobs.ts'
import { startProxy } from '../support/redis-proxy.ts'

t.test('its job goes back at once, without an attempt: nobody would have renewed its lease', { timeout: 60_000 }, async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const proxy = await startProxy(redis.port)
  t.teardown(() => proxy.stop())
  // Longer than the test: a job that comes back has not come back by itself.
  const leaseMs = 120_000
  const distant = await openStore({ url: proxy.url, leaseMs, stalledIntervalMs: 120_000, operationTimeoutMs: 30_000 })
  t.teardown(() => distant.close(1_000))
  const near = await openStore({ url: redis.url, leaseMs })
  t.teardown(() => near.close(1_000))
  const { consumer, attempts, errors } = play(distant)
  const client = new Redis(redis.url)
  t.teardown(() => client.disconnect())
  await until('it to wait for a job', async () => (await client.info('clients')).includes('blocked_clients:1'))
  const job = newJob()
  proxy.hold()
  await near.create(job)
  await until('its claim to be on the way', () => proxy.held.includes(`:${QUEUE}:active`))
  t.equal(await consumer.drain(100), true)
  await consumer.close(500)
  const hearing = new Hearing(near)
  await hearing.follow(job.id)
  proxy.release()

  await until('the claim to reach the server, and the job to come back', () => hearing.updates.length > 0)
  t.same(hearing.heard, [`queued ${job.id}`])
  const other = play(near, { script: () => COMPLETED })
  const { claim } = await other.attempt(1)
  t.match(claim, { stalled: false, job: { id: job.id, attempts: 1 } })
  await until('its end', async () => (await near.get(job.id))?.state === 'completed')
  t.same([attempts, errors], [[], []])
})
