/** Handlers that ignore their abort keep their slots, on every store. */
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { runtimeOf, workerOf } from '../../lib/events/runtime.ts'
import type { Worker } from '../../lib/worker/worker.ts'
import asyncEndpoints, { memoryStore, redisStore, type JobStore, type WorkerOptions } from '../../plugins/async-endpoints.ts'
import { startRedis } from '../support/redis.ts'

t.setTimeout(120_000)

interface Test { teardown: (fn: () => unknown) => unknown }

/** Handlers that hear nothing and end when the test says so. */
class Deaf {
  running = 0
  most = 0
  calls = 0
  readonly #open: Array<() => void> = []

  readonly handler = async (): Promise<void> => {
    this.calls++
    this.most = Math.max(this.most, ++this.running)
    await new Promise<void>((resolve) => { this.#open.push(resolve) })
    this.running--
  }

  endOne (): void { this.#open.shift()?.() }
  endAll (): void { for (const end of this.#open.splice(0)) end() }
}

async function until (what: string, ask: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000
  while (!await ask()) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

async function build (t: Test, store: JobStore, deaf: Deaf, worker: WorkerOptions): Promise<{ app: FastifyInstance, told: string[] }> {
  const app = Fastify()
  await app.register(asyncEndpoints, { store, worker: { drainTimeoutMs: 0, ...worker } })
  app.defineJob({ name: 'deaf', graceMs: 20, handler: deaf.handler })
  app.defineJob({ name: 'quick', queue: 'other', handler: async () => 'done' })
  const told: string[] = []
  for (const name of ['handler.abandoned', 'handler.ended_late', 'worker.exhausted', 'worker.relieved'] as const) runtimeOf(app).bus.on(name, () => { told.push(name) })
  t.teardown(() => { deaf.endAll(); return app.close() })
  await app.ready()
  return { app, told }
}

/** Submits a job, waits until it runs, cancels it, and waits until it is cancelled although its handler goes on. */
async function abandonOne (app: FastifyInstance, deaf: Deaf): Promise<void> {
  const { calls } = deaf
  const { id } = await app.jobs.submit('deaf')
  await until('the handler to be called', () => deaf.calls > calls)
  await app.jobs.cancel(id)
  await until('the job to be cancelled', async () => (await app.jobs.get(id))?.state === 'cancelled')
}

async function workerCheckOf (app: FastifyInstance): Promise<{ status: string, description: string }> {
  const { checks } = (await app.inject('/health')).json() as { checks: Array<{ name: string, status: string, description: string }> }
  return checks.find(({ name }) => name === 'worker') ?? { status: 'none', description: '' }
}

async function gauge (app: FastifyInstance): Promise<number> {
  return Number(/^asyncendpoints_handlers_abandoned\{[^}]*\} (\d+)/m.exec((await app.inject('/metrics')).payload)?.[1])
}

t.test('they keep their slots: concurrency bounds what runs, and their end gives the slots back', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  for (const store of [memoryStore(), redisStore({ url: redis.url })]) {
    const deaf = new Deaf()
    const { app, told } = await build(t, store, deaf, { concurrency: 2 })
    t.equal(await gauge(app), 0)
    await abandonOne(app, deaf)
    t.equal(workerOf<Worker>(app)?.slotsOf('default'), 1)
    t.match(await workerCheckOf(app), { status: 'Degraded', description: 'handlers that ignored their abort signal are still running: 1' })
    await abandonOne(app, deaf)
    t.strictSame(told, ['handler.abandoned', 'handler.abandoned', 'worker.exhausted'])
    t.equal(await gauge(app), 2)
    t.match(await workerCheckOf(app), { status: 'Degraded', description: /hold every slot of default/ })
    t.equal((await app.inject('/health/ready')).statusCode, 200)

    const waiting = await Promise.all([1, 2, 3].map(async () => (await app.jobs.submit('deaf')).id))
    app.jobWorker.resume()
    t.equal(app.jobWorker.restart('default'), false)
    await app.jobs.waitFor((await app.jobs.submit('quick')).id, { timeoutMs: 20_000 })
    t.equal(deaf.calls, 2, `${store.type}: nothing is claimed while they hold all places, not even after a resume`)
    deaf.endOne()
    await until('a waiting job to run', () => deaf.calls === 3)
    t.strictSame(told.slice(3), ['handler.ended_late', 'worker.relieved'])
    t.equal(deaf.most, 2, store.type)
    deaf.endAll()
    await until('the others to run', () => { deaf.endAll(); return deaf.calls === 5 })
    await until('the jobs to end', async () => { deaf.endAll(); return (await Promise.all(waiting.map(async (id) => (await app.jobs.get(id))?.state))).every((state) => state === 'completed') })
    t.equal(deaf.most, 2, store.type)
    t.equal(await gauge(app), 0)
    t.equal(workerOf<Worker>(app)?.slotsOf('default'), 2)
    t.match(await workerCheckOf(app), { status: 'Healthy' })
  }
})

t.test('a queue that was paused stays paused when slots are free again', async (t) => {
  const deaf = new Deaf()
  const { app, told } = await build(t, memoryStore(), deaf, { concurrency: 1 })
  await abandonOne(app, deaf)
  app.jobWorker.pause()
  deaf.endAll()
  await until('the end to be noticed', () => told.includes('worker.relieved'))
  t.equal(workerOf<Worker>(app)?.consumers()[0]?.paused, true)
  app.jobWorker.resume()
  await app.jobs.submit('deaf')
  await until('the job to run', () => deaf.calls === 2)
})

t.test('countAbandoned: false lets other jobs take the slots, and the gauge counts all the same', async (t) => {
  const deaf = new Deaf()
  const { app, told } = await build(t, memoryStore(), deaf, { concurrency: 1, countAbandoned: false })
  for (let n = 0; n < 3; n++) await abandonOne(app, deaf)
  t.equal(deaf.most, 3)
  t.equal(await gauge(app), 3)
  t.notOk(told.includes('worker.exhausted'))
  t.match(await workerCheckOf(app), { status: 'Degraded' })
})

t.test('closing does not wait for them', async (t) => {
  const deaf = new Deaf()
  const { app } = await build(t, memoryStore(), deaf, { concurrency: 1 })
  await abandonOne(app, deaf)
  const before = performance.now()
  await app.close()
  t.ok(performance.now() - before < 2_000)
})
