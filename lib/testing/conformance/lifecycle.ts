import { strict as assert } from 'node:assert'
import { COMPLETED, completed, refused, type ConformanceCase, type World } from './world.ts'

/** A listener that does nothing. */
const DEAF = { changed () {}, missed () {} }

async function everyCall (world: World): Promise<void> {
  const { store } = world
  const id = world.host.context.ids.job()
  await refused(store.create(world.job()))
  await refused(store.get(id))
  await refused(store.input(id))
  await refused(store.result(id))
  await refused(store.list({ limit: 1 }))
  await refused(store.counts('conformance'))
  await refused(store.cancel(id, 'x'))
  await refused(store.redrive(id))
  await refused(store.remove(id))
  await refused(store.getMany([{ id, queue: 'conformance' }]))
  await refused((async () => { await store.listen(DEAF).follow({ id, queue: 'conformance' }) })())
  await refused(store.ping())
}

export const lifecycleCases: readonly ConformanceCase[] = [
  {
    name: 'before it is open every call is refused with a code; it can be closed, also twice',
    async run (world) {
      await everyCall(world)
      await world.store.close(1_000)
      await world.store.close(1_000)
    }
  },
  {
    name: 'an open store answers a ping and has a label',
    async run (world) {
      await world.store.ping()
      assert.match(world.store.type, /^[a-z][a-z0-9_-]{0,30}$/)
    }
  },
  {
    name: 'a closed store refuses every call with a code, and can be closed again',
    async run (world) {
      await world.create()
      await world.within('close', world.store.close(world.timing.deadlineMs))
      await world.within('second close', world.store.close(world.timing.deadlineMs))
      await everyCall(world)
    }
  },
  {
    name: 'a paused consumer claims nothing; resumed, it goes on',
    async run (world) {
      const consumer = world.consume()
      const first = await world.create()
      await world.claimed(consumer, 1)
      consumer.consumer.pause()
      assert.equal(consumer.consumer.paused, true)
      await world.settle(consumer.at(0), COMPLETED)
      assert.equal((await world.read(first)).state, 'completed', 'what is under way goes on')
      const id = await world.create()
      await world.elapse(world.timing.shortMs)
      assert.equal(consumer.attempts.length, 1)
      assert.equal((await world.read(id)).state, 'queued')
      consumer.consumer.resume()
      assert.equal(consumer.consumer.paused, false)
      assert.equal((await world.claimed(consumer, 2)).id, id)
      await world.settle(consumer.at(1), COMPLETED)
    }
  },
  {
    name: 'drain waits for the attempts under way and claims nothing more',
    async run (world) {
      const [first, second] = await world.createMany(2)
      const consumer = world.consume()
      const attempt = await world.claimed(consumer, 1)
      const drained = consumer.consumer.drain(world.timing.deadlineMs)
      await world.settle(attempt, completed('1'))
      assert.equal(await world.within('drain', drained), true)
      assert.equal((await world.read(first ?? '')).state, 'completed')
      await world.elapse(world.timing.shortMs)
      assert.equal(consumer.attempts.length, 1)
      assert.equal((await world.read(second ?? '')).state, 'queued')
      consumer.consumer.resume()
      await world.elapse(world.timing.shortMs)
      assert.equal(consumer.attempts.length, 1, 'resume does not bring a drained consumer back')
      await world.within('close', consumer.consumer.close(world.timing.deadlineMs))
      await world.within('close again', consumer.consumer.close(world.timing.deadlineMs))
      const heir = world.consume({ script: () => COMPLETED })
      await world.state(second ?? '', 'completed')
      assert.deepEqual(heir.ids, [second])
    }
  },
  {
    name: 'an idle consumer drains at once',
    async run (world) {
      const consumer = world.consume()
      assert.equal(await world.within('drain', consumer.consumer.drain(world.timing.deadlineMs)), true)
    }
  },
  {
    name: 'drain gives up at its deadline; the attempt left can still be settled',
    async run (world) {
      const id = await world.create()
      const consumer = world.consume()
      const attempt = await world.claimed(consumer, 1)
      assert.equal(await world.within('drain', consumer.consumer.drain(world.timing.shortMs)), false)
      assert.equal(consumer.consumer.active, 1)
      for (let n = 0; n < 6; n++) await world.elapse(world.timing.leaseMs / 4)
      assert.deepEqual(await world.settle(attempt, completed('1')), { kind: 'stored' }, 'its lease was renewed until its end')
      assert.equal((await world.read(id)).state, 'completed')
    }
  },
  {
    name: 'finished jobs are forgotten by age, each end after its own time',
    needs: 'retention',
    settings: ({ shortMs }) => ({ retention: { completedMs: shortMs * 2, failedMs: 3_600_000, maxCount: 1_000 } }),
    async run (world) {
      const consumer = world.consume()
      const done = await world.create()
      await world.settle(await world.claimed(consumer, 1), completed('1'))
      const failed = await world.create()
      await world.settle(await world.claimed(consumer, 2), { kind: 'failed', error: { code: 'E', message: 'e' } })
      assert.equal(await world.store.result(done), '1')
      // A store may sweep when another job finishes: give it the occasion.
      await world.until('the completed job is forgotten', async () => {
        if (await world.store.get(done) === undefined) return true
        const seen = consumer.attempts.length
        await world.create()
        await world.settle(await world.claimed(consumer, seen + 1), COMPLETED)
        return false
      })
      assert.equal(await world.store.result(done), undefined)
      assert.equal((await world.read(failed)).state, 'failed')
    }
  },
  {
    name: 'finished jobs are forgotten by count, the oldest first',
    needs: 'retention',
    settings: () => ({ retention: { completedMs: 3_600_000, failedMs: 3_600_000, maxCount: 5 } }),
    async run (world) {
      const ids = await world.createMany(12)
      world.consume({ script: () => COMPLETED })
      await world.state(ids[11] ?? '', 'completed')
      await world.until('only the newest are kept', async () => (await world.store.counts('conformance')).states.completed <= 5)
      const kept: string[] = []
      for (const id of ids) if (await world.store.get(id) !== undefined) kept.push(id)
      assert.deepEqual(kept, ids.slice(-5))
    }
  }
]
