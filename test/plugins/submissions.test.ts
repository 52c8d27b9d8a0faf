/** Submissions from code: many at once, from inside a handler, and of jobs that another process runs. */
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace-node'
import { asyncEndpoints, memoryStore, redisStore, type AsyncEndpointsOptions, type JobStore, type SubmitMeta } from '../../plugins/async-endpoints.ts'
import { sharedRedis, uniquePrefix } from '../support/redis.ts'

interface Test { teardown: (fn: () => unknown) => unknown }

const WAIT_MS = 20_000
const redis = await sharedRedis()
t.teardown(() => redis.stop())

async function build (t: Test, options: AsyncEndpointsOptions = {}): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(asyncEndpoints, { health: false, ...options })
  t.teardown(() => app.close())
  return app
}

const stores: Readonly<Record<string, (prefix?: string) => JobStore>> = {
  memory: () => memoryStore(),
  redis: (prefix = uniquePrefix()) => redisStore({ url: redis.url, prefix })
}

for (const [name, newStore] of Object.entries(stores)) {
  t.test(`${name}: submitMany acknowledges or refuses each item`, async (t) => {
    const app = await build(t, { store: newStore(), worker: false, http: false })
    const seen = { submitted: 0, replayed: 0, failed: 0 }
    app.jobEvents.on('job.submitted', () => { seen.submitted++ })
    app.jobEvents.on('job.replayed', () => { seen.replayed++ })
    const mail = app.defineJob<{ body: { to: string } }>({ name: 'mail' })
    await app.ready()
    function * items (): Generator<SubmitMeta & { body: { to: string } }> {
      for (let n = 0; n < 2_000; n++) yield { body: { to: `u${n}` }, idempotencyKey: `k${n % 1_990}` }
      yield { body: { to: 'late' }, delayMs: -1 }
      yield { body: { to: 'last' }, priority: 3 }
    }
    const results = await app.jobs.submitMany(mail, items())
    t.equal(results.length, 2_002)
    t.equal(results.filter(({ job }) => job !== undefined).length, 1_991)
    t.equal(results.filter(({ error }) => (error as { code?: string } | undefined)?.code === 'FAE_IDEMPOTENCY_KEY_REUSED').length, 10, 'other bodies under known keys')
    t.match(results[2_000]?.error, { code: 'FAE_INVALID_SUBMISSION', message: /delayMs/ })
    t.match(results[2_001], { created: true, job: { priority: 3, state: 'queued' }, error: undefined })
    t.match(await app.jobs.counts('default'), [{ states: { queued: 1_991 } }])
    t.same(seen, { submitted: 1_991, replayed: 0, failed: 0 }, 'observed as submissions')
    const again = await app.jobs.submitMany(mail, [{ body: { to: 'u5' }, idempotencyKey: 'k5' }], { maxInFlight: 1 })
    t.match(again, [{ created: false, id: results[5]?.id }])
    t.equal(seen.replayed, 1)
  })

  t.test(`${name}: a child is submitted once, whatever becomes of the attempt`, async (t) => {
    const app = await build(t, { store: newStore(), http: false })
    const child = app.defineJob<{ body: { n: number }, result: number }>({ name: 'child', handler: (job) => job.body.n })
    const attempts: Array<Array<{ id: string, created: boolean }>> = []
    app.defineJob({
      name: 'parent',
      retry: { attempts: 2, backoff: { type: 'fixed', delayMs: 1, jitter: 0 } },
      handler: async (job) => {
        const first = job.submit(child, { n: 1 })
        const second = job.submit(child, { n: 2 })
        const own = job.submit(child, { n: 3 }, { idempotencyKey: 'shared by all parents', correlationId: 'other', owner: 'eve' })
        attempts.push((await Promise.all([first, second, own])).map(({ id, created }) => ({ id, created })))
        if (attempts.length < 3) throw new Error('not yet')
      }
    })
    await app.ready()
    const trace = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00' }
    const { id } = await app.jobs.submit('parent', {}, { owner: 'ann', correlationId: 'order-4711', trace })
    t.match(await app.jobs.waitFor(id, { timeoutMs: WAIT_MS }), { state: 'failed', attempts: 2 })
    await app.jobs.redrive(id)
    t.match(await app.jobs.waitFor(id, { timeoutMs: WAIT_MS }), { state: 'completed' })
    t.equal(attempts.length, 3)
    t.same(attempts[0]?.map(({ created }) => created), [true, true, true])
    for (const later of attempts.slice(1)) {
      t.same(later.map(({ created }) => created), [false, false, false], 'a retry and a redrive find what is there')
      t.same(later.map(({ id }) => id), attempts[0]?.map(({ id }) => id))
    }
    const [one, , own] = attempts[0] ?? []
    t.match(await app.jobs.get(one?.id ?? ''), { name: 'child', owner: 'ann', correlationId: 'order-4711', trace: { traceparent: /^00-0af7651916cd43dd8448eb211c80319c-/ } })
    t.match(await app.jobs.get(own?.id ?? ''), { owner: 'eve', correlationId: 'other' })
    const keyed = await app.jobs.submit(child, { n: 3 }, { idempotencyKey: 'shared by all parents', owner: 'eve' })
    t.match(keyed, { created: false, id: own?.id }, 'a key of its own is taken as it is')
  })
}

t.test('an attempt that submits another child in the same place is told so', async (t) => {
  const app = await build(t, { http: false })
  const child = app.defineJob<{ body: { n: number } }>({ name: 'child', handler: () => {} })
  app.defineJob({ name: 'parent', retry: { attempts: 2, backoff: { type: 'fixed', delayMs: 1, jitter: 0 } }, handler: async (job) => { await job.submit(child, { n: job.attempt }); throw new Error('again') } })
  await app.ready()
  const { id } = await app.jobs.submit('parent')
  t.match(await app.jobs.waitFor(id, { timeoutMs: WAIT_MS }), { state: 'failed', error: { code: 'FAE_IDEMPOTENCY_KEY_REUSED', message: /child 1 of "child".*idempotencyKey/ } })
})

t.test('a child that has ended and is gone is not run again', async (t) => {
  const app = await build(t, { http: false, store: memoryStore({ retention: { completedMs: 1 } }) })
  const child = app.defineJob({ name: 'child', handler: () => {} })
  const children: unknown[] = []
  app.defineJob({
    name: 'parent',
    retry: { attempts: 2, backoff: { type: 'fixed', delayMs: 1, jitter: 0 } },
    handler: async (job) => {
      const { id, created, job: record } = await job.submit(child)
      children.push({ id, created, kept: record !== undefined })
      if (job.attempt > 1) return
      const deadline = Date.now() + WAIT_MS
      while (await app.jobs.get(id) !== undefined && Date.now() < deadline) await new Promise((resolve) => { setImmediate(resolve) })
      throw new Error('again')
    }
  })
  await app.ready()
  const gone = new Promise((resolve) => app.jobEvents.on('job.completed', ({ jobName }) => { if (jobName === 'parent') resolve(undefined) }))
  await app.jobs.submit('parent')
  await gone
  t.match(children, [{ created: true }, { created: false, kept: false }])
})

t.test('an endpoint that another process runs needs no handler', async (t) => {
  const prefix = uniquePrefix()
  const api = await build(t, { store: redisStore({ url: redis.url, prefix }), worker: false })
  const declared = api.asyncEndpoint<{ body: { n: number } }>({ url: '/double', name: 'double', maxWaitMs: WAIT_MS, retry: { attempts: 7 } })
  t.equal(declared.handler, undefined)
  const runner = await build(t, { store: redisStore({ url: redis.url, prefix }), http: false })
  runner.asyncEndpoint<{ body: { n: number } }>({ url: '/double', name: 'double', handler: (job) => job.body.n * 2 })
  await Promise.all([api.ready(), runner.ready()])
  const response = await api.inject({ method: 'POST', url: '/double', headers: { prefer: 'wait=15' }, payload: { n: 21 } })
  t.equal(response.statusCode, 200)
  t.equal(response.json(), 42)
})

t.test('a worker that would run it refuses a job without a handler', async (t) => {
  const refusal = { code: 'FAE_INVALID_OPTIONS', message: /job "x": handler is missing.*worker: false/ }
  const app = await build(t)
  t.throws(() => app.asyncEndpoint({ url: '/x', name: 'x' }), refusal)
  t.throws(() => app.defineJob({ name: 'x' }), refusal)
  app.asyncEndpoint({ url: '/x', name: 'x', handler: () => 1 })
  t.pass('nothing was registered by the refused ones')

  const some = await build(t, { worker: { onlyTheseQueues: true, queues: { mine: {} } }, jobs: { queue: 'mine' } })
  some.asyncEndpoint({ url: '/x', name: 'elsewhere', queue: 'theirs' })
  t.throws(() => some.asyncEndpoint({ url: '/y', name: 'x' }), refusal, 'the default queue of the application counts')
})

t.test('what does nothing is refused', async (t) => {
  const app = await build(t, { worker: false, http: false })
  app.defineJob({ name: 'x' })
  await app.ready()
  for (const extra of [{ attempts: 7 }, { jobId: 'mine' }, { timeoutMs: 5 }, { retry: { attempts: 9 } }, { queue: 'mail' }, { delay: 5000 }, { maxQueued: 1 }, null]) {
    await t.rejects(app.jobs.submit('x', {}, extra as unknown as SubmitMeta), { code: 'FAE_INVALID_OPTIONS' }, JSON.stringify(extra))
  }
  for (const trace of ['00-x', { traceparent: 'no' }, { traceparent: `00-${'0'.repeat(32)}-b7ad6b7169203331-01` }]) {
    await t.rejects(app.jobs.submit('x', {}, { trace } as unknown as SubmitMeta), { code: 'FAE_INVALID_SUBMISSION', message: /traceparent/ })
  }
  await t.rejects(app.jobs.submit('x', {}, { idempotencyTtlMs: 0 }), { code: 'FAE_INVALID_SUBMISSION', message: /idempotencyTtlMs/ })
  t.match(await app.jobs.submit('x', {}, { delayMs: undefined, priority: undefined, idempotencyKey: 'k', idempotencyTtlMs: 1_000 }), { created: true })
  await t.rejects(app.jobs.submitMany('y', []), { code: 'FAE_UNKNOWN_JOB' })
  await t.rejects(app.jobs.submitMany('x', [], { maxInFlight: 0 }), { code: 'FAE_INVALID_OPTIONS' })
})

t.test('a trace that is given is the one of the job, traced or not', async (t) => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const plain = await build(t, { worker: false, http: false, observability: false })
  plain.defineJob({ name: 'x' })
  await plain.ready()
  const vendor = 'a=1'
  t.match(await plain.jobs.submit('x', {}, { trace: { traceparent, tracestate: vendor } }), { job: { trace: { traceparent, tracestate: vendor } } })
  t.same((await plain.jobs.submit('x', {}, { trace: { traceparent, tracestate: `a=${'1'.repeat(600)}` } })).job.trace, { traceparent })
})

t.test('the submission of a child is a span under the handler of its parent, on every version of Node', async (t) => {
  const spans: ReadableSpan[] = []
  const exporter: SpanExporter = { export: (batch, done) => { spans.push(...batch); done({ code: 0 }) }, shutdown: async () => {} }
  const app = await build(t, { http: false, observability: { tracing: { exporters: [exporter] } } })
  const child = app.defineJob({ name: 'child', handler: () => {} })
  app.defineJob({ name: 'parent', handler: async (job) => { await job.submit(child) } })
  await app.ready()
  const { id } = await app.jobs.submit('parent')
  t.match(await app.jobs.waitFor(id, { timeoutMs: WAIT_MS }), { state: 'completed' })
  await app.close()
  const sends = spans.filter(({ name }) => name === 'send default')
  const handler = spans.find(({ name }) => name === 'parent')
  t.equal(sends.length, 2)
  t.equal(sends.filter(({ parentSpanContext }) => parentSpanContext?.spanId === handler?.spanContext().spanId).length, 1)
  t.equal(new Set(sends.map((span) => span.spanContext().traceId)).size, 1)
})

t.test('30,000 at once: what is refused is not stored', { timeout: 120_000 }, async (t) => {
  const app = await build(t, { store: stores['redis']?.(), worker: false, http: false })
  const noop = app.defineJob<{ body: { i: number } }>({ name: 'noop' })
  await app.ready()
  const ends = await Promise.allSettled(Array.from({ length: 30_000 }, (_, i) => app.jobs.submit(noop, { i })))
  const stored = ends.filter(({ status }) => status === 'fulfilled').length
  const refusals = ends.flatMap((end) => end.status === 'rejected' ? [end.reason as Error & { code: string }] : [])
  t.same([...new Set(refusals.map(({ code }) => code))].filter((code) => code !== 'FAE_STORE_UNAVAILABLE'), [])
  // On a machine that is busy enough the store may be late with some that were sent; they are said to be in doubt, and no other is.
  const inDoubt = refusals.filter(({ message }) => /may or may not have been stored/.test(message)).length
  t.ok(refusals.every(({ message }) => /not stored.*submitMany|may or may not have been stored/.test(message)))
  const [counts] = await app.jobs.counts('default')
  const queued = counts?.states.queued ?? 0
  t.ok(queued >= stored && queued <= stored + inDoubt, `${stored} were acknowledged, ${inDoubt} are in doubt, ${queued} are there`)
})

for (const kind of ['memory', 'redis'] as const) {
  t.test(`${kind}: a submission is what its body was at the call`, { timeout: 60_000 }, async (t) => {
    const app = await build(t, { store: stores[kind]?.(), worker: false, http: false })
    app.defineJob<{ body: { n: number } }>({ name: 'x' })
    await app.ready()
    const body = { n: 0 }
    const submitted = []
    for (; body.n < 200; body.n++) submitted.push(app.jobs.submit('x', body))
    for (const [n, { id }] of (await Promise.all(submitted)).entries()) t.same((await app.jobs.input(id))?.body, { n })
    const row = { body: { n: 0 } }
    const results = await app.jobs.submitMany('x', (function * () { for (; row.body.n < 500; row.body.n++) yield row })())
    for (const [n, result] of results.entries()) t.same('id' in result && result.id !== undefined && (await app.jobs.input(result.id))?.body, { n })
  })
}

t.test('options of a submission that mean nothing are refused', async (t) => {
  const app = await build(t, { worker: false, http: false })
  app.defineJob({ name: 'x' })
  await app.ready()
  for (const meta of [{ idempotencyTtlMs: 1e19 }, { validate: 0 }, { params: 'x' }, { headers: { a: new Map() } }]) await t.rejects(app.jobs.submit('x', {}, meta as never), { code: 'FAE_INVALID_SUBMISSION' }, JSON.stringify(meta))
  await t.rejects(app.jobs.submitMany('x', null as never), { code: 'FAE_INVALID_SUBMISSION' })
  await t.rejects(app.jobs.list({ cursor: null as never }), { code: 'FAE_INVALID_REQUEST' })
  const one = await app.jobs.submit('x', { a: Object(5) }, { idempotencyKey: 'k' })
  t.equal(one.created, true)
  await t.rejects(app.jobs.submit('x', { a: Object(6) }, { idempotencyKey: 'k' }), { code: 'FAE_IDEMPOTENCY_KEY_REUSED' })
})

t.test('many submissions leave the event loop its turns', async (t) => {
  const app = await build(t, { worker: false, http: false })
  app.defineJob({ name: 'x' })
  await app.ready()
  let turns = 0
  const timer = setInterval(() => { turns++ }, 1)
  await app.jobs.submitMany('x', Array.from({ length: 20_000 }, () => ({})))
  clearInterval(timer)
  t.ok(turns > 3, `${turns} turns`)
})

t.test('a child of which nobody knows whether it was stored is not submitted twice by who repeats the call', { timeout: 30_000 }, async (t) => {
  const inner = memoryStore()
  let late = true
  const create: JobStore['create'] = async (job) => {
    const created = await inner.create(job)
    if (job.name === 'child' && late) {
      late = false
      await sleep(600)
    }
    return created
  }
  const store = new Proxy(inner, { get: (target, key) => key === 'create' ? create : typeof Reflect.get(target, key) === 'function' ? (Reflect.get(target, key) as () => unknown).bind(target) : Reflect.get(target, key) })
  const app = await build(t, { store, submitTimeoutMs: 200, http: false })
  const ran: string[] = []
  app.defineJob({ name: 'child', handler: async ({ id }) => { ran.push(id) } })
  app.defineJob({
    name: 'parent',
    handler: async (job) => {
      for (;;) {
        try { return (await job.submit('child', 'pay')).id } catch { /* again */ }
      }
    }
  })
  await app.ready()
  const { id } = await app.jobs.submit('parent', {})
  await app.jobs.waitFor(id)
  const child = await app.jobs.result(id)
  await app.jobs.waitFor(String(child))
  t.same(ran, [child])
})
