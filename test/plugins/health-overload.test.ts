/** Pressure in a process whose event loop is really blocked; and limits of queues under a burst. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import Fastify from 'fastify'
import t from 'tap'
import { asyncEndpoints, memoryStore, redisStore, type JobStore } from '../../plugins/async-endpoints.ts'
import { eventually, json, metric, PATIENCE_MS, post as submit, untilOver } from '../example-server/support.ts'
import { startRedis } from '../support/redis.ts'
import type { Order, Setup } from './fixtures/overloaded-app.ts'

// Processes are started one after the other, and have time to come to rest.
t.setTimeout(180_000)

interface Test { teardown: (fn: () => unknown) => unknown }

const FIXTURE = fileURLToPath(new URL('./fixtures/overloaded-app.js', import.meta.url))

interface Server {
  readonly url: string
  /** In slices of so many milliseconds; 0: not any more. */
  block (ms: number): void
  fillHeap (): void
}

async function start (t: Test, setup: Setup, execArgv: readonly string[] = []): Promise<Server> {
  const child: ChildProcess = fork(FIXTURE, [JSON.stringify(setup)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], execArgv: [...process.execArgv, ...execArgv] })
  const exited = once(child, 'exit')
  t.teardown(async () => {
    if (child.connected) child.disconnect()
    const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS)
    await exited
    clearTimeout(timer)
    if (child.exitCode !== 0) throw new Error(`the server ended with ${String(child.exitCode)} ${String(child.signalCode)}`)
  })
  const url = await Promise.race([once(child, 'message').then(([url]) => String(url)), exited.then(() => { throw new Error('the server ended before it listened') })])
  return { url, block: (blockMs) => { child.send({ blockMs } satisfies Order) }, fillHeap: () => { child.send({ fillHeap: true } satisfies Order) } }
}

async function codeOf (url: string, method = 'GET'): Promise<number> {
  const response = await fetch(url, { method })
  await response.arrayBuffer()
  return response.status
}

/** What must be answered whatever the load: probes, the scrape, and all that has to do with a job that is there. */
async function answersTheRest (server: Server, finished: string, waiting: string): Promise<Record<string, number>> {
  const get = ['/health', '/health/ready', '/health/live', '/metrics', finished, `${finished}/result`]
  const codes = await Promise.all(get.map(async (path) => [path.replace(finished, 'job'), await codeOf(server.url + path)] as const))
  return { ...Object.fromEntries(codes), cancel: await codeOf(server.url + waiting, 'DELETE') }
}

const REST = { '/health': 200, '/health/ready': 200, '/health/live': 200, '/metrics': 200, job: 200, 'job/result': 200, cancel: 200 }

async function prepare (t: Test, setup: Setup, execArgv: readonly string[] = []): Promise<{ server: Server, finished: string, waiting: string }> {
  const server = await start(t, setup, execArgv)
  // A busy machine may make it late already while it starts.
  const locationOf = (path: string): Promise<string> => eventually(`${path} to take a job`, async () => (await submit(server.url + path, {})).headers.get('location') ?? undefined)
  const finished = await locationOf('/work')
  await untilOver(server.url + finished)
  return { server, finished, waiting: await locationOf('/later') }
}

async function untilSubmission (server: Server, status: number): Promise<void> {
  await eventually(`a submission to be answered with ${status}`, async () => await codeOf(`${server.url}/work`, 'POST') === status ? true : undefined)
}

const PRESSURES = [
  { name: 'late: slices of 300 ms', blockMs: 300, pressure: { maxEventLoopDelayMs: 100, sampleIntervalMs: 100, retryAfterSeconds: 7 } },
  { name: 'never idle: slices of 5 ms, which make nothing late', blockMs: 5, pressure: { maxEventLoopDelayMs: 0, maxEventLoopUtilization: 0.95, sampleIntervalMs: 200, retryAfterSeconds: 7 } }
] as const

for (const { name, blockMs, pressure } of PRESSURES) {
  t.test(`an event loop that is ${name}: submissions are refused, and nothing else; until it is over`, { timeout: 120_000 }, async (t) => {
    const { server, finished, waiting } = await prepare(t, { pressure })
    server.block(blockMs)
    await untilSubmission(server, 503)
    const before = await metric(server.url, 'asyncendpoints_requests_rejected_total', 'reason="overloaded"')
    const refused = await Promise.all(Array.from({ length: 20 }, () => submit(`${server.url}/work`, {})))
    for (const { status, headers, body } of refused) {
      t.match({ status, retryAfter: headers.get('retry-after'), type: headers.get('content-type'), body }, { status: 503, retryAfter: '7', type: /^application\/problem\+json/, body: { code: 'FAE_OVERLOADED', status: 503 } })
    }
    t.equal(await metric(server.url, 'asyncendpoints_requests_rejected_total', 'reason="overloaded"') - before, 20)
    t.same(await answersTheRest(server, finished, waiting), REST)
    t.equal(await codeOf(`${server.url}/hello`), 200, 'a route of the application')
    server.block(0)
    await untilSubmission(server, 202)
  })
}

t.test('a blocked event loop is Degraded at /health, with its measure', { timeout: 60_000 }, async (t) => {
  const { server } = await prepare(t, {})
  server.block(500)
  const found = await eventually('the check to notice', async () => {
    const { status, body } = await json(`${server.url}/health`)
    const check = (body['checks'] as Array<{ name: string, status: string, data: Record<string, number> }>).find(({ name }) => name === 'event-loop')
    return check?.status === 'Degraded' ? { status, check } : undefined
  })
  t.equal(found.status, 200)
  t.match(found.check, { data: { delay_limit_ms: 200 } })
  t.ok((found.check.data['max_delay_ms'] ?? 0) > 400 && (found.check.data['delay_ms'] ?? 0) > 200, JSON.stringify(found.check.data))
})

t.test('a heap that is nearly full refuses submissions, without any option', { timeout: 120_000 }, async (t) => {
  const { server, finished, waiting } = await prepare(t, { pressure: { maxEventLoopDelayMs: 0, sampleIntervalMs: 100 } }, ['--max-old-space-size=256'])
  server.fillHeap()
  // A collection may free enough between two submissions: it is the one that was refused that says why.
  const refused = await eventually('a submission to be refused', async () => {
    const { status, body } = await submit(`${server.url}/work`, {})
    return status === 503 ? body : undefined
  })
  t.match(refused, { code: 'FAE_OVERLOADED' })
  t.same(await answersTheRest(server, finished, waiting), REST)
})

t.test('@fastify/under-pressure of the application: its rules hold, for its routes and for submissions', { timeout: 120_000 }, async (t) => {
  const { server, finished, waiting } = await prepare(t, { own: { maxEventLoopDelay: 100, sampleInterval: 100, retryAfter: 33 } })
  server.block(300)
  await untilSubmission(server, 503)
  const { status, headers, body } = await submit(`${server.url}/work`, {})
  t.match({ status, retryAfter: headers.get('retry-after'), body }, { status: 503, retryAfter: '33', body: { code: 'FAE_OVERLOADED' } })
  t.match(await json(`${server.url}/hello`), { status: 503, body: { code: 'FST_UNDER_PRESSURE' } })
  t.same(await answersTheRest(server, finished, waiting), REST)
  server.block(0)
  await untilSubmission(server, 202)
  t.equal(await codeOf(`${server.url}/hello`), 200)
})

async function storesOf (t: Test): Promise<Array<{ name: string, store: JobStore, url?: string }>> {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  return [{ name: 'memory', store: memoryStore() }, { name: 'Redis', store: redisStore({ url: redis.url }), url: redis.url }]
}

// A busy machine is no reason for 503 here.
t.test('maxQueued: a burst gets exactly so many, per queue, and the rest 429 with Retry-After', { timeout: 120_000 }, async (t) => {
  for (const { name, store } of await storesOf(t)) {
    const app = Fastify({ pluginTimeout: 60_000 })
    t.teardown(() => app.close())
    await app.register(asyncEndpoints, { store, worker: false, submitTimeoutMs: 20_000, health: { pressure: false } })
    app.asyncEndpoint({ url: '/a', name: 'a', queue: 'a', maxQueued: 7, handler: () => 1 })
    app.asyncEndpoint({ url: '/b', name: 'b', queue: 'b', maxQueued: 20, handler: () => 1 })
    app.asyncEndpoint({ url: '/free', name: 'free', queue: 'free', handler: () => 1 })
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    const burst = async (path: string): Promise<Record<number, number>> => {
      const codes: Record<number, number> = {}
      await Promise.all(Array.from({ length: 150 }, async () => {
        const { status, headers, body } = await submit(url + path, {})
        codes[status] = (codes[status] ?? 0) + 1
        if (status === 429) t.match({ retryAfter: headers.get('retry-after'), body }, { retryAfter: '5', body: { code: 'FAE_QUEUE_FULL' } })
      }))
      return codes
    }
    t.same(await Promise.all(['/a', '/b', '/free'].map(burst)), [{ 202: 7, 429: 143 }, { 202: 20, 429: 130 }, { 202: 150 }], name)
    t.same(await burst('/a'), { 429: 150 }, `${name}: nor a second one`)
    for (const [queue, waiting] of [['a', 7], ['b', 20], ['free', 150]] as const) t.equal((await store.counts(queue)).states.queued, waiting, `${name}: ${queue}`)
  }
})

t.test('maxQueued: while workers take jobs away, places come free, and there are never more', { timeout: 120_000 }, async (t) => {
  for (const { name, store } of await storesOf(t)) {
    const app = Fastify({ pluginTimeout: 60_000 })
    t.teardown(() => app.close())
    await app.register(asyncEndpoints, { store, worker: { concurrency: 1 }, submitTimeoutMs: 20_000, health: { pressure: false } })
    let ran = 0
    app.asyncEndpoint({ url: '/a', name: 'a', maxQueued: 5, handler: async () => { ran++; await new Promise((resolve) => setTimeout(resolve, 20)) } })
    const url = await app.listen({ port: 0, host: '127.0.0.1' })
    let most = 0
    let accepted = 0
    let refused = 0
    await eventually(`${name}: 40 jobs to be taken`, async () => {
      const codes = await Promise.all(Array.from({ length: 20 }, () => codeOf(`${url}/a`, 'POST')))
      most = Math.max(most, (await store.counts('default')).states.queued)
      accepted += codes.filter((code) => code === 202).length
      refused += codes.filter((code) => code === 429).length
      t.same(codes.filter((code) => code !== 202 && code !== 429), [])
      return accepted >= 40 ? true : undefined
    })
    t.ok(most > 0 && most <= 5, `${name}: at most ${most} waited`)
    t.ok(refused > 0)
    await eventually(`${name}: all to be run`, async () => ran === accepted ? true : undefined)
  }
})

t.test('maxQueued holds in a process whose event loop is blocked: the count is read late, and is read', { timeout: 120_000 }, async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const server = await start(t, { redisUrl: redis.url, maxQueued: 5, pressure: { maxEventLoopDelayMs: 0 } })
  // Longer than admission waits for the count.
  server.block(400)
  const codes = await Promise.all(Array.from({ length: 60 }, () => codeOf(`${server.url}/work`, 'POST')))
  t.same([202, 429].map((status) => codes.filter((code) => code === status).length), [5, 55])
})
