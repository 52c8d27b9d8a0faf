import { strict as assert } from 'node:assert'
import type { Settlement } from '../../jobs/store.ts'
import type { SagaCounts } from '../../jobs/steps.ts'
import { begun, journal, stepsOf, write } from './steps.ts'
import { COMPLETED, type ConformanceCase, type World } from './world.ts'

const FOREVER_MS = 3_600_000

/** As settlements: `World.settle` takes no narrower type. */
function suspend (delayMs: number, more: { signal?: string, cancelKnown?: boolean, facts?: Record<string, string> } = {}): Settlement {
  const { facts, ...rest } = more
  return { kind: 'suspend', delayMs, ...rest, checkpoint: facts === undefined ? undefined : { facts } }
}

async function counts (world: World): Promise<SagaCounts> {
  const { sagas } = await world.store.counts('conformance')
  assert.ok(sagas, 'the counts say how many sagas there are')
  return sagas
}

/** How a job with steps waits, and how signals and cancels end its wait. */
export const suspensionCases: readonly ConformanceCase[] = [
  {
    name: 'a suspended job is claimed again after its time and not before, and no attempt is spent',
    needs: 'steps',
    async run (world) {
      const { id, consumer, attempt } = await begun(world)
      const { shortMs } = world.timing
      const at = world.now()
      assert.deepEqual(await world.settle(attempt, suspend(shortMs, { facts: { two: 'asleep' } })), { kind: 'stored' })
      const waiting = await world.read(id)
      assert.equal(waiting.attempts, 0)
      if (waiting.state !== 'in-progress') assert.equal(waiting.state, 'scheduled')
      assert.deepEqual(waiting.facts, { '': 'head', one: 'done', two: 'asleep' }, 'its checkpoint is stored with it')
      const next = await world.claimed(consumer, 2)
      assert.equal(next.claim.again, true)
      assert.equal(next.claim.job.attempts, 1)
      assert.ok((next.claim.job.startedAt ?? 0) >= at + shortMs - 5, 'not before its time')
      await world.settle(next, COMPLETED)
    }
  },
  {
    name: 'a suspended job holds no slot',
    needs: 'steps',
    async run (world) {
      const { id, consumer, attempt } = await begun(world)
      await world.settle(attempt, suspend(FOREVER_MS, { signal: 'go' }))
      const other = await world.create()
      assert.equal((await world.claimed(consumer, 2)).id, other)
      assert.equal((await world.read(id)).state, 'scheduled')
      await world.settle(consumer.at(1), COMPLETED)
    }
  },
  {
    name: 'a signal from any process wakes the job that waits for it, and the first value counts',
    needs: 'steps',
    async run (world) {
      const { id, consumer, attempt } = await begun(world)
      const second = await world.second()
      await world.settle(attempt, suspend(FOREVER_MS, { signal: 'go' }))
      assert.equal((await counts(world)).awaitingSignal, 1)
      assert.deepEqual(await stepsOf(second).signal(id, 'other', '1'), { kind: 'stored' })
      await world.elapse(world.timing.shortMs)
      assert.equal(consumer.attempts.length, 1, 'a signal of another name does not wake it')
      assert.deepEqual(await stepsOf(second).signal(id, 'go', '"yes"'), { kind: 'stored' })
      const next = await world.claimed(consumer, 2)
      assert.equal(next.claim.job.attempts, 1)
      assert.deepEqual((await journal(world, id)).signals, { go: '"yes"', other: '1' })
      assert.deepEqual(await stepsOf(world.store).signal(id, 'go', '"yes"'), { kind: 'repeated' })
      assert.deepEqual(await stepsOf(second).signal(id, 'go', '"no"'), { kind: 'conflict' })
      assert.equal((await journal(world, id)).signals['go'], '"yes"')
      assert.equal((await counts(world)).awaitingSignal, 0)
      await world.settle(next, COMPLETED)
      assert.deepEqual(await stepsOf(world.store).signal(id, 'late', '1'), { kind: 'finished' })
    }
  },
  {
    name: 'a job that waits for a signal with a colon is woken, and is not counted as a saga',
    needs: 'steps',
    async run (world) {
      const { id, consumer, attempt } = await begun(world)
      await world.settle(attempt, suspend(FOREVER_MS, { signal: ':go' }))
      assert.equal((await counts(world)).awaitingSignal, 0)
      assert.deepEqual(await stepsOf(world.store).signal(id, ':go', 'null'), { kind: 'stored' })
      const next = await world.claimed(consumer, 2)
      assert.deepEqual((await journal(world, id)).signals, { ':go': 'null' })
      await world.settle(next, COMPLETED)
    }
  },
  {
    name: 'of signals with different values at one time one is stored',
    needs: 'steps',
    async run (world) {
      const { id, consumer, attempt } = await begun(world)
      await world.settle(attempt, suspend(FOREVER_MS, { signal: 'go' }))
      const second = await world.second()
      const verdicts = await Promise.all(Array.from({ length: 20 }, (_, n) => stepsOf(n % 2 === 0 ? world.store : second).signal(id, 'go', String(n))))
      assert.equal(verdicts.filter((verdict) => verdict?.kind === 'stored').length, 1)
      assert.equal(verdicts.filter((verdict) => verdict?.kind === 'conflict').length, 19)
      await world.settle(await world.claimed(consumer, 2), COMPLETED)
      await world.elapse(world.timing.shortMs)
      assert.equal(consumer.attempts.length, 2, 'it is woken once')
    }
  },
  {
    name: 'a signal that was stored before the wait ends it at once',
    needs: 'steps',
    async run (world) {
      const { id, consumer, attempt } = await begun(world)
      assert.deepEqual(await stepsOf(world.store).signal(id, 'go', '1'), { kind: 'stored' })
      await world.settle(attempt, suspend(FOREVER_MS, { signal: 'go' }))
      const next = await world.claimed(consumer, 2)
      assert.equal(next.claim.job.attempts, 1)
      await world.settle(next, COMPLETED)
    }
  },
  {
    name: 'a signal for a job that was never claimed is kept, and does not hurry it',
    needs: 'steps',
    async run (world) {
      const { shortMs } = world.timing
      const at = world.now()
      const id = await world.create({ runAt: at + shortMs })
      assert.deepEqual(await stepsOf(world.store).signal(id, 'go', '1'), { kind: 'stored' })
      const consumer = world.consume()
      const first = await world.claimed(consumer, 1)
      assert.ok((first.claim.job.startedAt ?? 0) >= at + shortMs - 5, 'not before the time that its submission asked for')
      assert.deepEqual((await journal(world, id)).signals, { go: '1' })
      await world.settle(first, COMPLETED)
    }
  },
  {
    name: 'a suspended job without anything to undo is cancelled where it waits',
    needs: 'steps',
    async run (world) {
      const { id, consumer, attempt } = await begun(world)
      await world.settle(attempt, suspend(FOREVER_MS, { signal: 'go' }))
      assert.equal((await world.store.cancel(id, 'not wanted'))?.kind, 'cancelled')
      const record = await world.read(id)
      assert.equal(record.state, 'cancelled')
      const { values, signals } = await journal(world, id)
      assert.deepEqual({ values, signals }, { values: {}, signals: {} })
      assert.equal((await counts(world)).awaitingSignal, 0)
      await world.elapse(world.timing.shortMs)
      assert.equal(consumer.attempts.length, 1)
    }
  },
  {
    name: 'a cancel of a suspended job that has something to undo wakes it: its attempt is asked to stop, and may go on waiting',
    needs: 'steps',
    async run (world) {
      const { id, consumer, attempt } = await begun(world, { undo: true })
      await world.settle(attempt, suspend(FOREVER_MS, { signal: 'go' }))
      const second = await world.second()
      const verdict = await second.cancel(id, 'not wanted')
      assert.equal(verdict?.kind, 'requested')
      const next = await world.claimed(consumer, 2)
      assert.equal(next.claim.job.cancelRequested, true)
      await world.until('it is asked to stop', () => next.aborts.includes('cancelled'))
      assert.equal((await journal(world, id)).cancelReason, 'not wanted')
      assert.equal((await second.cancel(id, 'again'))?.kind, 'requested')
      await write(world, next, { facts: { '': 'undoing' } })
      assert.deepEqual(await world.settle(next, suspend(world.timing.shortMs, { cancelKnown: true })), { kind: 'stored' }, 'it is not ended in its place')
      const third = await world.claimed(consumer, 3)
      assert.equal(third.claim.job.cancelRequested, true)
      await world.settle(third, { kind: 'cancelled', reason: 'undone' })
      const record = await world.read(id)
      assert.equal(record.state, 'cancelled')
      assert.equal(record.error?.message, 'not wanted')
      assert.deepEqual((await journal(world, id)).values, {})
    }
  },
  {
    name: 'a cancel of a job with something to undo does not end it while it waits for a retry, nor after a stall',
    needs: 'steps',
    async run (world) {
      const { id, consumer, attempt } = await begun(world, { undo: true })
      await world.settle(attempt, { kind: 'retry', error: { code: 'E', message: 'e' }, delayMs: FOREVER_MS })
      assert.equal((await world.store.cancel(id, 'not wanted'))?.kind, 'requested')
      const second = await world.claimed(consumer, 2)
      await world.until('it is asked to stop', () => second.aborts.includes('cancelled'))
      await world.within('the drain gives up', consumer.consumer.drain(0))
      await world.within('the consumer lets go', consumer.consumer.close(0))
      const heir = world.consume()
      const third = await world.claimed(heir, 1, world.timing.stallMs)
      assert.equal(third.id, id)
      assert.equal(third.claim.job.cancelRequested, true)
      await world.settle(third, { kind: 'failed', error: { code: 'E', message: 'could not be undone' } })
      const record = await world.read(id)
      assert.deepEqual([record.state, record.error?.message], ['failed', 'could not be undone'])
    }
  },
  {
    name: 'a running job with something to undo that was asked to stop may be released and postponed',
    needs: 'steps',
    async run (world) {
      const { id, consumer, attempt } = await begun(world, { undo: true })
      await world.store.cancel(id, 'not wanted')
      await world.until('it is asked to stop', () => attempt.aborts.includes('cancelled'))
      const verdict = await stepsOf(world.store).checkpoint(attempt.claim, { facts: { '': 'undoing' } })
      assert.deepEqual(verdict, { stored: true, cancelRequested: true }, 'a checkpoint says so, too')
      for (const [index, settlement] of ([{ kind: 'release' }, { kind: 'snooze', delayMs: 1 }, { kind: 'retry', error: { code: 'E', message: 'e' }, delayMs: 1 }] as const).entries()) {
        assert.deepEqual(await world.settle(consumer.at(index), settlement), { kind: 'stored' })
        await world.claimed(consumer, index + 2)
      }
      await world.settle(consumer.at(3), { kind: 'cancelled', reason: 'undone' })
      await world.state(id, 'cancelled')
    }
  },
  {
    name: 'a cancel that comes before the suspension ends it at once, unless the attempt knows of it',
    needs: 'steps',
    async run (world) {
      const { id, consumer, attempt } = await begun(world, { undo: true })
      await world.store.cancel(id, 'not wanted')
      await world.settle(attempt, suspend(FOREVER_MS, { signal: 'go' }))
      const next = await world.claimed(consumer, 2)
      await write(world, next, { facts: { '': 'undone' }, undo: false })
      await world.settle(next, { kind: 'cancelled', reason: 'undone' })
      assert.equal((await world.read(id)).state, 'cancelled')
    }
  },
  {
    name: 'a job that has nothing to undo any more is cancelled as any other',
    needs: 'steps',
    async run (world) {
      const { id, attempt } = await begun(world, { undo: true })
      await write(world, attempt, { facts: { '': 'undone' }, undo: false })
      await world.settle(attempt, suspend(FOREVER_MS))
      assert.equal((await world.store.cancel(id, 'not wanted'))?.kind, 'cancelled')
      assert.equal((await world.read(id)).state, 'cancelled')
    }
  },
  {
    name: 'sagas that undo their steps are counted, from the oldest, until they end',
    needs: 'steps',
    async run (world) {
      const none = { compensating: 0, compensatingSince: undefined, awaitingSignal: 0, notUndone: 0, notUndoneIds: [] }
      assert.deepEqual(await counts(world), none)
      const first = await world.create()
      const second = await world.create()
      const consumer = world.consume({ concurrency: 2 })
      await world.claimed(consumer, 2)
      const [one, two] = [consumer.at(0), consumer.at(1)]
      await write(world, one, { facts: { '': 'undoing' }, compensatingSince: 2_000, undo: true })
      await write(world, two, { facts: { '': 'undoing' }, compensatingSince: 3_000, undo: true })
      assert.deepEqual(await counts(world), { ...none, compensating: 2, compensatingSince: 2_000 })
      await write(world, one, { facts: { '': 'undone' }, compensatingSince: null })
      assert.deepEqual(await counts(world), { ...none, compensating: 1, compensatingSince: 3_000 })
      await world.settle(two, { kind: 'failed', error: { code: 'E', message: 'e' } })
      await world.settle(one, COMPLETED)
      assert.deepEqual(await counts(world), none)
      assert.equal(await world.store.remove(first), 'removed')
      assert.equal(await world.store.remove(second), 'removed')
      assert.deepEqual(await counts(world), none)
    }
  },
  {
    name: 'failed jobs that could not undo their steps are counted and named, until they are redriven or removed',
    needs: 'steps',
    async run (world) {
      const notUndone = async (): Promise<unknown> => {
        const { notUndone, notUndoneIds } = await counts(world)
        return [notUndone, ...notUndoneIds]
      }
      const failed = { kind: 'failed', error: { code: 'E', message: 'e' } } as const
      await world.create()
      await world.create()
      const consumer = world.consume({ concurrency: 2 })
      await world.claimed(consumer, 2)
      const [one, two] = [consumer.at(0), consumer.at(1)]
      const [first, second] = [one.claim.job.id, two.claim.job.id]
      assert.deepEqual(await notUndone(), [0])
      await write(world, one, { facts: { '': 'not undone' }, compensatingSince: null, notUndoneSince: 2_000, undo: true })
      await write(world, one, { facts: { a: 'a checkpoint that says nothing about it' } })
      await write(world, two, { facts: { '': 'not undone' }, compensatingSince: null, notUndoneSince: 3_000, undo: true })
      await world.settle(one, failed)
      await world.settle(two, failed)
      assert.deepEqual(await notUndone(), [2, second, first])
      assert.equal((await world.store.redrive(first))?.kind, 'redriven')
      assert.deepEqual(await notUndone(), [1, second])
      await world.claimed(consumer, 3)
      await write(world, consumer.at(2), { facts: { '': 'not undone' }, notUndoneSince: 4_000, undo: true })
      await write(world, consumer.at(2), { facts: { '': 'undone after all' }, notUndoneSince: null, undo: false })
      await world.settle(consumer.at(2), failed)
      assert.deepEqual(await notUndone(), [1, second])
      assert.equal(await world.store.remove(second), 'removed')
      assert.deepEqual(await notUndone(), [0])
    }
  }
]
