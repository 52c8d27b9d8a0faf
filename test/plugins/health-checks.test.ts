/** The built-in checks within the whole suite, on a real server that is full, read-only, or not there yet. */
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t from 'tap'
import { runtimeOf } from '../../lib/events/runtime.ts'
import { asyncEndpoints, redisStore, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { prepareRedis, startRedis } from '../support/redis.ts'
import { until } from '../support/redis-jobs.ts'

interface Test { teardown: (fn: () => unknown) => unknown }
interface Check { name: string, status: string, description: string, tags: string[], data: Record<string, unknown> }

// A machine that is busy with other tests may take long to load a plugin.
async function build (t: Test, options: AsyncEndpointsOptions): Promise<FastifyInstance> {
  const app = Fastify({ pluginTimeout: 60_000 })
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, options)
  return app
}

async function checkOf (app: FastifyInstance, name: string, url = '/health'): Promise<Check | undefined> {
  return (await app.inject(url)).json<{ checks: Check[] }>().checks.find((check) => check.name === name)
}

t.test('a submission on trial leaves no job and no number; a thousand probes cost one check', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const app = await build(t, { store: redisStore({ url: redis.url, prefix: '{p}' }), worker: false })
  app.defineJob({ name: 'work', handler: () => 'done' })
  let calls = 0
  app.jobHealth.addCheck('counted', () => { calls++ }, { tags: ['ready'], cacheMs: 60_000 })
  await app.ready()
  const client = new Redis(redis.url)
  t.teardown(() => client.disconnect())
  const created: unknown[] = []
  app.jobEvents.on('job.submitted', (event) => { created.push(event) })
  const probed = await Promise.all(Array.from({ length: 1_000 }, async () => (await app.inject('/health/ready')).statusCode))
  t.same(new Set(probed), new Set([200]))
  t.equal(calls, 1)
  t.match(await checkOf(app, 'asyncendpoints'), { status: 'Healthy', data: { store_type: 'bullmq', submit_probe: 'passed', stuck_jobs: 0, max_retries: 2 } })
  t.match(await checkOf(app, 'redis'), { status: 'Healthy', tags: ['redis', 'store'] })
  t.strictSame((await client.keys('*')).filter((key) => key.includes('probe')), [])
  t.strictSame((await runtimeOf(app).store.list({ limit: 10 })).jobs, [])
  t.strictSame(created, [])
  t.notMatch((await app.inject('/metrics')).payload, /operation="probe"|asyncendpoints_jobs_created_total\{.*\} [1-9]/)
})

t.test('a server that is full, or takes no writes, is found although it answers PING; liveness does not care', async (t) => {
  const redis = await startRedis({ settings: ['--maxmemory-policy', 'noeviction'] })
  t.teardown(() => redis.stop())
  const app = await build(t, { store: redisStore({ url: redis.url }), worker: false })
  await app.ready()
  const client = new Redis(redis.url)
  t.teardown(() => client.disconnect())
  const found = async (code: string): Promise<void> => {
    await until(`the check to find ${code}`, async () => (await checkOf(app, 'asyncendpoints', '/health/ready'))?.data['error'] === code)
    t.match(await checkOf(app, 'asyncendpoints'), { status: 'Unhealthy', description: /would take no job/ })
    t.match(await checkOf(app, 'redis'), { status: 'Healthy' })
    t.same([(await app.inject('/health/ready')).statusCode, (await app.inject('/health/live')).statusCode], [503, 200])
  }
  await client.config('SET', 'maxmemory', '1')
  await found('FAE_STORE_FULL')
  await client.config('SET', 'maxmemory', '0')
  await until('it has room again', async () => (await app.inject('/health/ready')).statusCode === 200)
  await client.config('SET', 'min-replicas-to-write', '1')
  await found('FAE_STORE_UNAVAILABLE')
})

t.test('Redis is not there at the start: listening, not ready, alive; ready by itself when it comes', async (t) => {
  const redis = await prepareRedis()
  t.teardown(() => redis.stop())
  const app = await build(t, { store: redisStore({ url: redis.url }) })
  app.defineJob({ name: 'work', handler: () => 'done' })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const status = async (path: string): Promise<number> => (await fetch(url + path)).status
  t.same([await status('/health/ready'), await status('/health'), await status('/health/live')], [503, 503, 200])
  await redis.start()
  await until('readiness', async () => await status('/health/ready') === 200, 20_000)
  const { id } = await app.jobs.submit('work', {})
  t.equal((await app.jobs.waitFor(id, { timeoutMs: 10_000 })).state, 'completed')
})

t.test('what a job requires is asked where it runs; one check speaks of the stuck jobs of all', async (t) => {
  const app = await build(t, {})
  app.asyncEndpoint({ url: '/reports', name: 'generate-report', requires: { s3: () => false }, handler: () => 'done' })
  await app.ready()
  t.match(await checkOf(app, 'generate-report-s3'), { status: 'Unhealthy', tags: ['job', 's3'] })
  t.match(await checkOf(app, 'asyncendpoints.stuck'), { status: 'Healthy', tags: ['job', 'stuck'], data: { stuck_count: 0, jobs_watched: 1 } })
  t.same([(await app.inject('/health')).statusCode, (await app.inject('/health/ready')).statusCode], [503, 200])
  const api = await build(t, { worker: false })
  api.asyncEndpoint({ url: '/reports', name: 'generate-report', requires: { s3: () => false }, handler: () => 'done' })
  await api.ready()
  t.equal(await checkOf(api, 'generate-report-s3'), undefined)
})

t.test('a long line is Degraded, and ready', async (t) => {
  // Without gauges nobody has counted the queue before the probe does.
  const app = await build(t, { worker: false, observability: false, health: { maxQueueDepth: 2 } })
  app.defineJob({ name: 'work', handler: () => 'done' })
  await app.ready()
  for (let n = 0; n < 2; n++) await app.jobs.submit('work', {})
  const response = await app.inject('/health/ready')
  t.match([response.statusCode, response.json()], [200, { status: 'Degraded' }])
  t.match(await checkOf(app, 'asyncendpoints.queuedepth'), { status: 'Degraded', data: { queue_depth: 2, threshold: 2 } })
})

t.test('details for whom authorize lets; the status is for everybody', async (t) => {
  const app = await build(t, {
    health: {
      details: 'authorized',
      authorize: ({ headers }) => {
        if (headers['x-key'] === 'throw') throw new Error('no')
        return headers['x-key'] === 'hang' ? new Promise<boolean>(() => {}) : headers['x-key'] === 'right'
      }
    }
  })
  await app.ready()
  const shown = async (key: string, url = '/health'): Promise<[number, number]> => {
    const response = await app.inject({ url, headers: { 'x-key': key } })
    return [response.statusCode, response.json<{ checks: unknown[] }>().checks.length]
  }
  t.ok((await shown('right'))[1] > 3)
  for (const key of ['wrong', 'throw', 'hang']) t.same(await shown(key), [200, 0], key)
  t.same(await shown('hang', '/health/live'), [200, 0], 'liveness does not even ask')
  await t.rejects(build(t, { health: { details: 'authorized' } }), { message: /health\.details "authorized" needs the function authorize/ })
  await t.rejects(build(t, { health: { authorize: () => true } }), { message: /authorize has no effect/ })
})

t.test('S3-37: the map', async (t) => {
  const app = await build(t, { health: { format: 'map' } })
  app.jobHealth.addCheck('disk', () => ({ status: 'Degraded', description: 'nearly full', data: { free: 1 } }))
  await app.ready()
  const body = (await app.inject('/health')).json<{ status: string, entries: Record<string, object> }>()
  t.match(body, { status: 'Degraded', totalDurationMs: Number, entries: { application: { status: 'Healthy' }, disk: { status: 'Degraded', description: 'nearly full', data: { free: 1 }, tags: [], durationMs: Number } } })
  t.notHas(body, 'checks')
  t.strictSame((await app.inject('/health/live')).json(), { status: 'Healthy', totalDurationMs: 0, entries: {} })
  const secretive = await build(t, { health: { format: 'map', details: 'never' } })
  await secretive.ready()
  t.strictSame((await secretive.inject('/health')).json<{ entries: object }>().entries, {})
})
