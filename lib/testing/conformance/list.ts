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
