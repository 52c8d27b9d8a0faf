import { strict as assert } from 'node:assert'
import type { ListQuery } from '../../jobs/store.ts'
import { COMPLETED, type ConformanceCase, type World } from './world.ts'

/** Every id that a query gives, page after page. */
async function everyPage (world: World, query: ListQuery, between?: () => Promise<unknown>): Promise<string[]> {
  const ids: string[] = []
  let cursor: string | undefined
  for (let page = 0; page < 200; page++) {
    const answer = await world.store.list({ ...query, cursor })
    assert.ok(answer.jobs.length <= query.limit, 'a page is not longer than the limit')
    ids.push(...answer.jobs.map((job) => job.id))
    if (answer.cursor === undefined) return ids
    cursor = answer.cursor
    await between?.()
  }
  return assert.fail('paging does not end')
}

/** Reads page after page and acts on each job of a page before the next one is read. */
async function pageAndAct (world: World, query: ListQuery, act: (id: string, place: number) => Promise<unknown>): Promise<string[]> {
  const ids: string[] = []
  let cursor: string | undefined
  for (let page = 0; page < 200; page++) {
    const answer = await world.store.list({ ...query, cursor })
    for (const [place, { id }] of answer.jobs.entries()) {
      ids.push(id)
      await act(id, place)
    }
    if (answer.cursor === undefined) return ids
    cursor = answer.cursor
  }
  return assert.fail('paging does not end')
}

export const listCases: readonly ConformanceCase[] = [
  {
    name: 'a list can be narrowed by queue, name, state and owner',
    needs: 'list',
    async run (world) {
      const mine = await world.create({ owner: 'me', name: 'alpha', queue: 'one' })
      const yours = await world.create({ owner: 'you', name: 'alpha', queue: 'one' })
      const beta = await world.create({ owner: 'me', name: 'beta', queue: 'two' })
      const later = await world.create({ owner: 'me', name: 'beta', queue: 'two', runAt: world.now() + 3_600_000 })
      const done = await world.create({ name: 'gamma', queue: 'three' })
      const gone = await world.create({ name: 'gamma', queue: 'four' })
      world.consume({ queue: 'three', script: () => COMPLETED })
      await world.state(done, 'completed')
      await world.store.cancel(gone, 'x')
      const expect = async (query: Omit<ListQuery, 'limit'>, ...ids: string[]): Promise<void> => {
        assert.deepEqual((await everyPage(world, { ...query, limit: 100 })).sort(), ids.sort(), JSON.stringify(query))
      }
      await expect({ queue: 'one' }, mine, yours)
      await expect({ name: 'beta' }, beta, later)
      await expect({ owner: 'me' }, mine, beta, later)
      await expect({ exceptName: 'beta' }, mine, yours, done, gone)
      await expect({ owner: 'me', exceptName: 'beta' }, mine)
      await expect({ name: 'beta', exceptName: 'beta' })
      await expect({ owner: 'me', name: 'alpha' }, mine)
      await expect({ state: 'scheduled' }, later)
      await expect({ state: 'completed' }, done)
      await expect({ state: 'cancelled' }, gone)
      await expect({ state: 'failed' })
      await expect({ state: 'queued', queue: 'two' }, beta)
      await expect({ queue: 'nobody-used-it' })
      await expect({ owner: 'nobody' })
      await expect({}, mine, yours, beta, later, done, gone)
      const [record] = (await world.store.list({ owner: 'you', limit: 1 })).jobs
      assert.equal(JSON.stringify(record), JSON.stringify(await world.read(yours)), 'a list gives the same records as get')
    }
  },
  {
    name: 'paging gives everything once, also while jobs are added',
    needs: 'list',
    async run (world) {
      const ids = await world.createMany(25)
      const calm = await everyPage(world, { queue: 'conformance', limit: 7 })
      assert.deepEqual([...calm].sort(), [...ids].sort())
      const busy = await everyPage(world, { queue: 'conformance', limit: 7 }, async () => { await world.createMany(3) })
      assert.equal(new Set(busy).size, busy.length, 'no job comes twice')
      const seen = new Set(busy)
      assert.deepEqual(ids.filter((id) => !seen.has(id)), [], 'every job that was there is given')
    }
  },
  {
    name: 'paging skips nothing that is still there, also while jobs change their state',
    needs: 'list',
    async run (world) {
      const failed = await world.createMany(13, { maxAttempts: 1 })
      const consumer = world.consume({ concurrency: 5, script: () => ({ kind: 'failed', error: { code: 'E_TEST', message: 'went wrong' } }) })
      for (const id of failed) await world.state(id, 'failed')
      consumer.consumer.pause()
      // Every job leaves its state as soon as its page was read.
      const seen = await pageAndAct(world, { state: 'failed', limit: 4 }, async (id) => { assert.equal((await world.store.redrive(id))?.kind, 'redriven') })
      assert.deepEqual([...seen].sort(), [...failed].sort(), 'each failed job is on a page')
      const queued = await pageAndAct(world, { state: 'queued', limit: 4 }, async (id) => { assert.equal(await world.store.remove(id), 'removed') })
      assert.deepEqual([...queued].sort(), [...failed].sort(), 'each queued job is on a page')
      const later = await world.createMany(13, { runAt: world.now() + 3_600_000 })
      const scheduled = await pageAndAct(world, { state: 'scheduled', limit: 4 }, async (id) => { assert.equal((await world.store.cancel(id, 'x'))?.kind, 'cancelled') })
      assert.deepEqual([...scheduled].sort(), [...later].sort(), 'each scheduled job is on a page')
      // Of each page all jobs but the last leave the state.
      const cancelled = await pageAndAct(world, { state: 'cancelled', limit: 4 }, async (id, place) => { if (place < 3) await world.store.remove(id) })
      assert.deepEqual([...new Set(cancelled)].sort(), [...later].sort(), 'each cancelled job is on a page')
    }
  },
  {
    name: 'paging over jobs at work skips none while others end, and a list of all states skips none while they are run',
    needs: 'list',
    async run (world) {
      const ids = await world.createMany(12)
      const working = world.consume({ concurrency: 12 })
      await world.claimed(working, 12)
      const seen = await pageAndAct(world, { state: 'in-progress', limit: 4 }, async (id) => {
        const attempt = working.attempts.find((each) => each.id === id)
        if (attempt !== undefined) await world.settle(attempt, COMPLETED)
      })
      assert.deepEqual([...seen].sort(), [...ids].sort(), 'each job in progress is on a page')
      await world.within('the first consumer is drained', working.consumer.drain(1_000))

      const many = await world.createMany(15, { name: 'many' })
      const running = world.consume()
      let done = 0
      const next = async (): Promise<void> => {
        const retry = done % 3 === 0
        await world.settle(await world.claimed(running, done + 1), retry ? { kind: 'retry', error: { code: 'E_TEST', message: 'again' }, delayMs: 3_600_000 } : COMPLETED)
        done++
      }
      const all = new Set(await everyPage(world, { name: 'many', limit: 2 }, async () => {
        for (let turn = 0; turn < 3 && done < many.length; turn++) await next()
      }))
      assert.deepEqual(many.filter((id) => !all.has(id)), [], 'each job is on a page, wherever it has moved')
    }
  },
  {
    name: 'a cursor that is of no use starts from the beginning',
    needs: 'list',
    async run (world) {
      await world.createMany(3)
      const expected = (await world.store.list({ limit: 2 })).jobs.map((job) => job.id)
      assert.equal(expected.length, 2)
      for (const cursor of ['', 'nonsense', '{}', '-1', '💥', 'NaN', 'x'.repeat(5_000)]) {
        const page = await world.store.list({ limit: 2, cursor })
        assert.deepEqual(page.jobs.map((job) => job.id), expected, cursor.slice(0, 20))
      }
    }
  }
]
