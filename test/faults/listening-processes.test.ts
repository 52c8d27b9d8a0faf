/** The listener is in one process and the worker in another, which may die; also on a cluster, where channels are sharded. */
import Fastify, { type FastifyInstance } from 'fastify'
import type { Cluster } from 'ioredis'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { asyncEndpoints, redisStore, type RedisStoreOptions } from '../../plugins/async-endpoints.ts'
import { slotOf } from '../../lib/stores/bullmq/slots.ts'
import { all, listenInEveryWay } from '../support/listeners.ts'
import { startRedis, uniquePrefix } from '../support/redis.ts'
import { startCluster, type ClusterNode } from '../support/redis-cluster.ts'
import { QUEUE, until } from '../support/redis-jobs.ts'
import { startWorker } from '../support/redis-worker.ts'
import { portOf } from '../support/socket-client.ts'

const WAIT_SECONDS = 30

t.setTimeout(120_000)
t.jobs = 2

/** An application that only listens. */
async function listening (t: Test, store: RedisStoreOptions): Promise<{ readonly app: FastifyInstance, readonly port: number }> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, {
    store: redisStore(store), observability: false, health: false, worker: false, listening: { webSocket: true }
  })
  app.defineJob({ name: 'test', queue: QUEUE, handler: async () => {} })
  return { app, port: await portOf(app) }
}

t.test('the worker is another process', async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const options = { url: server.url, prefix: uniquePrefix(), leaseMs: 2_000 }
  const worker = await startWorker(options)
  t.teardown(() => worker.kill())
  const { app, port } = await listening(t, options)
  const { id } = await app.jobs.submit('test', { sleepMs: 1_500 })
  const { ends } = await listenInEveryWay(app, port, id, WAIT_SECONDS)
  t.same(await ends, all('completed'))

  const again = await app.jobs.submit('test', { sleepMs: 3_000 })
  const waiting = await listenInEveryWay(app, port, again.id, WAIT_SECONDS)
  await worker.tells('started', again.id)
  await worker.kill()
  const second = await startWorker(options)
  t.teardown(() => second.kill())
  t.same(await waiting.ends, all('completed'), 'its first worker was killed, another has ended it')
})

interface Gate { readonly passed: Promise<void>, open: () => void }

/** Two applications with clients of a cluster, one of which only listens; the jobs of the other wait at a gate. */
async function onCluster (t: Test, client: () => Promise<Cluster>, gate: Gate): Promise<{ readonly app: FastifyInstance, readonly port: number }> {
  const own = async (): Promise<RedisStoreOptions> => {
    const cluster = await client()
    t.teardown(() => cluster.disconnect())
    return { client: cluster }
  }
  const listener = await listening(t, await own())
  const working = Fastify()
  t.teardown(() => working.close())
  await working.register(asyncEndpoints, {
    store: redisStore(await own()), observability: false, health: false, http: false, worker: { drainTimeoutMs: 500 }
  })
  t.teardown(() => gate.open())
  working.defineJob({ name: 'test', queue: QUEUE, handler: async () => { await gate.passed } })
  await working.ready()
  return listener
}

function makeGate (): Gate {
  const gate = { open: (): void => {} }
  const passed = new Promise<void>((resolve) => { gate.open = resolve })
  return Object.assign(gate, { passed })
}

t.test('a cluster: only the nodes that have the jobs carry their messages', async (t) => {
  const cluster = await startCluster({ masters: 1 })
  t.teardown(() => cluster.stop())
  const gate = makeGate()
  const { app, port } = await onCluster(t, () => cluster.client(), gate)
  const { id } = await app.jobs.submit('test', {})
  const { ends } = await listenInEveryWay(app, port, id, WAIT_SECONDS)
  const admin = cluster.nodes[0]?.admin
  await until('the job is followed on a sharded channel', async () => {
    const channels = await admin?.call('PUBSUB', 'SHARDCHANNELS', `*changed:${id}`)
    return Array.isArray(channels) && channels.length === 1
  })
  t.same(await admin?.pubsub('CHANNELS', '*changed:*'), [])
  gate.open()
  t.same(await ends, all('completed'))
})

t.test('a cluster whose nodes lose the jobs to others, and die', async (t) => {
  const slot = slotOf('{fae}')
  const cluster = await startCluster({ replicated: slot })
  t.teardown(() => cluster.stop())
  const master = async (): Promise<ClusterNode> => {
    for (let place = 0; ; place = (place + 1) % cluster.nodes.length) {
      const found = await Promise.race([cluster.masterOf(slot, place), sleep(500, undefined)])
      if (found !== undefined) return found
    }
  }
  const away: Record<string, () => Promise<void>> = {
    silent: async () => {
      for (const { server } of cluster.nodes) server.freeze()
      await sleep(6_000)
      for (const { server } of cluster.nodes) server.thaw()
    },
    dead: async () => {
      const first = await master()
      const other = cluster.nodes.findIndex((node) => node !== first)
      await first.server.kill()
      await until('the replica has taken over', async () => ![undefined, first].includes(await cluster.masterOf(slot, other)), 30_000)
    },
    moved: async () => {
      const from = await master()
      const to = cluster.nodes.find((node) => node !== from && node.admin.status === 'ready')
      if (to !== undefined) await cluster.move(slot, from, to)
    }
  }
  for (const [what, happens] of Object.entries(away)) {
    await t.test(what, async (t) => {
      const gate = makeGate()
      const { app, port } = await onCluster(t, () => cluster.client(), gate)
      const { id } = await app.jobs.submit('test', {})
      const { ends } = await listenInEveryWay(app, port, id, WAIT_SECONDS)
      // Everybody who waits has read the job by then: a read of servers that are silent would be refused.
      await sleep(1_000)
      await happens()
      const startedAt = performance.now()
      gate.open()
      t.same(await ends, all('completed'))
      // The sweep, which needs no messages, comes after 24 s at the earliest.
      t.ok(performance.now() - startedAt < 15_000, `heard ${Math.round(performance.now() - startedAt)} ms later`)
    })
  }
})
