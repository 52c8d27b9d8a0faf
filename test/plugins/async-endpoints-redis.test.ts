import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { runtimeOf } from '../../lib/events/runtime.ts'
import asyncEndpoints, { redisStore, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { startRedis, uniquePrefix, type RedisServer } from '../support/redis.ts'

async function reportsApp (redis: RedisServer, prefix: string, options: AsyncEndpointsOptions = {}): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(asyncEndpoints, { store: redisStore({ url: redis.url, prefix }), ...options })
  app.asyncEndpoint<{ body: { year: number } }>({
    url: '/reports',
    name: 'report',
    schema: { body: { type: 'object', required: ['year'], properties: { year: { type: 'integer' } } }, result: { type: 'object', properties: { rows: { type: 'integer' } } } },
    handler: async (job) => ({ rows: job.body.year * 2, internal: 'not for clients' })
  })
  return app
}

t.test('the whole way on Redis, with API and worker in applications of their own', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const prefix = uniquePrefix()
  const api = await reportsApp(redis, prefix, { worker: false })
  const worker = await reportsApp(redis, prefix, { http: false })
  t.teardown(async () => { await Promise.all([api.close(), worker.close()]) })
  await worker.ready()

  const waited = await api.inject({ method: 'POST', url: '/reports', payload: { year: 4 }, headers: { prefer: 'wait=20', 'idempotency-key': 'k' } })
  t.equal(waited.statusCode, 200)
  t.strictSame(waited.json(), { rows: 8 }, 'written by schema.result, in a process that never ran the job')
  const again = await api.inject({ method: 'POST', url: '/reports', payload: { year: 4 }, headers: { 'idempotency-key': '"k"' } })
  t.equal(again.headers['idempotency-replayed'], 'true')
  t.match(again.json(), { id: waited.headers['x-async-job-id'], status: 'completed' })
  const self = String(again.headers.location)
  const status = await api.inject(self)
  t.match(status.json(), { status: 'completed', attempts: { made: 1 } })
  t.equal((await api.inject({ url: self, headers: { 'if-none-match': status.headers.etag } })).statusCode, 304)
  t.strictSame((await api.inject(`${self}/result`)).json(), { rows: 8 })
  t.equal((await worker.inject(self)).statusCode, 404, 'the worker has no routes for jobs')
})

t.test('Redis goes away: 503 within submitTimeoutMs, and jobs again when it is back', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const app = await reportsApp(redis, uniquePrefix(), { worker: false, submitTimeoutMs: 500 })
  t.teardown(() => app.close())
  const submit = async (): Promise<{ status: number, code: unknown, retryAfter: unknown, body: string }> => {
    const response = await app.inject({ method: 'POST', url: '/reports', payload: { year: 1 } })
    return { status: response.statusCode, code: response.json().code, retryAfter: response.headers['retry-after'], body: response.body }
  }
  t.equal((await submit()).status, 202)
  await redis.kill()
  const startedAt = performance.now()
  const refused = await submit()
  t.match(refused, { status: 503, code: 'FAE_STORE_UNAVAILABLE', retryAfter: /^\d+$/ })
  t.notMatch(refused.body, /127\.0\.0\.1|ECONN/)
  t.ok(performance.now() - startedAt < 5_000, 'no hang')
  const back = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => { reject(new Error('waited in vain for store.connected after Redis came back')) }, 15_000)
    const stop = runtimeOf(app).bus.on('store.connected', () => { clearTimeout(timer); stop(); resolve() })
  })
  await redis.start()
  await back
  t.equal((await submit()).status, 202, 'taken again')
})

t.test('what the store finds while the application starts can be read in the log', async (t) => {
  const redis = await startRedis({ settings: ['--maxmemory-policy', 'allkeys-lru'] })
  t.teardown(() => redis.stop())
  const start = async (): Promise<Array<Record<string, unknown>>> => {
    const lines: Array<Record<string, unknown>> = []
    const app = Fastify({ logger: { stream: { write: (line: string) => { lines.push(JSON.parse(line) as Record<string, unknown>) } } } })
    t.teardown(() => app.close())
    await app.register(asyncEndpoints, { store: redisStore({ url: redis.url, prefix: uniquePrefix() }), worker: false })
    const heard: string[] = []
    app.jobEvents.subscribe('test', { 'store.connected': () => { heard.push('connected') }, 'store.disconnected': () => { heard.push('disconnected') }, 'store.warned': () => { heard.push('warned') } })
    await app.ready()
    const ofStore = lines.filter(({ component }) => component === 'asyncendpoints.store')
    t.same(heard, ofStore.map(({ event }) => String(event).slice('store.'.length)), 'subscribers hear the same')
    return ofStore
  }
  t.match(await start(), [
    { eventId: 10404, level: 40, error_type: 'eviction-policy', detail: /^The maxmemory-policy of the Redis server is allkeys-lru/ },
    { eventId: 10401, level: 30, store_type: 'bullmq' }
  ])
  await redis.kill()
  t.match(await start(), [{ eventId: 10402, level: 40, error_type: 'ECONNREFUSED' }])
})
