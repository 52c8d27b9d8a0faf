/** Worker processes that die, block, or are told to stop by another process. */
import t from 'tap'
import { sharedRedis, uniquePrefix } from '../support/redis.ts'
import { newJob, openStore, until, withBody } from '../support/redis-jobs.ts'
import { startWorker } from '../support/redis-worker.ts'
import type { Play } from './fixtures/worker.ts'

const server = await sharedRedis()
t.teardown(() => server.stop())

function job (play: Play): ReturnType<typeof newJob> {
  return newJob({ input: withBody(play) })
}

t.test('a worker that is killed in the middle of a job: another runs it again within 15 s, with the default settings', async (t) => {
  const options = { url: server.url, prefix: uniquePrefix() }
  const store = await openStore(options)
  t.teardown(() => store.close(1_000))
  const [first, second] = [await startWorker(options), await startWorker(options)]
  t.teardown(() => Promise.all([first.kill(), second.end()]))
  const submitted = job({ sleepMs: 60_000 })
  await store.create(submitted)
  await until('one of them has started it', () => [first, second].some(({ told }) => told.some(({ kind }) => kind === 'started')))
  const [victim, heir] = first.told.some(({ kind }) => kind === 'started') ? [first, second] : [second, first]
  await victim.kill()
  const killedAt = performance.now()
  t.match(await store.get(submitted.id), { state: 'in-progress' }, 'as far as anybody can know')
  await until('the other has started it', () => heir.told.filter(({ kind }) => kind === 'started').length >= 2, 25_000)
  const seconds = (performance.now() - killedAt) / 1_000
  t.ok(seconds < 15, `after ${seconds.toFixed(1)} s`)
  const starts = heir.told.filter((told) => told.kind === 'started')
  t.match(starts, [{ stalled: true, attempts: 2 }, { stalled: false, attempts: 2 }], 'the stall spent an attempt, and was accounted for')
  await heir.kill()
})

t.test('a running job is cancelled from another process', async (t) => {
  const options = { url: server.url, prefix: uniquePrefix() }
  const store = await openStore(options)
  t.teardown(() => store.close(1_000))
  const worker = await startWorker(options)
  const submitted = job({ untilAborted: true })
  await store.create(submitted)
  await worker.tells('started', submitted.id)
  t.match(await store.cancel(submitted.id, 'not wanted'), { kind: 'requested' })
  t.match(await worker.tells('aborted', submitted.id), { reason: 'cancelled' })
  t.match(await worker.tells('settled', submitted.id), { verdict: 'stored' })
  t.match(await store.get(submitted.id), { state: 'cancelled', error: { message: 'not wanted' } })
  t.ok(await worker.end(), 'the process ends by itself')
})

t.test('a worker whose event loop is blocked loses its lease: its ending does not count', async (t) => {
  const options = { url: server.url, prefix: uniquePrefix(), leaseMs: 1_000, stalledIntervalMs: 250 }
  const store = await openStore(options)
  t.teardown(() => store.close(1_000))
  const blocked = await startWorker(options)
  const submitted = job({ blockMs: 4_000 })
  await store.create(submitted)
  await blocked.tells('started', submitted.id)
  const other = await startWorker({ ...options })
  await other.tells('started', submitted.id)
  t.match(await blocked.tells('settled', submitted.id), { verdict: 'refused' })
  // The other one blocks for as long, and so on: end it here.
  await Promise.all([blocked.kill(), other.kill()])
})

t.test('two worker processes share the jobs, and each is run once', async (t) => {
  const options = { url: server.url, prefix: uniquePrefix() }
  const store = await openStore(options)
  t.teardown(() => store.close(1_000))
  const workers = [await startWorker(options), await startWorker(options)]
  const jobs = Array.from({ length: 60 }, () => job({ sleepMs: 5 }))
  await Promise.all(jobs.map((submitted) => store.create(submitted)))
  await until('all are completed', async () => (await store.counts('tests')).states.completed === jobs.length)
  const started = workers.flatMap(({ told }) => told.flatMap((entry) => entry.kind === 'started' ? [entry.id] : []))
  t.same(started.sort(), jobs.map(({ id }) => id).sort())
  for (const { told } of workers) t.ok(told.length > 1, 'both had some')
  t.same(await Promise.all(workers.map((worker) => worker.end())), [true, true])
})
