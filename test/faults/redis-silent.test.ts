/** The server is there and says nothing, or is not there yet. */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { prepareRedis, startRedis } from '../support/redis.ts'
import { COMPLETED, Hearing, listeningHost, newJob, openStore, play, until } from '../support/redis-jobs.ts'

const REFUSED_WITHIN_MS = 2_500
const BACK_WITHIN_MS = 4_000

t.test('frozen: every call is refused within its deadline, and the store recovers', async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const store = await openStore({ url: server.url })
  t.teardown(() => store.close(1_000))
  const { attempt, attempts } = play(store, { concurrency: 2 })
  const job = newJob()
  await store.create(job)
  const running = await attempt(1)
  server.freeze()
  const startedAt = performance.now()
  const id = job.id
  const idempotency = { key: 'cd'.repeat(32), fingerprint: 'f', ttlMs: 60_000 }
  const uncertain = newJob({ idempotency })
  const calls = {
    create: store.create(uncertain),
    get: store.get(id),
    result: store.result(id),
    list: store.list({ limit: 10 }),
    counts: store.counts('tests'),
    cancel: store.cancel(newJob().id, 'x'),
    redrive: store.redrive(id),
    remove: store.remove(newJob().id),
    ping: store.ping(),
    getMany: store.getMany([{ id, queue: 'tests' }]),
    follow: new Hearing(store).follow(id)
  }
  const answers = await Promise.all(Object.entries(calls).map(async ([name, call]) => {
    const code = await call.then(() => 'answered', (error: unknown) => (error as { code?: unknown }).code)
    return { name, code, late: performance.now() - startedAt > REFUSED_WITHIN_MS }
  }))
  for (const { name, code, late } of answers) t.match({ code, late }, { code: 'FAE_STORE_UNAVAILABLE', late: false }, name)
  running.end(COMPLETED)
  server.thaw()
  await until('the attempt is settled', () => running.verdicts.length > 0)
  t.same(running.verdicts, [{ kind: 'stored' }])
  const again = await until('a submission is taken again', async () => { try { await store.ping(); return true } catch { return false } })
  t.ok(again < BACK_WITHIN_MS, `after ${Math.round(again)} ms`)
  // It may or may not have been stored while nobody could tell: the key makes it one job either way.
  const repeated = await store.create(newJob({ idempotency }))
  t.equal(repeated.created ? repeated.id : uncertain.id, repeated.id)
  await until('it is run', () => attempts.some(({ claim }) => claim.job.id === repeated.id))
  t.equal(attempts.filter(({ claim }) => claim.job.id !== id).length, 1)
})

t.test('a server that accepts and never answers: refused in time, and nothing hangs at the end', async (t) => {
  const sockets = new Set<Socket>()
  const silent = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
  })
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    silent.close()
  })
  const address = silent.address()
  const startedAt = performance.now()
  const store = await openStore({ url: `redis://127.0.0.1:${typeof address === 'object' ? address?.port : 0}` })
  t.ok(performance.now() - startedAt < REFUSED_WITHIN_MS, 'opening does not wait for it')
  const { consumer } = play(store)
  const unavailable = { code: 'FAE_STORE_UNAVAILABLE' }
  await t.rejects(store.create(newJob()), unavailable)
  await t.rejects(store.ping(), unavailable)
  await t.rejects(new Hearing(store).follow(newJob().id), unavailable)
  t.ok(performance.now() - startedAt < REFUSED_WITHIN_MS + 500, 'in time')
  t.equal(consumer.lastSeenAt, -Infinity, 'the consumer has proved nothing')
  const closing = performance.now()
  t.equal(await consumer.drain(500), true)
  await consumer.close(500)
  await store.close(1_000)
  t.ok(performance.now() - closing < 3_000, `closed after ${Math.round(performance.now() - closing)} ms`)
})

t.test('away at the start: the store opens, refuses, and works as soon as the server is there', async (t) => {
  const server = await prepareRedis()
  t.teardown(() => server.stop())
  const host = listeningHost()
  const startedAt = performance.now()
  const store = await openStore({ url: server.url }, host)
  t.teardown(() => store.close(1_000))
  t.ok(performance.now() - startedAt < 1_000, 'opening does not wait for it')
  const { attempts, errors } = play(store, { script: () => COMPLETED })
  const refused = performance.now()
  await t.rejects(store.create(newJob()), { code: 'FAE_STORE_UNAVAILABLE', message: /ECONNREFUSED/ })
  await t.rejects(store.get(newJob().id), { code: 'FAE_STORE_UNAVAILABLE' })
  t.ok(performance.now() - refused < 500, 'at once')
  await sleep(2_000)
  await server.start()
  const back = performance.now()
  const job = newJob()
  await until('a submission is taken', async () => { try { await store.create(job); return true } catch { return false } })
  await until('it is completed', async () => (await store.get(job.id))?.state === 'completed')
  t.ok(performance.now() - back < BACK_WITHIN_MS, `after ${Math.round(performance.now() - back)} ms`)
  t.equal(attempts.length, 1)
  t.same(errors, [])
  t.match(host.reports, [{ kind: 'disconnected', code: 'ECONNREFUSED' }, { kind: 'connected' }])
  t.equal(host.reports.length, 2)
})

t.test('an idle consumer whose claim waits for a server that is away is drained at once', async (t) => {
  const server = await prepareRedis()
  t.teardown(() => server.stop())
  const store = await openStore({ url: server.url })
  t.teardown(() => store.close(1_000))
  const { consumer } = play(store)
  // The claim is under way a few refused attempts to connect later.
  await sleep(2_000)
  const startedAt = performance.now()
  t.equal(await consumer.drain(5_000), true)
  t.ok(performance.now() - startedAt < 2_000, `after ${Math.round(performance.now() - startedAt)} ms`)
})
