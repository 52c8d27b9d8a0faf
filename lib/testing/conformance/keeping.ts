import { strict as assert } from 'node:assert'
import { COMPLETED, completed, type ConformanceCase, type World } from './world.ts'

const HOUR = 3_600_000

/** Runs every job that waits to its end, one after the other. */
async function runAll (world: World, ids: readonly string[], result?: string): Promise<void> {
  const consumer = world.consume({ script: () => result === undefined ? COMPLETED : completed(result) })
  await world.until('every job has been run', () => consumer.attempts.filter(({ verdict }) => verdict !== undefined).length >= ids.length)
}

/** Waits until a job is no longer there. */
async function gone (world: World, id: string): Promise<void> {
  await world.until(`job ${id} is forgotten`, async () => await world.store.get(id) === undefined)
}

/** What a store keeps of jobs that are over, and for whom. */
export const keepingCases: readonly ConformanceCase[] = [
  {
    name: 'what was submitted is dropped when the job is completed or cancelled, and kept for the redrive of a failed one',
    async run (world) {
      const input = { body: { text: 'x'.repeat(10_000) }, params: { id: '7' }, query: {}, headers: {} }
      const cancelled = await world.create({ input, runAt: world.now() + HOUR })
      assert.equal(JSON.stringify(await world.store.input(cancelled)), JSON.stringify(input))
      await world.store.cancel(cancelled, 'no longer wanted')
      await world.until('the input of a cancelled job is gone', async () => await world.store.input(cancelled) === undefined)

      const failed = await world.create({ input })
      const consumer = world.consume()
      await world.settle(await world.claimed(consumer, 1), { kind: 'failed', error: { code: 'E', message: 'no' } })
      assert.equal(JSON.stringify(await world.store.input(failed)), JSON.stringify(input), 'a failed job keeps it')
      await world.store.redrive(failed)
      const again = await world.claimed(consumer, 2)
      assert.equal(JSON.stringify(again.claim.job.input), JSON.stringify(input), 'and is redriven with it')
      await world.settle(again, completed('"done"'))
      await world.until('the input of a completed job is gone', async () => await world.store.input(failed) === undefined)
      assert.equal(await world.store.result(failed), '"done"')

      const running = await world.create({ input })
      const attempt = await world.claimed(consumer, 3)
      await world.store.cancel(running, 'stop')
      await world.settle(attempt, { kind: 'cancelled', reason: 'stop' })
      await world.until('the input of a job cancelled while it ran is gone', async () => await world.store.input(running) === undefined)
    }
  },
  {
    name: 'an idempotency key outlives its job: the id is still known, and nothing is run a second time',
    needs: 'retention',
    settings: () => ({ retention: { completedMs: HOUR, failedMs: HOUR, maxCount: 2 } }),
    async run (world) {
      const idempotency = { key: 'ab'.repeat(32), fingerprint: 'aa', ttlMs: HOUR }
      const first = await world.create({ idempotency })
      const others = await world.createMany(6)
      await runAll(world, [first, ...others])
      await gone(world, first)
      const again = await world.store.create(world.job({ idempotency }))
      assert.deepEqual(again, { created: false, id: first, job: undefined, sameRequest: true })
      const other = await world.store.create(world.job({ idempotency: { ...idempotency, fingerprint: 'bb' } }))
      assert.deepEqual(other, { created: false, id: first, job: undefined, sameRequest: false })
    }
  },
  {
    name: 'one owner cannot push out the finished jobs of another',
    needs: 'retention',
    settings: () => ({ retention: { completedMs: HOUR, failedMs: HOUR, maxCount: 8, maxPerOwner: 2 } }),
    async run (world) {
      const mine = await world.create({ owner: 'mine' })
      const theirs = await world.createMany(7, { owner: 'theirs' })
      await runAll(world, [mine, ...theirs])
      const [oldest] = theirs
      assert.ok(oldest)
      // A store may look at the limit of an owner only when this owner comes again.
      await world.create({ owner: 'theirs', runAt: world.now() + HOUR })
      await gone(world, oldest)
      assert.equal((await world.read(mine)).state, 'completed')
      const newest = theirs.at(-1)
      assert.ok(newest)
      assert.equal((await world.read(newest)).state, 'completed', 'the newest of the other one are there as well')
    }
  },
  {
    name: 'what finished jobs have left takes no more bytes than maxBytes: the oldest go first',
    needs: 'retention',
    settings: () => ({ retention: { completedMs: HOUR, failedMs: HOUR, maxCount: 100, maxBytes: 100_000 } }),
    async run (world) {
      const ids = await world.createMany(10)
      await runAll(world, ids, JSON.stringify('x'.repeat(30_000)))
      const [oldest] = ids
      const newest = ids.at(-1)
      assert.ok(oldest !== undefined && newest !== undefined)
      await gone(world, oldest)
      assert.equal((await world.store.result(newest))?.length, 30_002, 'the newest is still there')
      const kept = await Promise.all(ids.map(async (id) => (await world.store.result(id))?.length ?? 0))
      assert.ok(kept.reduce((sum, bytes) => sum + bytes) <= 100_000, `${kept.filter(Boolean).length} results are kept`)
    }
  },
  {
    name: 'maxBytes never takes the job that ended last, however large: its client has yet to read it',
    needs: 'retention',
    settings: () => ({ retention: { completedMs: HOUR, failedMs: HOUR, maxCount: 100, maxBytes: 10_000 } }),
    async run (world) {
      const before = await world.create({ owner: 'first' })
      const huge = await world.create({ owner: 'second' })
      await runAll(world, [before, huge], JSON.stringify('x'.repeat(30_000)))
      assert.equal((await world.store.result(huge))?.length, 30_002, 'the newest is still there')
      await gone(world, before)
    }
  }
]
