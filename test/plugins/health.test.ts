import underPressure from '@fastify/under-pressure'
import Fastify, { type FastifyInstance, type InjectOptions } from 'fastify'
import fp from 'fastify-plugin'
import t from 'tap'
import { runtimeOf, RUNTIME } from '../../lib/events/runtime.ts'
import { createContext } from '../../lib/core/context.ts'
import { readRedactOptions } from '../../lib/core/redact.ts'
import { EventBus } from '../../lib/events/bus.ts'
import type { JobRuntime } from '../../lib/events/runtime.ts'
import { StoreCounts } from '../../lib/jobs/store-counts.ts'
import { JobRegistry } from '../../lib/jobs/registry.ts'
import type { JobStore } from '../../lib/jobs/store.ts'
import { health, type HealthOptions } from '../../plugins/health.ts'

interface Test { teardown: (fn: () => unknown) => unknown }

interface Parts { get?: () => Promise<undefined>, options?: HealthOptions, exposeHeadRoutes?: boolean, before?: (app: FastifyInstance) => Promise<void> }

/** An application with our health plugin over a store that can do nothing but be asked how it is. */
async function build (t: Test, { get = async () => undefined, options = {}, exposeHeadRoutes = true, before }: Parts = {}): Promise<FastifyInstance> {
  const app = Fastify({ exposeHeadRoutes })
  t.teardown(() => app.close())
  await app.register(fp(async (app: FastifyInstance) => {
    const context = createContext()
    const store = { type: 'fake', get } as Pick<JobStore, 'type' | 'get'> as JobStore
    const runtime: JobRuntime = {
      context, store, counts: new StoreCounts(store, context.clock), bus: new EventBus(context.logger), registry: new JobRegistry(), redaction: readRedactOptions(), submitMiddleware: [], attemptMiddleware: [], handlerSpanMiddleware: [], stepMiddleware: [], handlerMiddleware: []
    }
    app.decorate(RUNTIME, runtime)
  }, { name: 'fastify-async-endpoints/job-store' }))
  if (before !== undefined) await before(app)
  await app.register(health, options)
  return app
}

interface Answer { status: number, body: { status: string, checks: Array<{ name: string, status: string, description: string }>, totalDurationMs: number }, headers: Record<string, unknown>, payload: string }

async function probe (app: FastifyInstance, url: string, method: InjectOptions['method'] = 'GET'): Promise<Answer> {
  const response = await app.inject({ url, method })
  return { status: response.statusCode, body: JSON.parse(response.payload === '' ? 'null' : response.payload) as Answer['body'], headers: response.headers, payload: response.payload }
}

t.test('the three routes of a healthy process', async (t) => {
  const app = await build(t)
  const all = await probe(app, '/health')
  t.match(all, { status: 200, body: { status: 'Healthy' }, headers: { 'cache-control': 'no-store', 'content-type': /application\/json/ } })
  t.strictSame(all.body.checks.map(({ name }) => name), ['application', 'asyncendpoints', 'asyncendpoints.queuedepth', 'memory', 'event-loop', 'asyncendpoints.stuck'])
  t.strictSame(Object.keys(all.body), ['status', 'checks', 'totalDurationMs'])
  t.strictSame(Object.keys(all.body.checks[0] ?? {}), ['name', 'status', 'description', 'durationMs', 'tags', 'data'])
  const ready = await probe(app, '/health/ready')
  t.match(ready, { status: 200, body: { status: 'Healthy' } })
  t.strictSame(ready.body.checks.map(({ name }) => name), ['application', 'asyncendpoints', 'asyncendpoints.queuedepth'])
  t.match(await probe(app, '/health/live'), { status: 200, body: { status: 'Healthy', checks: [], totalDurationMs: 0 } })
})

t.test('HEAD answers like GET, without a body, also where the application has switched HEAD routes off', async (t) => {
  const plain = await build(t, { exposeHeadRoutes: false })
  for (const url of ['/health', '/health/ready', '/health/live']) t.match(await probe(plain, url, 'HEAD'), { status: 200, payload: '', headers: { 'cache-control': 'no-store' } })
  const closed = await build(t, { get: async () => { throw new Error('away') } })
  t.match(await probe(closed, '/health/ready', 'HEAD'), { status: 503, payload: '' })
})

t.test('a store that is away: not ready, alive, and no word of why', async (t) => {
  const app = await build(t, { get: async () => { throw Object.assign(new Error('connect redis://u:hunter2@h'), { code: 'ECONNREFUSED' }) } })
  const ready = await probe(app, '/health/ready')
  t.match(ready, { status: 503, body: { status: 'Unhealthy' }, headers: { 'cache-control': 'no-store' } })
  t.match(ready.body.checks[1], { name: 'asyncendpoints', status: 'Unhealthy', description: 'the check failed (ECONNREFUSED)' })
  t.notMatch(ready.payload, 'hunter2')
  t.equal((await probe(app, '/health')).status, 503)
  t.equal((await probe(app, '/health/live')).status, 200)
})

t.test('draining: readiness turns, liveness and the rest of the application do not', async (t) => {
  const app = await build(t)
  app.get('/hello', async () => 'hi')
  const changes: unknown[] = []
  runtimeOf(app).bus.on('health.changed', ({ status, previous }) => changes.push([previous, status]))
  t.equal((await probe(app, '/health/ready')).status, 200)
  app.jobHealth.startDraining()
  t.equal((await probe(app, '/health/ready')).status, 503)
  t.equal((await probe(app, '/health/live')).status, 200)
  t.equal((await app.inject('/hello')).statusCode, 200)
  t.strictSame(changes, [['Healthy', 'Unhealthy']])
})

t.test('closing turns readiness too, before the server is gone', async (t) => {
  const app = await build(t)
  let during: boolean | undefined
  app.addHook('onClose', async () => { during = app.jobHealth.draining })
  await app.ready()
  t.notOk(app.jobHealth.draining)
  await app.close()
  t.equal(during, true)
})

t.test('a worker is asked whether it claims, wherever its plugin was registered', async (t) => {
  const app = await build(t)
  let lastSeenAt = runtimeOf(app).context.clock.monotonic()
  runtimeOf(app).worker = { running: true, worksOn: () => true, slotsOf: () => 1, consumers: () => [{ queue: 'default', active: 0, paused: false, lastSeenAt }], abandonedIn: () => ({ running: 0, exhaustedSince: undefined }) }
  app.jobHealth.addCheck('noise', () => true, { cacheMs: 0 })
  t.match(await probe(app, '/health/ready'), { status: 200, body: { checks: [{}, {}, {}, { name: 'worker', status: 'Healthy' }] } })
  lastSeenAt -= 60_000
  const quiet = await build(t, { options: { workerSilentMs: 5 } })
  runtimeOf(quiet).worker = { running: true, worksOn: () => true, slotsOf: () => 1, consumers: () => [{ queue: 'default', active: 0, paused: false, lastSeenAt }] }
  t.match(await probe(quiet, '/health/ready'), { status: 503, body: { checks: [{}, {}, {}, { name: 'worker', status: 'Unhealthy' }] } })
})

t.test('options: paths, prefix, details, status codes, checks', async (t) => {
  const moved = await build(t, { options: { path: '/internal/health', paths: { live: '/livez', health: false } } })
  t.equal((await probe(moved, '/internal/health/ready')).status, 200)
  t.equal((await probe(moved, '/livez')).status, 200)
  for (const gone of ['/health', '/internal/health', '/internal/health/live']) t.equal((await moved.inject(gone)).statusCode, 404, gone)

  const secretive = await build(t, { options: { details: 'never', statusCodes: { Unhealthy: 500 } }, get: async () => { throw new Error('away') } })
  t.match(await probe(secretive, '/health'), { status: 500, body: { status: 'Unhealthy', checks: [] } })

  const bare = await build(t, { options: { checks: { asyncendpoints: false, queueDepth: false, memory: false, eventLoop: false, worker: false } } })
  bare.jobHealth.addCheck('mine', () => 'Degraded', { tags: ['ready'] })
  t.match(await probe(bare, '/health/ready'), { status: 200, body: { status: 'Degraded', checks: [{ name: 'application' }, { name: 'mine' }] } })
})

t.test('bad options fail the registration with one message', async (t) => {
  const bad = { storeLatencyMs: 0, degradedRssBytes: 0, colour: 'red', pressure: { maxEventLoopDelay: 5 } } as unknown as HealthOptions
  await t.rejects(async () => await build(t, { options: bad }), { code: 'FAE_INVALID_OPTIONS', message: /health: .*colour is not an option/ })
  await t.rejects(async () => await build(t, { options: bad }), { message: /pressure\.maxEventLoopDelay is not an option/ })
  await t.rejects(async () => await build(t, { options: bad }), { message: /storeLatencyMs must be a number greater than 0/ })
  await t.rejects(async () => await build(t, { options: bad }), { message: /degradedRssBytes must be a number greater than 0/ })
})

/** An endpoint's submit route, as lib/http marks it, and one of everything that must never be refused. */
function addRoutes (app: FastifyInstance): void {
  app.post('/reports', { config: { asyncEndpoints: { kind: 'submit', name: 'report' } } as object }, async () => 'submitted')
  app.post('/jobs/1/redrive', { config: { asyncEndpoints: { kind: 'redrive' } } as object }, async () => 'queued again')
  app.get('/jobs/1', { config: { asyncEndpoints: { kind: 'status' } } as object }, async () => 'status')
  app.delete('/jobs/1', { config: { asyncEndpoints: { kind: 'cancel' } } as object }, async () => 'cancelled')
  app.get('/metrics', async () => 'metrics')
}

/** One byte is less than any process uses: after the first sample it is under pressure for good. */
const OVERLOADED = { maxRssBytes: 1, sampleIntervalMs: 10, retryAfterSeconds: 7 }

async function untilUnderPressure (app: FastifyInstance): Promise<void> {
  const deadline = Date.now() + 10_000
  while (!app.isUnderPressure()) {
    if (Date.now() > deadline) throw new Error('the process never came under pressure')
    await new Promise((resolve) => setImmediate(resolve))
  }
}

t.test('overload refuses submissions and redrives, and nothing else', async (t) => {
  const app = await build(t, { options: { pressure: OVERLOADED } })
  addRoutes(app)
  await app.ready()
  t.equal((await app.inject({ method: 'POST', url: '/reports' })).statusCode, 200, 'nothing was measured yet')
  await untilUnderPressure(app)
  const refused = await app.inject({ method: 'POST', url: '/reports' })
  t.match(refused.json(), { statusCode: 503, code: 'FAE_OVERLOADED' })
  t.match((await app.inject({ method: 'POST', url: '/jobs/1/redrive' })).json(), { statusCode: 503, code: 'FAE_OVERLOADED' })
  for (const url of ['/health', '/health/ready', '/health/live', '/jobs/1', '/metrics']) t.equal((await app.inject(url)).statusCode, 200, url)
  t.equal((await app.inject({ method: 'DELETE', url: '/jobs/1' })).statusCode, 200)
  t.equal((await app.inject('/nothing-here')).statusCode, 404)
})

t.test('what held up the event loop while the application was put together is no reason to refuse its first submissions', async (t) => {
  const app = await build(t, { options: { pressure: { maxEventLoopDelayMs: 1, sampleIntervalMs: 3_000 } } })
  addRoutes(app)
  // Modules being loaded: the first sample covers it, and is looked at after the start.
  const until = Date.now() + 1_500
  while (Date.now() < until) { /* nothing else gets its turn */ }
  await app.ready()
  await untilUnderPressure(app)
  t.equal((await app.inject({ method: 'POST', url: '/reports' })).statusCode, 200)
})

t.test('pressure: false watches nothing', async (t) => {
  const app = await build(t, { options: { pressure: false } })
  await app.ready()
  t.notOk(app.hasDecorator('isUnderPressure'))
})

t.test('an under-pressure of the application is left as it is; probes are answered all the same', async (t) => {
  const before = async (app: FastifyInstance): Promise<void> => { await app.register(underPressure, { maxRssBytes: 1, sampleInterval: 10 }) }
  await t.rejects(build(t, { options: { pressure: OVERLOADED }, before }), { code: 'FAE_INVALID_OPTIONS', message: /pressure has no effect/ })
  const app = await build(t, {
    before: async (app) => { await app.register(underPressure, { maxRssBytes: 1, sampleInterval: 10 }) }
  })
  addRoutes(app)
  await app.ready()
  await untilUnderPressure(app)
  t.match(await app.inject('/metrics'), { statusCode: 503 }, 'its rules are its own business')
  for (const url of ['/health', '/health/ready', '/health/live']) t.equal((await app.inject(url)).statusCode, 200, url)
})

t.test('twice in one process, each with its own answers', async (t) => {
  const good = await build(t)
  const bad = await build(t, { get: async () => { throw new Error('away') } })
  good.jobHealth.startDraining()
  t.match(await probe(good, '/health/ready'), { status: 503 })
  t.match((await probe(bad, '/health/ready')).body.checks[0], { name: 'application', status: 'Healthy' })
})

t.test('without the job store it says what is missing', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await t.rejects(async () => { await app.register(health) }, /fastify-async-endpoints\/job-store/)
})
