/** The exact rules of a user, and what a store says when its user lacks one of them. */
import { readFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import t from 'tap'
import type { NewJob } from '../../lib/jobs/job.ts'
import type { JobStore, StoreReport } from '../../lib/jobs/store.ts'
import { aclRules, LISTENING, requiredCommands } from '../../lib/stores/bullmq/commands.ts'
import type { RedisStoreOptions } from '../../lib/stores/bullmq/index.ts'
import { startRedis } from '../support/redis.ts'
import { startCluster } from '../support/redis-cluster.ts'
import { COMPLETED, Hearing, listeningHost, newJob, openStore, play, QUEUE, until, withBody } from '../support/redis-jobs.ts'

t.setTimeout(60_000)

const server = await startRedis()
const admin = new Redis(server.url)
t.teardown(async () => {
  admin.disconnect()
  await server.stop()
})

const PREFIX = '{acl}'
const PASSWORD = 'pw'
let users = 0

/** A user with all that is needed, and what the rules take away. */
async function storeOf (t: { teardown (end: () => unknown): unknown }, rules: string, options: RedisStoreOptions = {}): Promise<{ store: JobStore, warnings: () => string[], reports: () => StoreReport[] }> {
  const name = `user${++users}`
  await admin.call('ACL', 'SETUSER', name, 'on', `>${PASSWORD}`, ...aclRules(PREFIX).split(' '), ...rules.split(' ').filter((rule) => rule !== ''))
  const host = listeningHost()
  const store = await openStore({ connection: { host: '127.0.0.1', port: server.port, username: name, password: PASSWORD }, prefix: PREFIX, leaseMs: 1_000, stalledIntervalMs: 200, ...options }, host)
  t.teardown(() => store.close(2_000))
  return { store, reports: () => host.reports, warnings: () => host.reports.flatMap((report) => report.kind === 'warning' && report.code === 'denied' ? [report.message] : []) }
}

/** Everything that a store does. */
async function everything (store: JobStore): Promise<void> {
  const { feed } = new Hearing(store)
  await store.probe?.()
  const jobs = [newJob(), newJob({ priority: 3 }), newJob({ runAt: Date.now() + 100 }), newJob({ idempotency: { key: 'k', fingerprint: 'f', ttlMs: 60_000 } })]
  for (const job of jobs) {
    await feed.follow(job)
    await store.create(job)
  }
  await store.getMany(jobs)
  const left = newJob({ queue: 'other' })
  const later = newJob({ queue: 'other', runAt: Date.now() + 600_000 })
  for (const job of [left, later]) await store.create(job)
  await store.cancel(left.id, 'no')
  await store.cancel(later.id, 'no')
  await store.list({ limit: 50 })
  const kinds = new Map([[0, { kind: 'retry', error: { code: 'E', message: 'm' }, delayMs: 50 }], [1, { kind: 'snooze', delayMs: 50 }], [2, { kind: 'release' }], [3, { kind: 'retry', error: { code: 'E', message: 'm' }, delayMs: 0 }], [5, { kind: 'failed', error: { code: 'E', message: 'm' } }]] as const)
  let turns = 0
  const played = play(store, { concurrency: 2, script: () => kinds.get(turns++ as 0) ?? { kind: 'completed', result: '1', resultBytes: 1 } })
  await until('all are over', async () => { const { states } = await store.counts(QUEUE); return states.completed + states.failed === jobs.length }, 15_000)
  for (const { claim } of played.attempts) await store.progress(claim, { done: 1 })
  const [failed] = (await store.list({ state: 'failed', limit: 5 })).jobs
  if (failed !== undefined) await store.redrive(failed.id)
  await store.result(jobs[0]?.id ?? '')
  await store.shared?.tryLock('l', 'me', 1_000)
  await store.shared?.unlock('l', 'me')
  await until('it runs again', async () => (await store.counts(QUEUE)).states.completed === jobs.length)
  await store.remove(jobs[0]?.id ?? '')
  const keyed = (key: string): NewJob => newJob({ queue: 'later', owner: 'ann', runAt: Date.now() + 600_000, input: withBody('x'.repeat(10_000)), idempotency: { key, fingerprint: 'f', ttlMs: 60_000 } })
  for (const job of [keyed('one'), keyed('two')]) {
    await store.create(job)
    await store.remove(job.id)
  }
  await store.create(keyed('three'))
  await store.create(keyed('four'))
  const held = newJob({ queue: 'held' })
  await store.create(held)
  const holder = play(store, { queue: 'held', concurrency: 2 })
  const attempt = await holder.attempt(1)
  // One that is only gone would be taken back.
  await admin.set(`${PREFIX}:held:${held.id}:lock`, 'somebody else', 'PX', 50)
  ;(await holder.attempt(2)).end(COMPLETED)
  attempt.end(COMPLETED)
  await until('it is over', async () => (await store.get(held.id))?.state === 'completed')
  const blocking = newJob({ queue: 'blocking' })
  await store.create(blocking)
  play(store, { queue: 'blocking', script: () => block(1_300) })
  await until('the job that blocked the event loop for longer than its lease is over', async () => (await store.get(blocking.id))?.state === 'completed')
  const stepped = newJob({ queue: 'steps' })
  await store.create(stepped)
  const steps = play(store, { queue: 'steps' })
  const first = await steps.attempt(1)
  await store.steps?.checkpoint(first.claim, { facts: { a: '1' }, values: { a: '1' }, undo: true, compensatingSince: 1 })
  await first.settle({ kind: 'suspend', delayMs: 60_000, signal: 'go' })
  await store.steps?.signal(stepped.id, 'go', '1')
  const second = await steps.attempt(2)
  await store.steps?.checkpoint(second.claim, { facts: {}, dropValues: true, compensatingSince: null })
  await store.steps?.journal(stepped.id)
  await second.settle(COMPLETED)
  feed.close()
}

function block (ms: number): typeof COMPLETED {
  const end = performance.now() + ms
  while (performance.now() < end) { /* nobody else has a turn */ }
  return COMPLETED
}

t.test('the documentation has the rules', async (t) => {
  t.match(readFileSync(new URL('../../../docs/stores.md', import.meta.url), 'utf8'), ` ${aclRules('{fae}')}\n`)
})

t.test('a user with the rules of the documentation does everything, and needs every one of them', async (t) => {
  await admin.flushall()
  await admin.config('RESETSTAT')
  const { store, warnings } = await storeOf(t, '', { retention: { completedMs: 2_000, failedMs: 60_000, maxKeysPerOwner: 1 } })
  await everything(store)
  await until('it is cleared away', async () => (await admin.keys(`${PREFIX}:${QUEUE}:????????-????-*`)).length === 0, 20_000)
  t.same(warnings(), [])
  t.same(await admin.call('ACL', 'LOG'), [], 'nothing was refused')
  const used = new Set((await admin.info('commandstats')).split('\n').flatMap((line) => /^cmdstat_([a-z]+)/.exec(line)?.[1]?.toUpperCase() ?? []))
  const unused = [...requiredCommands(PREFIX, '').map(([command]) => command), ...LISTENING].filter((command) => !used.has(command))
  // A connection is pinged now and then; BullMQ's script that ends jobs names the other, for a count that is kept by us instead.
  t.same(unused.filter((command) => command !== 'PING' && command !== 'ZREMRANGEBYRANK'), [], 'each of them was used')
})

for (const rule of ['-xadd', '-bzpopmin', '-publish', '-subscribe', '-evalsha', '-zadd']) {
  t.test(`what is denied is said at the start: ${rule}`, async (t) => {
    const { warnings } = await storeOf(t, rule)
    await until('it is said', () => warnings().length > 0)
    t.equal(warnings().length, 1)
    t.match(warnings(), [`may not use ${rule.slice(1).toUpperCase()} on keys`])
  })
}

t.test('WAIT is needed where replicas confirm submissions, and only there', async (t) => {
  const { warnings } = await storeOf(t, '-wait', { acknowledge: 'replica' })
  await until('it is said', () => warnings().length > 0)
  t.match(warnings(), [/may not use WAIT on keys/])
  const { warnings: none, store } = await storeOf(t, '-wait')
  await store.ping()
  t.same(none(), [])
})

t.test('a user without INFO: nothing is reported, and nothing is printed', async (t) => {
  const printed: unknown[][] = []
  const { warn } = console
  console.warn = (...args: unknown[]) => { printed.push(args) }
  t.teardown(() => { console.warn = warn })
  const { store, reports } = await storeOf(t, '-info')
  play(store, { script: () => COMPLETED })
  await store.create(newJob())
  await until('it is run', async () => (await store.counts(QUEUE)).states.queued === 0)
  t.same(reports().filter(({ kind }) => kind !== 'connected'), [])
  t.same(printed, [])
})

t.test('channels that are denied are said as well', async (t) => {
  const { warnings } = await storeOf(t, 'resetchannels')
  await until('it is said', () => warnings().length > 0)
  t.match(warnings(), [/PUBLISH, SUBSCRIBE/])
})

t.test('on a cluster: who may publish to one node and not listen there is reported; who may do neither hears all the same', async (t) => {
  const cluster = await startCluster({ masters: 1 })
  t.teardown(() => cluster.stop())
  const [node] = cluster.nodes
  if (node === undefined) return t.fail('there is no node')
  const sharded = '+spublish +ssubscribe +sunsubscribe'
  for (const [rules, said] of [['', []], [sharded, []], ['+spublish', [/may not use SSUBSCRIBE, SUNSUBSCRIBE on keys/]]] as const) {
    const username = `user${++users}`
    const own = `${aclRules(PREFIX)} +cluster|slots +cluster|info ${rules}`.trim()
    await node.admin.call('ACL', 'SETUSER', username, 'on', `>${PASSWORD}`, ...own.split(' '))
    const client = await cluster.client({ redisOptions: { username, password: PASSWORD } })
    t.teardown(() => client.disconnect())
    const host = listeningHost()
    const store = await openStore({ client, prefix: PREFIX }, host)
    t.teardown(() => store.close(2_000))
    const denied = (): string[] => host.reports.flatMap((report) => report.kind === 'warning' ? [report.message] : [])
    const hearing = new Hearing(store)
    const job = newJob({ runAt: Date.now() + 600_000 })
    await store.create(job)
    if (said.length > 0) {
      await t.rejects(hearing.follow(job.id), { code: 'FAE_STORE_UNAVAILABLE', message: /NOPERM/ })
      await until('it is said', () => denied().length > 0)
    } else {
      await hearing.follow(job.id)
      await store.cancel(job.id, 'x')
      await until('the end is heard', () => hearing.heard.includes(`cancelled ${job.id}`))
    }
    t.match(denied(), said)
    t.equal(denied().length, said.length)
  }
})

t.test('a trial submission is refused for what a submission is refused for, and says why', async (t) => {
  for (const rule of ['-xadd', '-hmset', '-lpush', '-incr', 'resetkeys ~elsewhere:*']) {
    const { store } = await storeOf(t, rule)
    await t.rejects(async () => await store.probe?.(), { code: 'FAE_STORE_UNAVAILABLE', message: rule.startsWith('-') ? new RegExp(`NOPERM: ${rule.slice(1)}`, 'i') : /NOPERM/ }, rule)
    await t.rejects(store.create(newJob({ priority: 1 })).then(() => store.create(newJob())), { code: 'FAE_STORE_UNAVAILABLE', message: /NOPERM/ }, rule)
  }
  const { store } = await storeOf(t, '-info')
  await store.probe?.()
  const keys = await admin.keys(`${PREFIX}::probe*`)
  t.same(keys, [], 'and leaves nothing behind')
})
