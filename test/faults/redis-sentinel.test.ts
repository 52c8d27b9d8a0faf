/** One primary, one replica and a Sentinel, all real: planned failovers and killed primaries, while jobs are submitted. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { JobStore } from '../../lib/jobs/store.ts'
import { makeFolder } from '../support/folder.ts'
import { freePort, startRedis, type RedisServer } from '../support/redis.ts'
import { COMPLETED, newJob, openStore, play, until } from '../support/redis-jobs.ts'

t.setTimeout(120_000)

const NAME = 'mymaster'
const BACK_WITHIN_MS = 15_000

interface Watched { readonly url: string, readonly sentinel: Redis, readonly primary: RedisServer, readonly replica: RedisServer }

async function watched (t: Test): Promise<Watched> {
  const primary = await startRedis()
  const replica = await startRedis({ settings: ['--replicaof', '127.0.0.1', String(primary.port), '--repl-diskless-sync-delay', '0'] })
  const folder = makeFolder('sentinel')
  const port = await freePort()
  const file = join(folder.path, 'sentinel.conf')
  writeFileSync(file, [
    `port ${port}`, 'bind 127.0.0.1', `dir ${folder.path}`, `sentinel monitor ${NAME} 127.0.0.1 ${primary.port} 1`,
    `sentinel down-after-milliseconds ${NAME} 1000`, `sentinel failover-timeout ${NAME} 5000`
  ].join('\n'))
  const process = spawn('redis-server', [file, '--sentinel'], { stdio: 'ignore' })
  const sentinel = new Redis({ port, retryStrategy: () => 100 })
  sentinel.on('error', () => {})
  t.teardown(async () => {
    sentinel.disconnect()
    const exited = once(process, 'exit')
    process.kill('SIGKILL')
    await exited
    await Promise.all([primary.stop(), replica.stop()])
    folder.remove()
  })
  await until('the sentinel knows the replica', async () => /slaves=1/.test(await sentinel.info('sentinel')) && /flags,slave/.test(String(await sentinel.call('SENTINEL', 'REPLICAS', NAME))), 20_000)
  return { url: `redis+sentinel://127.0.0.1:${port}/${NAME}/0`, sentinel, primary, replica }
}

/** Submits until told to stop; remembers what was acknowledged. */
function submitting (store: JobStore): { readonly acknowledged: string[], stop: () => Promise<void> } {
  const acknowledged: string[] = []
  const end = new AbortController()
  const loop = (async () => {
    while (!end.signal.aborted) {
      const job = newJob()
      await store.create(job).then(() => { acknowledged.push(job.id) }, () => {})
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  })()
  return {
    acknowledged,
    stop: async () => {
      end.abort()
      await loop
    }
  }
}

async function missing (store: JobStore, ids: readonly string[]): Promise<number> {
  const found = await Promise.all(ids.map(async (id) => await store.get(id)))
  return found.filter((job) => job === undefined).length
}

t.test('a planned failover loses nothing that was acknowledged when a replica has to confirm it', async (t) => {
  const { url, sentinel, replica } = await watched(t)
  const store = await openStore({ url, acknowledge: 'replica' })
  t.teardown(() => store.close(1_000))
  await until('a submission is taken', async () => await store.create(newJob()).then(() => true, () => false), 15_000)
  const { acknowledged, stop } = submitting(store)
  await until('some are acknowledged', () => acknowledged.length > 100)
  await sentinel.call('SENTINEL', 'FAILOVER', NAME)
  await until('the sentinel names the replica', async () => String(await sentinel.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)).endsWith(`,${replica.port}`), 20_000)
  const before = acknowledged.length
  const backMs = await until('submissions are taken by the new primary', () => acknowledged.length > before + 50, BACK_WITHIN_MS)
  t.ok(backMs < BACK_WITHIN_MS, `after ${Math.round(backMs)} ms`)
  await stop()
  t.equal(await missing(store, acknowledged), 0, `of ${acknowledged.length}`)
})

t.test('a killed primary: nothing acknowledged is lost, and workers go on with the replica', async (t) => {
  const { url, primary } = await watched(t)
  const store = await openStore({ url, acknowledge: 'replica' })
  t.teardown(() => store.close(1_000))
  await until('a submission is taken', async () => await store.create(newJob({ queue: 'kept' })).then(() => true, () => false), 15_000)
  const { acknowledged, stop } = submitting(store)
  await until('some are acknowledged', () => acknowledged.length > 100)
  await primary.kill()
  // The replica has none of its own: what could confirm a submission is gone, and that is said.
  const plain = await openStore({ url })
  t.teardown(() => plain.close(1_000))
  await until('the replica serves', async () => await plain.create(newJob({ queue: 'kept' })).then(() => true, () => false), 20_000)
  await until('it says what is missing', async () => await store.create(newJob({ queue: 'kept' })).then(() => false, (error: unknown) => error instanceof Error && /No replica .* may have been carried out/.test(error.message)), 20_000)
  await stop()
  t.equal(await missing(plain, acknowledged), 0, `of ${acknowledged.length}`)
  const { attempts } = play(plain, { script: () => COMPLETED, concurrency: 10 })
  await until('all of them are run', () => {
    const run = new Set(attempts.map(({ claim }) => claim.job.id))
    return acknowledged.every((id) => run.has(id))
  }, 20_000)
})
