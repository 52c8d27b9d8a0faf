/** Readiness while a real Redis is far away, frozen, killed, or was never there. */
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { asyncEndpoints, redisStore, type HealthOptions } from '../../plugins/async-endpoints.ts'
import { startRedis, prepareRedis } from '../support/redis.ts'
import { until } from '../support/redis-jobs.ts'
import { startProxy } from '../support/redis-proxy.ts'

interface Test { teardown: (fn: () => unknown) => unknown }
interface Report { status: string, checks: Array<{ name: string, status: string, description: string }> }

/** What `example-server/ops/kubernetes` gives a probe. */
const MANIFESTS_MS = 2_000

async function build (t: Test, url: string, health: HealthOptions = {}): Promise<FastifyInstance> {
  const app = Fastify({ pluginTimeout: 60_000 })
  await app.register(asyncEndpoints, { store: redisStore({ url }), health, worker: { drainTimeoutMs: 100, watchdog: false } })
  app.asyncEndpoint({ url: '/work', name: 'work', handler: () => 'done' })
  app.get('/mine', async () => 'mine')
  await app.ready()
  t.teardown(() => app.close())
  return app
}

async function ready (app: FastifyInstance): Promise<Report & { code: number, ms: number }> {
  const begin = performance.now()
  const response = await app.inject('/health/ready')
  return { ...response.json<Report>(), code: response.statusCode, ms: performance.now() - begin }
}

t.test('readiness answers within the time of the manifests, however far the server is, and also when it is frozen', { timeout: 120_000 }, async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const proxy = await startProxy(redis.port)
  t.teardown(() => proxy.stop())
  const app = await build(t, proxy.url)
  await until('the first good answer', async () => (await ready(app)).code === 200)
  for (const [roundTripMs, status] of [[300, 'Healthy'], [800, 'Degraded'], [1_200, 'Degraded']] as const) {
    proxy.delayMs = roundTripMs / 2
    await until(`${status} at ${roundTripMs} ms`, async () => {
      const answer = await ready(app)
      t.ok(answer.ms < MANIFESTS_MS, `${answer.ms} ms at a round trip of ${roundTripMs} ms`)
      return answer.code === 200 && answer.status === status
    }, 20_000)
  }
  proxy.delayMs = 0
  redis.freeze()
  await until('a frozen server is found', async () => {
    const answer = await ready(app)
    t.ok(answer.ms < MANIFESTS_MS, `${answer.ms} ms, frozen`)
    return answer.code === 503
  }, 20_000)
  redis.thaw()
  await until('readiness', async () => (await ready(app)).code === 200, 20_000)
})

t.test('a killed Redis: unready by default, Degraded and ready with storeOutage: \'ready\'; other routes go on, submissions are refused', { timeout: 120_000 }, async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const [strict, lenient] = [await build(t, redis.url), await build(t, redis.url, { storeOutage: 'ready', workerSilentMs: 15_000 })]
  for (const app of [strict, lenient]) await until('readiness', async () => (await ready(app)).code === 200)
  await redis.kill()
  await until('the outage is found', async () => (await ready(strict)).code === 503, 20_000)
  let answer = await ready(lenient)
  await until('the other one sees it too', async () => {
    answer = await ready(lenient)
    t.equal(answer.code, 200)
    return answer.status === 'Degraded' && answer.checks.some(({ name, status }) => name === 'worker' && status === 'Degraded')
  }, 20_000)
  t.match(answer.checks.find(({ name }) => name === 'asyncendpoints')?.description, /health\.storeOutage keeps this process ready$/)
  t.match(answer.checks.find(({ name }) => name === 'worker'), { status: 'Degraded', description: 'the store cannot be reached, so no job can be claimed' })
  t.notMatch(JSON.stringify([await ready(strict), answer]), String(redis.port), 'probes are open to many: where the server is stands in the log')
  for (const app of [strict, lenient]) {
    t.equal((await app.inject('/mine')).statusCode, 200)
    const refused = await app.inject({ method: 'POST', url: '/work', payload: {} })
    t.equal(refused.statusCode, 503)
    t.ok(Number(refused.headers['retry-after']) > 0)
  }
  await redis.start()
  for (const app of [strict, lenient]) await until('healthy again', async () => (await ready(app)).status === 'Healthy', 30_000)
})

t.test('storeOutage: \'ready\' does not let a process in that has never reached its store', { timeout: 60_000 }, async (t) => {
  const redis = await prepareRedis()
  t.teardown(() => redis.stop())
  const app = await build(t, redis.url, { storeOutage: 'ready' })
  t.equal((await ready(app)).code, 503)
  await redis.start()
  await until('readiness', async () => (await ready(app)).code === 200, 20_000)
})

t.test('options that make no sense together', async (t) => {
  const app = Fastify()
  await t.rejects(async () => await app.register(asyncEndpoints, { health: { storeLatencyMs: 3_000, storeOutage: 'ready', checks: { asyncendpoints: false } } }), {
    code: 'FAE_INVALID_OPTIONS', message: /storeLatencyMs must be less than probeTimeoutMs \(1500\).*storeOutage has no effect without the check asyncendpoints/
  })
})
