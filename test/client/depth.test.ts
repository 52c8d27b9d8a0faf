import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { Clock } from '../../lib/core/context.ts'
import { QueueDepths } from '../../lib/client/depth.ts'
import { StoreCounts } from '../../lib/jobs/store-counts.ts'
import type { JobStore } from '../../lib/jobs/store.ts'

function setUp (): { depths: QueueDepths, store: { queued: number, scheduled: number, reads: number, fail: boolean }, clock: { at: number } } {
  const store = { queued: 0, scheduled: 0, reads: 0, fail: false }
  const clock = { at: 0 }
  const counts = async (queue: string): Promise<unknown> => {
    store.reads++
    if (store.fail) throw new Error('away')
    return { queue, states: { queued: store.queued, scheduled: store.scheduled, 'in-progress': 9, completed: 9, failed: 9, cancelled: 9 }, oldestQueuedAt: undefined, stuck: 0 }
  }
  const time = { monotonic: () => clock.at, setTimeout: () => undefined, clearTimeout: () => {} } as Partial<Clock> as Clock
  const depths = new QueueDepths(new StoreCounts({ counts } as unknown as JobStore, time), time)
  return { depths, store, clock }
}

t.test('only waiting jobs count, and a burst is counted between two readings', async (t) => {
  const { depths, store, clock } = setUp()
  store.queued = 3
  store.scheduled = 2
  t.equal(await depths.read('q'), 5)
  for (let i = 0; i < 10; i++) depths.submitted('q')
  clock.at = 200
  t.equal(await depths.read('q'), 15)
  t.equal(store.reads, 1)
  store.queued = 13
  clock.at = 300
  t.equal(await depths.read('q'), 15, 'the next reading knows them itself')
  t.equal(store.reads, 2)
})

t.test('many readers at once are one reading; a reading that fails is tried again', async (t) => {
  const { depths, store } = setUp()
  store.fail = true
  await t.rejects(depths.read('q'), /away/)
  store.fail = false
  store.queued = 7
  t.same(await Promise.all(Array.from({ length: 50 }, () => depths.read('q'))), Array(50).fill(7))
  t.equal(store.reads, 2)
})

t.test('places are taken one by one after a shared reading, and outlive readings until they are given back', async (t) => {
  const { depths, store, clock } = setUp()
  store.queued = 2
  const places = await Promise.all(Array.from({ length: 20 }, () => depths.reserve('q', 5, 100)))
  t.same(places.filter((place) => place).length, 3)
  clock.at = 300
  t.equal(await depths.reserve('q', 5, 100), false, 'a new reading does not know them, and they still count')
  t.equal(store.reads, 2)
  depths.release('q')
  t.equal(await depths.reserve('q', 5, 100), true, 'that one made no job')
  depths.release('q')
  depths.submitted('q')
  t.equal(await depths.reserve('q', 5, 100), false, 'that one did')
})

t.test('an answer that is there when the time is up counts: a blocked event loop fires the timer first', async (t) => {
  const counts = async (queue: string): Promise<unknown> => {
    await turn()
    return { queue, states: { queued: 5, scheduled: 0 } }
  }
  const clock = { monotonic: () => 0, setTimeout: (expire: () => void) => { queueMicrotask(expire) }, clearTimeout: () => {} } as Partial<Clock> as Clock
  t.equal(await new QueueDepths(new StoreCounts({ counts } as unknown as JobStore, clock), clock).reserve('q', 5, 100), false)
})

t.test('a store that cannot count refuses nobody, and the places count afterwards', async (t) => {
  const { depths, store } = setUp()
  store.fail = true
  t.equal(await depths.reserve('q', 1, 100), true)
  t.equal(await depths.reserve('q', 1, 100), true)
  store.fail = false
  t.equal(await depths.reserve('q', 2, 100), false)
})
