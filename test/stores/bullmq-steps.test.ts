/** Durable steps on Redis: what is in which key, how jobs wait and are woken, and what faults do to all that. */
import { Queue, Worker } from 'bullmq'
import { Cluster, Redis } from 'ioredis'
import t from 'tap'
import type { StepStore } from '../../lib/jobs/store.ts'
import type { Claim, JobStore, Settlement } from '../../lib/jobs/store.ts'
import type { RedisStoreOptions } from '../../lib/stores/bullmq/index.ts'
import { defineScripts, runScript } from '../../lib/stores/bullmq/scripts.ts'
import { startProxy } from '../support/redis-proxy.ts'
import { sharedRedis, startRedis, uniquePrefix } from '../support/redis.ts'
import { COMPLETED, Hearing, newJob, openStore, play, type PlayedAttempt, QUEUE, until } from '../support/redis-jobs.ts'

const HOUR = 3_600_000
const ERROR = { code: 'E', message: 'no' }
const server = await sharedRedis()
const redis = new Redis(server.url)
defineScripts(redis)
t.teardown(async () => {
  redis.disconnect()
  await server.stop()
})

interface Opened {
  readonly store: JobStore
  readonly steps: StepStore
  readonly prefix: string
  key (id: string, suffix?: string): string
  queueKey (name: string): string
}

async function opened (t: { teardown (end: () => unknown): unknown }, options: RedisStoreOptions = {}): Promise<Opened> {
  const prefix = options.prefix ?? uniquePrefix()
  const store = await openStore({ url: options.client === undefined ? server.url : undefined, prefix, ...options })
  t.teardown(() => store.close(2_000))
  return { store, steps: stepsOf(store), prefix, key: (id, suffix = '') => `${prefix}:${QUEUE}:${id}${suffix}`, queueKey: (name) => `${prefix}:${QUEUE}:${name}` }
}

function stepsOf ({ steps }: JobStore): StepStore {
  if (steps === undefined) throw new Error('the store keeps steps')
  return steps
}

async function submitted (store: JobStore, parts: Parameters<typeof newJob>[0] = {}): Promise<string> {
  const job = newJob(parts)
  await store.create(job)
  return job.id
}

const suspend = (parts: Partial<Extract<Settlement, { kind: 'suspend' }>> = {}): Settlement => ({ kind: 'suspend', delayMs: HOUR, ...parts })

/** An attempt that did something, and now sleeps for an hour. */
async function asleep ({ steps }: Opened, attempt: PlayedAttempt, parts: Parameters<typeof suspend>[0] = {}): Promise<void> {
  await steps.checkpoint(attempt.claim, { facts: { '': '{}' }, undo: true })
  await attempt.settle(suspend(parts))
}

t.test('a checkpoint is one command that sends only what is new; it is part of the record, its results are not', async (t) => {
  const client = new Redis(server.url)
  t.teardown(() => client.disconnect())
  const { store, steps, key } = await opened(t, { client, leaseMs: 30_000 })
  const { attempt } = play(store)
  const id = await submitted(store)
  const { claim } = await attempt(1)
  const hearing = new Hearing(store)
  await hearing.follow(id)
  const odd = 'ä {b}: "c"\n👍'
  t.same(await steps.checkpoint(claim, { facts: { '': 'head', a: '1', [odd]: 'x', ['__proto__']: 'p' }, values: { a: '{"big":true}' }, progress: { done: 1, total: 3 } }), { stored: true, cancelRequested: false })
  await redis.pexpire(key(id, ':lock'), 5_000)
  const sent: string[] = []
  const sendCommand = client.sendCommand.bind(client)
  client.sendCommand = (command, stream) => {
    sent.push(`${command.name} ${command.args.length}`)
    return sendCommand(command, stream)
  }
  await steps.checkpoint(claim, { facts: { a: '2' } })
  client.sendCommand = sendCommand
  t.equal(sent.length, 1, sent.join())
  t.ok(await redis.pttl(key(id, ':lock')) > 20_000, 'the lease begins anew')
  const facts = { '': 'head', a: '2', [odd]: 'x', ['__proto__']: 'p' }
  t.same(await steps.journal(id), { facts, values: { a: '{"big":true}' }, signals: {}, cancelReason: undefined, redrives: 0 })
  const record = await store.get(id)
  t.same(record?.facts, facts)
  t.same(record?.progress, { done: 1, total: 3 })
  t.same((await store.list({ limit: 10 })).jobs.map((job) => job.facts), [{ '': 'head' }])
  await until('both were heard', () => hearing.heard.filter((change) => change === `in-progress ${id}`).length >= 2)
  const plain = await submitted(store)
  t.notOk(Object.hasOwn(await store.get(plain) ?? {}, 'facts'), 'a job without steps has none')
  t.equal(await steps.journal('00000000-0000-4000-8000-000000000000'), undefined)
  t.equal(await steps.journal('no id'), undefined)
})

t.test('a thousand facts and large results are read in one piece', async (t) => {
  const { store, steps } = await opened(t)
  const { attempt } = play(store)
  const id = await submitted(store)
  const { claim } = await attempt(1)
  const facts = Object.fromEntries(Array.from({ length: 2_500 }, (_, n) => [`step ${n}`, String(n)]))
  const values = { one: JSON.stringify('x'.repeat(262_144)), two: '2' }
  await steps.checkpoint(claim, { facts, values })
  t.same(await steps.journal(id), { facts, values, signals: {}, cancelReason: undefined, redrives: 0 })
  t.same((await store.get(id))?.facts, facts)
  await steps.signal(id, 'early', 'true')
  await steps.checkpoint(claim, { facts: { after: '1' }, values: { three: '3' }, dropValues: true })
  t.match(await steps.journal(id), { facts: { after: '1' }, values: { three: '3' }, signals: {} })
  t.same(Object.keys((await steps.journal(id))?.values ?? {}), ['three'])
})

t.test('a lease that is somebody else\'s stores nothing, in any script', async (t) => {
  const { store, steps, key } = await opened(t)
  const { attempt } = play(store)
  const id = await submitted(store)
  const { claim } = await attempt(1)
  await redis.set(key(id, ':lock'), 'somebody else')
  const before = await redis.hgetall(key(id))
  t.same(await steps.checkpoint(claim, { facts: { a: '1' }, undo: true, dropValues: true, compensatingSince: 5 }), { stored: false })
  const prefix = key('')
  t.equal(await runScript(redis, 'suspend', [prefix], id, 'wrong', 1, 1, '{}', '{}', '', '', ''), -6)
  t.equal(await runScript(redis, 'claimed', [prefix], id, 'wrong'), 0)
  await redis.del(key(id, ':lock'))
  t.equal(await runScript(redis, 'suspend', [prefix], id, 'wrong', 1, 1, '{}', '{}', '', '', ''), -2)
  t.same(await redis.hgetall(key(id)), before)
  t.same(await steps.checkpoint({ ...claim }, { facts: {} }), { stored: false }, 'a claim of another store')
})

t.test('a lease that has run out unnoticed is taken back; a job that is gone is not made again', async (t) => {
  const { store, steps, key } = await opened(t, { leaseMs: 60_000, stalledIntervalMs: 60_000 })
  const { attempt } = play(store)
  const id = await submitted(store)
  const { claim } = await attempt(1)
  await redis.del(key(id, ':lock'))
  t.match(await steps.checkpoint(claim, { facts: { a: '1' } }), { stored: true })
  t.ok(await redis.pttl(key(id, ':lock')) > 0)
  await redis.del(key(id))
  t.same(await steps.checkpoint(claim, { facts: { a: '2' } }), { stored: false })
  t.equal(await redis.exists(key(id)), 0)
})

t.test('a suspended job has no lease and no slot, spends no attempt, and wakes a blocked worker in time', async (t) => {
  const { store, steps, key, queueKey } = await opened(t)
  const { attempt, consumer } = play(store)
  const id = await submitted(store)
  const first = await attempt(1)
  t.same(await first.settle(suspend({ delayMs: 400, checkpoint: { facts: { '': 'zzz' }, values: { v: '1' }, progress: { done: 1 } } })), { kind: 'stored' })
  t.match(await store.get(id), { state: 'scheduled', attempts: 0, facts: { '': 'zzz' }, progress: { done: 1 } })
  t.same([consumer.active, await redis.exists(key(id, ':lock')), await redis.llen(queueKey('active'))], [0, 0, 0])
  const second = await attempt(2, 2_000)
  t.match(second.claim, { again: true, stalled: false, job: { attempts: 1 } })
  t.ok(Date.now() >= second.claim.availableAt - 5)
  t.match(await steps.journal(id), { values: { v: '1' } })
  t.same(await second.settle(suspend({ delayMs: 0 })), { kind: 'stored' })
  const third = await attempt(3, 2_000)
  t.equal(third.claim.job.attempts, 1)
  await third.settle(COMPLETED)
})

t.test('what is suspended stands as BullMQ would have it: its own worker promotes and claims it', async (t) => {
  const { store, steps, prefix, key, queueKey } = await opened(t)
  const ours = play(store)
  const ids = [await submitted(store, { priority: 2 }), await submitted(store)]
  for (const n of [1, 2]) {
    const { claim } = await ours.attempt(n)
    await (await ours.attempt(n)).settle(suspend({ delayMs: 300, signal: 'go' }))
    const [score] = await redis.zmscore(queueKey('delayed'), claim.job.id)
    const { failedReason = '', delay } = await redis.hgetall(key(claim.job.id))
    t.equal(Math.floor(Number(score) / 4096), Number(/"r":(\d+)/.exec(failedReason)?.[1]))
    t.equal(delay, '300')
  }
  await ours.consumer.close(1_000)
  const ran: string[] = []
  const connection = new Redis(server.url, { maxRetriesPerRequest: null })
  const theirs = new Worker(QUEUE, async (job) => { ran.push(String(job.id)) }, { connection, prefix, skipVersionCheck: true })
  t.teardown(async () => {
    await theirs.close(true)
    connection.disconnect()
  })
  await until('BullMQ ran both', () => ran.length === 2)
  t.same(ran.sort(), ids.sort())
  t.match(await steps.journal(ids[0] ?? ''), { signals: {} })
})

t.test('a queue that is paused with BullMQ stays so when its jobs are woken', async (t) => {
  const opening = await opened(t)
  const { store, steps, prefix, queueKey } = opening
  const { attempt, attempts } = play(store)
  const id = await submitted(store)
  await asleep(opening, await attempt(1), { signal: 'go' })
  const queue = new Queue(QUEUE, { connection: redis, prefix })
  t.teardown(() => queue.close())
  await queue.pause()
  await redis.del(queueKey('marker'))
  t.same(await steps.signal(id, 'go', '1'), { kind: 'stored' })
  t.equal(await redis.exists(queueKey('marker')), 0)
  t.equal((await store.get(id))?.state, 'queued')
  t.equal(attempts.length, 1)
  await queue.resume()
  await attempt(2)
})

t.test('a signal wakes the job that waits for it, at its priority, from whatever process; and is kept when it comes first', async (t) => {
  const opening = await opened(t)
  const { store, steps, prefix, key, queueKey } = opening
  const second = await openStore({ url: server.url, prefix })
  t.teardown(() => second.close(1_000))
  const { attempt } = play(store)
  const hearing = new Hearing(second)
  const id = await submitted(store, { priority: 3 })
  await hearing.follow(id)
  await (await attempt(1)).settle(suspend({ signal: 'go' }))
  t.match((await store.counts(QUEUE)).sagas, { awaitingSignal: 1 })
  t.same(await steps.signal(id, 'other', '0'), { kind: 'stored' })
  t.equal((await store.get(id))?.state, 'scheduled')
  const outcomes = await Promise.all(['{"by":1}', '{"by":2}', '{"by":1}'].map((value) => stepsOf(second).signal(id, 'go', value)))
  t.same(outcomes.map((outcome) => outcome?.kind), ['stored', 'conflict', 'repeated'])
  const again = await attempt(2, 2_000)
  t.ok(again.claim.availableAt <= Date.now() + 1_000, 'it is available since the signal')
  await until('the wake-up is heard', () => hearing.heard.includes(`queued ${id}`))
  t.match((await store.counts(QUEUE)).sagas, { awaitingSignal: 0 })
  t.equal(await redis.hexists(key(id), 'aws'), 0)
  t.same((await steps.journal(id))?.signals, { go: '{"by":1}', other: '0' })
  t.same(await again.settle(suspend({ signal: 'other' })), { kind: 'stored' }, 'it was there before')
  const third = await attempt(3, 2_000)
  t.equal(await redis.zcard(queueKey('fae:awaiting')), 0)
  await third.settle(COMPLETED)
  t.same(await steps.signal(id, 'go', '{"by":1}'), { kind: 'finished' })
  t.equal(await steps.signal('00000000-0000-4000-8000-000000000000', 'go', '1'), undefined)
  t.match(await steps.journal(id), { signals: {}, values: {} })
})

t.test('a signal does not start a job whose time has not come', async (t) => {
  const { store, steps } = await opened(t)
  const later = await submitted(store, { runAt: Date.now() + HOUR })
  t.same(await steps.signal(later, 'go', '1'), { kind: 'stored' })
  t.equal((await store.get(later))?.state, 'scheduled')
  t.same(await store.cancel(later, 'x').then((verdict) => verdict?.kind), 'cancelled', 'and it has nothing to undo')
  t.same(await steps.signal(later, 'go', '1'), { kind: 'finished' })
})

t.test('when the time of a wait comes before its signal, the job is no longer counted as waiting', async (t) => {
  const { store, steps, key } = await opened(t)
  const { attempt } = play(store)
  const id = await submitted(store)
  await (await attempt(1)).settle(suspend({ delayMs: 50, signal: 'go' }))
  await attempt(2)
  await until('it does not wait', async () => (await store.counts(QUEUE)).sagas?.awaitingSignal === 0)
  t.equal(await redis.hexists(key(id), 'aws'), 0)
  t.same(await steps.signal(id, 'go', '1'), { kind: 'stored' })
  t.equal((await store.get(id))?.state, 'in-progress')
})

t.test('a cancel wakes a job that has something to undo, once, and its attempts may go on', async (t) => {
  const opening = await opened(t)
  const { store, steps, key, queueKey } = opening
  const { attempt, attempts } = play(store)
  const id = await submitted(store)
  await asleep(opening, await attempt(1), { signal: 'go' })
  t.match(await store.cancel(id, 'not wanted'), { kind: 'requested', job: { cancelRequested: true } })
  const second = await attempt(2, 2_000)
  t.match(second.claim.job, { cancelRequested: true })
  t.same(second.aborts, ['cancelled'])
  t.match(await steps.checkpoint(second.claim, { facts: {}, compensatingSince: 1_234 }), { stored: true, cancelRequested: true })
  t.match((await store.counts(QUEUE)).sagas, { compensating: 1, compensatingSince: 1_234, awaitingSignal: 0 })
  t.match(await steps.journal(id), { cancelReason: 'not wanted' })
  t.same(await second.settle({ kind: 'retry', error: ERROR, delayMs: 10 }), { kind: 'stored' }, 'a retry is none the less one')
  const third = await attempt(3, 2_000)
  t.same(await third.settle({ kind: 'release' }), { kind: 'stored' })
  const fourth = await attempt(4, 2_000)
  t.same(await fourth.settle(suspend({ cancelKnown: true })), { kind: 'stored' })
  t.equal((await store.get(id))?.state, 'scheduled')
  t.match(await store.cancel(id, 'again'), { kind: 'requested' })
  await redis.publish(queueKey('').replace(`:${QUEUE}:`, ':control'), id)
  await store.ping()
  t.equal((await store.get(id))?.state, 'scheduled', 'a backoff of an undo is not cut short')
  // An undo that was put off goes on at its time.
  await redis.zadd(queueKey('delayed'), 'XX', Date.now() * 4096, id)
  await redis.zadd(queueKey('marker'), 0, '0')
  const fifth = await attempt(5, 12_000)
  await steps.checkpoint(fifth.claim, { facts: { '': 'undone' }, values: { v: '1' } })
  t.same(await fifth.settle({ kind: 'cancelled', reason: 'undone' }), { kind: 'stored' })
  t.match(await store.get(id), { state: 'cancelled', cancelRequested: false, error: { message: 'not wanted' }, facts: { '': 'undone' } })
  t.match(await steps.journal(id), { values: {}, cancelReason: 'not wanted' })
  t.same(Object.keys(await redis.hgetall(key(id))).filter((field) => /^(r:|g:|aws|defa)/.test(field)), [])
  t.match((await store.counts(QUEUE)).sagas, { compensating: 0, awaitingSignal: 0 })
  t.equal(attempts.length, 5)
})

t.test('a cancel that comes just before the job is suspended makes it claimable at once', async (t) => {
  const { store, steps } = await opened(t)
  const { attempt } = play(store)
  const id = await submitted(store)
  const first = await attempt(1)
  await steps.checkpoint(first.claim, { facts: {}, undo: true })
  await store.cancel(id, 'late')
  t.same(await first.settle(suspend({ signal: 'go' })), { kind: 'stored' })
  const second = await attempt(2, 2_000)
  t.same([second.claim.job.cancelRequested, second.claim.stalled], [true, false])
  await steps.checkpoint(second.claim, { facts: {}, undo: false })
  t.match(await second.settle(suspend()), { kind: 'stored', instead: 'cancelled' }, 'with nothing left to undo it ends')
  t.equal((await store.get(id))?.state, 'cancelled')
})

t.test('a worker dies, its job is cancelled: the stall is no end, and the next attempt hears of both', async (t) => {
  const { store, steps, key } = await opened(t, { leaseMs: 400, stalledIntervalMs: 200 })
  const { attempt } = play(store, { concurrency: 2 })
  const id = await submitted(store)
  const first = await attempt(1)
  await steps.checkpoint(first.claim, { facts: {}, undo: true })
  await redis.set(key(id, ':lock'), 'somebody else', 'PX', 300)
  t.match(await store.cancel(id, 'x'), { kind: 'requested' })
  await until('its lease has run out', async () => await redis.exists(key(id, ':lock')) === 0)
  t.match(await store.cancel(id, 'y'), { kind: 'requested' }, 'without a lease as well')
  const second = await attempt(2, 8_000)
  t.match(second.claim, { stalled: true, job: { cancelRequested: true } })
  t.same(second.aborts, ['cancelled'])
  t.same(await second.settle(suspend({ delayMs: 10, cancelKnown: true })), { kind: 'stored' })
  const third = await attempt(3, 2_000)
  t.equal(third.claim.stalled, false, 'the stall was accounted for')
  t.equal(third.claim.job.attempts, 2)
  await third.settle({ kind: 'cancelled', reason: 'x' })
  t.match(await store.get(id), { state: 'cancelled', error: { message: 'x' } })
})

t.test('a queued job with something to undo is not ended by a cancel', async (t) => {
  const { store, steps } = await opened(t)
  const { attempt, consumer } = play(store)
  const id = await submitted(store)
  const first = await attempt(1)
  await steps.checkpoint(first.claim, { facts: { a: '1' }, undo: true })
  consumer.pause()
  await first.settle({ kind: 'release' })
  t.match(await store.cancel(id, 'x'), { kind: 'requested', job: { state: 'queued' } })
  consumer.resume()
  const second = await attempt(2)
  t.same(second.aborts, ['cancelled'])
  t.same(await second.settle({ kind: 'failed', error: ERROR }), { kind: 'stored' })
  t.match(await store.get(id), { state: 'failed', facts: { a: '1' } })
})

t.test('the last checkpoint is stored with the end; results go, facts stay', async (t) => {
  const { store, steps, key } = await opened(t)
  const { attempt } = play(store)
  const ends: Array<[Settlement, string | undefined]> = [
    [{ kind: 'completed', result: '"r"', resultBytes: 3, checkpoint: { facts: { '': 'over', b: '2' }, values: { b: 'not kept' }, progress: { done: 2 } } }, '"r"'],
    [{ kind: 'completed', result: undefined, resultBytes: undefined, checkpoint: { facts: { '': 'over', b: '2' }, progress: { done: 2 } } }, undefined]
  ]
  for (const [n, [end, result]] of ends.entries()) {
    const id = await submitted(store)
    const { claim } = await attempt(n + 1)
    await steps.checkpoint(claim, { facts: { a: '1' }, values: { a: '"x"' }, undo: true, compensatingSince: 1 })
    await steps.signal(id, 'go', '1')
    t.same(await (await attempt(n + 1)).settle(end), { kind: 'stored' })
    t.match(await store.get(id), { state: 'completed', facts: { '': 'over', a: '1', b: '2' }, progress: { done: 2 } })
    t.equal(await store.result(id), result)
    t.same(Object.keys(await redis.hgetall(key(id))).filter((field) => /^(r:|g:|aws|data)/.test(field)), [])
    t.match((await store.counts(QUEUE)).sagas, { compensating: 0 })
  }
  const alone = await submitted(store)
  await (await attempt(3)).settle({ kind: 'completed', result: undefined, resultBytes: undefined, checkpoint: { facts: Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`f${n}`, 'x'])) } })
  t.equal(Object.keys((await store.get(alone))?.facts ?? {}).length, 5_000, 'also without one before, and of any size')
})

t.test('a failed job keeps all of it for a redrive, counted by its bytes', async (t) => {
  const { store, steps, key, queueKey } = await opened(t)
  const { attempt, consumer } = play(store)
  const id = await submitted(store)
  const first = await attempt(1)
  await steps.checkpoint(first.claim, { facts: { '': 'h' }, values: { a: 'x'.repeat(10_000) }, undo: true, compensatingSince: 7 })
  await steps.signal(id, 'go', '1')
  await first.settle({ kind: 'failed', error: ERROR })
  consumer.pause()
  t.match((await store.counts(QUEUE)).sagas, { compensating: 0, compensatingSince: undefined })
  t.equal(await redis.hget(queueKey('fae:sizes'), id), '10001')
  t.same(await steps.signal(id, 'later', '1'), { kind: 'finished' })
  t.match(await store.redrive(id), { kind: 'redriven', job: { state: 'queued' } })
  t.match(await store.cancel(id, 'x'), { kind: 'requested' }, 'it still has something to undo')
  consumer.resume()
  const second = await attempt(2)
  t.match(await steps.journal(id), { facts: { '': 'h' }, values: { a: 'x'.repeat(10_000) }, signals: { go: '1' }, redrives: 1, cancelReason: 'x' })
  t.match(second.claim, { again: true, job: { cancelRequested: true } })
  await second.settle(COMPLETED)
  t.equal(await redis.exists(queueKey('fae:inputs')), 0)
  t.equal(await redis.hexists(key(id), 'r:a'), 0)
})

t.test('the bytes of results and signals count with those of inputs, each once, until the job is over or has dropped them', async (t) => {
  const { store, steps, queueKey } = await opened(t)
  const { attempt, consumer } = play(store, { concurrency: 2 })
  const counted = async (id = ''): Promise<number> => Number(await redis.zscore(queueKey('fae:inputs'), id) ?? 0)
  const id = await submitted(store)
  const first = await attempt(1)
  const large = { facts: { a: '1', b: '1' }, values: { a: 'x'.repeat(1_000), b: 'y'.repeat(500) }, undo: true }
  for (let n = 0; n < 3; n++) await steps.checkpoint(first.claim, large)
  t.same([await counted(id), await counted()], [1_500, 1_500], 'sent three times')
  await steps.checkpoint(first.claim, { facts: { a: '2' }, values: { a: 'x'.repeat(100) } })
  t.equal(await counted(id), 600, 'another result in its place')
  await steps.signal(id, 'go', '"yes"')
  await steps.signal(id, 'go', '"yes"')
  t.equal(await counted(id), 605)
  const input = await submitted(store, { input: { body: 'z'.repeat(9_000), params: {}, query: {}, headers: {} } })
  const second = await attempt(2)
  const before = await counted(input)
  await steps.checkpoint(second.claim, { facts: {}, values: { a: '123' }, dropValues: true })
  t.equal(await counted(input), before + 3)
  await second.settle(COMPLETED)
  await steps.checkpoint(first.claim, { facts: {}, dropValues: true, values: { c: '12' } })
  t.same([await counted(id), await counted()], [2, 2], 'what was undone gives it back')
  await first.settle({ kind: 'failed', error: ERROR })
  t.equal(await counted(), 0)
  await store.redrive(id)
  const third = await attempt(3)
  t.equal(await counted(), 0, 'it left little behind')
  await steps.checkpoint(third.claim, { facts: {}, dropValues: true })
  t.equal(await counted(id), 0, 'and gives no more back than was counted')
  await third.settle(suspend({ checkpoint: { facts: {}, values: { d: '1234' } } }))
  t.same([await counted(id), await counted()], [4, 4])
  await store.cancel(id, 'x')
  await (await attempt(4)).settle({ kind: 'cancelled', reason: 'x' })
  await consumer.close(100)
  t.equal(await redis.exists(queueKey('fae:inputs')), 0)
})

t.test('nothing is left of a job that was removed; marks of jobs that are gone are swept', async (t) => {
  const opening = await opened(t, { retention: { completedMs: 1_500, failedMs: 1_500 } })
  const { store, steps, prefix, key, queueKey } = opening
  const { attempt } = play(store)
  const id = await submitted(store)
  const first = await attempt(1)
  await steps.checkpoint(first.claim, { facts: { a: '1' }, values: { a: '1' }, undo: true, compensatingSince: 3 })
  await first.settle(suspend({ signal: 'go' }))
  await steps.signal(id, 'other', '1')
  t.match((await store.counts(QUEUE)).sagas, { compensating: 1, compensatingSince: 3, awaitingSignal: 1 })
  t.equal(await store.remove(id), 'removed')
  t.same((await redis.keys(`${prefix.replace(/[{}]/g, '?')}*`)).filter((name) => name.includes(id) || /fae:(awaiting|compensating)/.test(name)), [])
  t.equal(await steps.journal(id), undefined)
  t.equal(await steps.signal(id, 'go', '1'), undefined)
  const other = await submitted(store)
  await asleep(opening, await attempt(2), { signal: 'go', checkpoint: { facts: {}, compensatingSince: 4 } })
  await redis.del(key(other))
  await until('the sweep has noticed', async () => await redis.exists(queueKey('fae:awaiting'), queueKey('fae:compensating')) === 0, 15_000)
})

t.test('fields that another program wrote over are read for what they are', async (t) => {
  const { store, steps, key } = await opened(t)
  const { attempt } = play(store)
  const id = await submitted(store)
  const first = await attempt(1)
  await steps.checkpoint(first.claim, { facts: { '': 'h', a: '1' }, values: { a: '1' } })
  await redis.hset(key(id), 'und', 'garbage', 'aws', '\u0000', 's:a', '{"half', 's:', '\n', 'r:a', '', 'x:y', 'unknown')
  t.match(await steps.journal(id), { facts: { '': '\n', a: '{"half' }, values: { a: '' } })
  t.match(await store.get(id), { state: 'in-progress', facts: { '': '\n' } })
  t.same(await first.settle(suspend({ delayMs: 20 })), { kind: 'stored' })
  const second = await attempt(2)
  await redis.zadd(`${key('')}fae:compensating`, 'NX', 1, 'nobody')
  t.match((await store.counts(QUEUE)).sagas, { compensating: 1 })
  t.same(await second.settle(COMPLETED), { kind: 'stored' })
  await redis.set(key(id), 'no hash')
  await t.rejects(steps.journal(id), { code: 'FAE_JOB_UNREADABLE' })
  const other = await submitted(store, { runAt: Date.now() + HOUR })
  await redis.set(key(other), 'no hash')
  await t.rejects(steps.signal(other, 'go', '1'), { code: 'FAE_JOB_UNREADABLE' })
})

t.test('a suspension or checkpoint whose answer was lost is stored once', async (t) => {
  const own = await startRedis()
  t.teardown(() => own.stop())
  const proxy = await startProxy(own.port)
  t.teardown(() => proxy.stop())
  const direct = new Redis(own.url)
  t.teardown(() => direct.disconnect())
  const store = await openStore({ url: proxy.url, leaseMs: 20_000 })
  t.teardown(() => store.close(2_000))
  const steps = stepsOf(store)
  const { attempt, attempts } = play(store)
  const lose = async (done: () => Promise<unknown>): Promise<void> => {
    await until('the server has done it', done)
    await direct.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    proxy.delayMs = 0
  }
  const id = await submitted(store)
  const key = `{fae}:${QUEUE}:`
  const first = await attempt(1)
  proxy.delayMs = 400
  const written = steps.checkpoint(first.claim, { facts: { a: '1' } }).catch((error: unknown) => error)
  await lose(async () => await direct.hexists(key + id, 's:a'))
  const outcome = await written
  if (outcome instanceof Error) t.match(outcome, { code: 'FAE_STORE_UNAVAILABLE' })
  await until('it may be sent again', async () => (await steps.checkpoint(first.claim, { facts: { a: '1' } }).catch(() => undefined))?.stored)
  for (const [n, delayMs, state] of [[1, HOUR, 'delayed'], [2, 0, 'wait']] as const) {
    const running = await attempt(n)
    proxy.delayMs = 400
    running.end(suspend({ delayMs, signal: 'go' }))
    await lose(async () => await (state === 'delayed' ? direct.zscore(key + state, id) : direct.lpos(key + state, id)) !== null)
    await until('the verdict', () => running.verdicts.length > 0)
    if (n === 1) t.same(running.verdicts, [{ kind: 'stored' }])
    // The one that is claimable at once may have been claimed before its attempt could ask.
    else t.ok(['stored', 'refused'].includes(running.verdicts[0]?.kind ?? ''))
    if (n === 1) await steps.signal(id, 'go', '1')
  }
  await attempt(3)
  t.equal(attempts.length, 3)
})

t.test('a restart of the server keeps a sleeping saga, its results and its signals', async (t) => {
  const durable = await startRedis({ durable: true })
  t.teardown(() => durable.stop())
  const store = await openStore({ url: durable.url })
  t.teardown(() => store.close(2_000))
  const steps = stepsOf(store)
  const { attempt } = play(store)
  const id = await submitted(store)
  const first = await attempt(1)
  await steps.checkpoint(first.claim, { facts: { a: '1' }, values: { a: '"r"' }, undo: true, compensatingSince: 9 })
  await first.settle(suspend({ signal: 'go' }))
  await steps.signal(id, 'early', '0')
  await durable.restart()
  await until('the server is back', () => steps.journal(id).catch(() => undefined), 20_000)
  t.match(await steps.journal(id), { facts: { a: '1' }, values: { a: '"r"' }, signals: { early: '0' } })
  t.match((await store.counts(QUEUE)).sagas, { compensating: 1, compensatingSince: 9, awaitingSignal: 1 })
  await steps.signal(id, 'go', '1')
  const second = await attempt(2, 20_000)
  t.same(await second.settle(COMPLETED), { kind: 'stored' })
})

t.test('steps work on a cluster', async (t) => {
  const own = await startRedis({ settings: ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'] })
  t.teardown(() => own.stop())
  const node = new Redis(own.url)
  await node.cluster('ADDSLOTS', ...Array.from({ length: 16_384 }, (_, slot) => slot))
  await until('the cluster is up', async () => (await node.cluster('INFO')).includes('cluster_state:ok'))
  node.disconnect()
  const cluster = new Cluster([{ host: '127.0.0.1', port: own.port }], { redisOptions: { maxRetriesPerRequest: 3 } })
  t.teardown(() => cluster.disconnect())
  await until('the client is ready', () => cluster.status === 'ready')
  const store = await openStore({ client: cluster })
  t.teardown(() => store.close(2_000))
  const steps = stepsOf(store)
  const { attempt } = play(store)
  const id = await submitted(store)
  const claimOf = async (n: number): Promise<Claim> => (await attempt(n)).claim
  t.match(await steps.checkpoint(await claimOf(1), { facts: { a: '1' }, values: { a: '1' }, undo: true, compensatingSince: 2 }), { stored: true })
  await (await attempt(1)).settle(suspend({ signal: 'go' }))
  t.same(await steps.signal(id, 'go', '1'), { kind: 'stored' })
  await (await attempt(2)).settle(suspend())
  t.match(await store.cancel(id, 'x'), { kind: 'requested' })
  t.match(await steps.journal(id), { facts: { a: '1' }, signals: { go: '1' }, cancelReason: 'x' })
  await (await attempt(3)).settle({ kind: 'completed', result: '1', resultBytes: 1, checkpoint: { facts: { a: '2' } } })
  t.match(await store.get(id), { state: 'completed', facts: { a: '2' } })
  t.match((await store.counts(QUEUE)).sagas, { compensating: 0, awaitingSignal: 0 })
})
