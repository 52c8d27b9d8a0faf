/** A worker that is connected and does not consume, on a real server; and attempts that outlive their consumer. */
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { runtimeOf } from '../../lib/events/runtime.ts'
import { asyncEndpoints, redisStore, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/redis-jobs.ts'
import { startProxy } from '../support/redis-proxy.ts'

// Silence takes its time.
t.setTimeout(240_000)

interface Test { teardown: (fn: () => unknown) => unknown }

/** The shortest that is allowed for readiness; the watchdog gets more, to come after it. */
const UNREADY_MS = 15_000
const SILENT_MS = 18_000

async function build (t: Test, url: string, options: AsyncEndpointsOptions = {}): Promise<FastifyInstance> {
  const app = Fastify({ pluginTimeout: 60_000 })
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { store: redisStore({ url }), ...options })
  return app
}

async function completes (app: FastifyInstance, id: string, withinMs: number): Promise<number> {
  return await until('the job is completed', async () => (await app.jobs.get(id))?.state === 'completed', withinMs)
}

t.test('connections that come up half again and again: the queue is silent, unready, rebuilt, and its jobs run', { timeout: 120_000 }, async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const proxy = await startProxy(redis.port)
  t.teardown(() => proxy.stop())
  const app = await build(t, proxy.url, { worker: { watchdog: { silentMs: SILENT_MS } }, health: { workerSilentMs: UNREADY_MS, checks: { asyncendpoints: false } } })
  app.defineJob({ name: 'well', queue: 'a', handler: () => 1 })
  await app.ready()
  const restarts: Array<{ queue: string, silentMs: number, reason: string }> = []
  app.jobEvents.on('worker.restarted', (event) => { restarts.push(event) })
  await completes(app, (await app.jobs.submit('well', {})).id, 10_000)

  // Every connection that is made for the new queue is accepted and never answered, however often it is made. The others are fine.
  proxy.swallowNew = true
  const before = proxy.open
  const runs: number[] = []
  app.defineJob({ name: 'wedged', queue: 'b', handler: ({ attempt }) => { runs.push(attempt) } })
  await until('its connection', () => proxy.open > before)
  const { id } = await app.jobs.submit('wedged', {})

  t.equal(await runtimeOf(app).store.ping(), undefined, 'the server answers all the time')
  await until('readiness to notice', async () => (await app.inject('/health/ready')).statusCode === 503, SILENT_MS)
  t.match((await app.inject('/health/ready')).json(), { checks: [{}, {}, { name: 'worker', status: 'Unhealthy', description: /\bb$/ }] })
  t.equal((await app.inject('/health/live')).statusCode, 200, 'no restart of the process would be needed')
  t.same(restarts, [], 'nothing has happened yet')
  await until('a new consumer', () => restarts.length > 0, SILENT_MS)
  proxy.swallowNew = false

  await completes(app, id, 2 * SILENT_MS)
  t.match(restarts, [{ queue: 'b' }])
  t.ok((restarts[0]?.silentMs ?? 0) >= SILENT_MS)
  t.same(runs, [1], 'once')
  await until('readiness to come back', async () => (await app.inject('/health/ready')).statusCode === 200)
  t.match((await app.inject('/metrics')).payload, /^asyncendpoints_worker_restarts_total\{(?=.*queue="b")(?=.*reason="(silent|never-looked)").*\} 1$/m)
  await until('the dead connections to be let go', () => proxy.open === before + 2)
})

t.test('attempts under way when their consumer is replaced end once, and the places stay as many', { timeout: 60_000 }, async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const app = await build(t, redis.url, { store: redisStore({ url: redis.url, leaseMs: 1_000, stalledIntervalMs: 200 }), worker: { concurrency: 3 } })
  const begun: string[] = []
  const ends = new Map<string, () => void>()
  let most = 0
  let now = 0
  app.defineJob({
    name: 'long',
    handler: async (job) => {
      begun.push(job.id)
      most = Math.max(most, ++now)
      await new Promise<void>((resolve) => { ends.set(job.id, resolve) })
      now--
      return job.id
    }
  })
  await app.ready()
  const submit = async (): Promise<string> => (await app.jobs.submit('long', {})).id
  const old = [await submit(), await submit()]
  await until('both run', () => begun.length === 2)
  t.equal(app.jobWorker.restart('default'), true)
  const later = [await submit(), await submit(), await submit()]
  await until('the free place is taken', () => begun.length === 3)
  // Longer than the lease: the old consumer renews it, or another attempt would begin.
  await until('the leases to have been renewed', async () => (await runtimeOf(app).store.counts('default')).states['in-progress'] === 3)
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  t.same(begun.length, 3)
  ends.get(old[0] ?? '')?.()
  await until('its place is taken by the new consumer', () => begun.length === 4)
  t.equal((await app.jobs.get(old[0] ?? ''))?.state, 'completed', 'settled by the old one')
  for (const id of begun) ends.get(id)?.()
  await until('the last runs', () => begun.length === 5)
  for (const id of begun) ends.get(id)?.()
  for (const id of [...old, ...later]) {
    await completes(app, id, 10_000)
    t.equal((await app.jobs.get(id))?.attempts, 1)
  }
  t.same([begun.length, new Set(begun).size, most], [5, 5, 3], 'each once, never more than three at a time')
})

t.test('Redis away for longer than the silence: reconnecting is enough, nothing is rebuilt', { timeout: 120_000 }, async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const app = await build(t, redis.url, { worker: { watchdog: { silentMs: UNREADY_MS } } })
  app.defineJob({ name: 'well', handler: () => 1 })
  await app.ready()
  const restarts: unknown[] = []
  app.jobEvents.on('worker.restarted', (event) => { restarts.push(event) })
  await completes(app, (await app.jobs.submit('well', {})).id, 10_000)
  await redis.kill()
  await new Promise((resolve) => setTimeout(resolve, UNREADY_MS + 5_000))
  await redis.start()
  let id = ''
  await until('a submission is taken', async () => { try { id = (await app.jobs.submit('well', {})).id; return true } catch { return false } })
  const tookMs = await completes(app, id, 10_000)
  t.ok(tookMs < 5_000, `after ${Math.round(tookMs)} ms`)
  t.same(restarts, [])
})

t.test('a time in which a worker that works may not have looked is refused at the registration', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const refused = { code: 'FAE_INVALID_OPTIONS' }
  await t.rejects(build(t, redis.url, { worker: { watchdog: { silentMs: UNREADY_MS - 1 } } }), { ...refused, message: /worker: watchdog\.silentMs must be at least 15000/ })
  await t.rejects(build(t, redis.url, { health: { workerSilentMs: UNREADY_MS - 1 } }), { ...refused, message: /health: workerSilentMs must be at least 15000/ })
})
