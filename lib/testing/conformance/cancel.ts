import { strict as assert } from 'node:assert'
import { setImmediate as turn } from 'node:timers/promises'
import type { CancelVerdict } from '../../jobs/store.ts'
import { COMPLETED, type ConformanceCase, type World } from './world.ts'

async function cancelled (world: World, id: string): Promise<CancelVerdict> {
  const verdict = await world.store.cancel(id, 'not wanted')
  assert.ok(verdict, 'the job is known')
  return verdict
}

export const cancelCases: readonly ConformanceCase[] = [
  {
    name: 'a queued job that is cancelled never runs',
    async run (world) {
      const id = await world.create()
      const other = await world.create()
      const verdict = await cancelled(world, id)
      assert.equal(verdict.kind, 'cancelled')
      assert.equal(verdict.kind === 'cancelled' && verdict.already, false)
      assert.equal(verdict.job.state, 'cancelled')
      const record = await world.read(id)
      assert.equal(record.state, 'cancelled')
      assert.equal(record.cancelRequested, false)
      assert.equal(typeof record.finishedAt, 'number')
      const again = await cancelled(world, id)
      assert.equal(again.kind, 'cancelled')
      assert.equal(again.kind === 'cancelled' && again.already, true)
      const consumer = world.consume({ script: () => COMPLETED })
      await world.state(other, 'completed')
      await world.elapse(world.timing.shortMs)
      assert.deepEqual(consumer.ids, [other], 'no attempt of it was made')
      assert.equal((await world.read(id)).state, 'cancelled')
    }
  },
  {
    name: 'jobs of every priority can be cancelled while they wait',
    async run (world) {
      const ids: string[] = []
      for (const priority of [0, 3, 1, 0, 3, 2]) ids.push(await world.create({ priority }))
      for (const id of ids.filter((_, n) => n % 2 === 0)) await cancelled(world, id)
      const consumer = world.consume({ script: () => COMPLETED })
      await world.until('the others are completed', async () => (await world.store.counts('conformance')).states.completed === 3)
      assert.deepEqual(consumer.ids, [ids[3], ids[5], ids[1]])
    }
  },
  {
    name: 'a scheduled job that is cancelled never runs',
    async run (world) {
      const id = await world.create({ runAt: world.now() + world.timing.shortMs })
      const consumer = world.consume({ script: () => COMPLETED })
      const verdict = await cancelled(world, id)
      assert.equal(verdict.kind, 'cancelled')
      await world.elapse(world.timing.shortMs * 3)
      assert.deepEqual(consumer.ids, [])
      assert.equal((await world.read(id)).state, 'cancelled')
    }
  },
  {
    name: 'a running job that is cancelled, from whatever process, has its attempt aborted and ends cancelled',
    async run (world) {
      const second = await world.second()
      const id = await world.create()
      const consumer = world.consume({
        script: async (attempt) => {
          await attempt.aborted()
          await attempt.ended
          return { kind: 'cancelled', reason: 'stopped' }
        }
      })
      const attempt = await world.claimed(consumer, 1)
      const verdict = await second.cancel(id, 'not wanted')
      assert.equal(verdict?.kind, 'requested')
      assert.equal(verdict?.job.id, id)
      await world.until('the attempt is aborted', () => attempt.aborts.length > 0)
      assert.deepEqual(attempt.aborts, ['cancelled'])
      const stopping = await world.read(id)
      assert.equal(stopping.state, 'in-progress', 'it is in progress until its attempt has stopped')
      assert.equal(stopping.cancelRequested, true)
      assert.equal((await world.store.cancel(id, 'again'))?.kind, 'requested')
      attempt.end(COMPLETED)
      const record = await world.state(id, 'cancelled')
      assert.equal(record.cancelRequested, false)
      await world.until('the attempt heard', () => attempt.verdicts.length > 0)
      assert.deepEqual(attempt.verdicts, [{ kind: 'stored' }])
      assert.deepEqual(attempt.aborts, ['cancelled'], 'aborted once')
    }
  },
  {
    name: 'a running job that completes in spite of a cancel is completed',
    async run (world) {
      const id = await world.create()
      const consumer = world.consume()
      const attempt = await world.claimed(consumer, 1)
      assert.equal((await cancelled(world, id)).kind, 'requested')
      assert.deepEqual(await world.settle(attempt, COMPLETED), { kind: 'stored' })
      const record = await world.read(id)
      assert.equal(record.state, 'completed')
      assert.equal(record.cancelRequested, false)
      assert.equal((await cancelled(world, id)).kind, 'finished')
    }
  },
  {
    name: 'a job that was asked to stop is not run again, whatever its attempt says',
    async run (world) {
      const consumer = world.consume()
      const endings = [
        { kind: 'retry', error: { code: 'E', message: 'e' }, delayMs: 0 }, { kind: 'snooze', delayMs: 1 }, { kind: 'release' }
      ] as const
      for (const [index, ending] of endings.entries()) {
        const id = await world.create()
        const attempt = await world.claimed(consumer, index + 1)
        await cancelled(world, id)
        await world.settle(attempt, ending)
        await world.state(id, 'cancelled')
      }
      await world.elapse(world.timing.shortMs)
      assert.equal(consumer.attempts.length, endings.length)
    }
  },
  {
    name: 'a job that is over cannot be cancelled any more',
    async run (world) {
      const done = await world.create()
      const failed = await world.create()
      world.consume({ script: ({ id }) => id === done ? COMPLETED : { kind: 'failed', error: { code: 'E', message: 'e' } } })
      await world.state(done, 'completed')
      await world.state(failed, 'failed')
      for (const [id, state] of [[done, 'completed'], [failed, 'failed']] as const) {
        const verdict = await cancelled(world, id)
        assert.equal(verdict.kind, 'finished')
        assert.equal(verdict.job.state, state)
        assert.equal((await world.read(id)).state, state)
      }
    }
  },
  {
    name: 'cancels that race with claims end consistently: every job is over once, and cancelled in the queue means never run',
    async run (world) {
      const second = await world.second()
      const ids = await world.createMany(100)
      const consumer = world.consume({
        concurrency: 8,
        script: async (attempt) => {
          for (let n = 0; n < 3; n++) await turn()
          return attempt.aborts.length > 0 ? { kind: 'cancelled', reason: 'stopped' } : COMPLETED
        }
      })
      await world.claimed(consumer, 4)
      const verdicts = await Promise.all(ids.map(async (id, n) => {
        if (n % 10 === 9) await turn()
        return await (n % 2 === 0 ? world.store : second).cancel(id, 'race')
      }))
      await world.until('all are over', async () => {
        const { states } = await world.store.counts('conformance')
        return states.completed + states.cancelled === ids.length
      })
      const ran = new Set(consumer.ids)
      for (const [n, id] of ids.entries()) {
        const { state } = await world.read(id)
        const verdict = verdicts[n]
        assert.ok(state === 'completed' || state === 'cancelled', `${state} is an end`)
        if (verdict?.kind === 'cancelled' && !verdict.already) {
          assert.equal(state, 'cancelled')
          assert.equal(ran.has(id), false, 'a job that was cancelled while it waited never ran')
        }
        if (verdict?.kind === 'finished') assert.equal(state, 'completed')
        if (state === 'completed') assert.equal(ran.has(id), true)
      }
      assert.equal(ran.size, consumer.ids.length, 'no job ran twice')
    }
  }
]
