import { strict as assert } from 'node:assert'
import type { StoredError } from '../../jobs/job.ts'
import { COMPLETED, completed, type ConformanceCase } from './world.ts'

const ERROR: StoredError = { code: 'E_TEST', message: 'it went wrong: ünïcödé' }
const SLACK_MS = 5

export const settlementCases: readonly ConformanceCase[] = [
  {
    name: 'completed: the result comes back as the text that was given, with its size',
    async run (world) {
      // Odd white space shows that nobody parsed it and wrote it again.
      const texts = ['{"a": 1,\n "b":[ 1,2 ]}', '"ünï 💥"', 'null', '0', `"${'x'.repeat(300_000)}"`]
      const consumer = world.consume()
      for (const [index, text] of texts.entries()) {
        const id = await world.create()
        const attempt = await world.claimed(consumer, index + 1)
        assert.deepEqual(await world.settle(attempt, completed(text)), { kind: 'stored' })
        const record = await world.read(id)
        assert.equal(record.state, 'completed')
        assert.equal(record.resultBytes, Buffer.byteLength(text))
        assert.equal(record.attempts, 1)
        assert.equal(record.error, undefined)
        assert.ok(typeof record.finishedAt === 'number' && record.finishedAt >= (record.startedAt ?? Infinity), 'it finished after it started')
        assert.equal(await world.store.result(id), text)
      }
    }
  },
  {
    name: 'completed without a result: there is none, and the job is completed all the same',
    async run (world) {
      const id = await world.create()
      const consumer = world.consume()
      await world.settle(await world.claimed(consumer, 1), COMPLETED)
      const record = await world.read(id)
      assert.equal(record.state, 'completed')
      assert.equal(record.resultBytes, undefined)
      assert.equal(await world.store.result(id), undefined)
    }
  },
  {
    name: 'failed: the job is over and its error is kept',
    async run (world) {
      const id = await world.create()
      const consumer = world.consume()
      assert.deepEqual(await world.settle(await world.claimed(consumer, 1), { kind: 'failed', error: ERROR }), { kind: 'stored' })
      const record = await world.read(id)
      assert.equal(record.state, 'failed')
      assert.deepEqual(record.error, ERROR)
      assert.equal(record.attempts, 1)
      assert.equal(typeof record.finishedAt, 'number')
      assert.equal(await world.store.result(id), undefined)
      await world.elapse(world.timing.shortMs)
      assert.equal(consumer.attempts.length, 1, 'it is not run again')
    }
  },
  {
    name: 'an error for clients stays marked as one, through retries and hand-backs, and no other is',
    async run (world) {
      const marked: StoredError = { ...ERROR, expose: true }
      const id = await world.create()
      const consumer = world.consume()
      await world.settle(await world.claimed(consumer, 1), { kind: 'retry', error: marked, delayMs: 0 })
      assert.deepEqual((await world.claimed(consumer, 2)).claim.job.error, marked)
      await world.settle(consumer.at(1), { kind: 'snooze', delayMs: 0 })
      await world.settle(await world.claimed(consumer, 3), { kind: 'release' })
      assert.deepEqual((await world.claimed(consumer, 4)).claim.job.error, marked)
      await world.settle(consumer.at(3), { kind: 'retry', error: ERROR, delayMs: 0 })
      assert.deepEqual((await world.claimed(consumer, 5)).claim.job.error, ERROR)
      await world.settle(consumer.at(4), { kind: 'failed', error: marked })
      assert.deepEqual((await world.read(id)).error, marked)
    }
  },
  {
    name: 'cancelled by its attempt: the job is over, neither completed nor failed',
    async run (world) {
      const id = await world.create()
      const consumer = world.consume()
      assert.deepEqual(await world.settle(await world.claimed(consumer, 1), { kind: 'cancelled', reason: 'not wanted' }), { kind: 'stored' })
      const record = await world.read(id)
      assert.equal(record.state, 'cancelled')
      assert.equal(record.cancelRequested, false)
      assert.equal(typeof record.finishedAt, 'number')
    }
  },
  {
    name: 'retry: scheduled for later, the attempt is spent, the error is kept until a success',
    async run (world) {
      const id = await world.create()
      const consumer = world.consume()
      const delayMs = world.timing.shortMs
      const settledAt = world.now()
      await world.settle(await world.claimed(consumer, 1), { kind: 'retry', error: ERROR, delayMs })
      const waiting = await world.read(id)
      if (waiting.state !== 'in-progress') {
        assert.equal(waiting.state, 'scheduled')
        assert.equal(waiting.attempts, 1)
        assert.deepEqual(waiting.error, ERROR)
        assert.ok(waiting.runAt >= settledAt + delayMs - SLACK_MS, 'runAt is the end of the backoff')
        assert.equal(waiting.finishedAt, undefined)
      }
      const { claim } = await world.claimed(consumer, 2)
      assert.equal(claim.job.attempts, 2)
      assert.equal(claim.stalled, false)
      assert.ok(claim.availableAt >= settledAt + delayMs - SLACK_MS, 'the queue wait counts from the end of the backoff')
      assert.ok((claim.job.startedAt ?? 0) >= settledAt + delayMs - SLACK_MS, 'the backoff is kept')
      await world.settle(consumer.at(1), completed('1'))
      const record = await world.read(id)
      assert.equal(record.state, 'completed')
      assert.equal(record.attempts, 2)
      assert.equal(record.error, undefined)
    }
  },
  {
    name: 'retry without a delay comes back at once, and every retry counts',
    async run (world) {
      const id = await world.create()
      const consumer = world.consume({ script: ({ claim }) => claim.job.attempts < 4 ? { kind: 'retry', error: ERROR, delayMs: 0 } : COMPLETED })
      const record = await world.state(id, 'completed')
      assert.equal(record.attempts, 4)
      assert.deepEqual(consumer.attempts.map(({ claim }) => claim.job.attempts), [1, 2, 3, 4])
    }
  },
  {
    name: 'snooze: scheduled for later, no attempt is spent',
    async run (world) {
      const id = await world.create()
      const consumer = world.consume()
      const delayMs = world.timing.shortMs
      const settledAt = world.now()
      await world.settle(await world.claimed(consumer, 1), { kind: 'snooze', delayMs })
      const waiting = await world.read(id)
      if (waiting.state !== 'in-progress') {
        assert.equal(waiting.state, 'scheduled')
        assert.equal(waiting.attempts, 0)
      }
      const { claim } = await world.claimed(consumer, 2)
      assert.equal(claim.job.attempts, 1)
      assert.ok((claim.job.startedAt ?? 0) >= settledAt + delayMs - SLACK_MS, 'it sleeps as long as it asked for')
      await world.settle(consumer.at(1), COMPLETED)
      assert.equal((await world.read(id)).attempts, 1)
    }
  },
  {
    name: 'release: back in the queue at once, no attempt is spent',
    async run (world) {
      const id = await world.create()
      const consumer = world.consume()
      const first = await world.claimed(consumer, 1)
      consumer.consumer.pause()
      assert.deepEqual(await world.settle(first, { kind: 'release' }), { kind: 'stored' })
      const waiting = await world.read(id)
      assert.equal(waiting.state, 'queued')
      assert.equal(waiting.attempts, 0)
      const other = world.consume({ store: await world.second() })
      const { claim } = await world.claimed(other, 1)
      assert.equal(claim.job.id, id)
      assert.equal(claim.job.attempts, 1)
      assert.equal(claim.stalled, false)
    }
  },
  {
    name: 'every attempt hears exactly once what became of its settlement',
    async run (world) {
      await world.createMany(30)
      const consumer = world.consume({
        concurrency: 3,
        script: ({ claim }) => {
          const n = (claim.job.input.body as { n: number }).n
          if (claim.job.attempts === 1 && n % 3 === 0) return { kind: 'retry', error: ERROR, delayMs: 0 }
          return n % 3 === 1 ? { kind: 'failed', error: ERROR } : COMPLETED
        }
      })
      await world.until('all are settled', () => consumer.attempts.length === 40 && consumer.attempts.every(({ verdicts }) => verdicts.length > 0))
      for (const { verdicts } of consumer.attempts) assert.deepEqual(verdicts, [{ kind: 'stored' }])
      const { states } = await world.store.counts('conformance')
      assert.deepEqual({ completed: states.completed, failed: states.failed }, { completed: 20, failed: 10 })
    }
  }
]
