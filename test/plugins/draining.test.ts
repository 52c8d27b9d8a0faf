/** What a process that is about to go does with jobs, and what it says about it. */
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { asyncEndpoints, redisStore, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { sharedRedis } from '../support/redis.ts'
import { until } from '../support/redis-jobs.ts'

type Line = Record<string, unknown>

interface Suite { readonly app: FastifyInstance, readonly lines: Line[], readonly release: () => void }

/** One endpoint whose handler ends when it is let go, one job at a time. */
async function build (test: Pick<typeof t, 'teardown'>, options: AsyncEndpointsOptions): Promise<Suite> {
  const lines: Line[] = []
  let release: () => void = () => {}
  const open = new Promise<void>((resolve) => { release = resolve })
  const app = Fastify({ logger: { level: 'warn', stream: { write: (text: string) => { lines.push(JSON.parse(text) as Line) } } } })
  test.teardown(async () => { release(); await app.close() })
  await app.register(asyncEndpoints, { worker: { concurrency: 1 }, health: { shutdownDelayMs: 0 }, ...options })
  app.asyncEndpoint({ url: '/work', name: 'work', handler: async () => { await open } })
  await app.ready()
  return { app, lines, release }
}

const stateOf = async (app: FastifyInstance, id: string): Promise<string | undefined> => (await app.jobs.get(id))?.state

/** Begins to drain while one job runs and one waits; ends when the first has ended. */
async function drainBetween (test: Pick<typeof t, 'teardown'>, options: AsyncEndpointsOptions): Promise<{ app: FastifyInstance, waiting: string }> {
  const { app, release } = await build(test, options)
  const [first, second] = [await app.jobs.submit('work', {}), await app.jobs.submit('work', {})]
  await until('the first job to run', async () => await stateOf(app, first.id) === 'in-progress', 10_000)
  app.jobHealth.startDraining()
  release()
  await app.jobs.waitFor(first.id, { timeoutMs: 10_000 })
  return { app, waiting: second.id }
}

t.test('a process without submissions over HTTP, and one on a shared store, claim nothing more when draining begins', async (t) => {
  const { url, prefix, stop } = await sharedRedis()
  t.teardown(stop)
  for (const [what, options] of [
    ['a pure worker', { http: false }],
    ['a pure worker on Redis', { http: false, store: redisStore({ url, prefix: `${prefix}1` }) }],
    ['an API with a worker on Redis', { store: redisStore({ url, prefix: `${prefix}2` }) }]
  ] as const) {
    const { app, waiting } = await drainBetween(t, options)
    t.equal(app.jobWorker.draining, true, what)
    t.equal(await stateOf(app, waiting), 'queued', `${what} leaves it to others, and has ended what ran`)
  }
})

t.test('jobs in memory that requests bring are run until the process closes: nobody else could', async (t) => {
  const { app, waiting } = await drainBetween(t, {})
  t.equal((await app.jobs.waitFor(waiting, { timeoutMs: 10_000 })).state, 'completed')
  const late = await app.inject({ method: 'POST', url: '/work', payload: {} })
  t.equal((await app.jobs.waitFor(late.json<{ id: string }>().id, { timeoutMs: 10_000 })).state, 'completed')
})

t.test('a normal end warns of nothing, whoever asks meanwhile', async (t) => {
  const { url, prefix, stop } = await sharedRedis()
  t.teardown(stop)
  for (const options of [{}, { store: redisStore({ url, prefix }) }, { worker: false, store: redisStore({ url, prefix }) }]) {
    const { app, lines, release } = await build(t, { alerts: true, ...options })
    release()
    await app.inject({ method: 'POST', url: '/work', payload: {} })
    for (const path of ['/health', '/health/ready']) await until(`${path} to be good`, async () => (await app.inject(path)).statusCode === 200, 10_000)
    lines.length = 0
    await app.jobHealth.drain()
    for (const path of ['/health', '/health/ready']) t.equal((await app.inject(path)).statusCode, 503)
    await app.close()
    t.same(lines, [])
  }
})

t.test('a readiness that changed because of a check is still a warning', async (t) => {
  const { app, lines } = await build(t, {})
  let good = true
  app.jobHealth.addCheck('mine', () => good, { tags: ['ready'], cacheMs: 0 })
  await app.inject('/health/ready')
  good = false
  await app.inject('/health/ready')
  t.match(lines.filter(({ eventId }) => eventId === 10501), [{ level: 40, status: 'Unhealthy', reason: 'checks', checks: 'mine', msg: 'readiness changed from Healthy to Unhealthy: checks (mine)' }])
})
