import t from 'tap'
import { StoreCounts } from '../../lib/jobs/store-counts.ts'
import type { QueueCounts } from '../../lib/jobs/store.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

function setUp () {
  const clock = new FakeClock()
  const store = { asked: [] as string[], queued: 1, answer: async (): Promise<void> => {} }
  const counts = new StoreCounts({
    counts: async (queue) => {
      store.asked.push(queue)
      await store.answer()
      return { queue, states: { queued: store.queued, scheduled: 0, 'in-progress': 0, completed: 0, failed: 0, cancelled: 0 }, oldestQueuedAt: undefined, stuck: 0 } satisfies QueueCounts
    }
  }, clock)
  return { clock, store, counts }
}

t.test('whoever reads: each queue is counted at most four times a second, and never twice at the same time', async (t) => {
  const { clock, store, counts } = setUp()
  t.strictSame(counts.known('a'), { reading: undefined, fresh: false })
  await Promise.all(['a', 'b', 'a', 'a'].map((queue) => counts.read(queue)))
  t.same(store.asked, ['a', 'b'])
  t.match(counts.known('a'), { reading: { counts: { queue: 'a', states: { queued: 1 } }, askedAt: 0 }, fresh: true })
  for (let ms = 0; ms < 1_000; ms += 10) {
    await counts.read('a')
    await clock.advance(10)
  }
  t.equal(store.asked.length, 2 + 3, 'at 250, 500 and 750 ms')
  t.equal((await counts.read('a')).askedAt, 1_000)
})

t.test('a slow answer is as old as its question, and reused from when it arrives', async (t) => {
  const { clock, store, counts } = setUp()
  let answer = (): void => {}
  store.answer = () => new Promise((resolve) => { answer = resolve })
  const readings = Promise.all([counts.read('a'), counts.read('a')])
  await clock.advance(2_000)
  answer()
  t.match(await readings, [{ askedAt: 0 }, { askedAt: 0 }])
  await clock.advance(200)
  t.equal((await counts.read('a')).askedAt, 0)
  t.equal(store.asked.length, 1)
})

t.test('jobs that were submitted after the question count on top', async (t) => {
  const { clock, store, counts } = setUp()
  counts.submitted('unknown')
  await counts.read('a')
  counts.submitted('a')
  counts.submitted('a')
  t.equal(counts.submittedSince('a'), 2)
  await clock.advance(300)
  let answer = (): void => {}
  store.answer = () => new Promise((resolve) => { answer = resolve })
  const reading = counts.read('a')
  counts.submitted('a')
  t.equal(counts.submittedSince('a'), 3, 'until the new reading is there, the old one and all since')
  answer()
  await reading
  t.equal(counts.submittedSince('a'), 1, 'the reading may or may not hold the job that was submitted meanwhile')
})

t.test('a failure is not kept, and what was known stays known', async (t) => {
  const { clock, store, counts } = setUp()
  await counts.read('a')
  await clock.advance(300)
  store.answer = async () => { throw new Error('away') }
  await t.rejects(counts.read('a'), /away/)
  t.match(counts.known('a'), { reading: { askedAt: 0 }, fresh: false })
  store.answer = async () => {}
  t.equal((await counts.read('a')).askedAt, 300)
})
