/** All keys of a prefix are in one slot, so a Redis Cluster serves them: here one of a single node, which checks that as well. */
import { Cluster, Redis } from 'ioredis'
import t from 'tap'
import { startRedis } from '../support/redis.ts'
import { COMPLETED, Hearing, newJob, openStore, play, QUEUE, until } from '../support/redis-jobs.ts'

t.test('everything works on a cluster, with the client of the application', async (t) => {
  const server = await startRedis({ settings: ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'] })
  t.teardown(() => server.stop())
  const node = new Redis(server.url)
  await node.cluster('ADDSLOTS', ...Array.from({ length: 16_384 }, (_, slot) => slot))
  await until('the cluster is up', async () => (await node.cluster('INFO')).includes('cluster_state:ok'))
  node.disconnect()

  const cluster = new Cluster([{ host: '127.0.0.1', port: server.port }], { redisOptions: { maxRetriesPerRequest: 3 } })
  t.teardown(() => cluster.disconnect())
  await until('the client is ready', () => cluster.status === 'ready')
  const store = await openStore({ client: cluster })
  t.teardown(() => store.close(2_000))
  const hearing = new Hearing(store)

  const { attempt } = play(store, { concurrency: 2 })
  const result = '"of a cluster"'
  const idempotency = { key: 'ef'.repeat(32), fingerprint: 'f', ttlMs: 60_000 }
  const job = newJob({ idempotency })
  await hearing.follow(job.id)
  await store.create(job)
  t.match(await store.create(newJob({ idempotency })), { created: false, id: job.id })
  await (await attempt(1)).settle({ kind: 'completed', result, resultBytes: result.length })
  t.equal(await store.result(job.id), result)
  await until('the change is heard', () => hearing.heard.includes(`completed ${job.id}`))

  const retried = newJob()
  await store.create(retried)
  await (await attempt(2)).settle({ kind: 'retry', error: { code: 'E', message: 'e' }, delayMs: 10 })
  const again = await attempt(3)
  t.equal(await store.progress(again.claim, { done: 1 }), true)
  await store.cancel(retried.id, 'x')
  await until('the attempt is told', () => again.aborts.includes('cancelled'))
  await again.settle({ kind: 'failed', error: { code: 'E', message: 'e' } })
  t.match(await store.redrive(retried.id), { kind: 'redriven' })
  await (await attempt(4)).settle(COMPLETED)

  const later = newJob({ runAt: Date.now() + 3_600_000 })
  const urgent = newJob({ priority: 1, queue: 'other' })
  await store.create(later)
  await store.create(urgent)
  t.match((await store.counts(QUEUE)).states, { completed: 2, scheduled: 1 })
  t.equal((await store.list({ limit: 10 })).jobs.length, 4)
  t.match(await store.cancel(later.id, 'x'), { kind: 'cancelled' })
  t.equal(await store.remove(urgent.id), 'removed')
})
