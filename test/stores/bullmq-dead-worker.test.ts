/** A job whose worker died, before another has noticed: everything says the same about it. */
import { Redis } from 'ioredis'
import t from 'tap'
import { createContext, silentLogger } from '../../lib/core/context.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { StuckJobs } from '../../lib/health/job-checks.ts'
import { StoreCounts } from '../../lib/jobs/store-counts.ts'
import { StoreReadings } from '../../lib/health/store-readings.ts'
import { ObservedStore } from '../../lib/stores/observed.ts'
import { startRedis } from '../support/redis.ts'
import { COMPLETED, newJob, openStore, play, QUEUE, until } from '../support/redis-jobs.ts'

t.test('status, list, counts and health agree that it is in progress', { timeout: 60_000 }, async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const client = new Redis(redis.url)
  t.teardown(() => client.disconnect())
  const store = await openStore({ url: redis.url, leaseMs: 60_000, stalledIntervalMs: 600_000 })
  t.teardown(() => store.close(1_000))
  const { attempt } = play(store)
  const job = newJob()
  await store.create(job)
  const running = await attempt(1)
  t.equal((await client.del(...await client.keys(`*${job.id}:lock`))), 1)

  t.match(await store.get(job.id), { state: 'in-progress', attempts: 1 })
  const listed = async (state: 'queued' | 'in-progress'): Promise<string[]> => (await store.list({ queue: QUEUE, state, limit: 10 })).jobs.map(({ id }) => id)
  t.same(await listed('in-progress'), [job.id])
  t.same(await listed('queued'), [])
  t.match(await store.counts(QUEUE), { states: { queued: 0, 'in-progress': 1 }, stuck: 1, stuckIds: [job.id] })
  const context = createContext()
  const observed = new ObservedStore(store, context, new EventBus(silentLogger))
  const readings = new StoreReadings(observed, new StoreCounts(observed, context.clock), context.clock, () => [QUEUE])
  t.match(await readings.counts(), { queued: 0, stuck: 1 })
  const check = new StuckJobs({ all: () => [{ name: job.name, timeoutMs: 1, graceMs: 0 }] }, readings, { now: () => Date.now() + 60_000 })
  t.match(await check.look(), { status: 'Degraded', data: { stuck_count: 1 } })
  running.end({ kind: 'release' })
})

t.test('the claim that comes with the end of a job is timed like any other', { timeout: 60_000 }, async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const store = await openStore({ url: redis.url })
  t.teardown(() => store.close(1_000))
  const jobs = [newJob(), newJob(), newJob()]
  for (const job of jobs) await store.create(job)
  const { attempts } = play(store, { script: () => COMPLETED, concurrency: 1 })
  await until('all to end', async () => (await store.counts(QUEUE)).states.completed === jobs.length)
  t.equal(attempts.length, 3)
  t.ok(attempts.every(({ claim }) => typeof claim.claimMs === 'number' && claim.claimMs >= 0), JSON.stringify(attempts.map(({ claim }) => claim.claimMs)))
})
