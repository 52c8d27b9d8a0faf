/**
 * What our store knows about the inside of BullMQ (`lib/stores/bullmq/internals.ts`), checked against the installed
 * release. A failure here after an update means: read its changes before you use it.
 */
import { randomUUID } from 'node:crypto'
import * as bull from 'bullmq'
import { Redis } from 'ioredis'
import t from 'tap'
import {
  ADD_KINDS, addKeys, bullScripts, claimedId, DELAYED_SCORE, FIELD, keepRenewing, KEY, LOCK, LOG, makeWorker, PRIORITY_SCORE, queuePrefix, resizeWorker,
  type AddKind, type BackendHooks, type BullJob
} from '../../lib/stores/bullmq/internals.ts'
import { unreadable } from '../../lib/stores/bullmq/internals-worker.ts'
import { readRedisOptions } from '../../lib/stores/bullmq/options.ts'
import { runCommand } from '../../lib/stores/bullmq/scripts.ts'
import { addScript, finishScript } from '../../lib/stores/bullmq/wrapped-scripts.ts'
import { sharedRedis, uniquePrefix } from '../support/redis.ts'
import { until } from '../support/redis-jobs.ts'

const server = await sharedRedis()
const redis = new Redis(server.url, { maxRetriesPerRequest: null })
t.teardown(async () => {
  redis.disconnect()
  await server.stop()
})

function newQueue (t: { teardown (end: () => unknown): unknown }): { queue: bull.Queue, prefix: string, keys: string } {
  const prefix = uniquePrefix()
  const queue = new bull.Queue('q', { connection: redis, prefix })
  t.teardown(() => queue.close())
  return { queue, prefix, keys: queuePrefix(prefix, 'q') }
}

const scripts = bullScripts(bull)
const settings = readRedisOptions({})
for (const kind of ADD_KINDS) redis.defineCommand(`add-${kind}`, addScript(scripts, kind, settings))
redis.defineCommand('finish', finishScript(scripts, settings))

async function add (kind: AddKind, keys: string, jobs: ReadonlyArray<readonly [id: string, data: string, options: string, asked?: string]>): Promise<unknown[]> {
  const args = [...addKeys(kind, keys), keys]
  for (const [id, data, options, asked = ''] of jobs) args.push(id, 'name', String(NOW), data, options, asked)
  const run = Reflect.get(redis, `add-${kind}`) as (args: string[]) => Promise<unknown[]>
  return await run.call(redis, args)
}

const NOW = Date.now()

t.test('the scripts for adding jobs take the keys that we give them', async (t) => {
  const { queue, keys } = newQueue(t)
  const backend = queue.getBackend()
  const job = { data: '{}' }
  const methods = { standard: 'addStandardJobArgs', delayed: 'addDelayedJobArgs', prioritized: 'addPrioritizedJobArgs' } as const
  for (const kind of ADD_KINDS) {
    const args = Reflect.apply(Reflect.get(backend, methods[kind]), backend, [job, Buffer.alloc(0), []]) as unknown[]
    const ours = addKeys(kind, keys)
    t.same(args.slice(0, ours.length), ours, kind)
    t.equal(args.length, ours.length + 3, 'followed by arguments, data and options')
  }
})

t.test('an unknown release is refused with a code', async (t) => {
  t.throws(() => addScript(new Map(), 'standard', settings), { code: 'FAE_STORE_UNSUPPORTED' })
  t.throws(() => addScript(new Map([['addStandardJob', { lua: '', keys: 3 }]]), 'standard', settings), { code: 'FAE_STORE_UNSUPPORTED' })
  const known = scripts.get('addStandardJob')
  t.ok(known)
  const changed = { lua: String(known?.lua).replaceAll('cjson.encode(opts)', 'pack(opts)'), keys: Number(known?.keys) }
  t.throws(() => addScript(new Map([['addStandardJob', changed]]), 'standard', settings), { code: 'FAE_STORE_UNSUPPORTED' }, 'one that stores options in another way')
  t.throws(() => finishScript(new Map(), settings), { code: 'FAE_STORE_UNSUPPORTED' })
})

t.test('a job of a batch lies on the server as one that BullMQ added itself', async (t) => {
  const { queue, keys } = newQueue(t)
  const cases = [['standard', 0, 0], ['delayed', 60_000, 0], ['delayed', 60_000, 5], ['prioritized', 0, 7]] as const
  for (const [kind, delay, priority] of cases) {
    const data = { some: 'data', ünï: '💥' }
    const ours = randomUUID()
    const options = JSON.stringify({ fae: { o: '"ö/wner"', n: 3 }, ...(delay > 0 && { delay }), ...(priority > 0 && { priority }) })
    t.same(await add(kind, keys, [[ours, JSON.stringify(data), options]]), [1])
    t.same(await add(kind, keys, [[ours, '{}', '{}']]), [1], 'sent again, it is the same job')
    const mine = await redis.hgetall(keys + ours)
    t.equal(mine['opts'], options, 'its options are stored as they were given')
    t.same(Reflect.get(Object((await queue.getJob(ours))?.opts), 'fae'), { o: '"ö/wner"', n: 3 }, 'BullMQ hands on what it does not know')
    const theirs = randomUUID()
    const reference = await queue.add('name', data, {
      jobId: theirs, timestamp: NOW, ...(delay > 0 && { delay }), ...(priority > 0 && { priority })
    })
    const expected = await redis.hgetall(keys + String(reference.id))
    t.same(Object.keys(mine).sort(), Object.keys(expected).sort(), 'the same fields')
    t.same({ ...mine, opts: '' }, { ...expected, opts: '' }, 'with the same values; BullMQ adds a default to the options')
    if (delay > 0) {
      t.equal(Math.floor(Number(await redis.zscore(keys + KEY.delayed, ours)) / DELAYED_SCORE), NOW + delay)
      t.equal(Math.floor(Number(await redis.zscore(keys + KEY.delayed, theirs)) / DELAYED_SCORE), NOW + delay)
    } else if (priority > 0) {
      t.equal(Math.floor(Number(await redis.zscore(keys + KEY.prioritized, ours)) / PRIORITY_SCORE), priority)
      t.equal(Math.floor(Number(await redis.zscore(keys + KEY.prioritized, theirs)) / PRIORITY_SCORE), priority)
    } else {
      t.ok((await redis.lrange(keys + KEY.wait, 0, -1)).includes(ours))
    }
  }
  t.equal((await redis.hgetall(keys + KEY.meta))['opts.maxLenEvents'], '10000', 'the queue keeps its settings under this name')
})

t.test('one bad entry of a batch does not stop the others', async (t) => {
  const { keys } = newQueue(t)
  const [good, other] = [randomUUID(), randomUUID()]
  // A key of another type stands in the way.
  const bad = randomUUID()
  await redis.rpush(`${keys}fae:key:x`, '1')
  const answers = await add('standard', keys, [[good, '{}', '{}'], [bad, '{}', '{}', '{"k":"x","f":"f","t":60000}'], [other, '{}', '{}']])
  t.equal(answers[0], 1)
  t.match(answers[1], /^!.*WRONGTYPE/)
  t.equal(answers[2], 1)
  t.same(await redis.lrange(keys + KEY.wait, 0, -1), [other, good])
})

t.test('a job with a key is added once, and who comes later hears of the first', async (t) => {
  const { keys } = newQueue(t)
  const [first, second] = [randomUUID(), randomUUID()]
  const asked = '{"k":"a","f":"print","t":60000}'
  const held = [first, 'print', ['name', String(NOW), '{}', '0', '0', ...Array.from({ length: 10 }, () => null)], 0]
  t.same(await add('standard', keys, [[first, '{}', '{}', asked], [second, '{}', '{}', asked]]), [1, held])
  t.same(await add('delayed', keys, [[second, '{}', '{"delay":1000}', asked]]), [held])
  t.equal(await redis.exists(keys + second), 0)
})

const PASS: BackendHooks = {
  now: () => Date.now(),
  toLocal: (moment) => moment,
  claim: (look) => look(),
  fail: (_id, _token, _reason, step) => step(),
  delay: (_id, _token, step) => step(),
  requeue: (_id, _token, step) => step(),
  renew: (_ids, step) => step(),
  lookForStalled: (look) => look(),
  extras: () => ['', '', ''],
  finish: (args) => runCommand(redis, 'finish', args)
}

t.test('the worker passes through our hooks, with the ids and tokens that we expect', async (t) => {
  const { prefix, keys } = newQueue(t)
  const steps: string[] = []
  const tokens = new Map<string, string>()
  const hooks: BackendHooks = {
    now: () => Date.now(),
    toLocal: (moment) => moment,
    claim: async (look) => {
      const answer = await look()
      const id = claimedId(answer)
      if (id !== undefined) steps.push(`claim ${id.slice(0, 4)}`)
      return answer
    },
    fail: async (id, token, reason, step) => { steps.push(`fail ${id.slice(0, 4)} ${String(token === tokens.get(id))} ${reason}`); return await step() },
    delay: async (id, token, step) => { steps.push(`delay ${id.slice(0, 4)} ${String(token === tokens.get(id))}`); return await step() },
    requeue: async (id, token, step) => { steps.push(`requeue ${id.slice(0, 4)} ${String(token === tokens.get(id))}`); return await step() },
    renew: PASS.renew,
    lookForStalled: PASS.lookForStalled,
    extras: (id, token) => ['1', '', '', 60_000, `result of ${id} ${String(token === tokens.get(id))}`],
    finish: (args) => runCommand(redis, 'finish', args)
  }
  const active: BullJob[] = []
  const worker = makeWorker(bull, 'q', async (job) => {
    tokens.set(String(job.id), job.token ?? '')
    t.equal(await redis.get(`${keys}${String(job.id)}${LOCK}`), job.token, 'the lock holds the token')
    t.equal(await redis.hget(keys + String(job.id), FIELD.attemptsStarted), String(job.attemptsStarted))
    const what = (job.data as { what: string }).what
    if (what === 'complete') return 12
    if (what === 'fail') throw new bull.UnrecoverableError('because')
    job.opts.attempts = 10
    job.opts.backoff = { type: 'fae' }
    if (job.attemptsMade === 0) throw new Error('again')
    return undefined
  }, { connection: redis, prefix, settings: { backoffStrategy: (_n, type, _error, job) => type === 'fae' && String(job?.data.what) === 'later' ? 20 : 0 } }, hooks)
  worker.on('error', (error) => t.fail('no error', { error }))
  worker.on('active', (job) => { active.push(job) })
  worker.on('completed', (job) => { steps.push(`complete ${String(job.id).slice(0, 4)} ${String(job.token === tokens.get(String(job.id)))}`) })
  t.teardown(() => worker.close())
  const ids: Record<string, string> = {}
  for (const what of ['complete', 'fail', 'later', 'again']) {
    const id = ids[what] = randomUUID()
    await add('standard', keys, [[id, JSON.stringify({ what }), '{}']])
    await until(`${what} is over`, async () => await redis.hget(keys + id, FIELD.finishedOn))
  }
  const short = (what: string): string => (ids[what] ?? '').slice(0, 4)
  const of = (what: string): string[] => steps.filter((step) => step.includes(short(what)) && !step.startsWith('claim'))
  // The server knows of an end a moment before the worker tells it.
  await until('the last end is told', () => of('again').some((step) => step.startsWith('complete')))
  t.same(of('complete'), [`complete ${short('complete')} true`])
  t.same(of('fail'), [`fail ${short('fail')} true because`])
  t.same(of('later'), [`delay ${short('later')} true`, `complete ${short('later')} true`])
  t.same(of('again'), [`requeue ${short('again')} true`, `complete ${short('again')} true`])
  t.ok(steps.some((step) => step.startsWith('claim')), 'looking for a job is one of the steps')
  t.equal(active.length, 6, 'every claim is announced, with its job')

  t.match(await redis.hgetall(keys + (ids['complete'] ?? '')), { [FIELD.returnvalue]: '12', [FIELD.attemptsMade]: '1' })
  t.match(await redis.hgetall(keys + (ids['fail'] ?? '')), { [FIELD.failedReason]: 'because', [FIELD.attemptsMade]: '1' })
  t.equal(await redis.hget(keys + (ids['later'] ?? ''), FIELD.attemptsMade), '2')
  t.ok(await redis.zscore(keys + KEY.completed, ids['complete'] ?? ''))
  t.ok(await redis.zscore(keys + KEY.failed, ids['fail'] ?? ''))
  for (const what of ['complete', 'later', 'again']) {
    const id = ids[what] ?? ''
    t.same(await redis.lrange(keys + id + LOG, '0', '-1'), [`result of ${id} true`], 'the last step knows the job and its claim, and stores the result')
    t.equal(await redis.hexists(keys + id, FIELD.data), 0, 'and drops the input')
  }
  t.equal(await redis.exists(keys + (ids['fail'] ?? '') + LOG), 0)
  t.equal(await redis.hexists(keys + (ids['fail'] ?? ''), FIELD.data), 1, 'a failed job keeps its input for a redrive')
})

t.test('jobs that finish in one millisecond keep their order, and BullMQ can read when that was', async (t) => {
  const { queue, prefix, keys } = newQueue(t)
  const ids = Array.from({ length: 60 }, () => randomUUID())
  await add('standard', keys, ids.map((id) => [id, '{}', '{}'] as const))
  const worker = makeWorker(bull, 'q', async () => {}, { connection: redis, prefix }, PASS)
  t.teardown(() => worker.close())
  await until('all are completed', async () => await redis.zcard(keys + KEY.completed) === ids.length)
  t.same(await redis.zrange(keys + KEY.completed, '0', '-1'), ids)
  const job = await queue.getJob(ids[7] ?? '')
  t.ok(Number.isInteger(job?.finishedOn))
  t.ok(Math.abs(Number(job?.finishedOn) - Date.now()) < 60_000)
})

t.test('a deferred failure ends a job without running it, and a stall is counted under its name', async (t) => {
  const { prefix, keys } = newQueue(t)
  const [deferred, stalled] = [randomUUID(), randomUUID()]
  await add('standard', keys, [[deferred, '{}', '{}'], [stalled, '{}', '{}']])
  await redis.hset(keys + deferred, FIELD.deferredFailure, 'not wanted')
  const ran: string[] = []
  let lose = true
  const worker = makeWorker(bull, 'q', async (job) => {
    ran.push(String(job.id))
    if (!lose) return
    lose = false
    await redis.del(`${keys}${String(job.id)}${LOCK}`)
    await until('the stall is seen', async () => await redis.hget(keys + stalled, FIELD.stalls) === '1')
  }, { connection: redis, prefix, concurrency: 2, lockDuration: 60_000, stalledInterval: 100 }, PASS)
  worker.on('error', () => { /* the lost lease */ })
  t.teardown(() => worker.close())
  await until('the deferred one failed', async () => await redis.hget(keys + deferred, FIELD.finishedOn))
  t.match(await redis.hgetall(keys + deferred), { [FIELD.failedReason]: 'not wanted' })
  t.equal(await redis.hget(keys + deferred, FIELD.deferredFailure), null)
  await until('the stalled one is completed', async () => await redis.zscore(keys + KEY.completed, stalled))
  t.same(ran, [stalled, stalled])
})

t.test('a log goes when its job goes: by removal, by cleaning, by count', async (t) => {
  const { queue, prefix, keys } = newQueue(t)
  const [removed, cleaned, first, second] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()]
  for (const id of [removed, cleaned, first, second]) await redis.rpush(keys + id + LOG, 'result')
  await add('standard', keys, [[removed, '{}', '{}']])
  await queue.remove(removed)
  t.equal(await redis.exists(keys + removed + LOG), 0)
  await add('standard', keys, [[cleaned, '{}', '{}']])
  const worker = makeWorker(bull, 'q', async () => {}, { connection: redis, prefix, removeOnComplete: { count: 1 } }, PASS)
  t.teardown(() => worker.close())
  await until('it is completed', async () => await redis.zscore(keys + KEY.completed, cleaned))
  t.equal(await redis.exists(keys + cleaned + LOG), 1)
  await queue.getBackend().cleanJobsByState('completed', Date.now() + 1_000, 10)
  t.equal(await redis.exists(keys + cleaned, keys + cleaned + LOG), 0)
  await add('standard', keys, [[first, '{}', '{}'], [second, '{}', '{}']])
  await until('only one is kept', async () => await redis.zscore(keys + KEY.completed, second))
  t.equal(await redis.exists(keys + first, keys + first + LOG), 0)
  t.equal(await redis.exists(keys + second + LOG), 1)
})

t.test('leases are tracked by a lock manager that we can ask to track one more', async (t) => {
  const { prefix } = newQueue(t)
  const worker = makeWorker(bull, 'q', async () => {}, { connection: redis, prefix }, PASS)
  t.teardown(() => worker.close())
  const id = randomUUID()
  keepRenewing(worker, id, 'token')
  const manager = Reflect.get(worker, 'lockManager') as { getTrackedJobIds (): string[] }
  t.ok(manager.getTrackedJobIds().includes(id))
})

t.test('a worker wakes for a delayed job to the millisecond, without asking the server for its version', async (t) => {
  const { prefix, keys } = newQueue(t)
  const late: number[] = []
  const worker = makeWorker(bull, 'q', async (job) => { late.push(Date.now() - (job.timestamp + Number(job.opts.delay))) }, { connection: redis, prefix, skipVersionCheck: true }, PASS)
  t.teardown(() => worker.close())
  await worker.waitUntilReady()
  const delay = Date.now() - NOW + 350
  await add('delayed', keys, [[randomUUID(), '{}', JSON.stringify({ delay })]])
  await until('it is run', () => late.length > 0)
  // Rounded up to whole seconds it would be 650 ms late.
  t.ok((late[0] ?? Infinity) < 400, `${String(late[0])} ms late`)
})

t.test('handing out a job puts the marker back that wakes a blocked worker', async (t) => {
  const { queue, keys } = newQueue(t)
  await add('standard', keys, [[randomUUID(), '{}', '{}']])
  t.equal((await redis.zpopmin(keys + KEY.marker))[0], '0', 'as a blocked worker takes it')
  // A worker that is woken for one job relies on it: see `FirstJob`.
  await queue.getBackend().moveToActive('0')
  t.equal(await redis.zscore(keys + KEY.marker, '0'), '0')
})

t.test('a worker whose places are all taken fetches at once when it gets more', async (t) => {
  const { prefix, keys } = newQueue(t)
  const running: string[] = []
  let end: () => void = () => {}
  const ended = new Promise<void>((resolve) => { end = resolve })
  const worker = makeWorker(bull, 'q', async (job) => { running.push(String(job.id)); await ended }, { connection: redis, prefix, concurrency: 1 }, PASS)
  t.teardown(() => { end(); return worker.close() })
  await add('standard', keys, [1, 2, 3].map(() => [randomUUID(), '{}', '{}'] as const))
  await until('the first runs', () => running.length === 1)
  resizeWorker(worker, 2)
  // None has ended: without a push the loop would wait for that.
  await until('the second runs as well', () => running.length === 2, 2_000)
  t.equal(worker.concurrency, 2)
})

t.test('the worker takes its time from us: for what is due, when a job began and ended, and how long it blocks', async (t) => {
  const { prefix, keys } = newQueue(t)
  const AHEAD = 600_000
  const seen: BullJob[] = []
  const hooks: BackendHooks = { ...PASS, now: () => Date.now() - AHEAD, toLocal: (moment) => moment + AHEAD }
  const worker = makeWorker(bull, 'q', async (job) => {
    seen.push(job)
    if (job.data === 'again' && job.attemptsMade === 0) {
      job.opts.attempts = 10
      job.opts.backoff = { type: 'fae' }
      throw new Error('again')
    }
  }, { connection: redis, prefix, skipVersionCheck: true, settings: { backoffStrategy: () => 100 } }, hooks)
  worker.on('error', (error) => t.fail('no error', { error }))
  t.teardown(() => worker.close())
  await worker.waitUntilReady()
  const [early, due, again] = [randomUUID(), randomUUID(), randomUUID()]
  const server = (): number => Date.now() - AHEAD
  // Due by the clock of this host, and not by the other one; NOW is the timestamp that they are added with.
  await add('delayed', keys, [[early, '1', '{"delay":1}']])
  const begin = performance.now()
  await add('delayed', keys, [[due, '2', JSON.stringify({ delay: Math.max(1, server() + 300 - NOW) })]])
  await redis.zadd(keys + KEY.delayed, (server() + 300) * DELAYED_SCORE, due)
  await add('standard', keys, [[again, '"again"', '{}']])
  await until('what is due ran', async () => await redis.zscore(keys + KEY.completed, due))
  t.ok(performance.now() - begin > 250, 'not before it was due')
  t.ok(performance.now() - begin < 5_000, 'and it was not blocked for ten minutes')
  await until('the retry ran', async () => await redis.zscore(keys + KEY.completed, again))
  t.notOk(seen.some(({ id }) => id === early))
  for (const field of [FIELD.processedOn, FIELD.finishedOn]) {
    const moment = Number(await redis.hget(keys + due, field))
    t.ok(Math.abs(moment - server()) < 60_000, `${field} is told by our clock`)
  }
})

t.test('leases are renewed whatever the wall clock says', async (t) => {
  const { prefix, keys } = newQueue(t)
  const id = randomUUID()
  const stalled: string[] = []
  let end: () => void = () => {}
  const ended = new Promise<void>((resolve) => { end = resolve })
  // The start of the attempt lies in the future of this host.
  const worker = makeWorker(bull, 'q', async () => { await ended }, { connection: redis, prefix, lockDuration: 400, stalledInterval: 100 }, { ...PASS, now: () => Date.now() + 90_000 })
  worker.on('stalled', (job) => { stalled.push(job) })
  worker.on('error', () => { /* the lost lease, if there is one */ })
  t.teardown(() => { end(); return worker.close() })
  await add('standard', keys, [[id, '{}', '']])
  let renewed = 0
  worker.on('locksRenewed', () => { renewed++ })
  await until('it was renewed for three times its length', () => renewed >= 12)
  t.same(stalled, [])
  t.equal(await redis.exists(keys + id + LOCK), 1)
})

t.test('a job that BullMQ cannot read comes without its data, and says what is wrong', async (t) => {
  const { prefix, keys } = newQueue(t)
  const faults = new Map<string, string | undefined>()
  const worker = makeWorker(bull, 'q', async (job) => { faults.set(String(job.id), unreadable(job)) }, { connection: redis, prefix }, PASS)
  worker.on('error', (error) => t.fail('no error', { error }))
  t.teardown(() => worker.close())
  const [good, data, opts] = [randomUUID(), randomUUID(), randomUUID()]
  await worker.pause()
  await add('standard', keys, [[good, '{}', '{}'], [data, '{oops', '{}'], [opts, '{}', '{}']])
  await redis.hset(keys + opts, FIELD.opts, '{')
  await worker.resume()
  await until('all were claimed', () => faults.size === 3)
  t.same([good, data, opts].map((id) => faults.get(id)), [undefined, 'its field data is not JSON', 'its field opts is not JSON'])
})
