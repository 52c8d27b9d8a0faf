/** The listener is in one process and the worker in another, which may die; also on a cluster, where channels are sharded. */
import Fastify, { type FastifyInstance } from 'fastify'
import { Cluster, Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { asyncEndpoints, redisStore, type RedisStoreOptions } from '../../plugins/async-endpoints.ts'
import { all, listenInEveryWay } from '../support/listeners.ts'
import { startRedis, uniquePrefix } from '../support/redis.ts'
import { QUEUE, until } from '../support/redis-jobs.ts'
import { startWorker } from '../support/redis-worker.ts'
import { portOf } from '../support/socket-client.ts'

const WAIT_SECONDS = 30

t.setTimeout(120_000)
t.jobs = 2

/** An application that only listens. */
async function listening (t: Test, store: RedisStoreOptions): Promise<{ readonly app: FastifyInstance, readonly port: number }> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, {
    store: redisStore(store), observability: false, health: false, worker: false, listening: { webSocket: true }
  })
  app.defineJob({ name: 'test', queue: QUEUE, handler: async () => {} })
  return { app, port: await portOf(app) }
}

t.test('the worker is another process', async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const options = { url: server.url, prefix: uniquePrefix(), leaseMs: 2_000 }
  const worker = await startWorker(options)
  t.teardown(() => worker.kill())
  const { app, port } = await listening(t, options)
  const { id } = await app.jobs.submit('test', { sleepMs: 1_500 })
  const { ends } = await listenInEveryWay(app, port, id, WAIT_SECONDS)
  t.same(await ends, all('completed'))

  const again = await app.jobs.submit('test', { sleepMs: 3_000 })
  const waiting = await listenInEveryWay(app, port, again.id, WAIT_SECONDS)
  await worker.tells('started', again.id)
  await worker.kill()
  const second = await startWorker(options)
  t.teardown(() => second.kill())
  t.same(await waiting.ends, all('completed'), 'its first worker was killed, another has ended it')
})

t.test('a cluster: only the nodes that have the jobs carry their messages', async (t) => {
  const server = await startRedis({ settings: ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'] })
  t.teardown(() => server.stop())
  const admin = new Redis(server.url)
  t.teardown(() => admin.disconnect())
  await admin.cluster('ADDSLOTS', ...Array.from({ length: 16_384 }, (_, slot) => slot))
  await until('the cluster is up', async () => (await admin.cluster('INFO')).includes('cluster_state:ok'))
  const client = async (): Promise<Cluster> => {
    const cluster = new Cluster([{ host: '127.0.0.1', port: server.port }], { redisOptions: { maxRetriesPerRequest: 3 } })
    t.teardown(() => cluster.disconnect())
    await until('the client is ready', () => cluster.status === 'ready')
    return cluster
  }
  const { app, port } = await listening(t, { client: await client() })
  const working = Fastify()
  t.teardown(() => working.close())
  await working.register(asyncEndpoints, {
    store: redisStore({ client: await client() }), observability: false, health: false, http: false, worker: { drainTimeoutMs: 500 }
  })
  let open = (): void => {}
  const gate = new Promise<void>((resolve) => { open = resolve })
  t.teardown(() => open())
  working.defineJob({ name: 'test', queue: QUEUE, handler: async () => { await gate } })
  await working.ready()
  const { id } = await app.jobs.submit('test', {})
  const { ends } = await listenInEveryWay(app, port, id, WAIT_SECONDS)
  await until('the job is followed on a sharded channel', async () => {
    const channels = await admin.call('PUBSUB', 'SHARDCHANNELS', `*changed:${id}`)
    return Array.isArray(channels) && channels.length === 1
  })
  t.same(await admin.pubsub('CHANNELS', '*changed:*'), [])
  open()
  t.same(await ends, all('completed'))
})
