/** What sagas that wait have stored counts: submissions are refused, and the sagas go on. */
import t, { type Test } from 'tap'
import Fastify, { type FastifyInstance } from 'fastify'
import asyncEndpoints, { memoryStore, redisStore, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { sharedRedis } from '../support/redis.ts'
import { endOf, untilStep, untilSuspended } from '../support/saga-stores.ts'

t.setTimeout(60_000)

const RESULT = 20_000
const MOST = 5 * RESULT

const STORES: Readonly<Record<string, (t: Test) => Promise<NonNullable<AsyncEndpointsOptions['store']>>>> = {
  memory: async () => memoryStore({ maxBytes: MOST }),
  redis: async (t) => {
    const { url, prefix, stop } = await sharedRedis()
    t.teardown(stop)
    return redisStore({ url, prefix, maxWaitingBytes: MOST })
  }
}

async function start (t: Test, store: AsyncEndpointsOptions['store']): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { store, worker: { drainTimeoutMs: 0 }, observability: false, health: false })
  app.defineJob({ name: 'plain', handler: () => {} })
  app.saga<{ body: unknown }>({
    name: 'order',
    steps: (s) => s
      .step('large', { run: () => 'x'.repeat(RESULT), compensate: () => {} })
      .signal('approval')
      .step('after', ({ results }) => results.large.length)
      .returns(({ results }) => results.after)
  })
  await app.ready()
  return app
}

for (const [kind, open] of Object.entries(STORES)) {
  t.test(`${kind}: what sleeping sagas have stored is bounded, and given back when they end`, async (t) => {
    const app = await start(t, await open(t))
    const ids: string[] = []
    let refused: unknown
    while (refused === undefined && ids.length < 20) {
      const submitted = await app.jobs.submit('order', { n: ids.length }).catch((error: unknown) => { refused = error })
      if (submitted === undefined) break
      ids.push(submitted.id)
      await untilStep(app, submitted.id, 'approval', 'w')
      await untilSuspended(app, submitted.id)
    }
    t.match(refused, { code: 'FAE_STORE_FULL', statusCode: 503 })
    t.equal(ids.length, 5)
    await t.rejects(app.jobs.submit('plain'), { code: 'FAE_STORE_FULL' }, 'any job may have steps')
    const [first = '', second = '', ...others] = ids
    await app.jobs.signal(first, 'approval', 'yes')
    t.match(await endOf(app, first), { state: 'completed' }, 'a saga that waits is not refused its signal, nor its steps')
    await app.jobs.cancel(second, 'not wanted')
    t.match(await endOf(app, second), { state: 'cancelled', phase: 'compensated' })
    const again = await app.jobs.submit('order', { n: 'again' })
    await untilStep(app, again.id, 'approval', 'w')
    for (const id of [...others, again.id]) {
      await app.jobs.signal(id, 'approval', 'yes')
      t.match(await endOf(app, id), { state: 'completed' })
    }
    const { id } = await app.jobs.submit('plain')
    t.match(await endOf(app, id), { state: 'completed' })
  })
}
