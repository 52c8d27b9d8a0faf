/**
 * What our store knows about the inside of BullMQ (`lib/stores/bullmq/internals.ts`), checked against the installed
 * release. A failure here after an update means: read its changes before you use it.
 */
import { randomUUID } from 'node:crypto'
import * as bull from 'bullmq'
import { Redis } from 'ioredis'
import t from 'tap'
import {
  checkedScripts, claimedId, finishJob, keepRenewing, makeWorker, resizeWorker, startWorker, unreadable, type BullJob, type BullWorker, type Claimed, type NextJob, type WorkerHooks
} from '../../lib/stores/bullmq/internals.ts'
import { ADD_KINDS, addKeys, DELAYED_SCORE, FIELD, KEY, LOCK, LOG, PRIORITY_SCORE, queuePrefix, type AddKind } from '../../lib/stores/bullmq/layout.ts'
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

const scripts = checkedScripts(bull)
const settings = readRedisOptions({})
for (const kind of ADD_KINDS) redis.defineCommand(`add-${kind}`, addScript(scripts, kind, settings))
redis.defineCommand('finish', finishScript(scripts, settings, false))

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
  t.throws(() => finishScript(new Map(), settings, false), { code: 'FAE_STORE_UNSUPPORTED' })
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
  const held = [first, 'print', ['name', String(NOW), '{}', '0', '0', ...Array.from({ length: 13 }, () => null)], 0]
  t.same(await add('standard', keys, [[first, '{}', '{}', asked], [second, '{}', '{}', asked]]), [1, held])
  t.same(await add('delayed', keys, [[second, '{}', '{"delay":1000}', asked]]), [held])
  t.equal(await redis.exists(keys + second), 0)
})

const PASS: Omit<WorkerHooks, 'run'> = {
  now: () => Date.now(),
  toLocal: (moment) => moment,
  claim: (look) => look(),
  renew: (_ids, step) => step(),
  lookForStalled: (look) => look(),
  finish: (args) => runCommand(redis, 'finish', args),
  warn: (message) => { t.fail(message) }
}

type Handle = (job: BullJob) => Promise<unknown>

interface Worked {
  readonly worker: BullWorker
  /** Runs a job and completes it. */
  run (claimed: Claimed): Promise<NextJob>
}

/** A worker that completes each job with what the handler returns, or else does what `run` says. */
function work (t: { teardown (end: () => unknown): unknown }, prefix: string, handle: Handle, { options, hooks }: {
  readonly options?: Partial<bull.WorkerOptions>
  readonly hooks?: (worked: Worked) => Partial<WorkerHooks>
} = {}): BullWorker {
  const run = async ({ job, mayFetch, stopRenewing }: Claimed): Promise<NextJob> => {
    const value = await handle(job)
    stopRenewing()
    const finishedOn = String(Date.now())
    return await finishJob(worker.getBackend(), job, { set: 'completed', value: value === undefined ? undefined : String(value), finishedOn, fetchNext: mayFetch(), extras: ['', '', ''] })
  }
  const given: Partial<WorkerHooks> = hooks?.({ get worker () { return worker }, run }) ?? {}
  const worker: BullWorker = makeWorker(bull, 'q', { connection: redis, prefix, ...options }, { ...PASS, run, ...given })
  t.teardown(() => worker.close())
  startWorker(worker)
  return worker
}

t.test('a claimed job is ours from the claim to its end, and the step that ends it hands out the next one', async (t) => {
  const { prefix, keys } = newQueue(t)
  const steps: string[] = []
  const names = new Map<string, string>()
  const nameOf = (id: unknown): string => names.get(String(id)) ?? '?'
  const handle: Handle = async (job) => {
    t.equal(await redis.get(`${keys}${String(job.id)}${LOCK}`), job.token, 'the lock holds the token')
    t.equal(await redis.hget(keys + String(job.id), FIELD.attemptsStarted), String(job.attemptsStarted))
    return undefined
  }
  const worker = work(t, prefix, handle, {
    hooks: (worked) => ({
      claim: async (look) => {
        const answer = await look()
        const id = claimedId(answer)
        if (id !== undefined) steps.push(`claim ${nameOf(id)}`)
        return answer
      },
      run: async (claimed) => {
        const { job, mayFetch, stopRenewing } = claimed
        const name = nameOf(job.id)
        const [id, token, now, first] = [String(job.id), String(job.token), Date.now(), job.attemptsMade === 0]
        steps.push(`run ${name}`)
        await handle(job)
        if (name === 'later' && first) return await worked.worker.getBackend().moveToDelayed(id, now, 20, token, { fieldsToUpdate: { failedReason: 'later' }, fetchNext: mayFetch() }) ?? undefined
        if (name === 'again' && first) {
          await worked.worker.getBackend().retryJob(id, false, token, { fieldsToUpdate: { failedReason: 'again' } })
          return undefined
        }
        stopRenewing()
        const next = name === 'fail'
          ? await finishJob(worked.worker.getBackend(), job, { set: 'failed', value: 'because', finishedOn: String(now), fetchNext: mayFetch(), extras: ['1', '', ''] })
          : name === 'complete'
            ? await finishJob(worked.worker.getBackend(), job, { set: 'completed', value: '12', finishedOn: String(now), fetchNext: mayFetch(), extras: ['1', '', '', 60_000, `result of ${id}`] })
            : await worked.run(claimed)
        const nextId = next && claimedId(next)
        if (nextId !== undefined) steps.push(`${name} hands out ${nameOf(nextId)}`)
        return next
      }
    })
  })
  worker.on('error', (error) => t.fail('no error', { error }))
  const kinds = ['complete', 'fail', 'later', 'again']
  for (const what of kinds) names.set(randomUUID(), what)
  const idOf = (what: string): string => [...names].find(([, name]) => name === what)?.[0] ?? ''
  await add('standard', keys, kinds.map((what) => [idOf(what), '"data"', '{}'] as const))
  for (const what of kinds) await until(`${what} is over`, async () => await redis.hget(keys + idOf(what), FIELD.finishedOn))

  t.match(steps.slice(0, 2), ['claim complete', 'run complete'])
  for (const [what, next] of [['complete', 'fail'], ['fail', 'later']] as const) t.ok(steps.includes(`${what} hands out ${next}`), `${what} hands out ${next}`)
  for (const what of ['later', 'again']) t.equal(steps.filter((step) => step === `run ${what}`).length, 2, `${what} runs twice`)
  t.match(await redis.hgetall(keys + idOf('complete')), { [FIELD.returnvalue]: '12', [FIELD.attemptsMade]: '1' })
  t.match(await redis.hgetall(keys + idOf('fail')), { [FIELD.failedReason]: 'because', [FIELD.attemptsMade]: '1' })
  for (const what of ['later', 'again']) t.match(await redis.hgetall(keys + idOf(what)), { [FIELD.failedReason]: what, [FIELD.attemptsMade]: '2' })
  t.ok(await redis.zscore(keys + KEY.completed, idOf('complete')))
  t.ok(await redis.zscore(keys + KEY.failed, idOf('fail')))
  t.same(await redis.lrange(keys + idOf('complete') + LOG, '0', '-1'), [`result of ${idOf('complete')}`], 'the last step stores the result')
  t.equal(await redis.hexists(keys + idOf('complete'), FIELD.data), 0, 'and drops the input')
  t.equal(await redis.exists(keys + idOf('fail') + LOG), 0)
  t.equal(await redis.hexists(keys + idOf('fail'), FIELD.data), 1, 'a failed job keeps its input for a redrive')
})

t.test('what is thrown on the way is an error of the worker, which goes on', async (t) => {
  const { prefix, keys } = newQueue(t)
  const errors: string[] = []
  const [bad, good] = [randomUUID(), randomUUID()]
  const worker = work(t, prefix, async (job) => { if (job.id === bad) throw new Error('nobody has caught it') })
  worker.on('error', (error) => errors.push(error.message))
  await add('standard', keys, [[bad, '{}', '{}'], [good, '{}', '{}']])
  await until('the next one is completed', async () => await redis.zscore(keys + KEY.completed, good))
  t.same(errors, ['nobody has caught it'])
  t.equal(await redis.zscore(keys + KEY.failed, bad), null, 'its lease runs out')
})

t.test('a fraction of a millisecond keeps the order of jobs that finish together, and BullMQ can read when that was', async (t) => {
  const { queue, prefix, keys } = newQueue(t)
  const ids = Array.from({ length: 60 }, () => randomUUID())
  await add('standard', keys, ids.map((id) => [id, '{}', '{}'] as const))
  const now = Date.now()
  let n = 0
  work(t, prefix, async () => {}, {
    hooks: (worked) => ({
      run: async ({ job, mayFetch }) => {
        const finishedOn = `${now}.${String(n++).padStart(3, '0')}`
        return await finishJob(worked.worker.getBackend(), job, { set: 'completed', value: undefined, finishedOn, fetchNext: mayFetch(), extras: ['', '', ''] })
      }
    })
  })
  await until('all are completed', async () => await redis.zcard(keys + KEY.completed) === ids.length)
  t.same(await redis.zrange(keys + KEY.completed, '0', '-1'), ids)
  const job = await queue.getJob(ids[7] ?? '')
  t.equal(job?.finishedOn, now)
})

t.test('a deferred failure comes with its job, and a stall is counted under its name', async (t) => {
  const { prefix, keys } = newQueue(t)
  const [deferred, stalled] = [randomUUID(), randomUUID()]
  await add('standard', keys, [[deferred, '{}', '{}'], [stalled, '{}', '{}']])
  await redis.hset(keys + deferred, FIELD.deferredFailure, 'not wanted')
  const ran: string[] = []
  let lose = true
  const worker = work(t, prefix, async (job) => {
    ran.push(`${String(job.id)} ${job.deferredFailure ?? ''}`)
    if (job.id !== stalled || !lose) return
    lose = false
    await redis.del(`${keys}${String(job.id)}${LOCK}`)
    await until('the stall is seen', async () => await redis.hget(keys + stalled, FIELD.stalls) === '1')
  }, { options: { concurrency: 2, lockDuration: 60_000, stalledInterval: 100 } })
  worker.on('error', () => { /* the lost lease */ })
  await until('the stalled one is completed', async () => await redis.zscore(keys + KEY.completed, stalled))
  t.same(ran.slice(0, 2).sort(), [`${deferred} not wanted`, `${stalled} `].sort())
  t.equal(ran.filter((each) => each === `${stalled} `).length, 2)
})

t.test('a log goes when its job goes: by removal, by cleaning, by count', async (t) => {
  const { queue, prefix, keys } = newQueue(t)
  const [removed, cleaned, first, second] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()]
  for (const id of [removed, cleaned, first, second]) await redis.rpush(keys + id + LOG, 'result')
  await add('standard', keys, [[removed, '{}', '{}']])
  await queue.remove(removed)
  t.equal(await redis.exists(keys + removed + LOG), 0)
  await add('standard', keys, [[cleaned, '{}', '{}']])
  work(t, prefix, async () => {}, { options: { removeOnComplete: { count: 1 } } })
  await until('it is completed', async () => await redis.zscore(keys + KEY.completed, cleaned))
  t.equal(await redis.exists(keys + cleaned + LOG), 1)
  await queue.getBackend().cleanJobsByState('completed', Date.now() + 1_000, 10)
  t.equal(await redis.exists(keys + cleaned, keys + cleaned + LOG), 0)
  await add('standard', keys, [[first, '{}', '{}']])
  await until('the first is completed', async () => await redis.zscore(keys + KEY.completed, first))
  // Of two that end in one millisecond, BullMQ keeps the one with the greater id.
  await until('that millisecond is over', async () => Date.now() > Number(await redis.zscore(keys + KEY.completed, first)))
  await add('standard', keys, [[second, '{}', '{}']])
  await until('only one is kept', async () => await redis.zscore(keys + KEY.completed, second))
  t.equal(await redis.exists(keys + first, keys + first + LOG), 0)
  t.equal(await redis.exists(keys + second + LOG), 1)
})

t.test('leases are tracked by a lock manager that we can ask to track one more', async (t) => {
  const { prefix } = newQueue(t)
  const worker = work(t, prefix, async () => {})
  const id = randomUUID()
  keepRenewing(worker, id, 'token')
  const manager = Reflect.get(worker, 'lockManager') as { getTrackedJobIds (): string[] }
  t.ok(manager.getTrackedJobIds().includes(id))
})

t.test('a worker wakes for a delayed job to the millisecond, without asking the server for its version', async (t) => {
  const { prefix, keys } = newQueue(t)
  const late: number[] = []
  const worker = work(t, prefix, async (job) => { late.push(Date.now() - (job.timestamp + Number(job.opts.delay))) }, { options: { skipVersionCheck: true } })
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

t.test('a worker whose slots are all taken fetches at once when it gets more', async (t) => {
  const { prefix, keys } = newQueue(t)
  const running: string[] = []
  let end: () => void = () => {}
  const ended = new Promise<void>((resolve) => { end = resolve })
  const worker = work(t, prefix, async (job) => { running.push(String(job.id)); await ended }, { options: { concurrency: 1 } })
  t.teardown(() => { end() })
  await add('standard', keys, [1, 2, 3].map(() => [randomUUID(), '{}', '{}'] as const))
  await until('the first runs', () => running.length === 1)
  resizeWorker(worker, 2, (message) => { t.fail(message) })
  // None has ended: without a push the loop would wait for that.
  await until('the second runs as well', () => running.length === 2, 2_000)
  t.equal(worker.concurrency, 2)
})

t.test('the worker takes its time from us: for what is due, when a job began and ended, and how long it blocks', async (t) => {
  const { prefix, keys } = newQueue(t)
  const AHEAD = 600_000
  const seen: BullJob[] = []
  const server = (): number => Date.now() - AHEAD
  const worker = work(t, prefix, async (job) => { seen.push(job) }, {
    options: { skipVersionCheck: true },
    hooks: (worked) => ({
      now: server,
      toLocal: (moment) => moment + AHEAD,
      run: async (claimed) => {
        const { job, stopRenewing, mayFetch } = claimed
        if (job.data !== 'again' || job.attemptsMade > 0) {
          seen.push(job)
          stopRenewing()
          return await finishJob(worked.worker.getBackend(), job, { set: 'completed', value: undefined, finishedOn: String(server()), fetchNext: mayFetch(), extras: ['', '', ''] })
        }
        return await worked.worker.getBackend().moveToDelayed(String(job.id), Date.now(), 100, job.token, { fetchNext: mayFetch() }) ?? await worked.run(claimed)
      }
    })
  })
  worker.on('error', (error) => t.fail('no error', { error }))
  await worker.waitUntilReady()
  const [early, due, again] = [randomUUID(), randomUUID(), randomUUID()]
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
  const worker = work(t, prefix, async () => { await ended }, { options: { lockDuration: 400, stalledInterval: 100 }, hooks: () => ({ now: () => Date.now() + 90_000 }) })
  worker.on('stalled', (job) => { stalled.push(job) })
  worker.on('error', () => { /* the lost lease, if there is one */ })
  t.teardown(() => { end() })
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
  const worker = work(t, prefix, async (job) => { faults.set(String(job.id), unreadable(job)) })
  worker.on('error', (error) => t.fail('no error', { error }))
  const [good, data, opts] = [randomUUID(), randomUUID(), randomUUID()]
  await worker.pause()
  await add('standard', keys, [[good, '{}', '{}'], [data, '{oops', '{}'], [opts, '{}', '{}']])
  await redis.hset(keys + opts, FIELD.opts, '{')
  await worker.resume()
  await until('all were claimed', () => faults.size === 3)
  t.same([good, data, opts].map((id) => faults.get(id)), [undefined, 'its field data is not JSON', 'its field opts is not JSON'])
})
