/** Ten thousand clients that wait cost the store next to nothing while they wait. */
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { commandCalls } from '../../bench/measuring/machine.ts'
import { MAX_MANY, type JobStore } from '../../lib/jobs/store.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import { asyncEndpoints, memoryStore, redisStore, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { startRedis, uniquePrefix } from '../support/redis.ts'
import { until } from '../support/redis-jobs.ts'
import { withMembers } from '../support/wrapped-store.ts'

const CLIENTS = 10_000
const AT_ONCE = 500
/** To read all jobs once. */
const READS = CLIENTS / MAX_MANY

t.setTimeout(180_000)

interface Calls { get: number, getMany: number, follow: number }

/** Counts the calls of a store that a waiting client could cause. */
function counted (store: JobStore): { readonly store: JobStore, readonly calls: Calls, readonly read: ReadonlySet<string> } {
  const read = new Set<string>()
  const calls: Calls = { get: 0, getMany: 0, follow: 0 }
  const counting = withMembers(store, {
    get: (id) => { calls.get++; return store.get(id) },
    getMany: (jobs) => {
      calls.getMany++
      for (const { id } of jobs) read.add(id)
      return store.getMany(jobs)
    },
    listen (listener) {
      const feed = store.listen(listener)
      return {
        follow: (job) => { calls.follow++; return feed.follow(job) },
        unfollow: (job) => { feed.unfollow(job) },
        close: () => { feed.close() }
      }
    }
  })
  return { store: counting, calls, read }
}

async function build (t: Test, store: JobStore, options: AsyncEndpointsOptions = {}): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, {
    store, observability: false, health: false, worker: false, http: { maxWaitMs: 3_600_000, maxWaiters: CLIENTS }, ...options
  })
  app.asyncEndpoint({ url: '/later', name: 'later', handler: async () => {} })
  await app.ready()
  return app
}

async function submitAll (app: FastifyInstance): Promise<string[]> {
  const ids: string[] = []
  for (let first = 0; first < CLIENTS; first += AT_ONCE) {
    const jobs = await Promise.all(Array.from({ length: AT_ONCE }, () => app.jobs.submit('later', {}, { delayMs: 3_600_000 })))
    ids.push(...jobs.map(({ id }) => id))
  }
  return ids
}

/** The states in the answers, how often each. */
type Answers = ReadonlyMap<unknown, number>

/** Begins to wait for all jobs; resolves when all are followed. Not all at once: a busy store would refuse some. */
async function waitForAll (app: FastifyInstance, ids: readonly string[], calls: Calls): Promise<{ readonly answers: Promise<Answers> }> {
  const states = new Map<unknown, number>()
  const wait = async (id: string): Promise<void> => {
    const answer = await app.inject({ url: `/jobs/${id}`, headers: { prefer: 'wait=3600' } })
    const { status } = answer.json<{ status: unknown }>()
    states.set(status, (states.get(status) ?? 0) + 1)
  }
  const waits: Array<Promise<void>> = []
  for (let first = 0; first < ids.length; first += AT_ONCE) {
    waits.push(...ids.slice(first, first + AT_ONCE).map(wait))
    await until(`${waits.length} jobs are followed`, () => calls.follow === waits.length, 30_000)
  }
  return { answers: Promise.all(waits).then(() => states) }
}

async function cancelAll (app: FastifyInstance, ids: readonly string[]): Promise<void> {
  for (let first = 0; first < ids.length; first += AT_ONCE) {
    await Promise.all(ids.slice(first, first + AT_ONCE).map((id) => app.jobs.cancel(id, 'enough')))
  }
}

t.test('in memory: each is followed once, and read once and on every sweep', async (t) => {
  const clock = new FakeClock()
  const { store, calls, read } = counted(memoryStore())
  const app = await build(t, store, { clock })
  const ids = await submitAll(app)
  const before = { ...calls }
  const { answers } = await waitForAll(app, ids, calls)
  await clock.advance(20_000)
  t.equal(read.size, CLIENTS)
  t.equal(calls.get, before.get + CLIENTS, 'one look of each request')
  const first = calls.getMany
  t.ok(first <= READS + 1, `${first} reads of many jobs: each is read once after it is followed`)
  await clock.advance(180_000)
  const sweeps = (calls.getMany - first) / READS
  t.ok(sweeps >= 180 / 36 - 1 && sweeps <= 180 / 24 + 1, `${sweeps} sweeps in three minutes`)
  t.equal(calls.get, before.get + CLIENTS)
  t.equal(calls.follow, CLIENTS)
  const cancelled = cancelAll(app, ids)
  await until('all are answered', async () => {
    await clock.advance(100)
    return await Promise.race([answers.then(() => true), sleep(20, false)])
  }, 30_000)
  await cancelled
  t.same([...await answers], [['cancelled', CLIENTS]])
})

t.test('on Redis: one connection that listens, and no commands while nothing changes', async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const admin = new Redis(server.url)
  t.teardown(() => admin.disconnect())
  const { store, calls, read } = counted(redisStore({ url: server.url, prefix: uniquePrefix() }))
  const app = await build(t, store)
  const ids = await submitAll(app)
  const { answers } = await waitForAll(app, ids, calls)
  await until('all were read', () => read.size === CLIENTS, 30_000)
  await until('all channels are joined', async () => (await admin.pubsub('CHANNELS', '*changed:*')).length === CLIENTS)
  const listening = String(await admin.client('LIST', 'TYPE', 'PUBSUB')).trim().split('\n')
  t.equal(listening.length, 1)
  const [before, callsBefore] = [await commandCalls(admin), { ...calls }]
  await sleep(5_000)
  const after = await commandCalls(admin)
  t.equal(calls.get, callsBefore.get)
  t.equal(calls.follow, callsBefore.follow)
  t.ok(calls.getMany - callsBefore.getMany <= READS, 'a sweep at most')
  const others = [...after].filter(([name]) => /subscribe|^eval|^fcall/.test(name))
  const sent = others.reduce((sum, [name, count]) => sum + count - (before.get(name) ?? 0), 0)
  t.ok(sent <= READS + 50, `${sent} scripts and subscriptions, those of a sweep among them`)
  await cancelAll(app, ids)
  t.same([...await answers], [['cancelled', CLIENTS]])
  await until('no channel is left', async () => (await admin.pubsub('CHANNELS', '*changed:*')).length === 0)
})
