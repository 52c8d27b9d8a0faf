import { once } from 'node:events'
import { Writable } from 'node:stream'
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { ACCESS_LINES } from '../../lib/telemetry/log-events.ts'
import { asyncEndpoints, observability, jobStore, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'

type Line = Record<string, unknown>
type Teardown = Pick<Test, 'teardown'>

/** Everything that is logged, and an application that logs it. */
function logging (t: Teardown): { app: FastifyInstance, lines: Line[] } {
  const lines: Line[] = []
  const stream = new Writable({ write (chunk, _encoding, done) { lines.push(JSON.parse(String(chunk)) as Line); done() } })
  const app = Fastify({ logger: { level: 'info', stream } })
  t.teardown(() => app.close())
  return { app, lines }
}

function inProduction (t: Teardown, environment = 'production'): void {
  const { NODE_ENV: before } = process.env
  process.env.NODE_ENV = environment
  t.teardown(() => {
    if (before === undefined) delete process.env.NODE_ENV
    else process.env.NODE_ENV = before
  })
}

/** The numbers of the lines about access at the start of an application. */
async function warned (t: Teardown, options: AsyncEndpointsOptions, owners: ReadonlyArray<(() => string) | undefined> = [undefined]): Promise<unknown[]> {
  const { app, lines } = logging(t)
  await app.register(asyncEndpoints, { worker: false, ...options })
  owners.forEach((owner, n) => app.asyncEndpoint({ url: `/e${n}`, name: `e${n}`, ...(owner !== undefined && { owner }), handler: async () => 1 }))
  await app.ready()
  return lines.filter(({ component }) => component === 'asyncendpoints.access').map(({ eventId, event, level, msg, path }) => {
    const { id, message } = ACCESS_LINES[event as keyof typeof ACCESS_LINES]
    return eventId === id && msg === message && level === 40 ? `${id} ${String(path)}` : 'not as in the table'
  }).sort()
}

const someone = (): string => 'alice'
const METRICS = '10902 /metrics'
const JOBS = '10901 /jobs'

t.test('in production what is left open is said at the start, in one line each', async (t) => {
  inProduction(t)
  t.same(await warned(t, {}), [JOBS, METRICS])
  t.same(await warned(t, { observability: false }), [JOBS], 'without observability too')
  t.same(await warned(t, { observability: { logging: false } }), [JOBS, METRICS], 'without numbered lines of jobs too')
  t.same(await warned(t, { http: { path: '/tasks' }, observability: { metrics: { path: '/m' } } }), ['10901 /tasks', '10902 /m'])
  t.same(await warned(t, {}, [someone, undefined]), [JOBS, METRICS], 'one endpoint without an owner function')
  t.same(await warned(t, {}, []), [JOBS, METRICS], 'no endpoint here, but routes')
})

t.test('and not when it is guarded, absent, or meant', async (t) => {
  inProduction(t)
  const metrics = { authorize: () => false }
  t.same(await warned(t, { http: { owner: someone }, observability: { metrics } }), [])
  t.same(await warned(t, { observability: { metrics } }, [someone, someone]), [])
  t.same(await warned(t, { http: { access: 'owner' }, observability: { metrics } }, [someone]), [])
  t.same(await warned(t, { http: { access: 'open' }, observability: { metrics: { access: 'open' } } }), [])
  t.same(await warned(t, { http: false, observability: { metrics: { path: false } } }), [])
  t.same(await warned(t, { http: false, observability: { metrics: false } }), [])
})

t.test('elsewhere nothing is said', async (t) => {
  inProduction(t, 'development')
  t.same(await warned(t, {}), [])
})

t.test('the metrics warn also where observability is registered alone, once', async (t) => {
  inProduction(t)
  const { app, lines } = logging(t)
  await app.register(jobStore, {})
  await app.register(observability, {})
  await app.register(asyncEndpoints, { http: false, worker: false })
  await app.ready()
  t.same(lines.filter(({ component }) => component === 'asyncendpoints.access').map(({ eventId }) => eventId), [10902])
})

t.test('metrics: what contradicts itself is refused', async (t) => {
  const register = async (metrics: object): Promise<void> => { await logging(t).app.register(asyncEndpoints, { observability: { metrics } }) }
  await t.rejects(register({ access: 'open', authorize: () => true }), { code: 'FAE_INVALID_OPTIONS', message: /access "open" contradicts authorize/ })
  await t.rejects(register({ access: 'closed' }), { code: 'FAE_INVALID_OPTIONS', message: /access must be "open"/ })
})

/** An application with a job that runs, one that failed, a slow operation with a context and a slow query. */
async function busy (t: Test, authorize?: () => boolean): Promise<{ app: FastifyInstance, secrets: string[] }> {
  const { app } = logging(t)
  await app.register(asyncEndpoints, {
    worker: { drainTimeoutMs: 10 },
    health: { pressure: false },
    observability: {
      metrics: { ...(authorize !== undefined && { authorize }) },
      performance: { slowMs: 0, slowQueryMs: 0 },
      tracing: { spanProcessors: [new SimpleSpanProcessor(new InMemorySpanExporter())] }
    }
  })
  let tellStarted = (): void => {}
  const started = new Promise<void>((resolve, reject) => {
    tellStarted = resolve
    AbortSignal.timeout(5_000).addEventListener('abort', () => { reject(new Error('waited in vain for the job to start')) })
  })
  app.asyncEndpoint({ url: '/runs', name: 'runs', handler: async ({ signal }) => { tellStarted(); await once(signal, 'abort') } })
  app.asyncEndpoint({
    url: '/fails',
    name: 'fails',
    retry: { attempts: 1 },
    spanAttributes: { input: () => ({ 'db.system': 'postgresql', 'db.statement': 'select secret_column from orders' }) },
    handler: async ({ id }) => { throw new Error(`job ${id} went wrong`) }
  })
  const lost = '0b5e9f6e-6a4e-4d0c-9f7e-2f5b0f0c8a11'
  app.jobHealth.addCheck('lost', async () => { await app.jobs.cancel(lost) })
  await app.ready()
  const secrets = [lost, 'customer 4711', 'secret_column']
  for (const url of ['/fails', '/runs']) {
    const { id } = (await app.inject({ method: 'POST', url })).json<{ id: string }>()
    if (url === '/fails') await app.jobs.waitFor(id, { timeoutMs: 5_000 })
    const { correlationId, traceId } = (await app.inject(`/jobs/${id}`)).json<{ correlationId: string, traceId: string }>()
    t.match([id, correlationId, traceId], [/^.{36}$/, /^.{32}$/, /^.{32}$/])
    secrets.push(id, correlationId, traceId)
  }
  await started
  app.jobMonitor.monitor('import', () => 1, { customer: 'customer 4711' })
  return { app, secrets }
}

const PAGES = ['/metrics/jobs', '/metrics/bottlenecks', '/metrics/bottlenecks?samples=1000', '/health', '/health/ready', '/health/live', '/metrics', '/metrics?format=json', '/metrics?format=csv']

t.test('pages that are open to everybody hold nothing about single jobs, and no contexts', async (t) => {
  const { app, secrets } = await busy(t)
  for (const url of PAGES) {
    const { body } = await app.inject(url)
    // Exemplars are what links a point of a graph to a trace; a trace id opens nothing here.
    const hidden = url === '/metrics?format=json' ? secrets.filter((secret) => !/^[0-9a-f]{32}$/.test(secret)) : secrets
    t.same(hidden.filter((secret) => body.includes(secret)), [], url)
  }
  t.match((await app.inject('/metrics/bottlenecks?samples=1000')).json(), { slowQueries: [{ system: 'postgresql', operation: 'select', target: 'orders' }] })
  t.notOk('active' in (await app.inject('/metrics/jobs')).json<object>())
  t.match((await app.inject('/health')).json<{ checks: Array<{ name: string }> }>().checks.find(({ name }) => name === 'lost'), { description: 'the check failed (FAE_JOB_NOT_FOUND)' })
})

t.test('whoever is authorized sees the attempts under way, contexts and texts of queries', async (t) => {
  let allowed = true
  const { app, secrets } = await busy(t, () => allowed)
  t.match((await app.inject('/metrics/jobs')).json(), { active: [{ id: String, name: 'runs', attempt: 1 }] })
  const { body } = await app.inject('/metrics/bottlenecks?samples=1000')
  t.ok(body.includes('customer 4711'))
  t.ok(body.includes('select secret_column from orders'))
  allowed = false
  for (const url of PAGES.filter((url) => url.startsWith('/metrics'))) {
    const refused = await app.inject(url)
    t.equal(refused.statusCode, 403)
    t.same(secrets.filter((secret) => refused.body.includes(secret)), [], url)
  }
})

t.test('every answer of our routes forbids to look for another media type, and refusals of hooks are problems', async (t) => {
  const { app } = logging(t)
  app.addHook('onRequest', async ({ headers }) => {
    if (headers.authorization === 'Bearer bad') throw Object.assign(new Error('no'), { statusCode: 401, headers: { 'www-authenticate': 'Bearer', 'set-cookie': 'a=b' } })
  })
  await app.register(asyncEndpoints, {})
  app.asyncEndpoint({ url: '/work', name: 'work', handler: async () => '<script>' })
  await app.ready()
  const done = await app.inject({ method: 'POST', url: '/work', headers: { prefer: 'wait=5' } })
  t.match(done, { statusCode: 200, headers: { 'x-content-type-options': 'nosniff' } })
  const self = `/jobs/${String(done.headers['x-async-job-id'])}`
  const routes = [
    ['POST', '/work'], ['GET', self], ['HEAD', self], ['GET', `${self}/result`], ['DELETE', self], ['POST', `${self}/redrive`], ['GET', '/jobs/unknown'], ['PUT', self],
    ['GET', '/metrics'], ['HEAD', '/metrics'], ['GET', '/metrics/jobs'], ['GET', '/metrics/bottlenecks'], ['GET', '/metrics?format=xml'], ['GET', '/health'], ['HEAD', '/health'], ['GET', '/health/ready'], ['GET', '/health/live']
  ] as const
  for (const [method, url] of routes) {
    t.equal((await app.inject({ method, url })).headers['x-content-type-options'], 'nosniff', `${method} ${url}`)
    const refused = await app.inject({ method, url, headers: { authorization: 'Bearer bad' } })
    t.match(refused, { statusCode: 401, headers: { 'x-content-type-options': 'nosniff', 'content-type': /^application\/problem\+json/, 'www-authenticate': 'Bearer' } }, `${method} ${url}, refused`)
    t.notOk('set-cookie' in refused.headers)
  }
})
