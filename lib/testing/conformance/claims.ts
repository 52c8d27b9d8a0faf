import { strict as assert } from 'node:assert'
import { setImmediate as turn } from 'node:timers/promises'
import { COMPLETED, type ConformanceCase } from './world.ts'

/** Clocks of two processes, or a clock and a timer, may differ by this much. */
const SLACK_MS = 5

export const claimCases: readonly ConformanceCase[] = [
  {
    name: 'jobs are claimed first in, first out',
    async run (world) {
      const ids = await world.createMany(40)
      const consumer = world.consume({ script: () => COMPLETED })
      await world.until('all are claimed', () => consumer.attempts.length === ids.length)
      assert.deepEqual(consumer.ids, ids)
    }
  },
  {
    name: 'no priority runs before every priority, 1 before 2, equal ones first in, first out',
    async run (world) {
      const priorities = [5, 1_000_000, 1, 0, 3, 1, 0, 5, 0, 3, 2, 1]
      const jobs: Array<{ id: string, priority: number }> = []
      for (const priority of priorities) jobs.push({ id: await world.create({ priority }), priority })
      // A stable sort keeps the order of creation among equals.
      const expected = [...jobs].sort((a, b) => a.priority - b.priority).map(({ id }) => id)
      const consumer = world.consume({ script: () => COMPLETED })
      await world.until('all are claimed', () => consumer.attempts.length === jobs.length)
      assert.deepEqual(consumer.ids, expected)
    }
  },
  {
    name: 'a claim holds the job as it is now: in progress, first attempt, available since its creation',
    async run (world) {
      const before = world.now()
      const id = await world.create({ owner: 'o' })
      const consumer = world.consume()
      const { claim } = await world.claimed(consumer, 1)
      assert.equal(claim.job.id, id)
      assert.equal(claim.job.state, 'in-progress')
      assert.equal(claim.job.attempts, 1)
      assert.equal(claim.job.owner, 'o')
      assert.equal(claim.stalled, false)
      assert.ok(Math.abs(claim.availableAt - claim.job.createdAt) <= SLACK_MS, 'available since its creation')
      assert.ok(typeof claim.job.startedAt === 'number' && claim.job.startedAt >= before - SLACK_MS, 'it says when it started')
      const record = await world.read(id)
      assert.equal(record.state, 'in-progress')
      assert.equal(record.attempts, 1)
      assert.equal(consumer.consumer.active, 1)
      assert.equal(consumer.consumer.queue, 'conformance')
      assert.deepEqual(await world.settle(consumer.at(0), COMPLETED), { kind: 'stored' })
      await world.until('no attempt is under way', () => consumer.consumer.active === 0)
    }
  },
  {
    name: 'every moment of a job comes from one clock, in the order in which things happened',
    async run (world) {
      const before = world.now()
      const createdAt = world.now()
      const id = await world.create({ createdAt, runAt: createdAt + world.timing.shortMs })
      await world.elapse(world.timing.shortMs)
      const consumer = world.consume()
      const { claim } = await world.claimed(consumer, 1)
      await world.settle(consumer.at(0), COMPLETED)
      const after = world.now()
      const job = await world.read(id)
      assert.equal(job.createdAt, createdAt)
      const moments = [before, job.createdAt, job.runAt, job.startedAt, job.finishedAt, after]
      for (const [index, moment] of moments.entries()) {
        assert.ok(moment !== undefined && moment + SLACK_MS >= (moments[index - 1] ?? 0), `moment ${index} of ${moments.join(', ')}`)
      }
      assert.ok(Math.abs(claim.availableAt - job.runAt) <= SLACK_MS, 'available since it was due')
    }
  },
  {
    name: 'a delayed job is scheduled, and claimed when its time has come, not before',
    async run (world) {
      const consumer = world.consume({ script: () => COMPLETED })
      const runAt = world.now() + world.timing.shortMs
      const id = await world.create({ runAt })
      const record = await world.read(id)
      assert.equal(record.state, 'scheduled')
      assert.equal(record.runAt, runAt)
      const prompt = await world.create()
      const first = await world.claimed(consumer, 1)
      assert.equal(first.id, prompt, 'a job without delay overtakes it')
      const { claim } = await world.claimed(consumer, 2)
      assert.equal(claim.job.id, id)
      assert.ok((claim.job.startedAt ?? 0) >= runAt - SLACK_MS, 'not before its time')
      assert.ok(Math.abs(claim.availableAt - runAt) <= SLACK_MS, 'the queue wait counts from its time')
    }
  },
  {
    name: 'delayed jobs become due in the order of their times',
    async run (world) {
      const now = world.now()
      const { shortMs } = world.timing
      const late = await world.create({ runAt: now + shortMs * 2 })
      const early = await world.create({ runAt: now + shortMs })
      const consumer = world.consume({ script: () => COMPLETED })
      await world.claimed(consumer, 2)
      assert.deepEqual(consumer.ids, [early, late])
    }
  },
  {
    name: 'an idle consumer gets a job that is created later',
    async run (world) {
      const consumer = world.consume({ script: () => COMPLETED })
      for (let n = 1; n <= 3; n++) {
        const id = await world.create()
        assert.equal((await world.claimed(consumer, n)).id, id)
        await world.state(id, 'completed')
      }
    }
  },
  {
    name: 'a consumer fills its concurrency and never exceeds it',
    async run (world) {
      const ids = await world.createMany(14)
      const consumer = world.consume({ concurrency: 4 })
      await world.claimed(consumer, 4)
      await world.elapse(world.timing.shortMs)
      assert.equal(consumer.attempts.length, 4, 'four are claimed while none has ended')
      assert.equal(consumer.consumer.active, 4)
      await world.settle(consumer.at(2), COMPLETED)
      await world.claimed(consumer, 5)
      for (let n = 0; n < ids.length; n++) await world.settle(await world.claimed(consumer, n + 1), COMPLETED)
      assert.ok(consumer.peak <= 4, `at most 4 at a time, not ${consumer.peak}`)
      assert.equal(new Set(consumer.ids).size, ids.length)
    }
  },
  {
    name: 'queues are separate',
    async run (world) {
      const a = await world.create({ queue: 'a' })
      const b = await world.create({ queue: 'b' })
      const ofB = world.consume({ queue: 'b', script: () => COMPLETED })
      await world.state(b, 'completed')
      assert.deepEqual(ofB.ids, [b])
      assert.equal((await world.read(a)).state, 'queued')
      const ofA = world.consume({ queue: 'a', script: () => COMPLETED })
      await world.state(a, 'completed')
      assert.deepEqual(ofA.ids, [a])
    }
  },
  {
    name: 'two consumers share a queue and never run one job at the same time, or twice',
    async run (world) {
      const second = await world.second()
      const running = new Set<string>()
      const doubled: string[] = []
      const script = async ({ id }: { id: string }): Promise<typeof COMPLETED> => {
        if (running.has(id)) doubled.push(id)
        running.add(id)
        await turn()
        running.delete(id)
        return COMPLETED
      }
      const one = world.consume({ concurrency: 5, script })
      const two = world.consume({ concurrency: 5, script, store: second })
      const ids = await Promise.all(Array.from({ length: 200 }, (_, n) => world.create({}, n % 2 === 0 ? world.store : second)))
      await world.until('all are settled', () => [...one.attempts, ...two.attempts].filter((attempt) => attempt.verdict?.kind === 'stored').length >= ids.length)
      const claimed = [...one.ids, ...two.ids]
      assert.deepEqual([...claimed].sort(), [...ids].sort(), 'every job is claimed once')
      assert.deepEqual(doubled, [])
    }
  },
  {
    name: 'a consumer proves that it works: by a claim, and by looking into an empty queue',
    async run (world) {
      const { clock } = world.host.context
      const consumer = world.consume({ script: () => COMPLETED })
      const before = clock.monotonic()
      await world.create()
      await world.claimed(consumer, 1)
      await world.until('the claim counts as proof', () => consumer.consumer.lastSeenAt >= before)
      const idle = clock.monotonic() + 1
      await world.until('a look into the empty queue counts as proof', () => consumer.consumer.lastSeenAt >= idle)
      assert.deepEqual(consumer.errors, [])
    }
  },
  {
    name: 'a consumer that can be resized takes as many jobs as it has places then',
    async run (world) {
      const consumer = world.consume({ concurrency: 1 })
      if (consumer.consumer.resize === undefined) return
      await world.createMany(6)
      const first = await world.claimed(consumer, 1)
      consumer.consumer.resize(3)
      // Nothing ends meanwhile: the free places alone are the reason to claim.
      await world.claimed(consumer, 3)
      await world.elapse(world.timing.shortMs)
      assert.equal(consumer.attempts.length, 3)
      consumer.consumer.resize(1)
      await world.settle(first, COMPLETED)
      await world.settle(consumer.at(1), COMPLETED)
      await world.elapse(world.timing.shortMs)
      assert.ok(consumer.attempts.length <= 4, 'no more than one is under way besides what a claim on its way has brought')
      for (let index = 2; index < 6; index++) await world.settle(await world.claimed(consumer, index + 1), COMPLETED)
      assert.equal(consumer.peak, 3)
    }
  }
]
