/** The server answers, and refuses: it has become a replica, is full, cannot save, loads, or has no such database. */
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { JobStore } from '../../lib/jobs/store.ts'
import { startRedis, type RedisServer, type RedisServerOptions } from '../support/redis.ts'
import { COMPLETED, listeningHost, newJob, openStore, play, until } from '../support/redis-jobs.ts'
import { startProxy } from '../support/redis-proxy.ts'

t.setTimeout(90_000)

const BACK_WITHIN_MS = 2_500
/** Of a worker with jobs waiting, and of the store itself. */
const MOST_COMMANDS_PER_SECOND = 60

async function serverOf (t: Test, options?: RedisServerOptions): Promise<{ server: RedisServer, admin: Redis }> {
  const server = await startRedis(options)
  const admin = new Redis(server.url)
  admin.on('error', () => {})
  t.teardown(async () => {
    admin.disconnect()
    await server.stop()
  })
  return { server, admin }
}

async function taken (store: JobStore): Promise<boolean> {
  try {
    await store.create(newJob())
    return true
  } catch {
    return false
  }
}

async function commands (admin: Redis): Promise<number> {
  return Number(/total_commands_processed:(\d+)/.exec(await admin.info('stats'))?.[1])
}

t.test('a server that becomes a replica while another takes over: submissions go there at once', async (t) => {
  const [{ server: old, admin }, { server: next }] = [await serverOf(t), await serverOf(t)]
  const proxy = await startProxy(old.port)
  t.teardown(() => proxy.stop())
  const host = listeningHost()
  const store = await openStore({ url: proxy.url }, host)
  t.teardown(() => store.close(1_000))
  const { attempts } = play(store, { script: () => COMPLETED })
  t.equal(await taken(store), true)
  await until('it is run', () => attempts.length === 1)
  proxy.port = next.port
  await admin.call('REPLICAOF', '127.0.0.1', String(next.port))
  // Nothing but submissions, whose refusals a script catches.
  const backMs = await until('a submission is taken', () => taken(store))
  t.ok(backMs < BACK_WITHIN_MS, `after ${Math.round(backMs)} ms`)
  await until('it is run there', () => attempts.length >= 2, BACK_WITHIN_MS)
  t.ok(host.reports.some((report) => report.kind === 'error' && report.code === 'READONLY'), 'what the server said is reported')
})

const ways: Readonly<Record<string, { on: (admin: Redis) => Promise<unknown>, off: (admin: Redis) => Promise<unknown> }>> = {
  READONLY: { on: (admin) => admin.call('REPLICAOF', '127.0.0.1', '1'), off: (admin) => admin.call('REPLICAOF', 'NO', 'ONE') },
  NOREPLICAS: { on: (admin) => admin.config('SET', 'min-replicas-to-write', '1'), off: (admin) => admin.config('SET', 'min-replicas-to-write', '0') },
  OOM: { on: (admin) => admin.config('SET', 'maxmemory', '1'), off: (admin) => admin.config('SET', 'maxmemory', '0') },
  NOPERM: { on: (admin) => admin.call('ACL', 'SETUSER', 'default', '-hset', '-hmset', '-zadd', '-lpush', '-rpop', '-set'), off: (admin) => admin.call('ACL', 'SETUSER', 'default', '+@all') }
}

t.test('where replicas confirm submissions, the trial submission waits for one as well', async (t) => {
  const { server } = await serverOf(t)
  const store = await openStore({ url: server.url, acknowledge: 'replica', operationTimeoutMs: 300 })
  t.teardown(() => store.close(1_000))
  await t.rejects(store.create(newJob()), { code: 'FAE_STORE_UNAVAILABLE', message: /No replica/ })
  await t.rejects(async () => await store.probe?.(), { code: 'FAE_STORE_UNAVAILABLE', message: /No replica/ })
})

t.test('a server that refuses is asked now and then, by workers too, and soon found to serve again', async (t) => {
  t.jobs = 4
  await Promise.all(Object.entries(ways).map(([word, { on, off }]) => t.test(word, async (t) => {
    const { server, admin } = await serverOf(t)
    const host = listeningHost()
    const store = await openStore({ url: server.url, leaseMs: 1_000 }, host)
    t.teardown(() => store.close(1_000))
    const { attempts } = play(store, { script: () => COMPLETED })
    t.equal(await taken(store), true)
    await until('it is run', () => attempts.length === 1)
    await on(admin)
    // A server that is demoted is connected to anew first: it may be another one now.
    if (word !== 'NOPERM') await until('what only reads goes on', () => store.counts('tests').then(() => true, () => false))
    await t.rejects(store.create(newJob()), { code: word === 'OOM' ? 'FAE_STORE_FULL' : 'FAE_STORE_UNAVAILABLE' })
    const [from, startedAt] = [await commands(admin), performance.now()]
    const seconds = await until('some time passes', () => performance.now() - startedAt > 3_000) / 1_000
    const rate = (await commands(admin) - from) / seconds
    t.ok(rate < MOST_COMMANDS_PER_SECOND, `${Math.round(rate)} commands a second`)
    const reported = host.reports.filter((report) => report.kind === 'error')
    // A server that is demoted lets go of blocked workers first, and says that (UNBLOCKED).
    t.match(reported.find(({ code }) => code === word)?.message, word)
    t.ok(reported.length <= 3, 'not again and again')
    const before = attempts.length
    await off(admin)
    const backMs = await until('a submission is taken', () => taken(store)) + await until('it is run', () => attempts.length > before)
    t.ok(backMs < BACK_WITHIN_MS, `after ${Math.round(backMs)} ms`)
  })))
})

t.test('a database that the server does not have is never replaced by another', async (t) => {
  const { server, admin } = await serverOf(t)
  const host = listeningHost()
  const store = await openStore({ url: `${server.url}/99` }, host)
  t.teardown(() => store.close(1_000))
  play(store, { script: () => COMPLETED })
  const refused = { code: 'FAE_STORE_UNSUPPORTED', message: /database 99/ }
  await t.rejects(store.create(newJob()), refused)
  await t.rejects(store.ping(), refused)
  t.match(host.reports.filter(({ kind }) => kind === 'error'), [{ code: 'FAE_STORE_UNSUPPORTED', message: /database 99/ }])
  const client = new Redis(`${server.url}/99`)
  client.on('error', () => {})
  t.teardown(() => client.disconnect())
  const other = await openStore({ client })
  t.teardown(() => other.close(1_000))
  await t.rejects(other.create(newJob()), refused)
  t.equal(await admin.dbsize(), 0)
})

t.test('opening waits for a silent server no longer than a plugin may, however long an operation may take', async (t) => {
  const { server } = await serverOf(t)
  const proxy = await startProxy(server.port)
  t.teardown(() => proxy.stop())
  proxy.mute()
  const startedAt = performance.now()
  const store = await openStore({ url: proxy.url, operationTimeoutMs: 12_000 })
  t.teardown(() => store.close(1_000))
  t.ok(performance.now() - startedAt < 6_000, `${Math.round(performance.now() - startedAt)} ms`)
})

t.test('one store in two applications is refused', async (t) => {
  const { server } = await serverOf(t)
  const host = listeningHost()
  const store = await openStore({ url: server.url }, host)
  t.teardown(() => store.close(1_000))
  await store.open(host)
  await t.rejects(store.open(listeningHost()), { code: 'FAE_INVALID_OPTIONS', message: /another application/ })
})

t.test('a server that loads its data behind open connections is named, and used as soon as it is done', async (t) => {
  const { server, admin } = await serverOf(t, { settings: ['--enable-debug-command', 'yes', '--save', '3600 1000'] })
  const host = listeningHost()
  const store = await openStore({ url: server.url }, host)
  t.teardown(() => store.close(1_000))
  const { attempts } = play(store, { script: () => COMPLETED })
  for (let count = 0; count < 40; count++) await admin.set(`key-${count}`, 'x'.repeat(100))
  await admin.config('SET', 'key-load-delay', '50000')
  await admin.config('SET', 'loading-process-events-interval-bytes', '1024')
  const reloaded = admin.call('DEBUG', 'RELOAD')
  let named = false
  await until('a refusal that names it', async () => {
    named ||= await store.create(newJob()).then(() => false, (error: unknown) => error instanceof Error && error.message.includes('LOADING'))
    return named
  })
  await reloaded
  const backMs = await until('a submission is taken', () => taken(store)) + await until('it is run', () => attempts.length > 0)
  t.ok(backMs < BACK_WITHIN_MS, `after ${Math.round(backMs)} ms`)
})
