import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import { createContext } from '../../lib/core/context.ts'
import type { JobRecord } from '../../lib/jobs/job.ts'
import type { JobStore, Settlement, StoreHost } from '../../lib/jobs/store.ts'
import { memoryStore, type MemoryStoreOptions } from '../../lib/stores/memory/index.ts'
import { COMPLETED, completed, ScriptedConsumer, World } from '../../lib/testing/conformance/world.ts'
import { exerciseJobStore } from '../../lib/testing/exercise-job-store.ts'
import type { FakeClock } from '../../lib/testing/fake-clock.ts'
import { LEASE_MS, memoryUnderTest } from '../conformance/memory-under-test.ts'

const TIMING = { leaseMs: LEASE_MS, stallMs: LEASE_MS * 3, shortMs: 200, deadlineMs: 10_000 }
const DAY = 86_400_000
const ERROR = { code: 'E_TEST', message: 'went wrong' }

/** An open store on a fake clock, with the suite's tools around it. */
async function open (t: Test, options: MemoryStoreOptions = {}): Promise<World & { clock: FakeClock }> {
  const under = memoryUnderTest({}, options)
  const world = Object.assign(new World(under, TIMING), { clock: under.clock })
  await world.store.open(world.host)
  t.teardown(() => world.end())
  return world
}

/** The same in real time, for what the event loop does. */
async function openReal (t: Test): Promise<World> {
  const world = new World({ store: memoryStore(), host: { context: createContext(), report () {} } }, TIMING)
  await world.store.open(world.host)
  t.teardown(() => world.end())
  return world
}

async function everyId (store: JobStore, limit: number, between: (page: readonly JobRecord[]) => Promise<unknown> = async () => {}): Promise<string[]> {
  const ids: string[] = []
  for (let cursor: string | undefined, first = true; first || cursor !== undefined; first = false) {
    const page = await store.list({ limit, cursor })
    ids.push(...page.jobs.map(({ id }) => id))
    cursor = page.cursor
    await between(page.jobs)
  }
  return ids
}

t.test('the memory store keeps the contract', async (t) => {
  exerciseJobStore({ test: (name, run) => { t.test(name, run) }, newStore: (settings) => memoryUnderTest(settings), timing: TIMING })
})

t.test('options: every bad one is named, the rest has its defaults', async (t) => {
  const bad = { leaseMs: 0, retention: { completedMs: -1, maxCount: 1.5, days: 7 }, size: 3 }
  t.throws(() => memoryStore(bad as unknown as MemoryStoreOptions), {
    code: 'FAE_INVALID_OPTIONS',
    message: /(?=.*leaseMs)(?=.*completedMs)(?=.*maxCount)(?=.*days)(?=.*size)/
  })
  t.doesNotThrow(() => memoryStore({ leaseMs: undefined, retention: { maxCount: undefined } }))
})

t.test('one store serves one application, and is not opened again once it was closed', async (t) => {
  const world = await open(t)
  await world.store.open(world.host)
  await t.rejects(world.store.open({ ...world.host }), { code: 'FAE_INVALID_OPTIONS' })
  t.throws(() => memoryStore().consume({ queue: 'q', concurrency: 1, workerId: 'w', attempt: () => { throw new Error('never') }, onStalled () {}, onError () {} }), { code: 'FAE_CLOSED' })
  await world.store.close(0)
  await t.rejects(world.store.open(world.host), { code: 'FAE_CLOSED' })
})

t.test('opening reports that the store is there', async (t) => {
  const under = memoryUnderTest()
  await under.store.open(under.host)
  t.same(under.reports, [{ kind: 'connected' }])
  await under.store.close(0)
})

t.test('an id that is taken is refused, and the job that has it stays as it is', async (t) => {
  const world = await open(t)
  const id = await world.create({ name: 'first' })
  await t.rejects(world.store.create(world.job({ id, name: 'second' })), { code: 'FAE_INVALID_SUBMISSION' })
  t.equal((await world.read(id)).name, 'first')
  t.equal((await world.store.counts('conformance')).states.queued, 1)
})

t.test('order holds for twenty thousand jobs of all kinds, with cancels and removals among them', async (t) => {
  const world = await open(t)
  const jobs: Array<{ id: string, priority: number }> = []
  for (let n = 0; n < 20_000; n++) {
    const priority = n % 3 === 0 ? (n * 7_919) % 50 : 0
    jobs.push({ id: await world.create({ priority }), priority })
  }
  const gone = new Set<string>()
  for (let n = 0; n < jobs.length; n += 5) {
    const id = jobs[n]?.id ?? ''
    gone.add(id)
    if (n % 2 === 0) await world.store.cancel(id, 'x')
    else await world.store.remove(id)
  }
  const expected = jobs.filter(({ id }) => !gone.has(id)).sort((a, b) => a.priority - b.priority).map(({ id }) => id)
  const consumer = world.consume({ script: () => COMPLETED })
  await world.until('all are claimed', () => consumer.attempts.length >= expected.length)
  t.same(consumer.ids, expected)
})

t.test('a released job goes before those that came after it; the oldest waiting one is told whatever its priority', async (t) => {
  const world = await open(t)
  const first = await world.create()
  const [second] = await world.createMany(3)
  const consumer = world.consume()
  const attempt = await world.claimed(consumer, 1)
  consumer.consumer.pause()
  await world.settle(attempt, { kind: 'release' })
  consumer.consumer.resume()
  t.equal((await world.claimed(consumer, 2)).id, first)
  await world.settle(consumer.at(1), COMPLETED)
  t.equal((await world.claimed(consumer, 3)).id, second)
  consumer.consumer.pause()

  const urgent = await open(t)
  const oldest = await urgent.create({ priority: 900 })
  await urgent.clock.advance(1_000)
  await urgent.create({ priority: 1 })
  await urgent.create()
  t.equal((await urgent.store.counts('conformance')).oldestQueuedAt, (await urgent.read(oldest)).createdAt)
})

t.test('a list is newest first, and a cursor outlives the job it points at', async (t) => {
  const world = await open(t)
  const ids = await world.createMany(20)
  t.same(await everyId(world.store, 7), [...ids].reverse())
  t.same(await everyId(world.store, 20), [...ids].reverse(), 'a page that fits exactly has no cursor')
  const seen = await everyId(world.store, 4, async (page) => {
    // Remove the last job of the page, which the cursor stands for, and add new ones at the front.
    await world.store.remove(page.at(-1)?.id ?? '')
    await world.createMany(2)
  })
  t.same(seen, [...ids].reverse())
  t.equal((await world.store.list({ limit: 0 })).jobs.length, 1, 'the limit is at least 1')
  t.equal((await world.store.list({ limit: NaN })).jobs.length, 1)
})

t.test('a rare job among many is found without holding up the event loop', async (t) => {
  const world = await open(t)
  const rare = await world.create({ owner: 'rare' })
  for (let n = 0; n < 25_000; n++) await world.create()
  let turns = 0
  let counting = true
  const count = (): void => { turns++; if (counting) setImmediate(count) }
  setImmediate(count)
  const { jobs, cursor } = await world.store.list({ owner: 'rare', limit: 5 })
  counting = false
  t.same(jobs.map(({ id }) => id), [rare])
  t.equal(cursor, undefined)
  t.ok(turns >= 4, `the event loop had ${turns} turns`)
})

t.test('retention runs on the store\'s one timer: a day for completed and cancelled jobs, a week for failed ones', async (t) => {
  const world = await open(t)
  const done = await world.create({ idempotency: { key: 'aa', fingerprint: 'bb', ttlMs: 365 * DAY } })
  const failed = await world.create()
  const consumer = world.consume({ script: ({ id }) => id === done ? completed('1') : { kind: 'failed', error: ERROR } })
  await world.state(failed, 'failed')
  const stopped = await world.create({ runAt: world.now() + DAY })
  await world.store.cancel(stopped, 'x')
  t.ok(world.clock.pending <= 1, `one timer, not ${world.clock.pending}`)
  const left = async (): Promise<number> => Object.values((await world.store.counts('conformance')).states).reduce((sum, count) => sum + count, 0)
  await world.clock.advance(DAY - 1_000)
  t.equal(await left(), 3)
  await world.clock.advance(1_000)
  t.equal(await left(), 1, 'only the failed one is left after a day')
  t.equal(await world.store.get(done), undefined)
  t.equal(await world.store.get(stopped), undefined)
  const replay = world.job({ idempotency: { key: 'aa', fingerprint: 'bb', ttlMs: DAY } })
  t.same(await world.store.create(replay), { created: false, id: done, job: undefined, sameRequest: true }, 'its idempotency key lives for its own time')
  await consumer.consumer.drain(1_000)
  await world.clock.advance(6 * DAY)
  t.equal(await world.store.get(failed), undefined)
  await world.store.close(0)
  t.equal(world.clock.pending, 0, 'a closed store has no timer')
})

t.test('a job whose time is over is gone even before the sweep', async (t) => {
  const world = await open(t, { retention: { completedMs: 1_000 } })
  const id = await world.create()
  world.consume({ script: () => completed('1') })
  await world.state(id, 'completed')
  world.clock.jump(1_000)
  t.equal(await world.store.get(id), undefined)
  t.equal(await world.store.result(id), undefined)
  t.same((await world.store.list({ limit: 10 })).jobs, [])
})

t.test('a store that is full makes finished jobs go, then refuses submissions, and takes them again when jobs have ended', async (t) => {
  const world = await open(t, { maxBytes: 100_000 })
  const input = { body: 'x'.repeat(20_000), params: {}, query: {}, headers: {} }
  const consumer = world.consume({ script: () => completed(JSON.stringify('r'.repeat(20_000))) })
  const done = [await world.create(), await world.create()]
  await world.until('both are over', () => consumer.attempts.filter(({ verdict }) => verdict !== undefined).length === 2)
  consumer.consumer.pause()
  for (let n = 0; n < 4; n++) await world.create({ input })
  t.same(await Promise.all(done.map((id) => world.store.get(id))), [undefined, undefined], 'finished jobs give way to new ones')
  const refused = { code: 'FAE_STORE_FULL', message: /maxBytes/ }
  await t.rejects(world.store.create(world.job({ input })), refused)
  t.equal(await world.store.probe?.(), undefined, 'a small one would still find room')
  await world.store.create(world.job({ input: { ...input, body: 'x'.repeat(16_000) } }))
  for (let small = true; small;) small = await world.store.create(world.job()).then(() => true, () => false)
  await t.rejects(world.store.create(world.job()), refused)
  consumer.consumer.resume()
  await world.until('all are over', async () => (await world.store.counts('conformance')).states.queued === 0)
  t.ok((await world.store.create(world.job({ input }))).created)
})

t.test('keys leave room for jobs: when all together are too many, who has the most gives way', async (t) => {
  const world = await open(t, { maxBytes: 1 })
  await t.rejects(world.store.create(world.job()), { code: 'FAE_JOB_TOO_LARGE', statusCode: 413 }, 'it would not fit into an empty store: trying again is of no use')
  const keys = await open(t, { maxBytes: 16_000 })
  for (const owner of ['ann', 'bob', 'bob', 'bob', 'bob', 'bob', 'bob', 'bob', 'bob', 'bob', 'eve', 'eve']) {
    const key = `${owner} ${Math.random()}`
    const id = await keys.create({ owner, idempotency: { key: owner === 'ann' ? 'mine' : key, fingerprint: 'f', ttlMs: DAY } })
    keys.consume({ script: () => COMPLETED })
    await keys.state(id, 'completed')
  }
  t.equal((await keys.store.create(keys.job({ owner: 'ann', idempotency: { key: 'mine', fingerprint: 'f', ttlMs: DAY } }))).created, false, 'who has many keys gives way')
})

t.test('an owner who makes very many idempotency keys loses its own oldest, and nobody else\'s; their time ends them all', async (t) => {
  const world = await open(t, { retention: { maxKeysPerOwner: 3 } })
  const submit = async (key: string, owner?: string): Promise<boolean> =>
    (await world.store.create(world.job({ owner, idempotency: { key, fingerprint: 'f', ttlMs: 1_000 } }))).created
  t.ok(await submit('mine', 'ann'))
  for (let n = 0; n < 5; n++) t.ok(await submit(`flood ${n}`, 'bob'))
  t.equal(await submit('mine', 'ann'), false, 'hers is remembered')
  t.equal(await submit('flood 4', 'bob'), false)
  t.ok(await submit('flood 0', 'bob'), 'his oldest is forgotten')
  for (let n = 0; n < 30; n++) t.ok(await submit(`shared ${n}`))
  t.equal(await submit('shared 0'), false, 'jobs without an owner share ten times as many')
  world.clock.jump(1_000)
  t.ok(await submit('mine', 'ann'), 'its time is over')
})

t.test('when there are too many, the owner who has the most gives way, and then who takes the most room', async (t) => {
  const world = await open(t, { retention: { maxCount: 4 } })
  world.consume({ script: () => COMPLETED })
  const ids: string[] = []
  for (const owner of ['ann', 'bob', 'bob', 'bob', undefined, 'eve']) {
    ids.push(await world.create({ owner }))
    await world.state(ids.at(-1) ?? '', 'completed')
  }
  const kept = await Promise.all(ids.map(async (id) => await world.store.get(id) !== undefined))
  t.same(kept, [true, false, false, true, true, true])
  await world.store.remove(ids[3] ?? '')
  t.equal((await world.store.counts('conformance')).states.completed, 3)
})

t.test('at most maxCount jobs are kept of each end', async (t) => {
  const world = await open(t, { retention: { maxCount: 3 } })
  const ends: Settlement[] = [COMPLETED, { kind: 'failed', error: ERROR }, { kind: 'cancelled', reason: 'x' }]
  await world.createMany(30)
  let n = 0
  const consumer = world.consume({ script: () => ends[n++ % 3] ?? COMPLETED })
  await world.until('all are settled', () => consumer.attempts.filter(({ verdict }) => verdict !== undefined).length === 30)
  const { completed: done, failed, cancelled } = (await world.store.counts('conformance')).states
  t.same({ done, failed, cancelled }, { done: 3, failed: 3, cancelled: 3 })
  const none = await open(t, { retention: { maxCount: 0 } })
  const id = await none.create()
  none.consume({ script: () => COMPLETED })
  await none.until('it is over and forgotten', async () => await none.store.get(id) === undefined)
})

t.test('thousands of jobs that become due at once are promoted in slices', async (t) => {
  const world = await open(t)
  const at = world.now() + 1_000
  for (let n = 0; n < 3_500; n++) await world.create({ runAt: at })
  await world.clock.advance(999)
  t.equal((await world.store.counts('conformance')).states.scheduled, 3_500)
  await world.clock.advance(1)
  t.same((await world.store.counts('conformance')).states.queued, 3_500)
})

t.test('a wall clock that is set forward makes a scheduled job due within a minute', async (t) => {
  const world = await open(t)
  const id = await world.create({ runAt: world.now() + DAY })
  world.clock.setWallClock(world.now() + 2 * DAY)
  await world.clock.advance(60_000)
  t.equal((await world.read(id)).state, 'queued')
})

t.test('a lease that has run out shows as stuck until it is taken back', async (t) => {
  const world = await open(t)
  const id = await world.create()
  const gone = world.consume()
  await world.claimed(gone, 1)
  t.match(await world.store.counts('conformance'), { stuck: 0, stuckIds: [] })
  await gone.consumer.close(0)
  const consumer = world.consume()
  world.clock.jump(LEASE_MS)
  t.same((({ stuck, stuckIds }) => ({ stuck, stuckIds }))(await world.store.counts('conformance')), { stuck: 1, stuckIds: [id] })
  await world.clock.advance(0)
  t.equal((await world.store.counts('conformance')).stuck, 0)
  t.equal((await world.claimed(consumer, 1)).claim.stalled, true)
})

t.test('a blocked event loop takes no lease away from a consumer that is there', async (t) => {
  const world = await open(t)
  const id = await world.create()
  const consumer = world.consume({ concurrency: 2 })
  const attempt = await world.claimed(consumer, 1)
  world.clock.jump(LEASE_MS * 5)
  await world.clock.advance(0)
  t.match(await world.store.counts('conformance'), { stuck: 0 })
  await world.clock.advance(LEASE_MS * 2)
  t.same([attempt.aborts, consumer.stalled, consumer.attempts.length], [[], [], 1])
  t.same(await world.settle(attempt, COMPLETED), { kind: 'stored' })
  t.equal((await world.read(id)).attempts, 1)
})

t.test('a job that was asked to stop and then stalls is cancelled, not run again', async (t) => {
  const world = await open(t)
  const id = await world.create()
  const consumer = world.consume({ concurrency: 2 })
  const lost = await world.claimed(consumer, 1)
  await world.store.cancel(id, 'enough')
  await consumer.consumer.close(0)
  world.clock.jump(LEASE_MS + 1)
  await world.clock.advance(0)
  const record = await world.read(id)
  t.equal(record.state, 'cancelled')
  t.equal(record.error?.message, 'enough')
  t.same(lost.aborts, ['cancelled', 'lease-lost'])
  t.same(consumer.stalled, [])
  t.same(await world.settle(lost, COMPLETED), { kind: 'refused', code: 'FAE_LEASE_LOST' })
})

t.test('failing a stalled job spends nothing beyond the stall', async (t) => {
  const world = await open(t)
  const id = await world.create({ maxAttempts: 1 })
  const gone = world.consume()
  const lost = await world.claimed(gone, 1)
  await gone.consumer.close(0)
  world.clock.jump(LEASE_MS + 1)
  await world.settle(await world.claimed(world.consume(), 1), { kind: 'failed', error: ERROR })
  t.equal((await world.read(id)).attempts, 1)
  lost.end(COMPLETED)
})

t.test('closing the store aborts what runs and tells it that its ending is not stored', async (t) => {
  const world = await open(t)
  await world.create()
  const consumer = world.consume()
  const attempt = await world.claimed(consumer, 1)
  const drained = consumer.consumer.drain(60_000)
  await world.store.close(1_000)
  t.equal(await drained, false, 'a drain does not wait for a store that is gone')
  t.same(attempt.aborts, ['lease-lost'])
  const verdict = await world.settle(attempt, COMPLETED)
  t.equal(verdict.kind === 'error' && (verdict.error as { code?: unknown }).code, 'FAE_CLOSED')
  t.equal(consumer.consumer.active, 0)
  t.equal(world.clock.pending, 0)
})

t.test('a worker that breaks its promises loses the attempt, not the store', async (t) => {
  const world = await open(t)
  const errors: string[] = []
  const verdicts: string[] = []
  let calls = 0
  const consumer = world.store.consume({
    queue: 'conformance',
    concurrency: 1,
    workerId: 'w',
    attempt () {
      calls++
      if (calls === 1) throw new Error('attempt threw')
      return {
        run: () => calls === 2 ? Promise.reject(new Error('run rejected')) : Promise.resolve(COMPLETED),
        abort () { throw new Error('abort threw') },
        settled (verdict) { verdicts.push(verdict.kind); throw new Error('settled threw') }
      }
    },
    onStalled () { throw new Error('onStalled threw') },
    onError (error) { errors.push(error.message); throw new Error('onError threw') }
  })
  const id = await world.create()
  await world.until('the first call', () => calls === 1)
  await world.until('the second call, after the lease', () => calls === 2, LEASE_MS * 2)
  t.equal((await world.read(id)).attempts, 2)
  const record = await (async () => {
    await world.until('the third call, after the lease', () => calls === 3, LEASE_MS * 2)
    return await world.state(id, 'completed')
  })()
  t.equal(record.attempts, 3)
  t.same(verdicts, ['error', 'stored'])
  t.same(errors, ['attempt threw', 'onStalled threw', 'run rejected', 'settled threw', 'abort threw', 'onStalled threw', 'settled threw'])
  t.equal(consumer.active, 0)
  await consumer.close(0)
})

t.test('a submitter goes on before its job starts', async (t) => {
  const world = await openReal(t)
  const order: string[] = []
  const consumer = world.consume({ script: () => { order.push('started'); return COMPLETED } })
  await world.create()
  order.push('submitted')
  await world.until('it is settled', () => consumer.attempts[0]?.verdict !== undefined)
  t.same(order, ['submitted', 'started'])
})

t.test('a flood of jobs that do nothing starves nobody: timers fire in the middle of it', async (t) => {
  const world = await openReal(t)
  const count = 10_000
  for (let n = 0; n < count; n++) await world.create()
  let settled = 0
  let firedAt: number | undefined
  const attempt = { run: async () => COMPLETED, abort () {}, settled () { settled++ } }
  const consumer = world.store.consume({ queue: 'conformance', concurrency: 5, workerId: 'w', attempt: () => attempt, onStalled () {}, onError (error) { t.fail(error.message) } })
  setTimeout(() => { firedAt = settled }, 0)
  await world.until('all are settled', () => settled === count)
  t.ok(firedAt !== undefined && firedAt < count, `the timer fired after ${firedAt} jobs`)
  await consumer.close(0)
})

t.test('memory stays bounded: what is cancelled, removed or over is let go', async (t) => {
  const collect = gc()
  const world = new World({ store: memoryStore({ retention: { maxCount: 10, maxKeysPerOwner: 10 } }), host: silentHost() }, TIMING)
  await world.store.open(world.host)
  const churn = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n++) {
      const plain = await world.create({ input: { body: 'x'.repeat(500), params: {}, query: {}, headers: {} } })
      const urgent = await world.create({ priority: n % 9 + 1, idempotency: { key: plain, fingerprint: 'f', ttlMs: DAY } })
      const later = await world.create({ runAt: world.now() + DAY + n % 100 })
      await world.store.cancel(plain, 'x')
      if (n % 2 === 0) await world.store.cancel(urgent, 'x')
      else await world.store.remove(urgent)
      await world.store.remove(later)
    }
  }
  await churn(2_000)
  const before = collect()
  await churn(20_000)
  const grown = collect() - before
  t.ok(grown < 3_000_000, `60,000 jobs came and went, the heap grew by ${grown} bytes`)
  const { states } = await world.store.counts('conformance')
  t.same({ ...states }, { queued: 0, scheduled: 0, 'in-progress': 0, completed: 0, failed: 0, cancelled: 10 })
  await world.end()
})

t.test('a queue that nobody uses any more is forgotten, and can be used again', async (t) => {
  const world = await open(t)
  const id = await world.create({ queue: 'tenant-1' })
  const consumer = new ScriptedConsumer(world.store, 'tenant-1', 1, () => COMPLETED)
  await world.state(id, 'completed')
  await consumer.consumer.drain(0)
  await consumer.consumer.close(0)
  await world.store.remove(id)
  t.equal((await world.store.counts('tenant-1')).states.completed, 0)
  const again = await world.create({ queue: 'tenant-1' })
  const heir = world.consume({ queue: 'tenant-1', script: () => COMPLETED })
  await world.state(again, 'completed')
  t.same(heir.ids, [again])
})

function silentHost (): StoreHost {
  return { context: createContext(), report () {} }
}

/** Collects garbage and tells what is left on the heap. */
function gc (): () => number {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  return () => {
    if (typeof collect === 'function') for (let n = 0; n < 3; n++) collect()
    return process.memoryUsage().heapUsed
  }
}

t.test('an attempt that is asked to stop and wants to run again is told that the job was cancelled, and counts', async (t) => {
  const world = await open(t)
  const ends: Settlement[] = [{ kind: 'retry', error: ERROR, delayMs: 5 }, { kind: 'snooze', delayMs: 5 }, { kind: 'postpone', delayMs: 5 }, { kind: 'release' }]
  for (const end of ends) {
    const consumer = world.consume()
    const id = await world.create()
    await world.until('it is claimed', () => consumer.attempts.length === 1)
    const attempt = consumer.at(0)
    await world.store.cancel(id, 'enough')
    attempt.end(end)
    await world.until('it is settled', () => attempt.verdict !== undefined)
    t.same(attempt.verdict, { kind: 'stored', instead: 'cancelled' }, end.kind)
    t.match(await world.store.get(id), { state: 'cancelled', attempts: 1, error: { code: 'FAE_JOB_CANCELLED', message: 'enough' } })
    await consumer.consumer.drain(1_000)
  }
  t.equal(await world.store.get(undefined as unknown as string), undefined)
})
