import { strict as assert } from 'node:assert'
import { COMPLETED, completed, type ConformanceCase, type ScriptedConsumer, type World } from './world.ts'

/** Lets a consumer go while it has an attempt under way: nobody renews its lease any more. */
async function vanish (world: World, { consumer }: ScriptedConsumer): Promise<void> {
  await world.within('the drain gives up', consumer.drain(0))
  await world.within('the consumer lets go', consumer.close(0))
}

export const leaseCases: readonly ConformanceCase[] = [
  {
    name: 'a job whose consumer has gone is run again; its late settlement is refused',
    async run (world) {
      const id = await world.create()
      const gone = world.consume()
      const lost = await world.claimed(gone, 1)
      await vanish(world, gone)
      const heir = world.consume({ store: await world.second() })
      const again = await world.claimed(heir, 1, world.timing.stallMs)
      assert.equal(again.id, id)
      assert.equal(again.claim.stalled, true, 'the claim says that the attempt before it stalled')
      assert.equal(again.claim.job.attempts, 2, 'the stall counts as an attempt')
      await world.until('somebody hears of the stall', () => [...gone.stalled, ...heir.stalled].includes(id))

      lost.end(completed('"late"'))
      await world.until('the late attempt hears', () => lost.verdicts.length > 0)
      assert.equal(lost.verdicts.length, 1)
      assert.notEqual(lost.verdict?.kind, 'stored', 'its settlement does not count')
      const running = await world.read(id)
      assert.equal(running.state, 'in-progress')
      assert.equal(await world.store.result(id), undefined)
      assert.equal(await world.store.progress(lost.claim, { done: 99 }), false)

      assert.deepEqual(await world.settle(again, completed('"heir"')), { kind: 'stored' })
      const record = await world.read(id)
      assert.equal(record.state, 'completed')
      assert.equal(await world.store.result(id), '"heir"')
    }
  },
  {
    name: 'postpone after a stall serves its backoff: no attempt is spent, and the next claim is not stalled',
    async run (world) {
      const id = await world.create()
      const gone = world.consume()
      const lost = await world.claimed(gone, 1)
      await vanish(world, gone)
      const heir = world.consume()
      const stalled = await world.claimed(heir, 1, world.timing.stallMs)
      assert.equal(stalled.claim.stalled, true)
      const settledAt = world.now()
      const delayMs = world.timing.shortMs
      assert.deepEqual(await world.settle(stalled, { kind: 'postpone', delayMs }), { kind: 'stored' })
      const waiting = await world.read(id)
      if (waiting.state !== 'in-progress') assert.equal(waiting.attempts, 1, 'only the stall is spent')
      const next = await world.claimed(heir, 2)
      assert.equal(next.claim.stalled, false)
      assert.equal(next.claim.job.attempts, 2)
      assert.ok((next.claim.job.startedAt ?? 0) >= settledAt + delayMs - 5, 'after the backoff')
      await world.settle(next, COMPLETED)
      const record = await world.read(id)
      assert.equal(record.state, 'completed')
      assert.equal(record.attempts, 2)
      lost.end(COMPLETED)
    }
  },
  {
    name: 'a stalled job whose attempts are spent can be failed',
    async run (world) {
      const id = await world.create({ maxAttempts: 1 })
      const gone = world.consume()
      await world.claimed(gone, 1)
      await vanish(world, gone)
      const heir = world.consume()
      const stalled = await world.claimed(heir, 1, world.timing.stallMs)
      const error = { code: 'FAE_STALLED', message: 'the worker went away' }
      assert.deepEqual(await world.settle(stalled, { kind: 'failed', error }), { kind: 'stored' })
      const record = await world.read(id)
      assert.equal(record.state, 'failed')
      assert.deepEqual(record.error, error)
    }
  },
  {
    name: 'an attempt that lasts much longer than a lease keeps it',
    async run (world) {
      const id = await world.create()
      const consumer = world.consume({ concurrency: 2 })
      const attempt = await world.claimed(consumer, 1)
      for (let n = 0; n < 10; n++) await world.elapse(world.timing.leaseMs / 4)
      assert.equal(consumer.attempts.length, 1, 'the job was not given out again')
      assert.deepEqual(attempt.aborts, [])
      assert.equal(await world.store.progress(attempt.claim, { done: 1 }), true)
      assert.deepEqual(await world.settle(attempt, COMPLETED), { kind: 'stored' })
      assert.equal((await world.read(id)).attempts, 1)
    }
  },
  {
    name: 'a lease that is lost behind the back of its consumer: abort, refusal, and the job runs again',
    async run (world) {
      if (world.under.loseLease === undefined) return
      const id = await world.create()
      const consumer = world.consume({ concurrency: 2 })
      const lost = await world.claimed(consumer, 1)
      await world.under.loseLease(id)
      const again = await world.claimed(consumer, 2, world.timing.stallMs)
      assert.equal(again.id, id)
      assert.equal(again.claim.stalled, true)
      await world.until('the attempt is aborted', () => lost.aborts.includes('lease-lost'), world.timing.stallMs)
      assert.equal(await world.store.progress(lost.claim, { done: 99 }), false)
      assert.deepEqual(await world.settle(lost, completed('"late"')), { kind: 'refused', code: 'FAE_LEASE_LOST' })
      assert.deepEqual(await world.settle(again, completed('"good"')), { kind: 'stored' })
      assert.equal(await world.store.result(id), '"good"')
      assert.deepEqual(consumer.stalled, [id])
    }
  }
]
