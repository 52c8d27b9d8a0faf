/** What a queue on Redis keeps of jobs that are over, counted on the server itself. */
import { Queue } from 'bullmq'
import { Redis } from 'ioredis'
import t from 'tap'
import type { JobState } from '../../lib/jobs/states.ts'
import type { JobStore, Settlement } from '../../lib/jobs/store.ts'
import type { RedisStoreOptions } from '../../lib/stores/bullmq/index.ts'
import { sharedRedis, startRedis, uniquePrefix } from '../support/redis.ts'
import { COMPLETED, newJob, openStore, play, QUEUE, until, withBody } from '../support/redis-jobs.ts'

const HOUR = 3_600_000
const FAILED: Settlement = { kind: 'failed', error: { code: 'E', message: 'no' } }

const server = await sharedRedis()
const redis = new Redis(server.url)
t.teardown(async () => {
  redis.disconnect()
  await server.stop()
})

interface Opened { readonly store: JobStore, readonly prefix: string, key (name: string): string }

async function opened (t: { teardown (end: () => unknown): unknown }, options: RedisStoreOptions = {}): Promise<Opened> {
  const prefix = uniquePrefix()
  const store = await openStore({ url: server.url, prefix, ...options })
  t.teardown(() => store.close(2_000))
  return { store, prefix, key: (name) => `${prefix}:${QUEUE}:${name}` }
}

function result (bytes: number): Settlement {
  return { kind: 'completed', result: JSON.stringify('r'.repeat(bytes - 2)), resultBytes: bytes }
}

const large = (bytes: number): { input: ReturnType<typeof withBody> } => ({ input: withBody('i'.repeat(bytes)) })

async function create (store: JobStore, parts: Parameters<typeof newJob>[0] = {}): Promise<string> {
  const job = newJob(parts)
  await store.create(job)
  return job.id
}

async function stateIs (store: JobStore, id: string, state: JobState | undefined): Promise<void> {
  await until(`the job is ${String(state)}`, async () => (await store.get(id))?.state === state)
}

/** Bytes that the queue counts of finished jobs, and of inputs of others. */
async function counted (key: (name: string) => string): Promise<{ left: number, waiting: number }> {
  return { left: Number(await redis.hget(key('fae:sizes'), '') ?? 0), waiting: Number(await redis.zscore(key('fae:inputs'), '') ?? 0) }
}

t.test('the input leaves the server with the end of its job, in whatever way it is completed or cancelled', async (t) => {
  const { store, prefix, key } = await opened(t)
  const scheduled = await create(store, { ...large(9_000), runAt: Date.now() + HOUR })
  const urgent = await create(store, { ...large(9_000), priority: 1 })
  const waiting = await create(store, large(9_000))
  t.ok((await counted(key)).waiting > 27_000)
  for (const id of [scheduled, urgent, waiting]) {
    t.match(await store.cancel(id, 'no'), { kind: 'cancelled' })
    t.equal(await redis.hexists(key(id), 'data'), 0)
    t.equal(await store.input(id), undefined)
  }
  t.same(await counted(key), { left: 0, waiting: 0 })

  const { attempt } = play(store)
  const [done, stopped, failed] = [await create(store, large(9_000)), await create(store, large(9_000)), await create(store, large(9_000))]
  await (await attempt(1)).settle(COMPLETED)
  const second = await attempt(2)
  t.match(await store.cancel(stopped, 'stop'), { kind: 'requested' })
  await second.settle({ kind: 'cancelled', reason: 'stop' })
  await (await attempt(3)).settle(FAILED)
  for (const id of [done, stopped]) t.equal(await redis.hexists(key(id), 'data'), 0)
  t.same(await store.input(failed), withBody('i'.repeat(9_000)))
  const { left, waiting: none } = await counted(key)
  t.ok(left > 9_000 && left < 9_100, 'what a failed job keeps for its redrive is counted')
  t.equal(none, 0)

  const queue = new Queue(QUEUE, { connection: redis, prefix })
  t.teardown(() => queue.close())
  const theirs = await queue.add('theirs', { a: 1 })
  await (await attempt(4)).settle(result(5_000))
  t.equal(await redis.hget(key(String(theirs.id)), 'data'), '{"a":1}', 'data that somebody else wrote is theirs')
  t.same((await queue.getJob(done))?.data, {}, 'BullMQ can read a job without data')
})

t.test('redriven and removed jobs are no longer counted among the finished ones', async (t) => {
  const { store, key } = await opened(t)
  const { attempt } = play(store)
  const id = await create(store, { ...large(9_000), owner: 'o' })
  await (await attempt(1)).settle(FAILED)
  const { left } = await counted(key)
  await store.redrive(id)
  t.equal((await redis.keys(key('fae:owner:*'))).length, 0)
  const again = await attempt(2)
  t.same(await counted(key), { left: 0, waiting: left })
  await again.settle(result(5_000))
  t.same(await counted(key), { left: 5_000, waiting: 0 })
  t.equal(await store.remove(id), 'removed')
  t.same(await counted(key), { left: 0, waiting: 0 })
  const waiting = await create(store, { ...large(9_000), runAt: Date.now() + HOUR })
  t.equal(await store.remove(waiting), 'removed')
  t.same((await redis.keys(key('*'))).filter((name) => name.includes('fae:')), [], 'nothing of ours is left')
})

t.test('a result is read from in front of what another program wrote into the log of the job', async (t) => {
  const { store, prefix, key } = await opened(t)
  const { attempt } = play(store)
  const id = await create(store)
  const running = await attempt(1)
  const queue = new Queue(QUEUE, { connection: redis, prefix })
  t.teardown(() => queue.close())
  const theirs = await queue.getJob(id)
  await theirs?.log('while it ran')
  await running.settle(result(10))
  await theirs?.log('afterwards')
  t.equal(await store.result(id), JSON.stringify('r'.repeat(8)))
  t.equal(await redis.llen(key(`${id}:logs`)), 3)
})

t.test('over maxBytes the oldest go, whether they are results or inputs; the newest stays, however large', async (t) => {
  const { store, key } = await opened(t, { retention: { maxBytes: 20_000 } })
  const { attempt } = play(store)
  let n = 0
  const end = async (settlement: Settlement, parts: Parameters<typeof newJob>[0] = {}): Promise<string> => {
    const id = await create(store, parts)
    await (await attempt(++n)).settle(settlement)
    return id
  }
  const failed = await end(FAILED, large(9_000))
  const small = await end(result(4_000))
  const first = await end(result(9_000))
  const second = await end(result(9_000))
  t.equal(await store.get(failed), undefined)
  t.equal(await redis.exists(key(failed)), 0)
  t.equal(await redis.zscore(key('failed'), failed), null, 'it is forgotten wholly')
  t.match([await store.get(small), await store.get(first), await store.get(second)], [{ state: 'completed' }, { state: 'completed' }, { state: 'completed' }])
  const huge = await end(result(50_000))
  t.same([await store.get(first), await store.get(second)], [undefined, undefined])
  t.equal((await store.result(huge))?.length, 50_000)
  t.equal((await store.get(small))?.state, 'completed', 'small ones are bounded by their number')
  await redis.hset(key('fae:sizes'), '', '1000000')
  const last = await end(result(6_000))
  t.equal(await store.get(huge), undefined)
  t.same(await counted(key), { left: 6_000, waiting: 0 }, 'a wrong sum becomes right again')
  t.same(await redis.zrange(key('fae:large'), '0', '-1'), [last])
})

t.test('jobs that somebody removes with other means are noticed by the sweep', async (t) => {
  // The sweep comes at half of the shortest time.
  const { store, key } = await opened(t, { retention: { failedMs: 2_000 } })
  const { attempt, consumer } = play(store)
  const done = await create(store)
  await (await attempt(1)).settle(result(9_000))
  consumer.pause()
  const waiting = await create(store, { ...large(9_000), runAt: Date.now() + HOUR })
  t.not((await counted(key)).waiting, 0)
  await redis.del(key(done), key(waiting))
  await until('nothing is counted any more', async () => {
    const { left, waiting } = await counted(key)
    return left === 0 && waiting === 0
  })
  t.equal(await redis.exists(key('fae:large'), key('fae:inputs')), 0)
})

t.test('the finished jobs of an owner are bounded in whatever state they are, and those of others are not touched', async (t) => {
  const { store } = await opened(t, { retention: { maxPerOwner: 2 } })
  const { attempt, consumer } = play(store)
  const mine = await create(store, { owner: 'mine' })
  const nobodys = await create(store)
  const theirs: string[] = []
  for (let n = 0; n < 4; n++) theirs.push(await create(store, { owner: 'theirs' }))
  const waiting = await create(store, { owner: 'theirs', runAt: Date.now() + HOUR })
  for (const [n, settlement] of [COMPLETED, COMPLETED, COMPLETED, FAILED, { kind: 'cancelled', reason: 'x' } as const].entries()) await (await attempt(n + 1)).settle(settlement)
  const [completed = '', failed = '', cancelled = '', last = ''] = theirs
  t.equal(await store.get(completed), undefined, 'the third one that ended pushed out the first')
  t.match([await store.get(failed), await store.get(cancelled)], [{ state: 'failed' }, { state: 'cancelled' }])
  await attempt(6)
  t.equal((await store.get(last))?.state, 'in-progress')
  t.match(await store.cancel(waiting, 'x'), { kind: 'cancelled' })
  t.equal(await store.get(failed), undefined, 'a cancel that ends a job at once counts as well')
  t.match([await store.get(mine), await store.get(nobodys)], [{ state: 'completed' }, { state: 'completed' }])
  await consumer.close(100)
})

t.test('cancelled jobs are bounded by maxCount at once', async (t) => {
  const { store } = await opened(t, { retention: { maxCount: 3 } })
  const ids: string[] = []
  for (let n = 0; n < 6; n++) {
    const id = await create(store, { runAt: Date.now() + HOUR })
    ids.push(id)
    await store.cancel(id, 'x')
  }
  t.equal((await store.counts(QUEUE)).states.cancelled, 3)
  t.equal(await store.get(ids[0] ?? ''), undefined)
})

t.test('over maxWaitingBytes a submission with a large input is refused until others are over', async (t) => {
  const { store, key } = await opened(t, { maxWaitingBytes: 25_000 })
  const idempotency = { key: 'ab', fingerprint: 'f', ttlMs: HOUR }
  const first = await create(store, { ...large(9_000), idempotency })
  const second = await create(store, large(9_000))
  for (const parts of [{}, { priority: 1 }, { runAt: Date.now() + HOUR }, { idempotency: { ...idempotency, key: 'cd' } }]) {
    await t.rejects(store.create(newJob({ ...large(9_000), ...parts })), { code: 'FAE_STORE_FULL', statusCode: 503 })
  }
  await t.rejects(store.create(newJob(large(30_000))), { code: 'FAE_JOB_TOO_LARGE', statusCode: 413 }, 'one that can never fit')
  t.match(await store.create(newJob({ ...large(9_000), idempotency })), { created: false, id: first }, 'a replay adds nothing')
  const small = await create(store)
  t.equal((await store.get(small))?.state, 'queued', 'small ones are not counted')
  await store.cancel(first, 'x')
  const third = await create(store, large(9_000))
  await t.rejects(store.create(newJob(large(9_000))), { code: 'FAE_STORE_FULL' })
  const { attempt } = play(store, { concurrency: 4 })
  const running = await attempt(1)
  t.equal(running.claim.job.id, second)
  await t.rejects(store.create(newJob(large(9_000))), { code: 'FAE_STORE_FULL' }, 'a running job may have to run again')
  await running.settle(COMPLETED)
  t.match(await store.create(newJob({ ...large(9_000), idempotency: { ...idempotency, key: 'cd' } })), { created: true }, 'a refused submission left no key')
  await stateIs(store, third, 'in-progress')
  t.equal(await redis.zcard(key('fae:inputs')), 3)
})

t.test('a full server still takes the end of a job, with its result', async (t) => {
  const full = await startRedis()
  t.teardown(() => full.stop())
  const client = new Redis(full.url)
  t.teardown(() => client.disconnect())
  const store = await openStore({ url: full.url })
  t.teardown(() => store.close(1_000))
  const { attempt } = play(store)
  const id = await create(store, large(100_000))
  const running = await attempt(1)
  await client.config('SET', 'maxmemory', '1')
  await t.rejects(store.create(newJob()), { code: 'FAE_STORE_FULL' })
  t.same(await running.settle(result(5_000)), { kind: 'stored' })
  t.equal((await store.result(id))?.length, 5_000)
  t.equal(await store.input(id), undefined, 'and the room of its input is free')
})
