/** What the Redis store promises beyond the contract that `bullmq.test.ts` proves. */
import { randomUUID } from 'node:crypto'
import { createServer, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import { inspect } from 'node:util'
import { Queue } from 'bullmq'
import { Redis } from 'ioredis'
import t from 'tap'
import type { ClaimedJob, NewJob } from '../../lib/jobs/job.ts'
import type { Settlement } from '../../lib/jobs/store.ts'
import { redisStore, type RedisStoreOptions } from '../../lib/stores/bullmq/index.ts'
import { loadDrivers } from '../../lib/stores/bullmq/drivers.ts'
import { freePort, sharedRedis, startRedis, uniquePrefix } from '../support/redis.ts'
import { COMPLETED, Hearing, listeningHost, newJob, openStore, play, QUEUE, until, withBody } from '../support/redis-jobs.ts'

const SECRET = 's3cr3t-pa55word'
const PAYLOAD = 'p4yl0ad-of-a-client'

const server = await sharedRedis()
const redis = new Redis(server.url)
t.teardown(async () => {
  redis.disconnect()
  await server.stop()
})

interface Opened { readonly store: ReturnType<typeof redisStore>, readonly prefix: string, key (id: string, suffix?: string): string, queueKey (name: string): string }

async function opened (t: { teardown (end: () => unknown): unknown }, options: RedisStoreOptions = {}): Promise<Opened> {
  const prefix = options.prefix ?? uniquePrefix()
  const store = await openStore({ url: options.client === undefined ? server.url : undefined, prefix, ...options })
  t.teardown(() => store.close(2_000))
  return { store, prefix, key: (id, suffix = '') => `${prefix}:${QUEUE}:${id}${suffix}`, queueKey: (name) => `${prefix}:${QUEUE}:${name}` }
}

t.test('a status costs one command, whatever the number of queues and of jobs that wait', async (t) => {
  const client = new Redis(server.url)
  t.teardown(() => client.disconnect())
  const { store } = await opened(t, { client })
  const ids: string[] = []
  for (let n = 0; n < 300; n++) {
    const job = newJob({ queue: `q${n % 3}` })
    ids.push(job.id)
    await store.create(job)
  }
  const sent: string[] = []
  const original = client.sendCommand.bind(client)
  client.sendCommand = (command, stream) => {
    sent.push(command.name)
    return original(command, stream)
  }
  for (const id of [ids[0], ids[151], ids[299]]) {
    sent.length = 0
    t.equal((await store.get(id ?? ''))?.id, id)
    t.equal(sent.length, 1, `one command: ${sent.join()}`)
  }
  sent.length = 0
  await store.counts('q0')
  t.equal(sent.length, 1, 'so do the counts')
  sent.length = 0
  for (const odd of ['completed', 'wait', '*', 'ABCDEF00-0000-4000-8000-000000000000', 'x'.repeat(5_000)]) t.equal(await store.get(odd), undefined)
  t.equal(sent.length, 0, 'what cannot be an id does not reach the server')
})

t.test('submissions of one turn travel together, and each hears of its own job', async (t) => {
  const client = new Redis(server.url)
  t.teardown(() => client.disconnect())
  const { store } = await opened(t, { client })
  await store.create(newJob())
  let sent = 0
  const original = client.sendCommand.bind(client)
  client.sendCommand = (command, stream) => {
    sent++
    return original(command, stream)
  }
  const circular: { self?: unknown } = {}
  circular.self = circular
  const answers = await Promise.allSettled([
    ...Array.from({ length: 50 }, () => store.create(newJob())),
    store.create(newJob({ input: withBody(circular) })),
    store.create(newJob({ priority: 3 })),
    store.create(newJob({ runAt: Date.now() + 60_000 }))
  ])
  t.equal(sent, 6, 'three full batches, and what is left of each way to wait')
  t.same(answers.map(({ status }) => status), [...Array.from({ length: 50 }, () => 'fulfilled'), 'rejected', 'fulfilled', 'fulfilled'])
  const { states } = await store.counts(QUEUE)
  t.match(states, { queued: 52, scheduled: 1 })
})

t.test('an id that is not a UUID is refused: it could name a key of the queue', async (t) => {
  const { store } = await opened(t)
  for (const id of ['completed', 'wait', '1', '', randomUUID().toUpperCase()]) {
    await t.rejects(store.create(newJob({ id })), { code: 'FAE_INVALID_SUBMISSION' })
  }
  const job = newJob()
  await store.create(job)
  t.match(await store.create(job), { created: true, id: job.id }, 'the same submission sent again is the same job')
  t.equal((await store.counts(QUEUE)).states.queued, 1)
})

t.test('prefixes are separate', async (t) => {
  const [one, two] = [await opened(t), await opened(t)]
  const job = newJob()
  await one.store.create(job)
  t.equal(await two.store.get(job.id), undefined)
  t.equal((await two.store.counts(QUEUE)).states.queued, 0)
  t.equal(await two.store.cancel(job.id, 'x'), undefined)
  t.equal((await one.store.get(job.id))?.state, 'queued')
  t.same((await redis.keys(`${one.prefix}*`)).filter((key) => !key.startsWith(`${one.prefix}:`)), [])
})

t.test('a job in a queue that this process has never heard of is found', async (t) => {
  const { store, prefix } = await opened(t)
  const other = await openStore({ url: server.url, prefix })
  t.teardown(() => other.close(2_000))
  for (const queue of ['brand-new', 'another']) {
    const job = newJob({ queue })
    await other.create(job)
    t.equal((await store.get(job.id))?.queue, queue)
  }
})

t.test('many who ask a fresh process at the same time all find their jobs; those who ask for nothing cost little', async (t) => {
  const { store, prefix } = await opened(t)
  const { store: fresh } = await opened(t, { prefix })
  const jobs = Array.from({ length: 100 }, () => newJob({ queue: 'far-away' }))
  await Promise.all(jobs.map((job) => store.create(job)))
  const found = await Promise.all(jobs.map(({ id }) => fresh.get(id)))
  t.equal(found.filter((job) => job?.queue === 'far-away').length, jobs.length)

  const asked = async (): Promise<number> => Number(/^cmdstat_smembers:calls=(\d+)/m.exec(await redis.info('commandstats'))?.[1] ?? 0)
  const before = await asked()
  for (let n = 0; n < 10; n++) t.same(new Set(await Promise.all(Array.from({ length: 50 }, () => fresh.get(randomUUID())))), new Set([undefined]))
  const times = await asked() - before
  t.ok(times <= 100, `${times} times for 500 unknown ids, at most 100: those who ask at the same time share a question`)
})

t.test('an idempotency key is remembered for its own time, whatever became of its job', async (t) => {
  const { store, prefix, key, queueKey } = await opened(t)
  const idempotency = { key: 'ab'.repeat(32), fingerprint: 'f1', ttlMs: 60_000 }
  const first = newJob({ idempotency })
  await store.create(first)
  t.same(await store.create(first), { created: true, id: first.id }, 'the same submission sent again is the same job')
  const replay = await store.create(newJob({ idempotency }))
  t.match(replay, { created: false, id: first.id, sameRequest: true, job: { id: first.id, state: 'queued' } })
  // As when the oldest finished jobs are forgotten.
  await redis.del(key(first.id))
  const answers = await Promise.all(Array.from({ length: 50 }, () => store.create(newJob({ idempotency }))))
  t.same(new Set(answers.map((answer) => JSON.stringify(answer))), new Set([JSON.stringify({ created: false, id: first.id, job: undefined, sameRequest: true })]))
  t.match(await store.create(newJob({ idempotency: { ...idempotency, fingerprint: 'f2' } })), { created: false, sameRequest: false })
  const left = await redis.pttl(queueKey(`fae:key:${idempotency.key}`))
  t.ok(left > 50_000 && left <= 60_000)
  await redis.del(queueKey('wait'))
  const other = newJob({ idempotency: { key: 'cd'.repeat(32), fingerprint: 'f', ttlMs: 60_000 }, owner: 'o' })
  await store.create(other)
  t.equal(await store.remove(other.id), 'removed')
  t.match(await store.create({ ...other, id: randomUUID() }), { created: true }, 'a job that is removed frees its key')
  t.equal((await redis.keys(`${prefix}:${QUEUE}:fae:keys:*`)).length, 1)
})

t.test('an owner who floods keys loses the oldest of its own', async (t) => {
  const { store } = await opened(t, { retention: { maxKeysPerOwner: 3 } })
  const claim = (owner: string | undefined, n: number): NewJob => newJob({ owner, idempotency: { key: `${owner ?? 'none'}${n}`, fingerprint: 'f', ttlMs: 60_000 + n * 10_000 } })
  await store.create(claim('a', 0))
  for (let n = 0; n < 6; n++) await store.create(claim('b', n))
  for (let n = 0; n < 6; n++) await store.create(claim(undefined, n))
  t.match(await store.create(claim('b', 3)), { created: false })
  t.match(await store.create(claim('b', 2)), { created: true }, 'it was pushed out by newer ones of the same owner')
  t.match(await store.create(claim('a', 0)), { created: false }, 'those of others are not touched')
  t.match(await store.create(claim(undefined, 0)), { created: false }, 'nor those of nobody')
})

t.test('bad options are refused, all at once', async (t) => {
  const cluster = { status: 'ready', isCluster: true, duplicate () {}, defineCommand () {}, on () {}, options: { clusterRetryStrategy: () => 100 } }
  const cases: ReadonlyArray<readonly [object, RegExp]> = [
    [{ url: 'http://x', nope: 1 }, /url .*nope is not an option|nope is not an option.*url/],
    [{ url: 'redis://x', connection: {} }, /url and connection exclude each other/],
    [{ prefix: 'a:b' }, /prefix/],
    [{ leaseMs: 5_000, lockDurationMs: 5_000 }, /two names of one option/],
    [{ lockDurationMs: 99 }, /lockDurationMs/],
    [{ operationTimeoutMs: 0, retention: { maxCount: 0 } }, /operationTimeoutMs.*retention\.maxCount/],
    ...(['maxBytes', 'maxPerOwner', 'maxKeysPerOwner'] as const).flatMap((name) => [0, 0.5].map((bad) => [{ retention: { [name]: bad } }, new RegExp(`retention\\.${name}`)] as const)),
    [{ client: {} }, /client must be a client/],
    [{ client: cluster, prefix: 'jobs' }, /braces/],
    [{ client: cluster, prefix: '{}{jobs}' }, /braces/],
    [{ client: { ...cluster, isCluster: false, options: { keyPrefix: 'x' } } }, /keyPrefix/]
  ]
  for (const [options, message] of cases) t.throws(() => redisStore(options), { code: 'FAE_INVALID_OPTIONS', message })
  t.doesNotThrow(() => redisStore({ client: cluster, prefix: '{jobs}' }))
  for (const url of [`http://${SECRET}`, `redis://user:${SECRET}@host:1/x`, `redis://user:${SECRET}@host:x/0`, `redis://u:${SECRET}%zz@h`, `redis://u:1/${SECRET}@h`, `redis://u:1?${SECRET}@h`, `redis://u:1#${SECRET}@h`, `redis+sentinel://u:${SECRET}@h`]) {
    try {
      redisStore({ url })
      t.fail(`must throw: ${url}`)
    } catch (error) {
      t.match(error, { code: 'FAE_INVALID_OPTIONS' })
      t.notMatch(inspect(error, { depth: 10 }), SECRET)
    }
  }
})

t.test('an address that is undefined is an environment variable that is not set, and not the server on this machine', (t) => {
  for (const [options, message] of [
    [{ url: undefined }, /url is undefined: is its environment variable set\?/],
    [{ url: undefined, prefix: 'x' }, /url is undefined/],
    [{ url: undefined, connection: undefined }, /url and connection are undefined/],
    [{ client: undefined }, /client is undefined/],
    [{ url: '' }, /url must be a URL of the form redis:/],
    [{ connection: { host: undefined, port: 6379 } }, /connection\.host is undefined: is its environment variable set\?/],
    [{ connection: { path: undefined } }, /connection\.path is undefined/]
  ] as const) t.throws(() => redisStore(options), { code: 'FAE_INVALID_OPTIONS', message }, inspect(options))
  for (const options of [undefined, {}, { prefix: 'x' }, { url: undefined, connection: { host: 'h' } }, { connection: { host: undefined, path: '/tmp/redis.sock' } }, { connection: { host: 'h', password: undefined } }]) {
    t.doesNotThrow(() => redisStore(options), inspect(options))
  }
  t.end()
})

t.test('missing packages are told by name, with what to do', async (t) => {
  const missing = async (name: string): Promise<unknown> => {
    if (name === 'ioredis') throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' })
    return await import('bullmq')
  }
  await t.rejects(loadDrivers(missing), { code: 'FAE_STORE_UNSUPPORTED', message: /ioredis.*npm install bullmq ioredis/ })
  await t.rejects(loadDrivers(async () => ({})), { code: 'FAE_STORE_UNSUPPORTED', message: /npm install bullmq ioredis/ })
})

t.test('no error carries a password, an address with one, or a payload', async (t) => {
  const port = await freePort()
  const store = await openStore({ url: `redis://user:${SECRET}@127.0.0.1:${port}/0` })
  t.teardown(() => store.close(1_000))
  const full = await startRedis({ settings: ['--maxmemory', '3mb', '--requirepass', SECRET] })
  t.teardown(() => full.stop())
  const second = await openStore({ url: `redis://:${SECRET}@127.0.0.1:${full.port}` })
  t.teardown(() => second.close(1_000))
  const wrong = listeningHost()
  const third = await openStore({ url: `redis://:${SECRET}x@127.0.0.1:${full.port}` }, wrong)
  t.teardown(() => third.close(1_000))

  const errors: unknown[] = []
  const keep = (error: unknown): void => { errors.push(error) }
  const body = { text: PAYLOAD.repeat(20_000) }
  await store.create(newJob({ input: withBody(body) })).catch(keep)
  await store.get(randomUUID()).catch(keep)
  await third.create(newJob({ input: withBody(body) })).catch(keep)
  for (let n = 0; n < 30 && errors.length < 4; n++) await second.create(newJob({ input: withBody(body) })).catch(keep)
  t.same(errors.map((error) => (error as { code?: unknown }).code), ['FAE_STORE_UNAVAILABLE', 'FAE_STORE_UNAVAILABLE', 'FAE_STORE_UNAVAILABLE', 'FAE_STORE_FULL'])
  t.same(errors.map((error) => (error as { statusCode?: unknown }).statusCode), [503, 503, 503, 503])
  const shown = inspect([errors, wrong.reports], { depth: 20, showHidden: true })
  t.notMatch(shown, SECRET)
  t.notMatch(shown, PAYLOAD)
  t.match(wrong.reports, [{ kind: 'disconnected', code: 'WRONGPASS', server: `127.0.0.1:${full.port}`, message: 'user or password is wrong, or the user is disabled. Correct them in the URL (special characters percent-encoded); on the server: ACL LIST' }])
  const [refused, , denied] = errors.map((error) => (error as Error).message)
  t.equal(refused, `The Redis server at 127.0.0.1:${port} cannot serve the job store now (ECONNREFUSED): nothing listens there. Start the server (redis-server), or correct host and port in its URL`)
  t.match(denied, `The Redis server at 127.0.0.1:${full.port} cannot serve the job store now (WRONGPASS): user or password is wrong`)
})

t.test('a client of the application is used, and left as it was', async (t) => {
  const client = new Redis(server.url)
  t.teardown(() => client.disconnect())
  await client.ping()
  const before = client.eventNames().map((name) => [name, client.listenerCount(name)])
  const store = await openStore({ client, prefix: uniquePrefix() })
  const { attempt, consumer } = play(store)
  const job = newJob()
  await new Hearing(store).follow(job.id)
  await store.create(job)
  await (await attempt(1)).settle(COMPLETED)
  await consumer.drain(1_000)
  await store.close(2_000)
  t.equal(client.status, 'ready')
  t.equal(await client.ping(), 'PONG')
  t.same(client.eventNames().map((name) => [name, client.listenerCount(name)]), before, 'no listener is left on it')
})

t.test('a store that is made touches nothing: it connects, listens and teaches its client when it is opened', async (t) => {
  const touched: string[] = []
  const client = {
    status: 'wait',
    options: { retryStrategy: () => 100 },
    duplicate () { touched.push('duplicate') },
    defineCommand (name: string) { touched.push(name) },
    on (event: string) { touched.push(event) },
    off () {},
    connect: async () => { touched.push('connect') }
  }
  const store = redisStore({ client })
  t.same(touched, [])
  await store.open(listeningHost())
  t.ok(['connect', 'ready', 'close'].every((each) => touched.includes(each)))
  t.ok(touched.some((each) => each.startsWith('fae:add-standard:')))
  await store.close(100)
})

t.test('a client that never answers does not make the store wait for ever', async (t) => {
  const silent = createServer()
  const sockets = new Set<Socket>()
  silent.on('connection', (socket) => { sockets.add(socket) })
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    silent.close()
  })
  const address = silent.address()
  const client = new Redis({ port: typeof address === 'object' ? address?.port : 0, enableReadyCheck: false, protocol: 2, disableClientInfo: true })
  client.on('error', () => {})
  t.teardown(() => client.disconnect())
  const store = await openStore({ client, prefix: uniquePrefix(), operationTimeoutMs: 200 })
  t.teardown(() => store.close(1_000))
  await until('the client believes to be connected', () => client.status === 'ready')
  await t.rejects(store.create(newJob()), { code: 'FAE_STORE_UNAVAILABLE' })
  await t.rejects(store.ping(), { code: 'FAE_STORE_UNAVAILABLE' })
})

/** A server that speaks just enough to be asked for its version. */
async function stubServer (t: { teardown (end: () => unknown): unknown }, info: string): Promise<Server> {
  const stub = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (data) => {
      for (const command of data.toString().split(/(?=\*\d+\r\n)/)) {
        if (/\r\nhello\r\n/i.test(command)) socket.write('-ERR unknown command `HELLO`\r\n')
        else if (/\r\ninfo\r\n/i.test(command)) socket.write(`$${info.length}\r\n${info}\r\n`)
        else socket.write('+OK\r\n')
      }
    })
    t.teardown(() => socket.destroy())
  })
  stub.listen(0, '127.0.0.1')
  await once(stub, 'listening')
  t.teardown(() => stub.close())
  return stub
}

t.test('an old server is refused with a clear error, a fork with a number of its own is not', async (t) => {
  const cases = [
    ['redis_version:5.0.14', true], ['redis_version:6.0.9', true], ['redis_version:6.2.0', false], ['redis_version:7.2.4\r\nvalkey_version:8.0.1', false]
  ] as const
  for (const [version, refused] of cases) {
    const stub = await stubServer(t, `# Server\r\n${version}\r\nloading:0\r\nmaxmemory_policy:noeviction\r\n`)
    const address = stub.address()
    const host = listeningHost()
    const store = await openStore({ url: `redis://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`, operationTimeoutMs: 1_000 }, host)
    if (refused) {
      await t.rejects(store.ping(), { code: 'FAE_STORE_UNSUPPORTED', message: /6\.2/ })
      await t.rejects(store.create(newJob()), { code: 'FAE_STORE_UNSUPPORTED' })
      t.match(host.reports, [{ kind: 'error', code: 'FAE_STORE_UNSUPPORTED', message: /6\.2/ }])
    } else {
      t.match(host.reports, [{ kind: 'connected' }])
    }
    await store.close(1_000)
  }
})

t.test('an eviction policy that loses jobs is reported', async (t) => {
  const evicting = await startRedis({ settings: ['--maxmemory-policy', 'allkeys-lru'] })
  t.teardown(() => evicting.stop())
  const host = listeningHost()
  const store = await openStore({ url: evicting.url }, host)
  t.match(host.reports, [{ kind: 'warning', code: 'eviction-policy', message: /allkeys-lru.*noeviction/s }, { kind: 'connected' }])
  await store.close(1_000)
  const limited = await startRedis({ settings: ['--user', 'default', 'on', 'nopass', '~*', '&*', '+@all', '-info', '-config'] })
  t.teardown(() => limited.stop())
  const quiet = await openStore({ url: limited.url })
  const { attempt, consumer } = play(quiet)
  await quiet.create(newJob())
  t.same(await (await attempt(1)).settle(COMPLETED), { kind: 'stored' }, 'a user who may not ask for it can work all the same')
  await consumer.drain(1_000)
  await quiet.close(1_000)
})

t.test('finished jobs and their results are forgotten, also when nothing finishes any more', async (t) => {
  const { store, key } = await opened(t, { retention: { completedMs: 300, failedMs: 600 } })
  const { attempt } = play(store)
  const ids: Record<'completed' | 'failed' | 'cancelled', string> = { completed: '', failed: '', cancelled: '' }
  let n = 0
  for (const state of ['completed', 'failed', 'cancelled'] as const) {
    const job = newJob()
    ids[state] = job.id
    await store.create(job)
    const running = await attempt(++n)
    const result = JSON.stringify(PAYLOAD)
    if (state === 'completed') await running.settle({ kind: 'completed', result, resultBytes: result.length })
    else if (state === 'failed') await running.settle({ kind: 'failed', error: { code: 'E', message: 'e' } })
    else await running.settle({ kind: 'cancelled', reason: 'x' })
  }
  await until('all are gone from the server', async () => await redis.exists(...Object.values(ids).flatMap((id) => [key(id), key(id, ':logs')])) === 0, 15_000)
  await until('the counts follow', async () => {
    const { states } = await store.counts(QUEUE)
    return states.completed + states.failed + states.cancelled === 0
  })
  t.equal(await store.get(ids.failed), undefined)
})

t.test('a result goes with its job when only so many are kept', async (t) => {
  const { store, key } = await opened(t, { retention: { maxCount: 2 } })
  play(store, { script: () => ({ kind: 'completed', result: '"r"', resultBytes: 3 }) })
  const ids: string[] = []
  for (let n = 0; n < 4; n++) {
    const job = newJob()
    ids.push(job.id)
    await store.create(job)
    await until('it is completed', async () => (await store.get(job.id))?.state === 'completed')
  }
  const [first = '', , , last = ''] = ids
  t.equal(await redis.exists(key(first), key(first, ':logs')), 0)
  t.equal(await store.result(last), '"r"')
  const ttl = await redis.pttl(key(last, ':logs'))
  t.ok(ttl > 86_000_000 && ttl < 87_000_000, 'and by itself after its time')
})

t.test('no result, and little else, travels on the event stream of the queue', async (t) => {
  const { store, queueKey } = await opened(t)
  const big = JSON.stringify(PAYLOAD.repeat(100))
  play(store, { script: () => ({ kind: 'completed', result: big, resultBytes: big.length }), concurrency: 10 })
  await Promise.all(Array.from({ length: 500 }, () => store.create(newJob())))
  await until('all are completed', async () => (await store.counts(QUEUE)).states.completed === 500)
  const events = await redis.xrange(queueKey('events'), '-', '+')
  t.ok(events.length < 400, `the stream is short: ${events.length}`)
  t.notMatch(JSON.stringify(events), PAYLOAD)
})

t.test('a settlement whose answer was lost counts as stored', async (t) => {
  const { store, prefix, key } = await opened(t)
  const { attempt } = play(store)
  const job = newJob()
  await store.create(job)
  const running = await attempt(1)
  // What happens when the connection breaks after the server did it and before it said so: it is done already.
  const token = await redis.get(key(job.id, ':lock'))
  const queue = new Queue(QUEUE, { connection: redis, prefix })
  t.teardown(() => queue.close())
  const bullJob = await queue.getJob(job.id)
  t.ok(bullJob)
  await bullJob?.moveToCompleted(undefined, token ?? '', false)
  t.same(await running.settle(COMPLETED), { kind: 'stored' })
  t.equal((await store.get(job.id))?.state, 'completed')
})

t.test('a settlement that the server cannot take now is stored when it can', async (t) => {
  const limited = await startRedis()
  t.teardown(() => limited.stop())
  const admin = new Redis(limited.url)
  t.teardown(() => admin.disconnect())
  const store = await openStore({ url: limited.url })
  t.teardown(() => store.close(1_000))
  const { attempt, attempts } = play(store, { concurrency: 3 })
  const ends = [{ kind: 'completed', result: '"r"', resultBytes: 3 }, COMPLETED, { kind: 'failed', error: { code: 'E', message: 'e' } }] as const
  const jobs = ends.map(() => newJob())
  for (const job of jobs) await store.create(job)
  await attempt(3)
  // As during a failover: it answers, but refuses every write.
  await admin.config('SET', 'min-replicas-to-write', '1')
  for (const [n, end] of ends.entries()) attempts[n]?.end(end)
  await t.rejects(store.create(newJob()), { code: 'FAE_STORE_UNAVAILABLE', message: /NOREPLICAS/ })
  t.same(attempts.flatMap(({ verdicts }) => verdicts), [], 'nothing is said yet')
  await admin.config('SET', 'min-replicas-to-write', '0')
  await until('all are settled', () => attempts.every(({ verdicts }) => verdicts.length === 1))
  t.same(attempts.flatMap(({ verdicts }) => verdicts), [{ kind: 'stored' }, { kind: 'stored' }, { kind: 'stored' }])
  t.same(await Promise.all(jobs.map(async ({ id }) => (await store.get(id))?.state)), ['completed', 'completed', 'failed'])
  t.equal(attempts.length, 3, 'none was run twice')
})

t.test('a cancel that the worker missed is noticed when leases are renewed', async (t) => {
  const { store, key } = await opened(t, { leaseMs: 600 })
  const { attempt } = play(store)
  const job = newJob()
  await store.create(job)
  const running = await attempt(1)
  await redis.hset(key(job.id), 'defa', '{"m":"missed"}')
  await until('the attempt is told', () => running.aborts.includes('cancelled'))
  await running.settle({ kind: 'cancelled', reason: 'stopped' })
  t.match(await store.get(job.id), { state: 'cancelled', error: { code: 'FAE_JOB_CANCELLED', message: 'missed' } }, 'the reason is that of the one who asked')
})

t.test('a cancel that comes a moment too late for the attempt ends the job all the same', async (t) => {
  const { store, prefix, key } = await opened(t)
  const { attempt, attempts } = play(store)
  const job = newJob()
  await store.create(job)
  await (await attempt(1)).settle({ kind: 'retry', error: { code: 'E', message: 'e' }, delayMs: 3_600_000 })
  // It found the lease still there; the message arrives when it is gone.
  await redis.hset(key(job.id), 'defa', '{"m":"late"}')
  t.match(await store.get(job.id), { state: 'scheduled', cancelRequested: true })
  await redis.publish(`${prefix}:control`, job.id)
  const stillborn = await attempt(2)
  t.same(stillborn.aborts, ['cancelled'], 'the attempt that is made for it is told before it runs, and can tell of the end')
  t.match(stillborn.claim, { stalled: false, job: { cancelRequested: true } })
  t.same(await stillborn.settle({ kind: 'cancelled', reason: 'stopped' }), { kind: 'stored' })
  t.match(await store.get(job.id), { state: 'cancelled', attempts: 1, error: { message: 'late' } })
  t.equal(attempts.length, 2)
  const other = newJob()
  await store.create(other)
  const second = await attempt(3)
  await store.cancel(other.id, 'not wanted')
  t.match(await second.settle({ kind: 'snooze', delayMs: 10 }), { kind: 'stored', instead: 'cancelled' }, 'the worker is told that it did not come to a snooze')
})

t.test('cancelled jobs leave the line without being run, and the counts are right all the way', async (t) => {
  const { store, queueKey } = await opened(t)
  const ids: string[] = []
  for (let n = 0; n < 20; n++) {
    const job = newJob()
    ids.push(job.id)
    await store.create(job)
  }
  for (const id of ids.slice(0, 15)) await store.cancel(id, 'x')
  const expected = { queued: 5, cancelled: 15, failed: 0, completed: 0 }
  t.match((await store.counts(QUEUE)).states, expected)
  const { oldestQueuedAt } = await store.counts(QUEUE)
  t.equal(oldestQueuedAt, (await store.get(ids[15] ?? ''))?.runAt, 'a cancelled one does not wait')
  const { attempts } = play(store, { script: () => COMPLETED })
  await until('the others are done', async () => (await store.counts(QUEUE)).states.completed === 5)
  t.match((await store.counts(QUEUE)).states, { queued: 0, cancelled: 15, failed: 0, completed: 5 })
  t.equal(attempts.length, 5)
  t.equal(await redis.llen(queueKey('wait')), 0)
  t.equal(await redis.zcard(queueKey('fae:cancelling')), 0)
  const listed = await store.list({ state: 'cancelled', limit: 100 })
  t.equal(listed.jobs.length, 15)
})

t.test('a job that somebody added with BullMQ alone is run, its data being the body', async (t) => {
  const { store, prefix } = await opened(t)
  const queue = new Queue(QUEUE, { connection: redis, prefix })
  t.teardown(() => queue.close())
  const { attempt } = play(store)
  const id = randomUUID()
  await queue.add('theirs', { a: 1 }, { jobId: id })
  const running = await attempt(1)
  t.match(running.claim.job, { id, name: 'theirs', input: { body: { a: 1 } }, attempts: 1 } satisfies Partial<Record<keyof ClaimedJob, unknown>>)
  t.same(await running.settle(COMPLETED), { kind: 'stored' })
  t.equal((await store.get(id))?.state, 'completed')
})

t.test('an attempt that cannot be made or that rejects leaves the job to another', async (t) => {
  const { store } = await opened(t, { leaseMs: 300, stalledIntervalMs: 100 })
  const errors: Error[] = []
  const verdicts: string[] = []
  let calls = 0
  store.consume({
    queue: QUEUE,
    concurrency: 1,
    workerId: 'tests',
    attempt: () => {
      if (++calls === 1) throw new Error('no attempt')
      const fails = calls === 2
      return { run: async () => { if (fails) throw new Error('rejected'); return COMPLETED }, abort () {}, settled: ({ kind }) => { verdicts.push(kind) } }
    },
    onStalled () {},
    onError: (error) => { errors.push(error) }
  })
  const job = newJob()
  await store.create(job)
  await until('it is completed in the end', async () => (await store.get(job.id))?.state === 'completed')
  // The store shows what is stored a moment before the answer of that write has reached the attempt.
  await until('the attempt has its verdict', () => verdicts.length === 2)
  t.same(verdicts, ['error', 'stored'])
})

t.test('a paused consumer takes no wake-up with it, and looks for itself when it is resumed', async (t) => {
  const { store, queueKey } = await opened(t)
  const { consumer, attempt } = play(store, { script: () => COMPLETED })
  await store.create(newJob())
  await attempt(1)
  consumer.pause()
  await until('another consumer would be woken', async () => await redis.zscore(queueKey('marker'), '0') === '0', 2_000)
  await store.create(newJob())
  // As if the blocked connection had taken it at the very moment at which it was cut.
  await redis.del(queueKey('marker'))
  consumer.resume()
  await attempt(2, 3_000)
})

t.test('attempts never go back: a lease that ran out counts before anybody has looked, a snooze does not', async (t) => {
  const { store, key } = await opened(t)
  const { consumer, attempt } = play(store)
  const job = newJob()
  await store.create(job)
  const attempts = async (): Promise<number | undefined> => (await store.get(job.id))?.attempts
  await (await attempt(1)).settle({ kind: 'snooze', delayMs: 1 })
  const second = await attempt(2)
  t.equal(await attempts(), 1)
  await second.settle({ kind: 'retry', error: { code: 'E', message: 'e' }, delayMs: 1 })
  const third = await attempt(3)
  consumer.pause()
  await third.settle({ kind: 'release' })
  t.equal(await attempts(), 1, 'neither the snooze nor the release')
  consumer.resume()
  const fourth = await attempt(4)
  t.equal(await attempts(), 2)
  await redis.del(key(job.id, ':lock'))
  t.equal(await attempts(), 2, 'the lease is gone')
  await store.cancel(job.id, 'x')
  t.match(await store.get(job.id), { state: 'cancelled', attempts: 2 })
  t.match(await fourth.settle(COMPLETED), { kind: 'refused' })
})

t.test('a job is cancelled after its lease ran out: its attempt, which comes to its end later, has not cancelled it', async (t) => {
  const { store, key } = await opened(t)
  const { attempt } = play(store)
  const ends: Settlement[] = [{ kind: 'cancelled', reason: 'x' }, { kind: 'release' }, { kind: 'snooze', delayMs: 1 }, COMPLETED]
  for (const [index, settlement] of ends.entries()) {
    const job = newJob()
    await store.create(job)
    const late = await attempt(index + 1)
    if (index === 0) await store.cancel(job.id, 'asked before')
    await redis.del(key(job.id, ':lock'))
    t.match(await store.cancel(job.id, 'x'), { kind: 'cancelled', already: false })
    t.match(await late.settle(settlement), { kind: 'refused' }, settlement.kind)
  }
})

t.test('jobs whose lease is gone are counted, and named from the oldest on', async (t) => {
  const { store, key } = await opened(t)
  const { attempt } = play(store, { concurrency: 30 })
  const jobs = Array.from({ length: 25 }, () => newJob())
  for (const [index, job] of jobs.entries()) {
    await store.create(job)
    await attempt(index + 1)
  }
  t.match(await store.counts(QUEUE), { states: { 'in-progress': 25 }, stuck: 0, stuckIds: [] })
  await redis.del(...jobs.slice(1).map(({ id }) => key(id, ':lock')))
  const { stuck, stuckIds } = await store.counts(QUEUE)
  t.equal(stuck, 24)
  t.same(stuckIds, jobs.slice(1, 21).map(({ id }) => id))
})

t.test('a list of a state that does not exist is empty', async (t) => {
  const { store } = await opened(t)
  await store.create(newJob())
  for (const state of ['bogus', 'toString']) t.same(await store.list({ state: state as 'queued', limit: 10 }), { jobs: [] })
})
