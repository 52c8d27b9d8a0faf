/** A handler that blocks the event loop for longer than its lease: alone in its process, it keeps its job. */
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t from 'tap'
import { runtimeOf } from '../../lib/events/runtime.ts'
import { asyncEndpoints, memoryStore, redisStore, type JobContext, type JobStore } from '../../plugins/async-endpoints.ts'
import { sharedRedis, uniquePrefix } from '../support/redis.ts'
import { until } from '../support/redis-jobs.ts'

const LEASE_MS = 500
const server = await sharedRedis()
t.teardown(() => server.stop())
t.setTimeout(120_000)

interface Test { teardown: (fn: () => unknown) => unknown }

function block (ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end) { /* nobody else gets a turn */ }
}

const turns = async (ms: number): Promise<void> => { await new Promise((resolve) => setTimeout(resolve, ms)) }

const HANDLERS: Readonly<Record<string, (job: JobContext) => unknown>> = {
  'ends at once': () => { block(3 * LEASE_MS) },
  'has a result': () => { block(3 * LEASE_MS); return { rows: 1 } },
  'reports its progress': async (job) => { block(3 * LEASE_MS); job.progress(50); await turns(LEASE_MS); job.throwIfAborted() },
  'goes on': async (job) => { await turns(LEASE_MS * 0.6); block(3 * LEASE_MS); await turns(2 * LEASE_MS); job.throwIfAborted() },
  'blocks again': async (job) => { block(2 * LEASE_MS); await turns(20); block(2 * LEASE_MS); await turns(LEASE_MS); job.throwIfAborted() }
}

async function build (t: Test, store: JobStore): Promise<{ app: FastifyInstance, told: string[] }> {
  const app = Fastify({ pluginTimeout: 60_000 })
  await app.register(asyncEndpoints, { store, jobs: { retry: { attempts: 1 } }, observability: { performance: { sampleIntervalMs: 500 } } })
  const told: string[] = []
  for (const name of ['job.stalled', 'job.lease_lost', 'job.recovered'] as const) runtimeOf(app).bus.on(name, () => { told.push(name) })
  runtimeOf(app).bus.on('performance.event_loop_lagged', ({ jobs }) => { told.push(`blocked while ${jobs} ran`) })
  t.teardown(() => app.close())
  return { app, told }
}

t.test('it is settled by the attempt that did the work, on every store', async (t) => {
  for (const store of [memoryStore({ leaseMs: LEASE_MS }), redisStore({ url: server.url, prefix: uniquePrefix(), leaseMs: LEASE_MS, stalledIntervalMs: 200 })]) {
    const { app, told } = await build(t, store)
    for (const [name, handler] of Object.entries(HANDLERS)) app.defineJob({ name: name.replaceAll(' ', '-'), handler: async (job) => handler(job) })
    await app.ready()
    for (const name of Object.keys(HANDLERS)) {
      const { id } = await app.jobs.submit(name.replaceAll(' ', '-'))
      const { state, error, attempts } = await app.jobs.waitFor(id, { timeoutMs: 30_000 })
      t.strictSame({ state, error, attempts }, { state: 'completed', error: undefined, attempts: 1 }, `${store.type}: ${name}`)
    }
    t.strictSame(told.filter((name) => name.startsWith('job.')), [])
    await until('the lag of the event loop to be reported', () => told.some((line) => line.includes('blocks-again')), 30_000)
  }
})

t.test('a lock that is gone is taken back; not when somebody else has begun an attempt, or the job is back in its queue', async (t) => {
  const redis = new Redis(server.url)
  t.teardown(() => { redis.disconnect() })
  const prefix = uniquePrefix()
  const { app } = await build(t, redisStore({ url: server.url, prefix, leaseMs: LEASE_MS, stalledIntervalMs: 60_000 }))
  const aborted = new Set<string>()
  app.defineJob({ name: 'long', handler: async ({ id, signal }) => { await new Promise<void>((resolve) => { signal.addEventListener('abort', () => { aborted.add(id); resolve() }) }) } })
  await app.ready()
  const ids = await Promise.all([1, 2, 3].map(async () => (await app.jobs.submit('long')).id))
  const [kept = '', taken = '', back = ''] = ids
  const key = (id: string): string => `${prefix}:default:${id}`
  await until('the jobs to run', async () => (await Promise.all(ids.map(async (id) => (await app.jobs.get(id))?.state))).every((state) => state === 'in-progress'))
  const token = await redis.get(`${key(kept)}:lock`)
  await redis.hincrby(key(taken), 'ats', 1)
  await redis.lrem(`${prefix}:default:active`, 1, back)
  await redis.del(...ids.map((id) => `${key(id)}:lock`))
  await until('the two to be told', () => aborted.has(taken) && aborted.has(back))
  t.equal(await redis.get(`${key(kept)}:lock`), token)
  t.notOk(aborted.has(kept))
  t.equal(await redis.exists(`${key(taken)}:lock`, `${key(back)}:lock`), 0)
})
