import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
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
    const stop = app.jobRuntime.bus.on('store.connected', () => { clearTimeout(timer); stop(); resolve() })
  })
  await redis.start()
  await back
  t.equal((await submit()).status, 202, 'taken again')
})
