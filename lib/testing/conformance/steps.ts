import { strict as assert } from 'node:assert'
import type { Checkpoint, Journal } from '../../jobs/steps.ts'
import type { Claim, JobStore, StepStore } from '../../jobs/store.ts'
import { COMPLETED, completed, refused, type ConformanceCase, type ScriptedAttempt, type ScriptedConsumer, type World } from './world.ts'

/** The key of the fact that is about all steps: the only one that lists show. */
const HEAD = ''

export function stepsOf (store: JobStore): StepStore {
  assert.ok(store.steps, 'the store keeps steps')
  return store.steps
}

export async function write (world: World, { claim }: { readonly claim: Claim }, checkpoint: Partial<Checkpoint>): Promise<void> {
  const verdict = await stepsOf(world.store).checkpoint(claim, { facts: {}, ...checkpoint })
  assert.equal(verdict.stored, true, 'the checkpoint is stored')
}

export async function journal (world: World, id: string, store: JobStore = world.store): Promise<Journal> {
  const found = await stepsOf(store).journal(id)
  assert.ok(found, 'the job has a journal')
  return found
}

/** A job that has done something, in an attempt that goes on. */
export async function begun (world: World, checkpoint: Partial<Checkpoint> = {}): Promise<{ id: string, consumer: ScriptedConsumer, attempt: ScriptedAttempt }> {
  const id = await world.create()
  const consumer = world.consume()
  const attempt = await world.claimed(consumer, 1)
  await write(world, attempt, { facts: { [HEAD]: 'head', one: 'done' }, values: { one: '{"key":1}' }, ...checkpoint })
  return { id, consumer, attempt }
}

/** What is stored, read and dropped. How steps change a wait, a signal and a cancel is in `suspensions.ts`. */
export const stepCases: readonly ConformanceCase[] = [
  {
    name: 'a store that keeps steps declares it, so that they are tested',
    unless: 'steps',
    async run (world) {
      assert.equal(world.store.steps, undefined, 'the store keeps steps: leave capabilities.steps out, or give true')
    }
  },
  {
    name: 'a checkpoint is stored and read back: facts by key, values, in any process',
    needs: 'steps',
    async run (world) {
      const { id, attempt } = await begun(world)
      await write(world, attempt, { facts: { [HEAD]: 'newer', two: 'two' }, values: { two: 'null' } })
      const expected = { facts: { [HEAD]: 'newer', one: 'done', two: 'two' }, values: { one: '{"key":1}', two: 'null' }, signals: {}, cancelReason: undefined, redrives: 0 }
      assert.deepEqual(await journal(world, id), expected)
      assert.deepEqual(await journal(world, id, await world.second()), expected)
      const { facts, state, attempts } = await world.read(id)
      assert.deepEqual({ facts, state, attempts }, { facts: expected.facts, state: 'in-progress', attempts: 1 })
      await world.settle(attempt, COMPLETED)
    }
  },
  {
    name: 'a job without steps has an empty journal and no facts; an unknown one has no journal',
    needs: 'steps',
    async run (world) {
      const id = await world.create()
      assert.deepEqual(await journal(world, id), { facts: {}, values: {}, signals: {}, cancelReason: undefined, redrives: 0 })
      assert.equal((await world.read(id)).facts, undefined)
      const unknown = world.host.context.ids.job()
      assert.equal(await stepsOf(world.store).journal(unknown), undefined)
      assert.equal(await stepsOf(world.store).signal(unknown, 'go', '1'), undefined)
    }
  },
  {
    name: 'the same checkpoint again changes nothing',
    needs: 'steps',
    async run (world) {
      const { id, attempt } = await begun(world)
      const before = await journal(world, id)
      for (let n = 0; n < 3; n++) await write(world, attempt, { facts: { [HEAD]: 'head', one: 'done' }, values: { one: '{"key":1}' } })
      assert.deepEqual(await journal(world, id), before)
      await world.settle(attempt, COMPLETED)
    }
  },
  {
    name: 'keys and texts are kept as they are, whatever characters they have',
    needs: 'steps',
    async run (world) {
      const keys = ['with space', '{braces}', 'a:b', 'a/b', '😀', '__proto__', 'constructor', '=', 'x'.repeat(200)]
      const { id, attempt } = await begun(world)
      await write(world, attempt, { facts: Object.fromEntries(keys.map((key) => [key, `fact of ${key}`])), values: Object.fromEntries(keys.map((key) => [key, JSON.stringify(`value of ${key}\n\u0000`)])) })
      const { facts, values } = await journal(world, id)
      for (const key of keys) {
        assert.equal(Object.getOwnPropertyDescriptor(facts, key)?.value, `fact of ${key}`)
        assert.equal(Object.getOwnPropertyDescriptor(values, key)?.value, JSON.stringify(`value of ${key}\n\u0000`))
      }
      await world.settle(attempt, COMPLETED)
    }
  },
  {
    name: 'a job may have thousands of steps, and a value a quarter of a mebibyte',
    needs: 'steps',
    async run (world) {
      const { id, attempt } = await begun(world)
      const facts = Object.fromEntries(Array.from({ length: 2_500 }, (_, n) => [`step-${n}`, `{"n":${n}}`]))
      const large = JSON.stringify('x'.repeat(262_142))
      const bytes = JSON.stringify(`${'x'.repeat(20_000)} — ✓ \u0000`)
      await write(world, attempt, { facts, values: { large, bytes: Buffer.from(bytes) } })
      const read = await journal(world, id)
      assert.equal(Object.keys(read.facts).length, 2_502)
      assert.equal(read.facts['step-2499'], '{"n":2499}')
      assert.equal(read.values['large'], large)
      assert.equal(read.values['bytes'], bytes, 'what was written as bytes is read as text')
      assert.equal(Object.keys((await world.read(id)).facts ?? {}).length, 2_502)
      await world.settle(attempt, COMPLETED)
    }
  },
  {
    name: 'a list shows only what is about all steps',
    needs: 'steps',
    async run (world) {
      const { id, attempt } = await begun(world)
      const { jobs } = await world.store.list({ limit: 10 })
      assert.deepEqual(jobs.map((job) => [job.id, job.facts]), [[id, { [HEAD]: 'head' }]])
      await world.settle(attempt, COMPLETED)
    }
  },
  {
    name: 'a checkpoint reports progress, and listeners hear of it',
    needs: 'steps',
    async run (world) {
      const { id, attempt } = await begun(world)
      let heard = 0
      const feed = world.store.listen({ changed () { heard++ }, missed () {} })
      await feed.follow({ id, queue: 'conformance' })
      await write(world, attempt, { facts: { two: 'two' }, progress: { done: 2, total: 3 } })
      assert.deepEqual((await world.read(id)).progress, { done: 2, total: 3 })
      await world.until('a listener hears that the job has changed', () => heard > 0)
      feed.close()
      await world.settle(attempt, COMPLETED)
    }
  },
  {
    name: 'an attempt whose lease is lost stores nothing',
    needs: 'steps',
    async run (world) {
      const { id, consumer, attempt } = await begun(world)
      await world.within('the drain gives up', consumer.consumer.drain(0))
      await world.within('the consumer lets go', consumer.consumer.close(0))
      const heir = world.consume({ store: await world.second() })
      const again = await world.claimed(heir, 1, world.timing.stallMs)
      assert.equal(again.claim.stalled, true)
      assert.deepEqual(await stepsOf(world.store).checkpoint(attempt.claim, { facts: { one: 'of a zombie' }, values: { one: '"zombie"' }, undo: true }), { stored: false })
      const { facts, values } = await journal(world, id)
      assert.deepEqual([facts['one'], values['one']], ['done', '{"key":1}'])
      await world.settle(again, COMPLETED)
      assert.deepEqual(await stepsOf(world.store).checkpoint(again.claim, { facts: { one: 'late' } }), { stored: false }, 'nor does one whose job is over')
      assert.equal((await world.read(id)).facts?.['one'], 'done')
    }
  },
  {
    name: 'the steps of a job that stalled, was released or tries again are there for the next attempt',
    needs: 'steps',
    async run (world) {
      const { id, consumer, attempt } = await begun(world)
      await world.settle(attempt, { kind: 'release' })
      const second = await world.claimed(consumer, 2)
      assert.equal(second.claim.again, true)
      assert.equal(second.claim.job.attempts, 1, 'neither a checkpoint nor a release spends an attempt')
      assert.deepEqual((await journal(world, id)).values, { one: '{"key":1}' })
      await world.settle(second, { kind: 'retry', error: { code: 'E', message: 'e' }, delayMs: 1 })
      const third = await world.claimed(consumer, 3)
      assert.deepEqual((await journal(world, id)).values, { one: '{"key":1}' })
      await world.settle(third, COMPLETED)
    }
  },
  {
    name: 'values and signals go when the job completes, facts stay',
    needs: 'steps',
    async run (world) {
      const { id, attempt } = await begun(world)
      assert.deepEqual(await stepsOf(world.store).signal(id, 'go', '1'), { kind: 'stored' })
      await world.settle(attempt, completed('"result"'))
      const { facts, values, signals } = await journal(world, id)
      assert.deepEqual({ facts, values, signals }, { facts: { [HEAD]: 'head', one: 'done' }, values: {}, signals: {} })
      assert.equal(await world.store.result(id), '"result"')
      assert.deepEqual((await world.read(id)).facts, facts)
    }
  },
  {
    name: 'the checkpoint of an ending is stored together with it',
    needs: 'steps',
    async run (world) {
      const { id, attempt } = await begun(world)
      const checkpoint = { facts: { [HEAD]: 'end', two: 'last' }, values: { two: '2' }, progress: { done: 2, total: 2 } }
      assert.deepEqual(await world.settle(attempt, { ...completed('1'), checkpoint } as typeof COMPLETED), { kind: 'stored' })
      const { facts, progress, state } = await world.read(id)
      assert.deepEqual({ facts, progress, state }, { facts: { [HEAD]: 'end', one: 'done', two: 'last' }, progress: { done: 2, total: 2 }, state: 'completed' })
      assert.deepEqual((await journal(world, id)).values, {}, 'its values are not kept')
      assert.equal(await world.store.result(id), '1')
    }
  },
  {
    name: 'a failed job keeps values and signals, and so does its redrive',
    needs: 'steps',
    async run (world) {
      const { id, consumer, attempt } = await begun(world)
      await stepsOf(world.store).signal(id, 'go', '1')
      await world.settle(attempt, { kind: 'failed', error: { code: 'E', message: 'e' } })
      const kept = { facts: { [HEAD]: 'head', one: 'done' }, values: { one: '{"key":1}' }, signals: { go: '1' }, cancelReason: undefined }
      assert.deepEqual(await journal(world, id), { ...kept, redrives: 0 })
      assert.equal((await world.store.redrive(id))?.kind, 'redriven')
      const again = await world.claimed(consumer, 2)
      assert.equal(again.claim.again, true, 'the claim says that the job was claimed before')
      assert.deepEqual(await journal(world, id), { ...kept, redrives: 1 })
      await world.settle(again, COMPLETED)
    }
  },
  {
    name: 'values and signals can be dropped, and stored again in the same checkpoint',
    needs: 'steps',
    async run (world) {
      const { id, attempt } = await begun(world)
      await stepsOf(world.store).signal(id, 'go', '1')
      await write(world, attempt, { facts: { [HEAD]: 'head' }, dropValues: true, values: { two: '2' } })
      const { facts, values, signals } = await journal(world, id)
      assert.deepEqual({ facts, values, signals }, { facts: { [HEAD]: 'head', one: 'done' }, values: { two: '2' }, signals: {} })
      assert.deepEqual(await stepsOf(world.store).signal(id, 'go', '2'), { kind: 'stored' }, 'a signal of that name may be sent again')
      await world.settle(attempt, COMPLETED)
    }
  },
  {
    name: 'a job that is removed takes its steps along',
    needs: 'steps',
    async run (world) {
      const { id, attempt } = await begun(world)
      await world.settle(attempt, { kind: 'failed', error: { code: 'E', message: 'e' } })
      assert.equal(await world.store.remove(id), 'removed')
      assert.equal(await stepsOf(world.store).journal(id), undefined)
      assert.equal(await stepsOf(world.store).signal(id, 'go', '1'), undefined)
    }
  },
  {
    name: 'before it is open, a store refuses steps',
    needs: 'steps',
    async run (world) {
      const claim = { job: { id: world.host.context.ids.job() } } as Claim
      await refused(stepsOf(world.store).journal(claim.job.id))
      await refused(stepsOf(world.store).signal(claim.job.id, 'go', '1'))
    }
  }
]
