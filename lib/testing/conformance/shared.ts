import { strict as assert } from 'node:assert'
import type { SharedState } from '../../core/shared.ts'
import type { ConformanceCase, World } from './world.ts'

/** What two processes share: two stores on the same data, where there can be two. */
async function two (world: World): Promise<[SharedState, SharedState]> {
  const first = world.store.shared
  const second = (await world.second()).shared
  assert.ok(first !== undefined && second !== undefined, 'the store has shared state')
  return [first, second]
}

export const sharedCases: readonly ConformanceCase[] = [
  {
    name: 'a store that has shared state declares it, so that it is tested',
    unless: 'shared',
    async run (world) {
      assert.equal(world.store.shared, undefined, 'the store has shared state: give capabilities: { shared: true }')
    }
  },
  {
    name: 'a lock has one holder, who can prolong it',
    needs: 'shared',
    async run (world) {
      const [one, other] = await two(world)
      const tries = await Promise.all(Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? one : other).tryLock('work', `holder-${n}`, 60_000)))
      assert.equal(tries.filter(Boolean).length, 1, 'of twenty at once one gets it')
      const holder = `holder-${tries.indexOf(true)}`
      assert.equal(await other.tryLock('work', holder, 60_000), true, 'who has it gets it again')
      assert.equal(await one.tryLock('work', 'late', 60_000), false)
      assert.equal(await one.tryLock('other-work', 'late', 60_000), true, 'another lock is free')
    }
  },
  {
    name: 'a lock that is not prolonged moves on after its time, not before',
    needs: 'shared',
    async run (world) {
      const { shortMs } = world.timing
      const [one, other] = await two(world)
      assert.equal(await one.tryLock('work', 'first', shortMs * 4), true)
      await world.elapse(shortMs * 2)
      assert.equal(await other.tryLock('work', 'second', shortMs), false, 'its time is not over')
      assert.equal(await one.tryLock('work', 'first', shortMs * 4), true)
      await world.elapse(shortMs * 2)
      assert.equal(await other.tryLock('work', 'second', shortMs), false, 'it was prolonged')
      await world.until('the lock is free', () => other.tryLock('work', 'second', 60_000))
      assert.equal(await one.tryLock('work', 'first', shortMs), false, 'who lost it does not get it back')
    }
  },
  {
    name: 'only the holder gives a lock back',
    needs: 'shared',
    async run (world) {
      const [one, other] = await two(world)
      assert.equal(await one.tryLock('work', 'first', 60_000), true)
      await other.unlock('work', 'second')
      assert.equal(await other.tryLock('work', 'second', 60_000), false, 'somebody else\'s unlock does nothing')
      await one.unlock('work', 'first')
      assert.equal(await other.tryLock('work', 'second', 60_000), true)
      await one.unlock('nobody-has-it', 'first')
    }
  },
  {
    name: 'a shared text is seen by all, the newest counts, and it goes when its time is over',
    needs: 'shared',
    async run (world) {
      const { shortMs } = world.timing
      const [one, other] = await two(world)
      const text = 'ä"\n\u0000{}'.repeat(1_000)
      assert.deepEqual([...await one.entries('group')], [])
      await one.put('group', 'short', 'old', shortMs * 2)
      await one.put('group', 'long', text, 60_000)
      await other.put('group', 'key with : and {}', 'x', 60_000)
      await other.put('another', 'long', 'y', 60_000)
      await one.put('group', 'short', 'new', shortMs * 2)
      assert.deepEqual([...await other.entries('group')].sort(), [['key with : and {}', 'x'], ['long', text], ['short', 'new']])
      await world.until('the short one is gone', async () => !(await other.entries('group')).has('short'))
      assert.deepEqual([...(await one.entries('group')).keys()].sort(), ['key with : and {}', 'long'], 'the others stay')
      assert.equal((await one.entries('another')).get('long'), 'y')
    }
  }
]
