/**
 * A saga that could not undo its steps is seen by every process until somebody has dealt with it: in the health report,
 * the metrics and the alerts, also when the process that ran it is gone.
 */
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import Fastify, { type FastifyInstance } from 'fastify'
import asyncEndpoints, { redisStore, type AsyncEndpointsOptions, type RedisStoreOptions } from '../../plugins/async-endpoints.ts'
import { sharedRedis, uniquePrefix } from '../support/redis.ts'
import { until } from '../support/redis-jobs.ts'
import { finished, STORES } from './support.ts'

t.setTimeout(120_000)

const CHECK = 'asyncendpoints.compensations'

interface Process { readonly app: FastifyInstance, mend (): void }

/** A process with a saga whose undo fails until it is mended. */
async function start (t: Test, store: AsyncEndpointsOptions['store'], worker: boolean): Promise<Process> {
  const app = Fastify()
  t.teardown(() => app.close())
  let broken = true
  await app.register(asyncEndpoints, {
    store, worker: worker ? { drainTimeoutMs: 0 } : false, alerts: { memoryRatio: false }, observability: { metrics: { gaugesIntervalMs: 1_000 } }
  })
  app.saga({
    name: 'order',
    steps: (s) => s
      .step('charge', {
        run: () => 1,
        compensate: { attempts: 1, run: () => { if (broken) throw new Error('the bank is closed') } }
      })
      .step('ship', { attempts: 1, run: () => { throw new Error('no such address') } })
  })
  await app.ready()
  return { app, mend: () => { broken = false } }
}

async function checkOf ({ app }: Process): Promise<{ status: string, description: string | undefined } | undefined> {
  return (await app.jobHealth.report()).checks.find(({ name }) => name === CHECK)
}

/** As the store has it now: no reading is reused. */
async function counted ({ app }: Process): Promise<number | undefined> {
  return (await app.jobs.counts('default'))[0]?.sagas?.notUndone
}

async function untilStatus (one: Process, status: string): Promise<void> {
  await until(`the check is ${status}`, async () => (await checkOf(one))?.status === status, 20_000)
}

async function untilGauge ({ app }: Process, value: number): Promise<void> {
  await until(`the gauge is ${value}`, async () => {
    const line = new RegExp(`^asyncendpoints_sagas_not_undone\\{[^}]*\\} ${value}$`, 'm')
    return line.test((await app.inject('/metrics')).body)
  }, 20_000)
}

async function alertsOf ({ app }: Process): Promise<unknown[]> {
  await app.jobAlerts.check()
  return (await app.jobAlerts.active()).filter(({ rule }) => rule === 'compensation-failed').map(({ details }) => details)
}

t.test('redis: every process sees it, after the one that ran it is gone, until the saga is redriven', async (t) => {
  const server = await sharedRedis()
  t.teardown(() => server.stop())
  const prefix = uniquePrefix()
  const open = (): ReturnType<typeof redisStore> => redisStore({ url: server.url, prefix })
  const first = await start(t, open(), true)
  const { id, job } = await finished(first.app, 'order')
  t.equal(job.error?.code, 'FAE_COMPENSATION_FAILED')
  await first.app.close()

  const api = await start(t, open(), false)
  await untilStatus(api, 'Degraded')
  t.match((await checkOf(api))?.description, /^steps that could not be undone: order \(charge\)$/)
  await untilGauge(api, 1)
  await until('it leads', async () => (await alertsOf(api)).length > 0, 20_000)
  t.match(await alertsOf(api), [{ job_name: 'order', failed: 1, jobs: [{ job_id: id, steps: 'charge' }] }])

  const second = await start(t, open(), true)
  await second.app.jobs.redrive(id)
  await second.app.jobs.waitFor(id, { timeoutMs: 10_000 })
  await untilStatus(api, 'Degraded')
  second.mend()
  await second.app.jobs.redrive(id)
  await second.app.jobs.waitFor(id, { timeoutMs: 10_000 })
  for (const one of [api, second]) await untilStatus(one, 'Healthy')
  await untilGauge(api, 0)
  await until('the alert is resolved', async () => (await alertsOf(api)).length === 0, 20_000)
})

for (const { kind, open } of STORES) {
  t.test(`${kind}: until the job is removed`, async (t) => {
    const one = await start(t, await open(t), true)
    const { id } = await finished(one.app, 'order')
    await untilStatus(one, 'Degraded')
    await untilGauge(one, 1)
    t.equal((await alertsOf(one)).length, 1)
    await one.app.jobs.remove(id)
    await untilStatus(one, 'Healthy')
    await untilGauge(one, 0)
    t.same(await alertsOf(one), [])
  })
}

t.test('redis: until it expires, is pushed out, or another program removes it or runs it', async (t) => {
  const server = await sharedRedis()
  t.teardown(() => server.stop())
  const redis = new Redis(server.url)
  t.teardown(() => { redis.disconnect() })
  const fresh = (options: Partial<RedisStoreOptions>) => {
    const prefix = uniquePrefix()
    return { store: redisStore({ url: server.url, prefix, ...options }), prefix }
  }
  const full = fresh({ retention: { maxCount: 1 } })
  const one = await start(t, full.store, true)
  for (let n = 0; n < 3; n++) await finished(one.app, 'order')
  t.equal(await counted(one), 1, 'pushed out')

  const brief = fresh({ retention: { failedMs: 1_000 } })
  const other = await start(t, brief.store, true)
  await finished(other.app, 'order')
  t.equal(await counted(other), 1)
  await until('it expires', async () => await counted(other) === 0, 30_000)

  const { store, prefix } = fresh({})
  const last = await start(t, store, true)
  const removed = await finished(last.app, 'order')
  const completed = await finished(last.app, 'order')
  t.equal(await counted(last), 2)
  const queue = `${prefix}:default:`
  t.equal(await redis.del(queue + removed.id), 1)
  // As when a program that knows only BullMQ runs a job again.
  await redis.multi().zrem(`${queue}failed`, completed.id).zadd(`${queue}completed`, Date.now(), completed.id).exec()
  await until('the sweep has noticed', async () => await counted(last) === 0, 30_000)
})
