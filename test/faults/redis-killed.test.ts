/** The server is killed and comes back: while jobs are added, while nothing happens, while jobs are worked on. */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { startRedis } from '../support/redis.ts'
import { COMPLETED, Hearing, listeningHost, newJob, openStore, play, QUEUE, until } from '../support/redis-jobs.ts'

/** A refusal comes within this, whatever has happened to the server. */
const REFUSED_WITHIN_MS = 2_500
/** Jobs flow again this soon after the server is back. The promise is 2 s; a busy machine gets some more. */
const BACK_WITHIN_MS = 4_000

t.test('killed while jobs are added: nothing that was acknowledged is lost, the rest is refused in time', async (t) => {
  const server = await startRedis({ durable: true })
  t.teardown(() => server.stop())
  const host = listeningHost()
  const store = await openStore({ url: server.url }, host)
  t.teardown(() => store.close(1_000))
  const acknowledged: string[] = []
  const refusals: Array<{ code: unknown, status: unknown, ms: number }> = []
  const adding = new AbortController()
  const add = async (): Promise<void> => {
    while (!adding.signal.aborted) {
      const job = newJob()
      const startedAt = performance.now()
      try {
        await store.create(job)
        acknowledged.push(job.id)
      } catch (error) {
        const { code, statusCode } = error as { code?: unknown, statusCode?: unknown }
        refusals.push({ code, status: statusCode, ms: performance.now() - startedAt })
        await sleep(10)
      }
    }
  }
  const adders = Array.from({ length: 20 }, add)
  await until('some are added', () => acknowledged.length > 200)
  await server.kill()
  await until('some are refused', () => refusals.length > 50)
  await server.restart()
  const before = acknowledged.length
  const backAfter = await until('jobs are added again', () => acknowledged.length > before)
  adding.abort()
  await Promise.all(adders)

  t.ok(backAfter < BACK_WITHIN_MS, `jobs flow ${Math.round(backAfter)} ms after its return`)
  t.same(new Set(refusals.map(({ code, status }) => `${String(code)} ${String(status)}`)), new Set(['FAE_STORE_UNAVAILABLE 503']))
  const slowest = Math.max(...refusals.map(({ ms }) => ms))
  t.ok(slowest < REFUSED_WITHIN_MS, `the slowest refusal took ${Math.round(slowest)} ms`)
  const lost: string[] = []
  for (const id of acknowledged) if (await store.get(id) === undefined) lost.push(id)
  t.same(lost, [], `none of ${acknowledged.length} acknowledged jobs is lost`)
  t.ok((await store.counts(QUEUE)).states.queued >= acknowledged.length)
  t.match(host.reports.map(({ kind }) => kind), ['connected', 'disconnected', 'connected'], 'told once each, not once per attempt')
})

t.test('killed while idle: workers and subscribers come back by themselves', async (t) => {
  const server = await startRedis({ durable: true })
  t.teardown(() => server.stop())
  const store = await openStore({ url: server.url })
  t.teardown(() => store.close(1_000))
  const { attempts, errors } = play(store, { script: () => COMPLETED })
  const hearing = new Hearing(store)
  const first = newJob()
  await hearing.follow(first.id)
  await store.create(first)
  await until('it works', () => hearing.heard.includes(`completed ${first.id}`))
  await server.kill()
  const late = newJob()
  await until('a new listener hears that it must wait', async () => await hearing.follow(newJob().id).then(() => false, (error: unknown) => (error as { code?: unknown }).code === 'FAE_STORE_UNAVAILABLE'))
  hearing.follow(late.id).catch(() => { /* it goes on trying */ })
  await sleep(1_500)
  await server.restart()
  const second = newJob()
  const startedAt = performance.now()
  await until('the submission is taken', async () => { try { await store.create(second); return true } catch { return false } })
  await until('it is run', () => attempts.length === 2, BACK_WITHIN_MS)
  t.ok(performance.now() - startedAt < BACK_WITHIN_MS, `after ${Math.round(performance.now() - startedAt)} ms`)
  // The subscriber may have come back a moment after that job had ended: a message is not sent twice.
  await until('it is said that changes may have been missed', () => hearing.gaps > 0)
  await store.create(late)
  await until('changes are heard again, also of what was to be followed meanwhile', () => hearing.heard.includes(`completed ${late.id}`))
  t.same(errors, [], 'a lost connection is told by the store, not by each worker')
})

t.test('killed while jobs are worked on: what they come to is stored on its return, and none runs twice', async (t) => {
  const server = await startRedis({ durable: true })
  t.teardown(() => server.stop())
  const store = await openStore({ url: server.url, leaseMs: 20_000 })
  t.teardown(() => store.close(1_000))
  const { attempt, attempts } = play(store, { concurrency: 6 })
  const jobs = Array.from({ length: 6 }, () => newJob())
  for (const job of jobs) await store.create(job)
  await attempt(6)
  await server.kill()
  const ends = [
    { kind: 'completed', result: '"kept"', resultBytes: 6 }, COMPLETED, { kind: 'failed', error: { code: 'E', message: 'e' } },
    { kind: 'retry', error: { code: 'E', message: 'e' }, delayMs: 3_600_000 }, { kind: 'snooze', delayMs: 3_600_000 }, { kind: 'cancelled', reason: 'x' }
  ] as const
  for (const [n, end] of ends.entries()) attempts[n]?.end(end)
  await sleep(2_000)
  t.same(attempts.flatMap(({ verdicts }) => verdicts), [], 'nothing can be said while it is away')
  await server.restart()
  await until('all are settled', () => attempts.every(({ verdicts }) => verdicts.length === 1))
  t.same(attempts.map(({ verdicts }) => verdicts[0]?.kind), ends.map(() => 'stored'))
  const ids = attempts.map(({ claim }) => claim.job.id)
  t.same(await Promise.all(ids.map(async (id) => (await store.get(id))?.state)), ['completed', 'completed', 'failed', 'scheduled', 'scheduled', 'cancelled'])
  t.equal(await store.result(ids[0] ?? ''), '"kept"')
  t.equal(attempts.length, 6)
})

t.test('closing while the server is away does not take long, and leaves nothing behind', async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const store = await openStore({ url: server.url })
  const { attempt, consumer } = play(store)
  await new Hearing(store).follow(newJob().id)
  await store.create(newJob())
  const running = await attempt(1)
  await server.kill()
  const startedAt = performance.now()
  t.equal(await consumer.drain(200), false)
  await consumer.close(500)
  t.match(running.verdicts, [{ kind: 'error', error: { code: 'FAE_CLOSED' } }])
  await store.close(1_000)
  t.ok(performance.now() - startedAt < 3_000, `closed after ${Math.round(performance.now() - startedAt)} ms`)
})
