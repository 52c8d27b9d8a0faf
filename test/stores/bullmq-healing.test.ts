/** What the Redis store does when its keys are lost, or written by somebody else. */
import { Redis } from 'ioredis'
import t from 'tap'
import { isAsyncEndpointsError } from '../../lib/core/errors.ts'
import type { JobStore } from '../../lib/jobs/store.ts'
import type { RedisStoreOptions } from '../../lib/stores/bullmq/index.ts'
import { startRedis, uniquePrefix } from '../support/redis.ts'
import { COMPLETED, Hearing, listeningHost, newJob, openStore, play, QUEUE, until, withBody } from '../support/redis-jobs.ts'

t.setTimeout(60_000)

const server = await startRedis()
const redis = new Redis(server.url)
t.teardown(async () => {
  redis.disconnect()
  await server.stop()
})

interface Test { teardown (end: () => unknown): unknown }

interface Opened {
  readonly store: JobStore
  readonly prefix: string
  /** Messages of the warnings with this code. */
  warnings (code: string): string[]
  key (id: string, suffix?: string): string
}

/** Sweeps twice a second. */
async function opened (t: Test, options: RedisStoreOptions = {}): Promise<Opened> {
  const { prefix = uniquePrefix() } = options
  const host = listeningHost()
  const store = await openStore({ url: server.url, prefix, leaseMs: 1_000, stalledIntervalMs: 200, ...options }, host)
  t.teardown(() => store.close(2_000))
  return {
    store,
    prefix,
    warnings: (code) => host.reports.flatMap((report) => report.kind === 'warning' && report.code === code ? [report.message] : []),
    key: (id, suffix = '') => `${prefix}:${QUEUE}:${id}${suffix}`
  }
}

const SWEPT_OFTEN = { retention: { completedMs: 2_000, failedMs: 600_000 } }

t.test('a server that was flushed learns again which queues there are, and how short their streams are', async (t) => {
  const { store, prefix, warnings } = await opened(t)
  await store.create(newJob())
  play(store, { script: () => COMPLETED })
  await redis.flushall()
  // Before the process has noticed.
  const job = newJob()
  await store.create(job)
  await until('the queues are known again', async () => await redis.sismember(`${prefix}:queues`, QUEUE))
  await until('it is said', () => warnings('queues-lost').length > 0)
  t.match(warnings('queues-lost'), [/flushed, or restarted without its data: .*1 of the queues of this process were missing in the key \{t[0-9a-f]+\}:queues/])
  await until('the stream is short again', async () => await redis.hget(`${prefix}:${QUEUE}:meta`, 'opts.maxLenEvents') === '100')
  const { store: other } = await opened(t, { prefix })
  t.equal((await other.get(job.id))?.id, job.id, 'a process that is started later finds the job')
  await store.create(newJob())
  t.equal(warnings('queues-lost').length, 1, 'said once')
})

t.test('a set that was lost is mended by a process that only looks at a queue with jobs', async (t) => {
  const { store, prefix } = await opened(t)
  await store.create(newJob())
  await store.close(1_000)
  await redis.del(`${prefix}:queues`)
  const { store: other } = await opened(t, { prefix })
  await other.counts(QUEUE)
  await until('it is known', async () => await redis.sismember(`${prefix}:queues`, QUEUE))
  await other.counts('nobody')
  t.same(await redis.smembers(`${prefix}:queues`), [QUEUE])
})

t.test('what is no set of queues is replaced, and said', async (t) => {
  const { store, prefix, warnings } = await opened(t)
  const job = newJob()
  await store.create(job)
  await redis.set(`${prefix}:queues`, 'somebody was here')
  const { store: other, warnings: others } = await opened(t, { prefix })
  // One of the two has replaced it, whichever was first.
  await until('it is found', async () => (await other.get(job.id).catch(() => undefined))?.id === job.id)
  await until('it was said', () => [...warnings('queues-replaced'), ...others('queues-replaced')].length === 1)
  t.equal(await redis.type(`${prefix}:queues`), 'set')
})

t.test('a bad name and a queue that cannot be swept keep nobody from clearing away the jobs of others', async (t) => {
  const { store, prefix, warnings } = await opened(t, SWEPT_OFTEN)
  await redis.sadd(`${prefix}:queues`, 'a:b', 'x'.repeat(500), 'aaa-broken', '')
  await redis.set(`${prefix}:aaa-broken:completed`, 'no sorted set')
  const job = newJob()
  await store.create(job)
  play(store, { script: () => COMPLETED })
  const key = `${prefix}:${QUEUE}:${job.id}`
  await until('it is over', async () => await redis.hget(key, 'finishedOn'))
  await until('it is cleared away', async () => !await redis.exists(key))
  t.match(warnings('queue-name'), [/"(a:b|x{64}|)"/, /SREM/, /ignored/])
  await until('the other is said', () => warnings('sweep-failed').length > 0)
  t.match(warnings('sweep-failed'), [/"aaa-broken"/])
})

/** Ways in which somebody can write over a waiting job. */
const POISONS: Readonly<Record<string, (key: string) => Promise<unknown>>> = {
  'data that is not JSON': (key) => redis.hset(key, 'data', '{oops'),
  'data in another encoding': (key) => redis.hset(key, 'data', Buffer.from([0x82, 0xa1, 0x76, 0x01, 0xff])),
  'no data': (key) => redis.hdel(key, 'data'),
  'no name': (key) => redis.hdel(key, 'name'),
  'no time': (key) => redis.hdel(key, 'timestamp'),
  'a time that is none': (key) => redis.hset(key, 'timestamp', 'yesterday'),
  'options that are not JSON': (key) => redis.hset(key, 'opts', '{"delay"'),
  'progress that is not JSON': (key) => redis.hset(key, 'progress', 'half'),
  'a count of starts that is none': (key) => redis.hset(key, 'ats', '1.5e'),
  'a count of attempts that is none': (key) => redis.hset(key, 'atm', 'many'),
  'a count of stalls that is none': (key) => redis.hset(key, 'stc', 'few'),
  'a priority that is none': (key) => redis.hset(key, 'priority', 'high'),
  'a text instead of the job': async (key) => { await redis.del(key); await redis.set(key, 'text') },
  'a list instead of the job': async (key) => { await redis.del(key); await redis.rpush(key, 'a') },
  'nothing instead of the job': (key) => redis.del(key)
}

for (const [name, poison] of Object.entries(POISONS)) {
  t.test(`a job with ${name} ends as a coded failure, and the next one runs`, async (t) => {
    const { store, key, prefix } = await opened(t)
    const [bad, good] = [newJob(), newJob()]
    await store.create(bad)
    await store.create(good)
    await poison(key(bad.id))
    for (const look of [() => store.get(bad.id), () => store.result(bad.id), () => store.input(bad.id), () => store.redrive(bad.id)]) {
      try {
        await look()
      } catch (error) {
        t.ok(isAsyncEndpointsError(error, 'FAE_JOB_UNREADABLE') && error.message.includes(bad.id), String(error))
      }
    }
    const { queued, failed: over } = (await store.counts(QUEUE)).states
    t.equal(queued + over, 2, 'who looked may have ended it')
    t.ok((await store.list({ limit: 10 })).jobs.some(({ id }) => id === good.id), 'the list shows the others')

    const played = play(store, { script: () => COMPLETED })
    await until('the good one is completed', async () => (await store.get(good.id))?.state === 'completed')
    await until('the bad one has failed', async () => (await store.get(bad.id).catch(() => undefined))?.state === 'failed')
    t.match(await store.get(bad.id), { id: bad.id, error: { code: 'FAE_JOB_UNREADABLE', message: new RegExp(bad.id) } })
    t.notOk(played.attempts.some(({ claim }) => claim.job.id === bad.id), 'no attempt was made of it')
    t.equal(await redis.llen(`${prefix}:${QUEUE}:active`), 0)
    t.match((await store.counts(QUEUE)).states, { queued: 0, 'in-progress': 0, failed: 1, completed: 1 })
    t.ok((await store.list({ state: 'failed', limit: 10 })).jobs.some(({ id }) => id === bad.id))
  })
}

t.test('an unreadable job gives back the room of its input, and counts among the jobs that are over', async (t) => {
  const { store, key, prefix } = await opened(t)
  const job = newJob({ owner: 'ann', input: withBody('x'.repeat(10_000)) })
  await store.create(job)
  t.equal(await redis.zcard(`${prefix}:${QUEUE}:fae:inputs`), 2)
  await redis.hset(key(job.id), 'ats', 'text')
  play(store, { script: () => COMPLETED })
  await until('it has failed', async () => (await store.get(job.id))?.state === 'failed')
  t.equal(await redis.zcard(`${prefix}:${QUEUE}:fae:inputs`), 0)
  t.ok(Number(await redis.hget(`${prefix}:${QUEUE}:fae:sizes`, job.id)) >= 10_000)
  t.equal((await redis.keys(`${prefix}:${QUEUE}:fae:owner:*`)).length, 1)
})

t.test('an unreadable job that a worker claims is kept within the limits of the retention', async (t) => {
  const { store, key } = await opened(t, { retention: { maxPerOwner: 1 } })
  const [first, second] = [newJob({ owner: 'ann' }), newJob({ owner: 'ann' })]
  for (const job of [first, second]) {
    await store.create(job)
    await redis.hset(key(job.id), 'data', '{oops')
  }
  const hearing = new Hearing(store)
  for (const { id } of [first, second]) await hearing.follow(id)
  const { errors } = play(store, { script: () => COMPLETED })
  await until('both have failed, and listeners know', () => hearing.heard.filter((change) => change.startsWith('failed')).length === 2)
  t.same([await store.get(first.id), (await store.get(second.id))?.state], [undefined, 'failed'])
  t.same(errors.map((error) => isAsyncEndpointsError(error, 'FAE_JOB_UNREADABLE')), [true, true], 'no script stumbled')
})

t.test('a job whose key holds something else has no input to give', async (t) => {
  const { store, key } = await opened(t)
  const job = newJob()
  await store.create(job)
  await redis.del(key(job.id))
  await redis.set(key(job.id), 'text')
  await t.rejects(store.input(job.id), { code: 'FAE_JOB_UNREADABLE' })
})

t.test('a job that is written over while it is cancelled is refused with its name', async (t) => {
  const { store, key } = await opened(t)
  const job = newJob()
  await store.create(job)
  await redis.del(key(job.id))
  await redis.set(key(job.id), 'text')
  await t.rejects(store.cancel(job.id, 'x'), { code: 'FAE_JOB_UNREADABLE', statusCode: 500, message: new RegExp(job.id) })
})

t.test('a running job that is written over: its queue goes on looking for lost leases', async (t) => {
  const { store, key } = await opened(t)
  const [bad, lost] = [newJob(), newJob()]
  await store.create(bad)
  await store.create(lost)
  const played = play(store, { concurrency: 4 })
  await played.attempt(2)
  await redis.del(key(bad.id), key(bad.id, ':lock'), key(lost.id, ':lock'))
  await redis.set(key(bad.id), 'text')
  await until('the other one is run again', () => played.attempts.filter(({ claim }) => claim.job.id === lost.id).length === 2, 20_000)
  await until('the bad one has failed', async () => (await store.get(bad.id).catch(() => undefined))?.error?.code === 'FAE_JOB_UNREADABLE')
  for (const attempt of played.attempts) attempt.end(COMPLETED)
})

t.test('what a channel says is a hint: the server is asked', async (t) => {
  const { store, prefix } = await opened(t)
  const job = newJob()
  await store.create(job)
  const played = play(store)
  const attempt = await played.attempt(1)
  const hearing = new Hearing(store)
  await hearing.follow(job.id)
  const channel = `${prefix}:${QUEUE}:changed:${job.id}`
  await until('somebody listens', async () => await redis.publish(`${prefix}:control`, job.id) > 0)
  for (const message of ['', 'x'.repeat(2_000_000), `${job.id}x`, '\0\n', '{"id":1}']) {
    await redis.publish(`${prefix}:control`, message)
    await redis.publish(channel, message)
  }
  await redis.publish(channel, 'c')
  await until('the forged news came', () => hearing.heard.includes(`completed ${job.id}`))
  t.same(attempt.aborts, [], 'a message aborts nothing')
  t.equal((await store.get(job.id))?.state, 'in-progress', 'and ends nothing')
  await store.cancel(job.id, 'really')
  await until('it is aborted', () => attempt.aborts.length > 0)
  t.same(attempt.aborts, ['cancelled'])
  await attempt.settle({ kind: 'cancelled', reason: 'really' })
})

t.test('a lease without an end gets one, and its job is run again', async (t) => {
  const { store, key, warnings } = await opened(t, SWEPT_OFTEN)
  const job = newJob()
  await store.create(job)
  const dead = await openStore({ url: server.url, prefix: key('').split(':').slice(0, 1).join(), leaseMs: 1_000, stalledIntervalMs: 200 })
  const held = play(dead)
  await held.attempt(1)
  await held.consumer.close(1_000)
  await dead.close(1_000)
  await redis.set(key(job.id, ':lock'), 'nobody')
  const played = play(store)
  const attempt = await played.attempt(1, 15_000)
  t.equal(attempt.claim.stalled, true)
  attempt.end(COMPLETED)
  t.match(warnings('lease-without-end'), [new RegExp(job.id)])
})

t.test('keys that must end and do not: the turn to sweep, the turn to look for lost leases', async (t) => {
  const prefix = uniquePrefix()
  await redis.set(`${prefix}:sweep`, '1')
  await redis.set(`${prefix}:${QUEUE}:stalled-check`, '1')
  const { store, warnings } = await opened(t, { prefix, ...SWEPT_OFTEN })
  await store.create(newJob())
  await until('both end', async () => await redis.pttl(`${prefix}:sweep`) !== -1 && await redis.pttl(`${prefix}:${QUEUE}:stalled-check`) !== -1)
  await until('both were said', () => warnings('key-without-end').length === 2)
})

t.test('a queue with jobs that no worker works on is named; with a worker it is not', async (t) => {
  const { store, prefix, warnings } = await opened(t, SWEPT_OFTEN)
  await store.create(newJob({ queue: 'removed' }))
  await store.create(newJob({ queue: 'removed', runAt: Date.now() + 600_000 }))
  await store.create(newJob({ queue: 'worked-on', runAt: Date.now() + 600_000 }))
  const { store: other } = await opened(t, { prefix, ...SWEPT_OFTEN })
  play(other, { queue: 'worked-on', script: () => COMPLETED })
  await until('it is named', () => warnings('queue-unattended').length > 0, 15_000)
  t.match(warnings('queue-unattended'), [/^2 jobs wait in the queue "removed"/])
  t.same(store.unattended?.(), [{ queue: 'removed', waiting: 2 }])
  play(other, { queue: 'removed', script: () => COMPLETED })
  await until('it is no longer', () => store.unattended?.().length === 0)
  t.equal(warnings('queue-unattended').length, 1)
})

t.test('a server that is started again without its data', async (t) => {
  const own = await startRedis()
  t.teardown(() => own.stop())
  const host = listeningHost()
  const store = await openStore({ url: own.url }, host)
  t.teardown(() => store.close(2_000))
  await store.create(newJob())
  await own.restart()
  await until('it was said', () => host.reports.some((report) => report.kind === 'warning' && report.code === 'queues-lost'))
  const job = newJob()
  await until('it takes jobs', () => store.create(job).then(() => true, () => false))
  const other = await openStore({ url: own.url })
  t.teardown(() => other.close(2_000))
  t.equal((await other.get(job.id))?.id, job.id)
})
