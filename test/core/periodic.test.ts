import t from 'tap'
import { Periodic } from '../../lib/core/periodic.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

t.test('one turn after the other, each counted from the end of the one before', async (t) => {
  const clock = new FakeClock()
  const begun: number[] = []
  let end: () => void = () => {}
  const periodic = new Periodic({ clock, intervalMs: 1_000, firstDelayMs: 100, turn: () => new Promise((resolve) => { begun.push(clock.monotonic()); end = resolve }) })
  periodic.start()
  await clock.advance(5_000)
  t.same(begun, [100], 'a turn that does not end is not overtaken')
  periodic.hurry()
  t.same(begun, [100])
  end()
  await clock.advance(1_000)
  t.same(begun, [100, 6_000])
  const stopped = periodic.stop()
  end()
  await stopped
  await clock.advance(10_000)
  t.equal(begun.length, 2)
  t.equal(clock.pending, 0)
})

t.test('turns that have nothing to wait for; the first one at once', async (t) => {
  const clock = new FakeClock()
  let turns = 0
  const periodic = new Periodic({ clock, intervalMs: 1_000, turn: () => { turns++ } })
  periodic.hurry()
  t.equal(turns, 1, 'without a timer')
  t.equal(clock.pending, 1)
  await clock.advance(3_000)
  t.equal(turns, 4)
  periodic.cancel()
  periodic.start()
  t.equal(clock.pending, 0, 'cancelled for good')
})

t.test('a turn that rejects, or cancels its own loop', async (t) => {
  const clock = new FakeClock()
  let turns = 0
  const periodic = new Periodic({ clock, intervalMs: 10, turn: async () => { if (++turns === 2) periodic.cancel(); throw new Error('against the contract') } })
  periodic.start()
  await clock.advance(100)
  t.equal(turns, 2)
  t.equal(clock.pending, 0)
})
