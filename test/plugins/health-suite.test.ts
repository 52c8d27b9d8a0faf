/** Health within the whole suite: a real store, a real worker, real routes. */
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { runtimeOf } from '../../lib/events/runtime.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import { asyncEndpoints, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'

interface Test { teardown: (fn: () => unknown) => unknown }

async function build (t: Test, options: AsyncEndpointsOptions): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, options)
  app.asyncEndpoint({ method: 'POST', url: '/work', name: 'work', handler: () => 'done' })
  return app
}

async function untilUnderPressure (app: FastifyInstance): Promise<void> {
  const deadline = Date.now() + 10_000
  while (!app.isUnderPressure()) {
    if (Date.now() > deadline) throw new Error('the process never came under pressure')
    await new Promise((resolve) => setImmediate(resolve))
  }
}

t.test('a submission under pressure is refused with a problem, told and counted; its status can still be read', async (t) => {
  // One byte is less than any process uses: after the first sample it is under pressure for good.
  const app = await build(t, { health: { pressure: { maxRssBytes: 1, sampleIntervalMs: 10, retryAfterSeconds: 7 } } })
  const rejected: string[] = []
  runtimeOf(app).bus.on('job.rejected', ({ jobName, queue, reason }) => rejected.push(`${jobName} ${queue} ${reason}`))
  await app.ready()
  const before = await app.inject({ method: 'POST', url: '/work' })
  t.equal(before.statusCode, 202, 'nothing was measured yet')
  await untilUnderPressure(app)

  const refused = await app.inject({ method: 'POST', url: '/work' })
  t.match(refused, { statusCode: 503, headers: { 'retry-after': '7', 'content-type': /^application\/problem\+json/ } })
  t.match(refused.json(), { code: 'FAE_OVERLOADED', status: 503, instance: '/work' })
  t.ok(refused.headers['x-correlation-id'])
  t.strictSame(rejected, ['work default overloaded'], 'told once')

  const { links } = before.json() as { links: { self: string, result: string } }
  await app.jobs.waitFor((before.json() as { id: string }).id, { timeoutMs: 10_000 })
  for (const url of [links.self, links.result, '/metrics', '/health', '/health/ready', '/health/live']) t.equal((await app.inject(url)).statusCode, 200, url)
  t.equal((await app.inject({ method: 'DELETE', url: links.self })).statusCode, 409, 'a cancel is answered')
  const redrive = await app.inject({ method: 'POST', url: `${links.self}/redrive` })
  t.match(redrive, { statusCode: 503, headers: { 'retry-after': '7', 'content-type': /^application\/problem\+json/ } })
  t.match((await app.inject('/metrics')).payload, /^asyncendpoints_requests_rejected_total\{.*reason="overloaded".*\} 1$/m)
})

t.test('a worker that has nothing to do for an hour is healthy', async (t) => {
  const clock = new FakeClock()
  const app = await build(t, { clock })
  await app.ready()
  await clock.advance(3_600_000)
  const answered = app.inject('/health/ready')
  await clock.advance(0)
  const ready = (await answered).json() as { status: string, checks: Array<{ name: string }> }
  t.strictSame([ready.status, ready.checks.map(({ name }) => name)], ['Healthy', ['application', 'asyncendpoints', 'asyncendpoints.queuedepth', 'worker']])
})

t.test('a paused queue is Degraded, and gets traffic all the same', async (t) => {
  const app = await build(t, {})
  await app.ready()
  app.jobWorker.pause()
  t.match(await app.inject('/health/ready').then((response) => [response.statusCode, response.json()]), [200, { status: 'Degraded', checks: [{}, {}, {}, { name: 'worker', description: 'paused: default' }] }])
})

t.test('an API-only process is not asked for a worker', async (t) => {
  const app = await build(t, { worker: false })
  t.strictSame((await app.inject('/health/ready')).json<{ checks: Array<{ name: string }> }>().checks.map(({ name }) => name), ['application', 'asyncendpoints', 'asyncendpoints.queuedepth'])
})

t.test('health: false leaves the routes and the decorator out', async (t) => {
  const app = await build(t, { health: false })
  t.equal((await app.inject('/health')).statusCode, 404)
  t.notOk(app.hasDecorator('health'))
})
