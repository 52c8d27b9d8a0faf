import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { runtimeOf, workerOf } from '../../lib/events/runtime.ts'
import { backboneOf } from '../../lib/channels/backbone.ts'
import type { JobStore } from '../../lib/jobs/store.ts'
import { memoryStore } from '../../lib/stores/memory/index.ts'
import type { Worker } from '../../lib/worker/worker.ts'
import { jobStore, type JobStoreOptions } from '../../plugins/job-store.ts'
import { worker, type WorkerOptions } from '../../plugins/worker.ts'

interface Test { teardown: (fn: () => unknown) => unknown }

async function build (t: Test, options: JobStoreOptions = {}, workerOptions: WorkerOptions | false = {}): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(jobStore, options)
  if (workerOptions !== false) await app.register(worker, workerOptions)
  t.teardown(() => app.close())
  return app
}

const quick = { attempts: 3, backoff: { type: 'fixed', delayMs: 1, jitter: 0 } } as const

t.test('submit, run, wait, read the result', async (t) => {
  const app = await build(t)
  const double = app.defineJob<{ body: { n: number }, result: number }>({ name: 'double', handler: (job) => job.body.n * 2 })
  await app.ready()
  const { id, created, job } = await app.jobs.submit(double, { n: 21 }, { owner: 'ann', correlationId: 'c-1' })
  t.ok(created)
  t.match(job, { id, name: 'double', queue: 'default', state: 'queued', owner: 'ann', correlationId: 'c-1', attempts: 0, maxAttempts: 3 })
  const done = await app.jobs.waitFor(id, { timeoutMs: 5_000 })
  t.match(done, { id, state: 'completed', attempts: 1 })
  t.notOk('input' in done, 'what was submitted is asked for by itself')
  t.equal(await app.jobs.result(id), 42)
  t.match(await app.jobs.counts('default'), [{ queue: 'default', states: { completed: 1, queued: 0 } }])
  t.match(await app.jobs.list({ state: 'completed' }), { jobs: [{ id }] })
  await app.jobs.remove(id)
  t.equal(await app.jobs.get(id), undefined)
  await t.rejects(app.jobs.result(id), { code: 'FAE_JOB_NOT_FOUND' })
  await t.rejects(app.jobs.remove(id), { code: 'FAE_JOB_NOT_FOUND' })
})

t.test('a failing job is retried, fails, and can be redriven', async (t) => {
  const app = await build(t)
  let broken = true
  const attempts: number[] = []
  app.defineJob({ name: 'flaky', retry: quick, handler: (job) => { attempts.push(job.attempt); if (broken) throw new RangeError('too far'); return 'ok' } })
  await app.ready()
  const { id } = await app.jobs.submit('flaky')
  t.match(await app.jobs.waitFor(id, { timeoutMs: 5_000 }), { state: 'failed', attempts: 3, error: { code: 'RangeError', message: 'too far' } })
  t.same(attempts, [1, 2, 3])
  await t.rejects(app.jobs.cancel(id), { code: 'FAE_JOB_FINISHED' })
  broken = false
  t.match(await app.jobs.redrive(id), { id, state: 'queued' })
  t.match(await app.jobs.waitFor(id, { timeoutMs: 5_000 }), { state: 'completed', attempts: 1 })
  await t.rejects(app.jobs.redrive(id), { code: 'FAE_JOB_NOT_FAILED' })
})

t.test('a running job is cancelled through its signal, a waiting one at once', async (t) => {
  const app = await build(t, {}, { concurrency: 1 })
  let started!: () => void
  const running = new Promise<void>((resolve) => { started = resolve })
  app.defineJob({ name: 'long', handler: async (job) => { started(); await new Promise((_resolve, reject) => job.signal.addEventListener('abort', () => reject(job.signal.reason as Error))) } })
  const ends: string[] = []
  runtimeOf(app).bus.on('job.cancelled', ({ jobId }) => ends.push(jobId))
  await app.ready()
  const first = await app.jobs.submit('long')
  const second = await app.jobs.submit('long')
  await running
  t.match(await app.jobs.cancel(second.id), { state: 'cancelled', job: { state: 'cancelled' } })
  t.match(await app.jobs.cancel(second.id), { state: 'cancelled' }, 'cancelling twice is fine')
  t.match(await app.jobs.cancel(first.id, 'changed my mind'), { state: 'requested' })
  t.match(await app.jobs.waitFor(first.id, { timeoutMs: 5_000 }), { state: 'cancelled' })
  t.same(ends, [second.id, first.id], 'one terminal event each')
})

t.test('one hundred submissions with one idempotency key are one job', async (t) => {
  const app = await build(t, {}, false)
  app.defineJob({ name: 'pay', handler: () => {} })
  await app.ready()
  const all = await Promise.all(Array.from({ length: 100 }, () => app.jobs.submit('pay', { amount: 5 }, { idempotencyKey: 'k', owner: 'ann' })))
  t.equal(new Set(all.map(({ id }) => id)).size, 1)
  t.equal(all.filter(({ created }) => created).length, 1)
  await t.rejects(app.jobs.submit('pay', { amount: 6 }, { idempotencyKey: 'k', owner: 'ann' }), { code: 'FAE_IDEMPOTENCY_KEY_REUSED' })
  t.ok((await app.jobs.submit('pay', { amount: 5 }, { idempotencyKey: 'k', owner: 'bob' })).created, 'another owner, another job')
})

t.test('a submission that is not valid says everything that is wrong', async (t) => {
  const app = await build(t, {}, false)
  app.defineJob({ name: 'x', handler: () => {} })
  await app.ready()
  await t.rejects(app.jobs.submit('unknown'), { code: 'FAE_UNKNOWN_JOB' })
  await t.rejects(app.jobs.submit('x', {}, { delayMs: -1, priority: 1.5, idempotencyKey: '' }), { code: 'FAE_INVALID_SUBMISSION', message: /delayMs.*priority.*idempotencyKey/ })
  await t.rejects(app.jobs.submit('x', {}, { owner: 5, correlationId: {} } as unknown as { owner: string }), { code: 'FAE_INVALID_SUBMISSION', message: /owner.*correlationId/ })
  await t.rejects(app.jobs.submit('x', {}, { delayMs: 1, runAt: 5 }), { code: 'FAE_INVALID_SUBMISSION' })
  await t.rejects(app.jobs.submit('x', {}, { runAt: new Date('rubbish') }), { code: 'FAE_INVALID_SUBMISSION' })
  const circular: { self?: unknown } = {}
  circular.self = circular
  await t.rejects(app.jobs.submit('x', circular), { code: 'FAE_INVALID_SUBMISSION' })
  await t.rejects(app.jobs.submit('x', { big: 1n }), { code: 'FAE_INVALID_SUBMISSION' })
  await t.rejects(app.jobs.list({ limit: 1_000 }), { code: 'FAE_INVALID_REQUEST' })
  await t.rejects(app.jobs.list({ state: 'bogus' as 'queued' }), { code: 'FAE_INVALID_REQUEST' })
  await t.rejects(app.jobs.waitFor('x', { timeoutMs: Number.NaN }), { code: 'FAE_INVALID_REQUEST' })
  t.match(await app.jobs.counts(), [{ states: { queued: 0 } }], 'nothing was stored')
})

t.test('waiting has an end, and notices a job that disappears', async (t) => {
  const app = await build(t, {}, false)
  app.defineJob({ name: 'x', handler: () => {} })
  await app.ready()
  const { id } = await app.jobs.submit('x')
  await t.rejects(app.jobs.waitFor(id, { timeoutMs: 20 }), { code: 'FAE_WAIT_TIMEOUT' })
  await t.rejects(app.jobs.waitFor('00000000-0000-4000-8000-000000000000'), { code: 'FAE_JOB_NOT_FOUND' })
  const controller = new AbortController()
  const waiting = app.jobs.waitFor(id, { signal: controller.signal })
  controller.abort(new Error('client left'))
  await t.rejects(waiting, { message: 'client left' })
  t.equal(backboneOf(app).size, 0, 'nobody is left watching')
})

t.test('a store that never answers is given up after submitTimeoutMs', async (t) => {
  const inner = memoryStore()
  const deaf = new Proxy(inner, { get: (target, key) => key === 'create' ? async () => await new Promise(() => {}) : Reflect.get(target, key, target) }) as JobStore
  const bind = new Proxy(deaf, { get: (target, key) => { const value = Reflect.get(target, key); return typeof value === 'function' ? value.bind(inner) : value } })
  const app = await build(t, { store: bind, submitTimeoutMs: 30 }, false)
  app.defineJob({ name: 'x', handler: () => {} })
  await app.ready()
  const failed: string[] = []
  runtimeOf(app).bus.on('job.submit_failed', ({ errorCode }) => failed.push(errorCode))
  await t.rejects(app.jobs.submit('x'), { code: 'FAE_STORE_UNAVAILABLE', statusCode: 503, retryAfterSeconds: 2 })
  t.same(failed, ['FAE_STORE_UNAVAILABLE'])
  await t.rejects(app.jobs.submit('x', {}, { idempotencyKey: 'k' }), { message: /may or may not have been stored. Submit it again with the same idempotencyKey$/ }, 'code has an option')
})

t.test('an error of a store that is not ours is told by its own name', async (t) => {
  const inner = memoryStore()
  const create = async (): Promise<never> => { throw Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }) }
  const store = new Proxy(inner, { get: (target, key) => { const value: unknown = key === 'create' ? create : Reflect.get(target, key); return typeof value === 'function' ? value.bind(inner) as unknown : value } })
  const app = await build(t, { store }, false)
  app.defineJob({ name: 'x', handler: () => {} })
  const told: string[] = []
  app.jobEvents.on('job.submit_failed', ({ errorCode }) => told.push(errorCode))
  app.jobEvents.on('store.operation_failed', ({ operation, errorCode }) => told.push(`${operation} ${errorCode}`))
  await app.ready()
  await t.rejects(app.jobs.submit('x'), { code: 'ECONNREFUSED' })
  t.same(told, ['create ECONNREFUSED', 'ECONNREFUSED'])
})

t.test('closing with jobs running waits, then hands them back; nothing is taken after', async (t) => {
  const app = await build(t, {}, { drainTimeoutMs: 20 })
  let reason: unknown
  let started!: () => void
  const running = new Promise<void>((resolve) => { started = resolve })
  app.defineJob({ name: 'long', handler: async (job) => await new Promise((_resolve, reject) => { started(); job.signal.addEventListener('abort', () => { reason = job.signal.reason; reject(job.signal.reason as Error) }) }) })
  const told: string[] = []
  for (const name of ['worker.draining', 'job.released', 'worker.stopped'] as const) runtimeOf(app).bus.on(name, () => told.push(name))
  await app.ready()
  await app.jobs.submit('long')
  await running
  await app.close()
  t.match(reason, { code: 'FAE_ABORTED' })
  t.same(told, ['worker.draining', 'job.released', 'worker.stopped'])
  await t.rejects(app.jobs.submit('long'), { code: 'FAE_CLOSED' })
})

t.test('a handler that is still running while the application closes may submit a follow-up job', async (t) => {
  const app = await build(t)
  let go!: () => void
  const closing = new Promise<void>((resolve) => { go = resolve })
  let started!: () => void
  const running = new Promise<void>((resolve) => { started = resolve })
  const ends: string[] = []
  app.defineJob({ name: 'next', handler: () => {} })
  app.defineJob({ name: 'first', retry: { attempts: 1 }, handler: async () => { started(); await closing; return (await app.jobs.submit('next')).id } })
  runtimeOf(app).bus.on('job.completed', ({ jobName }) => ends.push(jobName))
  runtimeOf(app).bus.on('worker.draining', () => go())
  await app.ready()
  await app.jobs.submit('first')
  await running
  await app.close()
  t.same(ends, ['first'])
})

t.test('whoever waits for a job when the application closes is told so', async (t) => {
  const app = await build(t, {}, false)
  app.defineJob({ name: 'x', handler: () => {} })
  await app.ready()
  const { id } = await app.jobs.submit('x')
  const waiting = app.jobs.waitFor(id, { timeoutMs: 60_000 })
  const told = t.rejects(waiting, { code: 'FAE_CLOSED' })
  await app.close()
  await told
})

t.test('per-queue concurrency, pause and resume', async (t) => {
  const app = await build(t, {}, { concurrency: 5, queues: { slow: { concurrency: 2 } } })
  let most = 0
  let now = 0
  app.defineJob({ name: 'slow', queue: 'slow', handler: async () => { most = Math.max(most, ++now); await new Promise((resolve) => setImmediate(resolve)); now-- } })
  await app.ready()
  app.jobWorker.pause('slow')
  const jobs = await Promise.all(Array.from({ length: 20 }, () => app.jobs.submit('slow')))
  t.match((await app.jobs.counts('slow'))[0], { states: { queued: 20 } })
  app.jobWorker.resume()
  await Promise.all(jobs.map(({ id }) => app.jobs.waitFor(id, { timeoutMs: 5_000 })))
  t.equal(most, 2)
  t.match(workerOf<Worker>(app)?.consumers().map(({ queue }) => queue), ['slow'])
})

t.test('options are checked at registration, all of them', async (t) => {
  const bad = { submitTimeoutMs: 'fast', jobs: { queue: '', tries: 3 }, typo: 1 } as unknown as JobStoreOptions
  const error = await t.rejects(async () => await Fastify().register(jobStore, bad).ready(), { code: 'FAE_INVALID_OPTIONS' }) as unknown as Error
  for (const key of ['submitTimeoutMs', 'jobs.queue', 'jobs.tries', 'typo']) t.match(error.message, key)
  await t.rejects(async () => await Fastify().register(jobStore, { store: Promise.resolve() as unknown as JobStore }).ready(), { code: 'FAE_INVALID_OPTIONS', message: /store must be a JobStore/ })
  const app = Fastify()
  await app.register(jobStore)
  await t.rejects(async () => await app.register(worker, { concurrency: 0, more: true } as unknown as WorkerOptions).ready(), { code: 'FAE_INVALID_OPTIONS', message: /concurrency.*more|more.*concurrency/ })
})

t.test('two applications in one process share nothing', async (t) => {
  const one = await build(t)
  const two = await build(t)
  one.defineJob({ name: 'same', handler: () => 1 })
  two.defineJob({ name: 'same', handler: () => 2 })
  await Promise.all([one.ready(), two.ready()])
  const { id } = await one.jobs.submit('same')
  await one.jobs.waitFor(id, { timeoutMs: 5_000 })
  t.equal(await one.jobs.result(id), 1)
  t.equal(await two.jobs.get(id), undefined)
})
