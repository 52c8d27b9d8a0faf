import { strict as assert } from 'node:assert'
import { JOB_STATES } from '../../jobs/states.ts'
import { COMPLETED, completed, type ConformanceCase } from './world.ts'

const ERROR = { code: 'E_TEST', message: 'went wrong' }
const SLACK_MS = 5

export const manageCases: readonly ConformanceCase[] = [
  {
    name: 'a failed job can be redriven: same id, fresh attempts',
    async run (world) {
      const id = await world.create({ maxAttempts: 2 })
      let broken = true
      const consumer = world.consume({
        script: ({ claim }) => {
          if (!broken) return completed('"ok"')
          return claim.job.attempts < 2 ? { kind: 'retry', error: ERROR, delayMs: 0 } : { kind: 'failed', error: ERROR }
        }
      })
      assert.equal((await world.state(id, 'failed')).attempts, 2)
      broken = false
      consumer.consumer.pause()
      const verdict = await world.store.redrive(id)
      assert.equal(verdict?.kind, 'redriven')
      assert.equal(verdict?.job.id, id)
      const waiting = await world.read(id)
      assert.equal(waiting.state, 'queued')
      assert.equal(waiting.attempts, 0)
      assert.equal(waiting.finishedAt, undefined)
      consumer.consumer.resume()
      const record = await world.state(id, 'completed')
      assert.equal(record.attempts, 1)
      assert.equal(await world.store.result(id), '"ok"')
    }
  },
  {
    name: 'redrives are counted by the store, and a limit on them holds for every process',
    async run (world) {
      const id = await world.create({ maxAttempts: 1 })
      world.consume({ script: () => ({ kind: 'failed', error: ERROR }) })
      const stores = [world.store, await world.second()] as const
      for (let times = 0; times < 3; times++) {
        assert.equal((await world.state(id, 'failed')).redrives, times)
        const verdict = await stores[times % 2]?.redrive(id, 3)
        assert.equal(verdict?.kind, 'redriven')
        assert.equal(verdict?.job.redrives, times + 1)
      }
      await world.state(id, 'failed')
      for (const store of stores) {
        const verdict = await store.redrive(id, 3)
        assert.equal(verdict?.kind, 'limit')
        assert.equal(verdict?.job.state, 'failed')
        assert.equal(verdict?.job.redrives, 3)
      }
      assert.equal((await world.store.redrive(id))?.kind, 'redriven', 'without a limit there is none')
      await world.state(id, 'failed')
      assert.equal((await world.store.redrive(id, 0))?.kind, 'limit')
    }
  },
  {
    name: 'only a failed job can be redriven',
    async run (world) {
      const done = await world.create()
      const stopped = await world.create()
      const consumer = world.consume()
      await world.settle(await world.claimed(consumer, 1), COMPLETED)
      await world.settle(await world.claimed(consumer, 2), { kind: 'cancelled', reason: 'x' })
      const running = await world.create()
      await world.claimed(consumer, 3)
      const queued = await world.create()
      const scheduled = await world.create({ runAt: world.now() + 3_600_000 })
      const expected = [[done, 'completed'], [stopped, 'cancelled'], [running, 'in-progress'], [queued, 'queued'], [scheduled, 'scheduled']] as const
      for (const [id, state] of expected) {
        const verdict = await world.store.redrive(id)
        assert.equal(verdict?.kind, 'not-failed', state)
        assert.equal(verdict?.job.state, state)
        assert.equal((await world.read(id)).state, state)
      }
    }
  },
  {
    name: 'remove forgets a job that is over or waits, and leaves one in progress alone',
    async run (world) {
      const done = await world.create()
      const consumer = world.consume()
      await world.settle(await world.claimed(consumer, 1), completed('1'))
      const running = await world.create()
      const attempt = await world.claimed(consumer, 2)
      const queued = await world.create()
      const scheduled = await world.create({ runAt: world.now() + world.timing.shortMs })
      assert.equal(await world.store.remove(running), 'active')
      for (const id of [done, queued, scheduled]) {
        assert.equal(await world.store.remove(id), 'removed')
        assert.equal(await world.store.get(id), undefined)
        assert.equal(await world.store.result(id), undefined)
        assert.equal(await world.store.remove(id), undefined)
      }
      assert.deepEqual(await world.settle(attempt, COMPLETED), { kind: 'stored' })
      await world.elapse(world.timing.shortMs * 2)
      assert.equal(consumer.attempts.length, 2, 'a removed job does not run')
      assert.equal((await world.read(running)).state, 'completed')
    }
  },
  {
    name: 'progress is stored and can be read; after the end of the attempt it is refused',
    async run (world) {
      const id = await world.create()
      const consumer = world.consume()
      const attempt = await world.claimed(consumer, 1)
      const progress = { done: 3, total: 10, message: 'loading ünïcödé' }
      assert.equal(await world.store.progress(attempt.claim, progress), true)
      assert.deepEqual((await world.read(id)).progress, progress)
      assert.equal(await world.store.progress(attempt.claim, { done: 4 }), true)
      assert.equal((await world.read(id)).progress?.done, 4)
      await world.settle(attempt, COMPLETED)
      assert.equal(await world.store.progress(attempt.claim, { done: 9 }), false)
      assert.notEqual((await world.read(id)).progress?.done, 9)
    }
  },
  {
    name: 'counts are given for each state, with the moment since which the oldest job waits',
    async run (world) {
      const unused = await world.store.counts('nobody-used-it')
      assert.equal(unused.queue, 'nobody-used-it')
      assert.deepEqual(Object.keys(unused.states).sort(), [...JOB_STATES].sort())
      assert.ok(Object.values(unused.states).every((count) => count === 0), 'a queue nobody used has zeros')
      assert.equal(unused.oldestQueuedAt, undefined)
      assert.equal(unused.stuck, 0)

      const consumer = world.consume({ concurrency: 5 })
      await world.createMany(5)
      await world.claimed(consumer, 5)
      await world.settle(consumer.at(0), COMPLETED)
      await world.settle(consumer.at(1), COMPLETED)
      await world.settle(consumer.at(2), { kind: 'failed', error: ERROR })
      await world.settle(consumer.at(3), { kind: 'cancelled', reason: 'x' })
      consumer.consumer.pause()
      const oldest = world.now()
      const waiting = await world.createMany(4)
      await world.create({ runAt: world.now() + 3_600_000 })
      await world.store.cancel(waiting[3] ?? '', 'x')
      const expected = { queued: 3, scheduled: 1, 'in-progress': 1, completed: 2, failed: 1, cancelled: 2 }
      let counts = await world.store.counts('conformance')
      await world.until('counts are right', async () => {
        counts = await world.store.counts('conformance')
        return JOB_STATES.every((state) => counts.states[state] === expected[state])
      }).catch(() => assert.deepEqual(counts.states, expected))
      const first = (await world.read(waiting[0] ?? '')).runAt
      assert.ok(first >= oldest - SLACK_MS)
      assert.ok(Math.abs((counts.oldestQueuedAt ?? 0) - first) <= SLACK_MS, 'the oldest waits since its runAt')
      assert.equal(counts.stuck, 0)
    }
  }
]
