/**
 * What an operation costs the server, with bodies of a megabyte: the table in docs/stores.md is held against a server of the
 * test's own that counts what it sends.
 */
import { strict as assert } from 'node:assert'
import { readFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { JobStore } from '../../lib/jobs/store.ts'
import { startRedis } from '../support/redis.ts'
import { newJob, openStore, play, QUEUE, until, withBody } from '../support/redis-jobs.ts'

const MEGABYTE = 1_000_000
const HOUR = 3_600_000
const QUEUED = 20

/** The table of the docs: `operation | commands | bytes`. */
function stated (): Map<string, { commands: number, bytes: number }> {
  const docs = readFileSync(new URL('../../../docs/stores.md', import.meta.url), 'utf8')
  const [, section = ''] = docs.split('### What an operation costs\n')
  const rows = section.split(/^#/m)[0]?.matchAll(/^\| `([^`]+)`[^|]*\| (\d+)[^|]*\| ([\d,]+)[^|]*\|$/gm) ?? []
  return new Map([...rows].map(([, operation = '', commands = '', bytes = '']) => [operation, { commands: Number(commands), bytes: Number(bytes.replaceAll(',', '')) }]))
}

const server = await startRedis()
const redis = new Redis(server.url)
const client = new Redis(server.url)
const store: JobStore = await openStore({ client, retention: { completedMs: HOUR, failedMs: HOUR } })
t.teardown(async () => {
  await store.close(2_000)
  client.disconnect()
  redis.disconnect()
  await server.stop()
})

let sent: string[] = []
const sendCommand = client.sendCommand.bind(client)
client.sendCommand = (command, stream) => {
  sent.push(command.name)
  return sendCommand(command, stream)
}

async function outputBytes (): Promise<number> {
  return Number(/total_net_output_bytes:(\d+)/.exec(await redis.info('stats'))?.[1])
}

/** What asking costs by itself, once nothing else goes on: a connection that is made again asks the server for much. */
async function calm (): Promise<{ before: number, idle: number }> {
  const end = performance.now() + 10_000
  for (let [older, old] = [await outputBytes(), await outputBytes()]; ;) {
    const before = await outputBytes()
    if (Math.abs(before - old - (old - older)) < 20) return { before, idle: before - old }
    assert.ok(performance.now() < end, 'the server comes to rest')
    ;[older, old] = [old, before]
  }
}

/** Commands that the store sent, and bytes that the server sent to anybody. */
async function cost (work: () => Promise<unknown>): Promise<{ commands: number, bytes: number }> {
  const { before, idle } = await calm()
  sent = []
  await work()
  const commands = sent.length
  return { commands, bytes: await outputBytes() - before - idle }
}

const idempotency = { key: 'ab'.repeat(32), fingerprint: 'cd'.repeat(32), ttlMs: HOUR }
const input = withBody('x'.repeat(MEGABYTE))
const ids: string[] = []

async function create (parts: Parameters<typeof newJob>[0] = {}): Promise<string> {
  const job = newJob({ input, owner: 'somebody@example.com', trace: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' }, ...parts })
  await store.create(job)
  ids.push(job.id)
  return job.id
}

t.test('every operation keeps to what the docs say it costs', async (t) => {
  const table = stated()
  const first = await create({ idempotency, runAt: Date.now() + HOUR })
  for (let n = 1; n < QUEUED; n++) await create({ runAt: Date.now() + HOUR })
  const result = JSON.stringify('r'.repeat(MEGABYTE))
  const { attempt, consumer } = play(store, { queue: QUEUE, concurrency: 2 })
  const done = await create()
  await (await attempt(1)).settle({ kind: 'completed', result, resultBytes: result.length })
  const failed = [await create(), await create()]
  for (const n of [2, 3]) await (await attempt(n)).settle({ kind: 'failed', error: { code: 'E', message: 'no' } })
  const running = await create()
  const { claim } = await attempt(4)
  t.equal(claim.job.id, running)
  consumer.pause()
  await until('the pause is in force', () => consumer.paused)
  // That a job began is published some milliseconds later.
  await sleep(50)

  const operations: Record<string, () => Promise<unknown>> = {
    create: () => create({ runAt: Date.now() + HOUR }),
    'create, with a key': () => create({ runAt: Date.now() + HOUR, idempotency: { ...idempotency, key: String(ids.length).padStart(64, '0') } }),
    'create, a replay': async () => { t.match(await store.create(newJob({ input, idempotency })), { created: false, id: first, job: { id: first } }) },
    get: () => store.get(running),
    input: () => store.input(running),
    result: () => store.result(done),
    list: async () => { t.equal((await store.list({ queue: QUEUE, state: 'scheduled', limit: QUEUED })).jobs.length, QUEUED) },
    counts: () => store.counts(QUEUE),
    progress: () => store.progress(claim, { done: 1, total: 2 }),
    cancel: () => store.cancel(ids.find((id) => id !== first) ?? '', 'no longer wanted'),
    redrive: () => store.redrive(failed.pop() ?? ''),
    remove: () => store.remove(ids.splice(ids.lastIndexOf(first) + 1, 1)[0] ?? ''),
    ping: () => store.ping(),
    probe: async () => { await store.probe?.() }
  }
  t.same([...table.keys()].sort(), Object.keys(operations).sort(), 'each stands in the table')
  for (const [operation, work] of Object.entries(operations)) {
    // The first time the text of a script travels as well.
    await work()
    const { commands, bytes } = await cost(work)
    const limits = table.get(operation)
    assert.ok(limits)
    t.comment(`${operation}: ${commands} commands, ${bytes} bytes`)
    t.ok(commands <= limits.commands, `${operation}: ${commands} commands (${sent.join()}), stated ${limits.commands}`)
    t.ok(bytes <= limits.bytes, `${operation}: ${bytes} bytes, stated ${limits.bytes}`)
  }
  await consumer.close(100)
})

t.test('a job is claimed and completed with one command, its result included', async (t) => {
  const jobs = 200
  const calls = async (): Promise<number> => Number(/^cmdstat_evalsha:calls=(\d+)/m.exec(await redis.info('commandstats'))?.[1])
  for (let n = 0; n < jobs; n++) await store.create(newJob({ queue: 'one-by-one' }))
  const before = await calls()
  const { consumer } = play(store, { queue: 'one-by-one', script: () => ({ kind: 'completed', result: '"r"', resultBytes: 3 }) })
  await until('all are completed', async () => await redis.zcard('{fae}:one-by-one:completed') === jobs)
  const used = await calls() - before
  t.ok(used < jobs * 1.1, `${used} commands for ${jobs} jobs`)
  await consumer.close(1_000)
})
