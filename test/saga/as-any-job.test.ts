/** What holds for every job holds for a saga, on both stores. */
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import t from 'tap'
import asyncEndpoints, { redisStore } from '../../plugins/async-endpoints.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/redis-jobs.ts'
import { endOf, onBothStores, recordOf, untilStep, untilSuspended } from '../support/saga-stores.ts'

t.setTimeout(120_000)

onBothStores(t, 'a saga is submitted once for its idempotency key, is in the list, and may be redriven', async (t, open) => {
  const calls: string[] = []
  let fails = true
  const app = await open((app) => app.saga<{ body: { n: number }, result: number }>({
    name: 'order',
    steps: (s) => s
      .step('first', { run: ({ body }) => { calls.push('first'); return body.n }, compensate: () => { calls.push('undo first') } })
      .step('second', { run: () => { if (fails) throw new Error('not yet') }, attempts: 1 })
      .returns(({ results }) => results.first)
  }))
  const meta = { idempotencyKey: 'order 7', owner: 'ada', correlationId: 'request-7' }
  const [one, two] = [await app.jobs.submit('order', { n: 7 }, meta), await app.jobs.submit('order', { n: 7 }, meta)]
  t.match([one, two], [{ created: true }, { created: false, id: one.id }])
  t.match(await endOf(app, one.id), { state: 'failed', phase: 'compensated' })
  t.same(calls, ['first', 'undo first'])
  const { jobs } = await app.jobs.list({ state: 'failed' })
  t.match(jobs, [{ id: one.id, name: 'order', owner: 'ada', correlationId: 'request-7', progress: { done: 1, total: 2 } }])
  fails = false
  await app.jobs.redrive(one.id)
  t.match(await endOf(app, one.id), { state: 'completed' })
  t.equal(await app.jobs.result(one.id), 7)
  t.match(await recordOf(app, one.id), { owner: 'ada', correlationId: 'request-7' })
})

onBothStores(t, 'a job that a step has submitted is not cancelled with the saga', async (t, open) => {
  let child = ''
  const app = await open((app) => {
    const other = app.defineJob({ name: 'other', handler: () => 'done' })
    app.saga({
      name: 'order',
      steps: (s) => s
        .step('submits', {
          run: async (step) => { child = (await step.submit(other, undefined, { delayMs: 1_500 })).id },
          compensate: () => {}
        })
        .signal('approval', { timeoutMs: 600_000 })
    })
  })
  const { id } = await app.jobs.submit('order', {})
  await untilStep(app, id, 'approval', 'w')
  await untilSuspended(app, id)
  await app.jobs.cancel(id, 'not wanted')
  t.match(await endOf(app, id), { state: 'cancelled', phase: 'compensated' })
  t.match(await recordOf(app, child), { cancelRequested: false })
  t.match(await endOf(app, child), { state: 'completed' })
})

onBothStores(t, 'a saga of 1,000 steps and one of 1,000 siblings: each runs once', async (t, open) => {
  const calls = new Map<string, number>()
  const count = (what: string): number => {
    calls.set(what, (calls.get(what) ?? 0) + 1)
    return calls.size
  }
  const app = await open((app) => {
    app.saga({
      name: 'long',
      steps: (s) => {
        let chain = s.step('s0', () => count('s0'))
        for (let n = 1; n < 1_000; n++) chain = chain.step(`s${n}` as 's1', () => count(`s${n}`)) as unknown as typeof chain
        return chain.returns(() => 'long')
      }
    })
    app.saga({
      name: 'wide',
      steps: (s) => s
        .each('all', () => Array.from({ length: 1_000 }, (_, n) => n), {
          run: ({ item }) => {
            count(`item ${item}`)
            return item
          },
          concurrency: 50,
          maxItems: 1_000
        })
        .returns(({ results }) => results.all.length)
    })
  })
  const [long, wide] = await Promise.all([app.jobs.submit('long', {}), app.jobs.submit('wide', {})])
  t.match(await endOf(app, long.id), { state: 'completed', attempts: 1 })
  t.match(await endOf(app, wide.id), { state: 'completed', attempts: 1 })
  t.equal(await app.jobs.result(wide.id), 1_000)
  t.equal(calls.size, 2_000)
  t.ok([...calls.values()].every((times) => times === 1))
  t.match((await recordOf(app, long.id)).progress, { done: 1_000, total: 1_000 })
})

t.test('Redis is away for longer than the lease, and no other worker has begun the saga: no step runs again', async (t) => {
  const server = await startRedis({ durable: true })
  t.teardown(() => server.stop())
  const app = Fastify()
  t.teardown(() => app.close())
  const store = redisStore({ url: server.url, leaseMs: 1_000, stalledIntervalMs: 60_000 })
  await app.register(asyncEndpoints, { store, worker: { drainTimeoutMs: 0 }, observability: false, health: false })
  const calls: string[] = []
  let killed = false
  app.saga({
    name: 'order',
    steps: (s) => s
      .step('before', () => { calls.push('before') })
      .step('during', async () => {
        calls.push('during')
        await server.kill()
        killed = true
      })
      .step('after', () => { calls.push('after') })
      .returns(() => 'done')
  })
  await app.ready()
  const { id } = await app.jobs.submit('order', {})
  await until('the server is killed', async () => killed)
  await sleep(2_500)
  t.same(calls, ['before', 'during'], 'nothing begins on a step that is not stored')
  await server.restart()
  // The connections come back one after the other.
  await until('the saga has ended', async () => (await app.jobs.get(id).catch(() => undefined))?.state === 'completed')
  t.same(calls, ['before', 'during', 'after'])
  t.equal((await recordOf(app, id)).attempts, 1)
})
