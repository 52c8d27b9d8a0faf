import { createRequire } from 'node:module'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { runtimeOf, RUNTIME } from '../../lib/events/runtime.ts'
import { backboneOf, BACKBONE } from '../../lib/channels/backbone.ts'
import * as face from '../../plugins/async-endpoints.ts'
import asyncEndpoints, { alerts, health, jobStore, memoryStore, observability, snooze, worker, type AsyncEndpointsOptions, type JobStore } from '../../plugins/async-endpoints.ts'

const BODY = { type: 'object', required: ['year'], properties: { year: { type: 'integer' } } }
const RESULT = { type: 'object', properties: { rows: { type: 'integer' } } }

async function reportsApp (t: { teardown: (fn: () => Promise<void>) => void }, options: AsyncEndpointsOptions = {}): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, options)
  app.asyncEndpoint<{ body: { year: number, mode?: string } }>({
    url: '/reports',
    name: 'report',
    retry: { attempts: 2, backoff: { type: 'fixed', delayMs: 0 } },
    schema: { body: BODY, result: RESULT },
    handler: async (job) => {
      if (job.body.mode === 'fail') throw Object.assign(new Error('no such year'), { code: 'E_YEAR' })
      if (job.body.mode === 'snooze' && job.progress !== undefined) return snooze(3_600_000)
      if (job.body.mode === 'hang') await new Promise((_resolve, reject) => { job.signal.addEventListener('abort', () => { reject(job.signal.reason) }) })
      job.progress({ done: 1, total: 1 })
      return { rows: job.body.year * 2, internal: 'not for clients' }
    }
  })
  return app
}

t.test('from the 202 to the result, over the memory store and a real worker', async (t) => {
  const app = await reportsApp(t)
  const accepted = await app.inject({ method: 'POST', url: '/reports', payload: { year: 4 } })
  t.equal(accepted.statusCode, 202)
  const { self } = accepted.json().links
  const status = await app.inject({ url: self, headers: { prefer: 'wait=20' } })
  t.match(status.json(), { status: 'completed', attempts: { made: 1, max: 2 }, progress: { done: 1, total: 1 } })
  const result = await app.inject(`${self}/result`)
  t.strictSame(result.json(), { rows: 8 }, 'written by schema.result')
  t.equal((await app.inject({ method: 'DELETE', url: self })).statusCode, 409)
})

t.test('in one request', async (t) => {
  const app = await reportsApp(t)
  const response = await app.inject({ method: 'POST', url: '/reports', payload: { year: 4 }, headers: { prefer: 'wait=20' } })
  t.equal(response.statusCode, 200)
  t.strictSame(response.json(), { rows: 8 })
  t.equal(response.headers['preference-applied'], 'wait=20')
})

t.test('a job that fails, and runs again', async (t) => {
  const app = await reportsApp(t)
  const failed = await app.inject({ method: 'POST', url: '/reports', payload: { year: 4, mode: 'fail' }, headers: { prefer: 'wait=20' } })
  t.equal(failed.statusCode, 202)
  t.match(failed.json(), { status: 'failed', attempts: { made: 2, max: 2 }, error: { code: 'E_YEAR', message: 'The handler threw an error' } })
  t.equal((await app.jobs.get(failed.json().id))?.error?.message, 'no such year')
  const { redrive, self } = failed.json().links
  const gone = await app.inject(`${self}/result`)
  t.equal(gone.statusCode, 409)
  t.match(gone.json(), { code: 'FAE_JOB_FAILED', jobStatus: 'failed' })
  t.equal((await app.inject({ method: 'POST', url: redrive })).statusCode, 202)
  t.match((await app.inject({ url: self, headers: { prefer: 'wait=20' } })).json(), { status: 'failed', attempts: { made: 2 } })
})

t.test('a running job is cancelled, a snoozed one at once', async (t) => {
  const app = await reportsApp(t)
  const submit = async (mode: string): Promise<string> => (await app.inject({ method: 'POST', url: '/reports', payload: { year: 4, mode } })).json().links.self
  const until = async (self: string, status: string): Promise<void> => {
    let etag: string | undefined
    for (let reads = 0; reads < 20; reads++) {
      const document = await app.inject({ url: self, headers: { prefer: 'wait=20', ...(etag === undefined ? undefined : { 'if-none-match': etag }), ...(reads === 0 ? { prefer: '' } : undefined) } })
      if (document.statusCode === 200 && document.json().status === status) return
      etag = document.headers.etag
    }
    throw new Error(`${self} never became ${status}`)
  }
  const running = await submit('hang')
  await until(running, 'in-progress')
  const asked = await app.inject({ method: 'DELETE', url: running })
  t.equal(asked.statusCode, 202)
  t.equal(asked.json().cancelRequested, true)
  await until(running, 'cancelled')
  t.equal((await app.inject({ method: 'DELETE', url: running })).statusCode, 200, 'cancelled already')

  const snoozed = await submit('snooze')
  await until(snoozed, 'scheduled')
  t.equal((await app.inject({ method: 'POST', url: `${snoozed}/cancel` })).statusCode, 200)
})

/** What `app.decorate` of this package adds, by name. */
const DECORATORS = ['asyncEndpoint', 'saga', 'defineJob', 'jobs', 'jobEvents', 'jobMetrics', 'jobMetricsRegistry', 'jobExporters', 'jobMonitor', 'jobWorker', 'jobHealth', 'jobAlerts', 'jobLink']

t.test('a decorator of the application collides loudly or not at all', async (t) => {
  const before = Fastify()
  const own = new Set(Object.getOwnPropertyNames(before))
  await before.register(asyncEndpoints, { alerts: true, health: { pressure: false } })
  t.same(Object.getOwnPropertyNames(before).filter((name) => !own.has(name)).sort(), [...DECORATORS].sort(), 'no other name is taken')
  await before.close()

  for (const name of DECORATORS) {
    const app = Fastify()
    app.decorate(name, 'of the application')
    await t.rejects(async () => { await app.register(asyncEndpoints, { alerts: true }) }, { code: 'FST_ERR_DEC_ALREADY_PRESENT' }, name)
    await app.close().catch(() => {})
  }

  // Names that earlier versions of this package looked for.
  const app = Fastify()
  t.teardown(() => app.close())
  for (const name of ['health', 'alerts', 'worker', 'metrics', 'jobRuntime', 'jobBackbone', 'metricsRegistry', 'metricsExporters', 'performanceMonitor']) app.decorate(name, { of: 'the application' })
  app.decorateRequest('jobTrace', 'of the application')
  await app.register(asyncEndpoints, { alerts: true, health: { paths: { health: '/health' } } })
  app.asyncEndpoint({ url: '/reports', name: 'report', handler: async () => 'done' })
  for (const url of ['/health', '/health/ready', '/metrics']) t.equal((await app.inject(url)).statusCode, 200, url)
  t.equal((await app.inject({ method: 'POST', url: '/reports', headers: { prefer: 'wait=5' } })).json(), 'done')
})

t.test('parts are found by the names of their plugins', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(jobStore)
  await app.register(health)
  await app.register(asyncEndpoints, { alerts: true })
  for (const part of ['', '/job-store', '/observability', '/worker', '/health', '/alerts']) t.ok(app.hasPlugin(`fastify-async-endpoints${part}`), part)
  for (const part of [worker, observability, health, alerts]) {
    await t.rejects(async () => { await Fastify().register(part) }, { code: 'FST_ERR_PLUGIN_DEPENDENCY_NOT_REGISTERED' })
  }
})

t.test('every part has its decorator and its routes, and can be left out', async (t) => {
  const all = await reportsApp(t)
  for (const name of ['jobs', 'defineJob', 'asyncEndpoint', RUNTIME, BACKBONE, 'jobMetrics', 'jobWorker', 'jobHealth']) t.ok(all.hasDecorator(name), String(name))
  for (const url of ['/health', '/health/live', '/metrics']) t.equal((await all.inject(url)).statusCode, 200, url)

  const none = await reportsApp(t, { worker: false, http: false, health: false, observability: false })
  t.ok(none.hasDecorator('jobs'))
  t.ok(none.hasDecorator('jobMetrics'), 'off is an object of the same shape')
  for (const name of ['jobWorker', 'health']) t.notOk(none.hasDecorator(name), name)
  for (const url of ['/health', '/metrics', '/jobs/x']) t.match((await none.inject(url)).json(), { error: 'Not Found' }, url)
  t.equal((await none.inject({ method: 'POST', url: '/reports', payload: { year: 1 } })).statusCode, 404)
  t.equal(runtimeOf(none).registry.get('report')?.name, 'report', 'the job is defined all the same')
})

t.test('an API-only process takes jobs and runs none', async (t) => {
  const app = await reportsApp(t, { worker: false })
  const { self } = (await app.inject({ method: 'POST', url: '/reports', payload: { year: 1 } })).json().links
  t.equal((await app.inject(self)).json().status, 'queued')
})

t.test('parts that are there are used, not registered again', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const store = memoryStore()
  await app.register(jobStore, { store })
  await app.register(observability)
  await app.register(worker, { concurrency: 3 })
  await app.register(health)
  const { jobWorker } = app
  const runtime = runtimeOf(app)
  await app.register(asyncEndpoints)
  t.equal(runtimeOf(app), runtime)
  t.equal(app.jobWorker, jobWorker)
  app.asyncEndpoint({ url: '/a', name: 'a', handler: async () => 1 })
  t.equal((await app.inject({ method: 'POST', url: '/a', headers: { prefer: 'wait=20' } })).body, '1')
})

t.test('options for a part that is there already would do nothing, so they are refused', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(jobStore)
  await app.register(worker)
  await t.rejects(async () => { await app.register(asyncEndpoints, { store: memoryStore(), submitTimeoutMs: 5, worker: { concurrency: 3 } }) }, {
    code: 'FAE_INVALID_OPTIONS', message: /store has no effect.*submitTimeoutMs has no effect.*worker has no effect/s
  })
})

t.test('every bad key of every part, in one message', async (t) => {
  const bad = {
    wroker: {},
    store: 'redis://localhost',
    submitTimeoutMs: 0,
    jobs: { timeout: 1, retry: { attempts: 0 } },
    worker: { concurency: 3, drainTimeoutMs: -1 },
    http: { path: 'jobs', headers: ['Cookie'], publicUrl: 'ftp://x', maxwait: 1 },
    health: { prefx: '/h' },
    observability: { metrcs: {}, metrics: { pth: '/m' }, tracing: { maxTracesPerSecond: -1 }, serviceName: '' }
  }
  const expected = [
    'wroker is not an option', 'store must be a store, such as memoryStore()', 'submitTimeoutMs must be a number of at least 1', 'jobs.timeout is not an option', 'jobs.retry.attempts must be a whole number from 1 to 1000',
    'worker.concurency is not an option', 'worker.drainTimeoutMs must be a number of at least 0', 'http.path must be a path like "/jobs"', 'http.publicUrl must be a URL that begins', 'http.maxwait is not an option',
    'health.prefx is not an option', 'observability.metrcs is not an option', 'observability.metrics.pth is not an option', 'observability.tracing.maxTracesPerSecond must be a number of at least 0', 'observability.serviceName'
  ]
  const app = Fastify()
  t.teardown(() => app.close())
  const error: Error = await app.register(asyncEndpoints, bad as unknown as AsyncEndpointsOptions).then(() => { throw new Error('registered') }, (thrown) => thrown)
  t.match(error, { code: 'FAE_INVALID_OPTIONS' })
  for (const problem of expected) t.ok(error.message.includes(problem), `${problem} in: ${error.message}`)
  t.notOk(app.hasDecorator('jobs'), 'nothing was registered')
})

t.test('`path` is the place of every group of routes; the old names are refused, and the known ones named', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, {
    http: { path: '/tasks' }, health: { path: '/internal/health' }, observability: { metrics: { path: '/internal/metrics' } }
  })
  await app.ready()
  const moved = ['/internal/health', '/internal/health/ready', '/internal/health/live', '/internal/metrics', '/internal/metrics/jobs',
    '/internal/metrics/bottlenecks']
  for (const url of moved) t.equal((await app.inject(url)).statusCode, 200, url)
  t.match((await app.inject('/tasks/x')).json(), { code: 'FAE_JOB_NOT_FOUND' })
  for (const url of ['/health', '/metrics', '/jobs/x']) t.equal((await app.inject(url)).json().code, undefined, url)

  const bare = Fastify()
  t.teardown(() => bare.close())
  await bare.register(asyncEndpoints, { http: false, health: { path: false }, observability: { metrics: { path: false } } })
  for (const url of ['/health', '/health/ready', '/health/live', '/metrics', '/metrics/jobs']) t.equal((await bare.inject(url)).statusCode, 404, url)

  const root = Fastify()
  t.teardown(() => root.close())
  await root.register(asyncEndpoints, { http: false, health: { path: '/' } })
  for (const url of ['/', '/ready', '/live']) t.equal((await root.inject(url)).statusCode, 200, url)

  const old = { http: { jobsPath: '/tasks' }, health: { prefix: '/h' }, observability: { metrics: { endpoint: '/m' } } } as unknown as AsyncEndpointsOptions
  await t.rejects(async () => { await Fastify().register(asyncEndpoints, old) }, {
    code: 'FAE_INVALID_OPTIONS', message: new RegExp([
      'http\\.jobsPath is not an option \\(known: path, .*', 'health\\.prefix is not an option \\(known: path, .*', 'metrics\\.endpoint is not an option \\(known: path, '
    ].join(''))
  })
})

t.test('a credential among the captured headers, a part that is no object', async (t) => {
  for (const [options, message] of [[{ http: { headers: ['Cookie'] } }, /http\.headers: Cookie carries credentials/], [{ worker: 'yes' }, /worker must be true, false or an object/], [{ health: null }, /health must be/]] as const) {
    const app = Fastify()
    await t.rejects(async () => { await app.register(asyncEndpoints, options as unknown as AsyncEndpointsOptions) }, { code: 'FAE_INVALID_OPTIONS', message })
    await app.close()
  }
})

t.test('two sibling contexts, each with a suite of its own', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  for (const name of ['red', 'blue']) {
    await app.register(async (child) => {
      await child.register(asyncEndpoints)
      child.asyncEndpoint({ url: '/a', name: 'a', handler: async () => name })
    }, { prefix: `/${name}` })
  }
  const ids: string[] = []
  for (const name of ['red', 'blue']) {
    const response = await app.inject({ method: 'POST', url: `/${name}/a`, headers: { prefer: 'wait=20' } })
    t.equal(response.body, JSON.stringify(name))
    t.equal(response.headers.location, `/${name}/jobs/${String(response.headers['x-async-job-id'])}`)
    ids.push(String(response.headers['x-async-job-id']))
    for (const path of ['health', 'metrics']) t.equal((await app.inject(`/${name}/${path}`)).statusCode, 200, `${name} ${path}`)
  }
  t.equal((await app.inject(`/red/jobs/${ids[0]}`)).statusCode, 200)
  t.equal((await app.inject(`/blue/jobs/${ids[0]}`)).statusCode, 404, 'one knows nothing of the other\'s jobs')
  t.notOk(app.hasDecorator('jobs'))
})

t.test('a store that is away: 503 within submitTimeoutMs, over the real plugins', async (t) => {
  const store: JobStore = Object.assign(Object.create(memoryStore()) as JobStore, { create: async () => await new Promise<never>(() => {}), open: async () => {}, close: async () => {} })
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { store, worker: false, submitTimeoutMs: 50, health: false, observability: false })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: async () => 1 })
  const response = await app.inject({ method: 'POST', url: '/a' })
  t.equal(response.statusCode, 503)
  t.match(response.json(), { code: 'FAE_STORE_UNAVAILABLE' })
  t.ok(Number(response.headers['retry-after']) >= 1)
})

t.test('closing answers those who wait and ends by itself', async (t) => {
  const app = await reportsApp(t, { worker: false })
  const waiting = app.inject({ method: 'POST', url: '/reports', payload: { year: 1 }, headers: { prefer: 'wait=30' } }).then((response) => response)
  await new Promise<void>((resolve) => {
    const look = (): void => { if (backboneOf(app).size > 0) resolve(); else setImmediate(look) }
    look()
  })
  await app.close()
  t.equal((await waiting).statusCode, 202)
})

t.test('submissions are counted and refused ones too', async (t) => {
  const app = await reportsApp(t)
  await app.inject({ method: 'POST', url: '/reports', payload: { year: 4 }, headers: { prefer: 'wait=20' } })
  await app.inject({ method: 'POST', url: '/reports', payload: {} })
  const page = (await app.inject('/metrics')).body
  t.match(page, /asyncendpoints_jobs_created_total\{[^}]*job_name="report"[^}]*\} 1/)
  t.match(page, /asyncendpoints_requests_rejected_total\{[^}]*reason="invalid-request"[^}]*\} 1/)
})

t.test('asyncEndpoint called without its application', async (t) => {
  const app = await reportsApp(t)
  const { asyncEndpoint } = app
  asyncEndpoint({ url: '/detached', name: 'detached', handler: async () => 1 })
  t.equal((await app.inject({ method: 'POST', url: '/detached' })).statusCode, 202)
})

t.test('the public face', async (t) => {
  t.same(Object.keys(face).sort(), [
    'AsyncEndpointsError', 'ERROR_TABLE', 'alerts', 'asyncEndpoints', 'cancel', 'default', 'defineMetrics', 'discard', 'health', 'isAsyncEndpointsError', 'jobStore', 'memoryStore', 'observability', 'openApiTransform', 'redisStore', 'snooze', 'webhookPublicKey', 'worker'
  ])
  t.equal(face.default, face.asyncEndpoints)
})

t.test('require() gives the same', async (t) => {
  const required = createRequire(import.meta.url)('../../plugins/async-endpoints.js')
  // The marker that Node adds for a module with a default export.
  t.same(Object.keys(required).filter((name) => name !== '__esModule').sort(), Object.keys(face).sort())
})
