/** The way on which changes of jobs are heard is cut, in several ways; whoever waits for a job hears its end all the same. */
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { asyncEndpoints, redisStore, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'
import { all, listenInEveryWay, type Listeners } from '../support/listeners.ts'
import { startRedis, uniquePrefix, type RedisServer } from '../support/redis.ts'
import { until } from '../support/redis-jobs.ts'
import { startProxy } from '../support/redis-proxy.ts'
import { portOf } from '../support/socket-client.ts'

t.setTimeout(180_000)
t.jobs = 3

/** Longer than the slowest sweep. */
const WAIT_SECONDS = 80
/** How long the way carries nothing. */
const DEAF_MS = 60_000

interface Gated {
  readonly api: FastifyInstance
  readonly admin: Redis
  /** Submits a job and begins to wait for it in every way. */
  begin (): Promise<{ readonly id: string, readonly listeners: Listeners }>
  /** Lets a job end; it waits for that in the application of the worker. */
  finish (id: string): Promise<void>
  /** How many jobs are followed on the server. */
  followed (): Promise<number>
}

/** An application that answers clients over this address, and one that runs the jobs. */
async function gated (t: Test, server: RedisServer, url: string): Promise<Gated> {
  const prefix = uniquePrefix()
  const gates = new Map<string, () => void>()
  const make = async (place: string, options: AsyncEndpointsOptions): Promise<FastifyInstance> => {
    const app = Fastify()
    t.teardown(async () => {
      for (const open of gates.values()) open()
      await app.close()
    })
    await app.register(asyncEndpoints, {
      store: redisStore({ url: place, prefix }), observability: false, health: false, worker: { concurrency: 50, drainTimeoutMs: 500 }, ...options
    })
    app.asyncEndpoint({
      url: '/gated',
      name: 'gated',
      handler: async (job) => { await new Promise<void>((resolve) => { gates.set(job.id, resolve) }) }
    })
    return app
  }
  const api = await make(url, { worker: false, http: { maxWaitMs: WAIT_SECONDS * 1_000 }, listening: { webSocket: true } })
  const worker = await make(server.url, { http: false })
  await worker.ready()
  const port = await portOf(api)
  const admin = new Redis(server.url, { maxRetriesPerRequest: null })
  admin.on('error', () => {})
  t.teardown(() => admin.disconnect())
  return {
    api,
    admin,
    async begin () {
      const { id } = await api.jobs.submit('gated', {})
      await until('it runs', () => gates.has(id))
      return { id, listeners: await listenInEveryWay(api, port, id, WAIT_SECONDS) }
    },
    async finish (id) {
      gates.get(id)?.()
      await until('its end is stored', async () => await worker.jobs.get(id).then((job) => job?.state === 'completed', () => false), 20_000)
    },
    async followed () {
      const channels = await admin.pubsub('CHANNELS', '*changed:*')
      return channels.length
    }
  }
}

t.test('subscribers are thrown out again and again for ten seconds', async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const { admin, begin, finish, followed } = await gated(t, server, server.url)
  const begun = []
  for (let n = 0; n < 10; n++) begun.push(await begin())
  await until('all jobs are followed', async () => await followed() === 10)
  let thrown = 0
  const cutting = (async (): Promise<void> => {
    for (const end = performance.now() + 10_000; performance.now() < end; await sleep(20)) {
      thrown += Number(await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub'))
    }
  })()
  for (const { id } of begun) {
    await sleep(700)
    await finish(id)
  }
  await cutting
  t.ok(thrown > 10, `${thrown} connections were cut`)
  for (const { listeners } of begun) t.same(await listeners.ends, all('completed'))
})

t.test('the connection on which changes are heard is open, and carries nothing', async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const proxy = await startProxy(server.port)
  t.teardown(() => proxy.stop())
  const { begin, finish, followed } = await gated(t, server, proxy.url)
  const [first, second] = [await begin(), await begin()]
  await until('both jobs are followed', async () => await followed() === 2)
  proxy.deafen()
  const deafSince = performance.now()
  await finish(first.id)
  await sleep(12_000)
  // The connection is known to be dead by now; those that follow it are deaf as well.
  const third = await begin()
  await finish(second.id)
  t.same(await first.listeners.ends, all('completed'), 'the sweep shows what no message has')
  t.same(await second.listeners.ends, all('completed'))
  await sleep(DEAF_MS / 2 - (performance.now() - deafSince))
  await finish(third.id)
  t.same(await third.listeners.ends, all('completed'), 'who begins to listen meanwhile hears of the end, too')
  await sleep(DEAF_MS - (performance.now() - deafSince))
  proxy.undeafen()
  const fourth = await begin()
  await finish(fourth.id)
  t.same(await fourth.listeners.ends, all('completed'))
})

t.test('the server is killed and comes back', async (t) => {
  const server = await startRedis({ durable: true })
  t.teardown(() => server.stop())
  const { begin, finish, followed } = await gated(t, server, server.url)
  const [first, second] = [await begin(), await begin()]
  await until('both jobs are followed', async () => await followed() === 2)
  await server.kill()
  const finished = finish(first.id)
  await sleep(3_000)
  await server.restart()
  await finished
  t.same(await first.listeners.ends, all('completed'), 'it ended while the server was away')
  await finish(second.id)
  t.same(await second.listeners.ends, all('completed'), 'it ended afterwards')
  const third = await begin()
  await finish(third.id)
  t.same(await third.listeners.ends, all('completed'))
})
