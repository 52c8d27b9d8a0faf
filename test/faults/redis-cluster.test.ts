/** A cluster of three nodes that changes under a process that listens: slots move, a node dies, servers go silent. */
import { randomUUID } from 'node:crypto'
import type { Cluster, ClusterOptions } from 'ioredis'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { JobStore } from '../../lib/jobs/store.ts'
import { slotOf } from '../../lib/stores/bullmq/slots.ts'
import { startCluster, type ClusterNode, type RedisCluster } from '../support/redis-cluster.ts'
import { startProxy } from '../support/redis-proxy.ts'
import { Hearing, newJob, openStore, QUEUE, until } from '../support/redis-jobs.ts'

t.setTimeout(150_000)

const PREFIX = '{fae}'
const SLOT = slotOf(PREFIX)
/** Far below the time after which jobs that are listened to are read in any case. */
const SOON_MS = 12_000

interface Ends { readonly listening: JobStore, readonly working: JobStore, readonly hearing: Hearing }

/** One process that listens, and another that changes jobs. */
async function twoProcesses (t: Test, cluster: RedisCluster, options: ClusterOptions = {}): Promise<Ends> {
  const store = async (): Promise<JobStore> => {
    const client: Cluster = await cluster.client(options)
    t.teardown(() => client.disconnect())
    const opened = await openStore({ client, prefix: PREFIX })
    t.teardown(() => opened.close(2_000))
    return opened
  }
  const listening = await store()
  return { listening, working: await store(), hearing: new Hearing(listening) }
}

/** Changes a job after another until one is heard of. */
async function hears (what: string, { working, hearing }: Ends, withinMs = SOON_MS): Promise<void> {
  await until(what, async () => {
    const job = newJob({ runAt: Date.now() + 3_600_000 })
    try {
      await working.create(job)
      await hearing.follow(job.id)
      await working.cancel(job.id, 'x')
    } catch { return false }
    for (let left = 40; left > 0; left--) {
      if (hearing.heard.includes(`cancelled ${job.id}`)) return true
      await sleep(5)
    }
    return false
  }, withinMs)
}

async function channelsOf ({ admin }: ClusterNode, kind: 'CHANNELS' | 'SHARDCHANNELS'): Promise<string[]> {
  const answer: unknown = await admin.call('PUBSUB', kind, `${PREFIX}*`)
  return Array.isArray(answer) ? answer.map(String) : []
}

t.test('slots move, a node dies and is replaced, all nodes go silent', async (t) => {
  const cluster = await startCluster({ replicated: SLOT })
  t.teardown(() => cluster.stop())
  const both = await twoProcesses(t, cluster)
  const { hearing, working } = both
  await hears('a change', both)

  await t.test('only the node of the channels has them', async (t) => {
    const job = randomUUID()
    await hearing.follow(job)
    const master = await cluster.masterOf(SLOT)
    for (const node of cluster.nodes) {
      t.same(await channelsOf(node, 'CHANNELS'), [])
      const channels = await channelsOf(node, 'SHARDCHANNELS')
      t.equal(channels.includes(`${PREFIX}:${QUEUE}:changed:${job}`), node === master)
    }
    t.equal(hearing.gaps, 0)
  })

  await t.test('the slot moves to another node, and back', async (t) => {
    const from = await cluster.masterOf(SLOT)
    const to = cluster.nodes.find((node) => node !== from)
    if (from === undefined || to === undefined) return t.fail('there is no node')
    const waiting = newJob({ runAt: Date.now() + 3_600_000 })
    await working.create(waiting)
    await hearing.follow(waiting.id)
    for (const [source, target] of [[from, to], [to, from]] as const) {
      const gaps = hearing.gaps
      await cluster.move(SLOT, source, target, async () => {
        if (source !== from) return
        // Long enough for greetings, which go to the new node already, and are not heard there.
        await sleep(9_000)
        const job = newJob()
        await hearing.follow(job.id)
        t.equal((await channelsOf(source, 'SHARDCHANNELS')).filter((channel) => channel.endsWith(job.id)).length, 1)
      })
      await until('the listener says that it missed something', () => hearing.gaps > gaps, SOON_MS)
      await hears('a change after the move', both)
      t.same((await channelsOf(source, 'SHARDCHANNELS')), [], 'nothing is left behind')
    }
    await until('a job that was followed before can be cancelled', () => working.cancel(waiting.id, 'x').then(() => true, () => false))
    await until('that is heard', () => hearing.heard.includes(`cancelled ${waiting.id}`), SOON_MS)
  })

  await t.test('the node dies, and its replica takes over', async (t) => {
    const master = await cluster.masterOf(SLOT)
    const gaps = hearing.gaps
    await master?.server.kill()
    const other = cluster.nodes.findIndex((node) => node !== master)
    await until('the replica has taken over', async () => ![undefined, master].includes(await cluster.masterOf(SLOT, other)), 30_000)
    await until('the listener says that it missed something', () => hearing.gaps > gaps, SOON_MS)
    await hears('a change after the failover', both)
    await master?.server.start()
    await hears('a change after the node has come back', both)
    t.pass()
  })

  await t.test('all nodes are silent for a while', async (t) => {
    const gaps = hearing.gaps
    for (const { server } of cluster.nodes) server.freeze()
    await sleep(17_000)
    for (const { server } of cluster.nodes) server.thaw()
    await until('the listener says that it missed something', () => hearing.gaps > gaps, SOON_MS)
    await hears('a change after the silence', both)
    t.pass()
  })
})

t.test('the way that messages are published changes, as when servers are replaced by newer ones', async (t) => {
  const cluster = await startCluster()
  t.teardown(() => cluster.stop())
  const both = await twoProcesses(t, cluster)
  const master = await cluster.masterOf(SLOT)
  if (master === undefined) return t.fail('there is no node')
  const allow = async (...rules: string[]): Promise<void> => { for (const { admin } of cluster.nodes) await admin.call('ACL', 'SETUSER', 'default', ...rules) }
  await hears('a sharded change', both)
  for (const [rule, kind, other] of [['-spublish', 'CHANNELS', 'SHARDCHANNELS'], ['+spublish', 'SHARDCHANNELS', 'CHANNELS']] as const) {
    const { gaps } = both.hearing
    await allow(rule)
    await until('the listener says that it missed something', () => both.hearing.gaps > gaps, SOON_MS)
    await hears('a change', both)
    t.ok((await channelsOf(master, kind)).length > 1, kind)
    t.same(await channelsOf(master, other), [])
  }
})

t.test('servers that have no sharded channels', async (t) => {
  const none = ['SPUBLISH', 'SSUBSCRIBE', 'SUNSUBSCRIBE'].flatMap((command) => ['--rename-command', command, ''])
  const cluster = await startCluster({ settings: none })
  t.teardown(() => cluster.stop())
  const both = await twoProcesses(t, cluster)
  await hears('a change', both)
  const from = await cluster.masterOf(SLOT)
  const to = cluster.nodes.find((node) => node !== from)
  if (from === undefined || to === undefined) return t.fail('there is no node')
  t.ok((await channelsOf(from, 'CHANNELS')).length > 1)
  await cluster.move(SLOT, from, to)
  await hears('a change after the move', both)
})

t.test('the listening connections are mute, and all others work', async (t) => {
  const cluster = await startCluster()
  const proxies = await Promise.all(cluster.nodes.map(({ server }) => startProxy(server.port)))
  t.teardown(async () => {
    for (const proxy of proxies) await proxy.stop()
    await cluster.stop()
  })
  const natMap = Object.fromEntries(cluster.nodes.map(({ server }, place) => [`127.0.0.1:${server.port}`, { host: '127.0.0.1', port: proxies[place]?.listensOn ?? 0 }]))
  const both = await twoProcesses(t, cluster, { natMap })
  await hears('a change', both)
  const { gaps } = both.hearing
  for (const proxy of proxies) proxy.deafen()
  await sleep(8_000)
  for (const proxy of proxies) proxy.undeafen()
  await until('the listener says that it missed something', () => both.hearing.gaps > gaps, SOON_MS)
  await hears('a change afterwards', both)
  t.pass()
})
