/** Stored steps that another program wrote over in Redis, and deploys that change the steps of a saga that waits there. */
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import Fastify, { type FastifyInstance } from 'fastify'
import asyncEndpoints, { redisStore } from '../../plugins/async-endpoints.ts'
import { startRedis, uniquePrefix, type RedisServer } from '../support/redis.ts'
import { until } from '../support/redis-jobs.ts'
import { endOf, recordOf, signal, untilStep, untilSuspended } from '../support/saga-stores.ts'

t.setTimeout(240_000)

let server: RedisServer
let redis: Redis
t.before(async () => {
  server = await startRedis()
  redis = new Redis(server.url)
})
t.teardown(async () => {
  redis.disconnect()
  await server.stop()
})

async function process (t: Test, prefix: string, define: (app: FastifyInstance) => void): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  const store = redisStore({ url: server.url, prefix })
  await app.register(asyncEndpoints, { store, worker: { drainTimeoutMs: 0 }, observability: false, health: false })
  define(app)
  await app.ready()
  return app
}

for (const [what, field, text] of [
  ['the head is no JSON', 's:', '{"k":1'],
  ['the head lacks its numbers', 's:', '{"k":1}'],
  ['the names are no list', 's:=', '{"v":1,"n":"a"}'],
  ['the names are gone', 's:=', ''],
  ['a step is null', 's:a', 'null'],
  ['a step has a state that there is not', 's:a', '{"s":"?","a":1,"m":3,"t":0}'],
  ['a step has an error that is none', 's:a', '{"s":"c","a":1,"m":3,"t":0,"e":5}'],
  ['a step is bytes that are no text', 's:a', '\u0000\uFFFD'],
  ['a result is half a JSON', 'r:a', '{"key"']
] as const) {
  t.test(`${what}: one attempt, a coded failure, also after a redrive, and the status can be read`, async (t) => {
    const prefix = uniquePrefix()
    const calls: string[] = []
    const app = await process(t, prefix, (app) => app.saga({
      name: 'order',
      url: '/orders',
      steps: (s) => s
        .step('a', { run: () => ({ key: 'k' }), compensate: ({ outcome }) => { calls.push(`undo ${outcome.kind}`) } })
        .signal('go')
        .step('b', { attempts: 1, run: ({ results }) => { calls.push(`b ${results.a.key} ${String(results.go)}`) } })
    }))
    const { id } = await app.jobs.submit('order', {})
    await untilStep(app, id, 'go', 'w')
    await untilSuspended(app, id)
    const key = `${prefix}:default:${id}`
    app.jobWorker.pause()
    await signal(app, id, 'go', true)
    await redis.hset(key, field, text)
    app.jobWorker.resume()
    for (let n = 0; n < 2; n++) {
      const end = await endOf(app, id)
      t.equal(end.state, 'failed')
      t.match((await recordOf(app, id)).error?.message + String(end.code), /FAE_CHECKPOINT_UNREADABLE/)
      t.equal((await app.inject(`/jobs/${id}`)).statusCode, 200)
      const [counts] = await app.jobs.counts('default')
      t.match(counts?.sagas, { notUndone: 1, notUndoneIds: [id] }, 'people are called: nothing was undone')
      if (n === 0) await app.jobs.redrive(id)
    }
    t.same(calls, [], 'nothing is run or undone on what cannot be read')
  })
}

t.test('the job itself cannot be read: it fails, and people are called to what is not undone', async (t) => {
  const prefix = uniquePrefix()
  const undone: string[] = []
  const app = await process(t, prefix, (app) => app.saga({
    name: 'order',
    steps: (s) => s.step('a', { run: () => 1, compensate: () => { undone.push('a') } }).signal('go')
  }))
  const { id } = await app.jobs.submit('order', {})
  await untilStep(app, id, 'go', 'w')
  await untilSuspended(app, id)
  await redis.hset(`${prefix}:default:${id}`, 'data', '{"half')
  await signal(app, id, 'go', true)
  const end = await endOf(app, id)
  t.equal(end.state, 'failed')
  t.equal((await recordOf(app, id)).error?.code, 'FAE_JOB_UNREADABLE')
  t.same(undone, [])
  t.match((await app.jobs.counts('default'))[0]?.sagas, { notUndone: 1, notUndoneIds: [id] })
})

for (const [what, field, code, undone] of [
  ['a signal is no JSON', 'g:go', 'FAE_CHECKPOINT_UNREADABLE', ['undo a']],
  // Without its item, an item cannot be undone.
  ['the list of an `each` is no JSON', 'r:list', 'FAE_COMPENSATION_FAILED', ['undo a']]
] as const) {
  t.test(`${what}: one attempt, and what was done before is undone`, async (t) => {
    const prefix = uniquePrefix()
    const calls: string[] = []
    const app = await process(t, prefix, (app) => app.saga({
      name: 'order',
      steps: (s) => s
        .step('a', { run: () => 1, compensate: () => { calls.push('undo a') } })
        .each('list', () => [1, 2], {
          attempts: 2,
          concurrency: 1,
          backoff: { type: 'fixed', delayMs: 5_000, jitter: 0 },
          run: ({ item, attempt }) => { if (field === 'r:list' && item === 2 && attempt === 1) throw new Error('later') },
          compensate: { attempts: 1, run: ({ item }) => { if (field === 'r:list') calls.push(`undo ${item}`) } }
        })
        .signal('go')
        .step('b', () => { calls.push('b') })
    }))
    const { id } = await app.jobs.submit('order', {})
    await (field === 'g:go' ? untilStep(app, id, 'go', 'w') : untilStep(app, id, 'list/1', 'b'))
    await untilSuspended(app, id)
    app.jobWorker.pause()
    await signal(app, id, 'go', true)
    await redis.hset(`${prefix}:default:${id}`, field, 'yes')
    app.jobWorker.resume()
    t.match(await endOf(app, id), { state: 'failed', code, attempts: 1 })
    t.match((await recordOf(app, id)).error?.message, /cannot be read/)
    t.same(calls, undone)
  })
}

type Loose = Record<'step' | 'signal' | 'sleep', (...given: unknown[]) => Loose>

/** Steps, and a signal where the name is `*`. */
function defineOrder (names: readonly string[], version: number, calls: string[]) {
  const step = (name: string) => ({ run: () => { calls.push(name) }, compensate: () => { calls.push(`undo ${name}`) } })
  return (app: FastifyInstance): void => {
    const steps = (s: Loose): Loose => names.reduce((chain, name) => name === '*' ? chain.signal('go') : chain.step(name, step(name)), s)
    Reflect.apply(app.saga as (...given: unknown[]) => unknown, app, [{ name: 'order', version, versionWaitMs: 1_500, steps }])
  }
}

const OLD = ['a', 'b', '*', 'c', 'd']

for (const [what, names, expected] of [
  ['a step is added behind the wait', ['a', 'b', '*', 'c', 'new', 'd'], ['c', 'new', 'd']],
  ['one is removed behind it', ['a', 'b', '*', 'd'], ['d']],
  ['one is renamed behind it', ['a', 'b', '*', 'c2', 'd'], ['c2', 'd']],
  ['two change places behind it', ['a', 'b', '*', 'd', 'c'], ['d', 'c']],
  ['a step is added before the wait', ['new', 'a', 'b', '*', 'c'], 'FAE_SAGA_CHANGED: undo b, undo a'],
  ['one is removed before it', ['b', '*', 'c'], 'FAE_COMPENSATION_FAILED: undo b'],
  ['one is renamed before it', ['a2', 'b', '*', 'c'], 'FAE_COMPENSATION_FAILED: undo b'],
  ['two change places before it', ['b', 'a', '*', 'c'], 'FAE_SAGA_CHANGED: undo b, undo a']
] as const) {
  t.test(`deployed while a saga waits: ${what}`, async (t) => {
    const prefix = uniquePrefix()
    const calls: string[] = []
    const before = await process(t, prefix, defineOrder(OLD, 1, calls))
    const { id } = await before.jobs.submit('order', {})
    await untilStep(before, id, 'go', 'w')
    await untilSuspended(before, id)
    await before.close()
    calls.length = 0
    const after = await process(t, prefix, defineOrder(names, 2, calls))
    await signal(after, id, 'go', 'yes')
    const end = await endOf(after, id)
    if (typeof expected === 'string') t.equal(`${String(end.code)}: ${calls.join(', ')}`, expected)
    else t.same([end.state, calls], ['completed', expected])
    t.equal(end.attempts, 1, 'handing it back spends no attempt')
  })
}

t.test('a rolling deploy: a worker with the older definition ends what the newer one hands back', async (t) => {
  const prefix = uniquePrefix()
  const calls: string[] = []
  const older = await process(t, prefix, defineOrder(OLD, 1, calls))
  const { id } = await older.jobs.submit('order', {})
  await untilStep(older, id, 'go', 'w')
  await untilSuspended(older, id)
  older.jobWorker.pause()
  let handedBack = false
  const newer = await process(t, prefix, (app) => {
    Reflect.apply(app.saga as (...given: unknown[]) => unknown, app, [{
      name: 'order', version: 2, versionWaitMs: 60_000, steps: (s: Loose) => s.step('new', () => {}).signal('go')
    }])
  })
  newer.jobEvents.on('saga.definition_changed', () => { handedBack = true })
  await signal(newer, id, 'go', 'yes')
  await until('it is handed back', () => handedBack)
  older.jobWorker.resume()
  t.match(await endOf(older, id), { state: 'completed', attempts: 1 })
  t.same(calls, ['a', 'b', 'c', 'd'])
})
