/** `app.jobs.result`: what is read, and what is said when there is nothing to read, on both stores. */
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { asyncEndpoints, memoryStore, redisStore, type JobStore } from '../../plugins/async-endpoints.ts'
import { sharedRedis, uniquePrefix } from '../support/redis.ts'

const WAIT_MS = 20_000
const redis = await sharedRedis()
t.teardown(() => redis.stop())

async function build (t: { teardown: (end: () => unknown) => unknown }, store: JobStore): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(asyncEndpoints, { health: false, observability: false, http: false, store })
  t.teardown(() => app.close())
  return app
}

const stores: Readonly<Record<string, () => JobStore>> = {
  memory: () => memoryStore(),
  redis: () => redisStore({ url: redis.url, prefix: uniquePrefix() })
}

for (const [name, newStore] of Object.entries(stores)) {
  t.test(`${name}: the result of a job, or why there is none`, async (t) => {
    const app = await build(t, newStore())
    let finish: () => void = () => {}
    const finished = new Promise<void>((resolve) => { finish = resolve })
    const dated = app.defineJob<{ body: { n: number }, result: { at: Date, n: number } }>({ name: 'dated', handler: (job) => ({ at: new Date(0), n: job.body.n }) })
    const nothing = app.defineJob({ name: 'nothing', handler: () => {} })
    const waits = app.defineJob({ name: 'waits', handler: () => finished })
    const fails = app.defineJob({ name: 'fails', retry: { attempts: 1 }, handler: () => { throw new RangeError('secret of a driver') } })
    await app.ready()

    const { id } = await app.jobs.submit(dated, { n: 3 })
    await app.jobs.waitFor(id, { timeoutMs: WAIT_MS })
    t.same(await app.jobs.result(dated, id), { at: '1970-01-01T00:00:00.000Z', n: 3 })
    t.same(await app.jobs.result('dated', id), { at: '1970-01-01T00:00:00.000Z', n: 3 }, 'by the name of the job')
    t.same(await app.jobs.result(id), { at: '1970-01-01T00:00:00.000Z', n: 3 }, 'by the id alone')
    await t.rejects(app.jobs.result(nothing, id), { code: 'FAE_JOB_NOT_FOUND', message: /is no "nothing" job: its name is "dated"/ })

    const empty = await app.jobs.submit(nothing)
    await app.jobs.waitFor(empty.id, { timeoutMs: WAIT_MS })
    t.equal(await app.jobs.result(nothing, empty.id), undefined)

    const waiting = await app.jobs.submit(waits)
    await t.rejects(app.jobs.result(waits, waiting.id), { code: 'FAE_JOB_NOT_FINISHED', message: /waitFor/ })
    finish()

    const failed = await app.jobs.submit(fails)
    await app.jobs.waitFor(failed.id, { timeoutMs: WAIT_MS })
    const error = await app.jobs.result(fails, failed.id).then(() => undefined, (error: unknown) => error)
    t.match(error, { code: 'FAE_JOB_FAILED', details: { jobStatus: 'failed' }, cause: { code: 'RangeError', message: 'secret of a driver' } })
    t.notMatch(error, { message: /secret/ }, 'what the handler threw is for the logs')

    const later = await app.jobs.submit(nothing, undefined, { delayMs: WAIT_MS })
    await app.jobs.cancel(later.id)
    await t.rejects(app.jobs.result(nothing, later.id), { code: 'FAE_JOB_CANCELLED' })
    await app.jobs.remove(id)
    await t.rejects(app.jobs.result(dated, id), { code: 'FAE_JOB_NOT_FOUND' })
    await t.rejects(app.jobs.result('an id that nobody knows'), { code: 'FAE_JOB_NOT_FOUND' })
  })
}

t.test('a result that the store no longer keeps', async (t) => {
  const store = memoryStore()
  const app = await build(t, store)
  const job = app.defineJob({ name: 'x', handler: () => 7 })
  await app.ready()
  const { id } = await app.jobs.submit(job)
  await app.jobs.waitFor(id, { timeoutMs: WAIT_MS })
  store.result = async () => undefined
  await t.rejects(app.jobs.result(job, id), { code: 'FAE_RESULT_EXPIRED' })
})
