/** Silence on connections that the other side accepts: old ones never speak again, new ones do only after a while. */
import Fastify, { type FastifyInstance } from 'fastify'
import { Cluster, Redis } from 'ioredis'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { asyncEndpoints, redisStore, type RedisStoreOptions } from '../../plugins/async-endpoints.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/redis-jobs.ts'
import { startProxy, type RedisProxy } from '../support/redis-proxy.ts'

t.setTimeout(120_000)

/** What Node warns of in this process: an outage leaves no listeners, however long it lasts. */
const warnings: string[] = []
process.on('warning', ({ name, message }) => { warnings.push(`${name}: ${message}`) })

/** Long enough for every socket to be given up, and for attempts to connect that get nowhere. */
const MUTE_MS = 17_000
const BACK_WITHIN_MS = 9_000

async function build (t: Test, store: RedisStoreOptions): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { store: redisStore(store), observability: false, worker: { drainTimeoutMs: 500 } })
  app.asyncEndpoint({ url: '/x', name: 'x', handler: async () => 'done' })
  await app.ready()
  return app
}

async function post (app: FastifyInstance, wait = false): Promise<{ status: number, tookMs: number }> {
  const startedAt = performance.now()
  const { statusCode } = await app.inject({ method: 'POST', url: '/x', payload: {}, headers: wait ? { prefer: 'wait=5' } : {} })
  return { status: statusCode, tookMs: performance.now() - startedAt }
}

async function survives (t: Test, proxy: RedisProxy, options: RedisStoreOptions): Promise<void> {
  const app = await build(t, options)
  // A cluster needs a moment for its nodes.
  await until('a job runs', async () => (await post(app, true)).status === 200)
  proxy.mute()
  const refused = await post(app)
  t.equal(refused.status, 503)
  await sleep(MUTE_MS)
  proxy.unmute()
  const startedAt = performance.now()
  await until('a submission is taken', async () => (await post(app)).status === 202, BACK_WITHIN_MS)
  await until('a job runs, and its end is heard at once', async () => {
    const { status, tookMs } = await post(app, true)
    return status === 200 && tookMs < 1_000
  }, BACK_WITHIN_MS)
  t.ok(performance.now() - startedAt < BACK_WITHIN_MS, `all is back after ${Math.round(performance.now() - startedAt)} ms`)
  await until('it is ready', async () => (await app.inject('/health/ready')).statusCode === 200)
  await app.close()
}

t.test('connections are accepted and mute for a while, and the old ones for ever', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const node = await startRedis({ settings: ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'] })
  t.teardown(() => node.stop())
  const admin = new Redis(node.url)
  await admin.cluster('ADDSLOTS', ...Array.from({ length: 16_384 }, (_, slot) => slot))
  await until('the cluster is up', async () => (await admin.cluster('INFO')).includes('cluster_state:ok'))
  admin.disconnect()
  const proxyTo = async (port: number): Promise<RedisProxy> => {
    const proxy = await startProxy(port)
    t.teardown(() => proxy.stop())
    return proxy
  }
  const [ours, theirs, clustered] = [await proxyTo(redis.port), await proxyTo(redis.port), await proxyTo(node.port)]
  const client = new Redis(theirs.url)
  client.on('error', () => {})
  t.teardown(() => client.disconnect())
  const through = { host: '127.0.0.1', port: clustered.listensOn }
  const cluster = new Cluster([through], { natMap: () => through })
  cluster.on('error', () => {})
  t.teardown(() => cluster.disconnect())
  t.jobs = 3
  await Promise.all([
    t.test('connections of the store', (t) => survives(t, ours, { url: ours.url, prefix: '{ours}' })),
    t.test('a client of the application', (t) => survives(t, theirs, { client, prefix: '{theirs}' })),
    t.test('a cluster', (t) => survives(t, clustered, { client: cluster }))
  ])
  t.same(warnings.filter((text) => text.startsWith('MaxListenersExceededWarning')), [])
})
