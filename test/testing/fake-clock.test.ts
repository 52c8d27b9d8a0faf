import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { sleep } from '../../lib/core/deadline.ts'
import { FakeClock } from '../../lib/testing/index.ts'

t.test('time stands still until it is told to move', async (t) => {
  const clock = new FakeClock({ startAt: 1_000 })
  t.equal(clock.now(), 1_000)
  t.equal(clock.monotonic(), 0)
  await turn()
  t.equal(clock.now(), 1_000)
  await clock.advance(250)
  t.equal(clock.now(), 1_250)
  t.equal(clock.monotonic(), 250)
  t.equal(new FakeClock().now(), Date.UTC(2026, 0, 1))
})

t.test('timers fire in the order of their times, each at its own time, equal ones in the order of arming', async (t) => {
  const clock = new FakeClock({ startAt: 0 })
  const fired: string[] = []
  for (const [name, delayMs] of [['c', 30], ['a', 10], ['b1', 20], ['b2', 20], ['late', 31]] as const) {
    clock.setTimeout(() => { fired.push(`${name}@${clock.now()}`) }, delayMs)
  }
  t.equal(clock.pending, 5)
  await clock.advance(30)
  t.same(fired, ['a@10', 'b1@20', 'b2@20', 'c@30'])
  t.equal(clock.pending, 1)
  await clock.advance(1)
  t.equal(fired.at(-1), 'late@31')
})

t.test('a timer armed on the way fires in the same advance; promises settle between two timers', async (t) => {
  const clock = new FakeClock()
  const steps: string[] = []
  const work = (async () => {
    for (let n = 1; n <= 3; n++) {
      await sleep(clock, 100)
      await turn()
      steps.push(`${n}@${clock.monotonic()}`)
    }
  })()
  clock.setTimeout(() => { steps.push('between') }, 150)
  await clock.advance(300)
  await work
  t.same(steps, ['1@100', 'between', '2@200', '3@300'])
})

t.test('a delay that is none means at once, but not before the clock is moved', async (t) => {
  const clock = new FakeClock()
  const fired: number[] = []
  for (const delayMs of [0, -5, NaN]) clock.setTimeout(() => { fired.push(delayMs) }, delayMs)
  await turn()
  t.same(fired, [])
  await clock.advance(0)
  t.same(fired, [0, -5, NaN])
  t.equal(clock.monotonic(), 0)
})

t.test('a cleared timer does not fire; clearing what is gone, or nothing, does no harm', async (t) => {
  const clock = new FakeClock()
  const fired: string[] = []
  const first = clock.setTimeout(() => { fired.push('first') }, 10)
  const second = clock.setTimeout(() => { fired.push('second') }, 10)
  clock.setTimeout(() => { clock.clearTimeout(second) }, 5)
  await clock.advance(20)
  t.same(fired, ['first'])
  clock.clearTimeout(first)
  clock.clearTimeout(undefined)
  t.equal(clock.pending, 0)
})

t.test('jump moves time without firing anything; what is due fires late, and time does not go back for it', async (t) => {
  const clock = new FakeClock()
  const fired: number[] = []
  clock.setTimeout(() => { fired.push(clock.monotonic()) }, 10)
  clock.setTimeout(() => { fired.push(clock.monotonic()) }, 60)
  clock.jump(50)
  await turn()
  t.same(fired, [])
  await clock.advance(0)
  t.same(fired, [50])
  await clock.advance(10)
  t.same(fired, [50, 60])
})

t.test('the wall clock can be set alone', async (t) => {
  const clock = new FakeClock({ startAt: 5_000 })
  await clock.advance(100)
  clock.setWallClock(1_000)
  t.equal(clock.now(), 1_000)
  t.equal(clock.monotonic(), 100)
  await clock.advance(50)
  t.equal(clock.now(), 1_050)
})

t.test('advances that overlap run one after the other', async (t) => {
  const clock = new FakeClock({ startAt: 0 })
  const fired: number[] = []
  clock.setTimeout(() => { fired.push(clock.now()) }, 15)
  await Promise.all([clock.advance(10), clock.advance(10)])
  t.same(fired, [15])
  t.equal(clock.now(), 20)
})

t.test('an error of a callback reaches whoever moves the clock, and the clock can be moved on', async (t) => {
  const clock = new FakeClock()
  clock.setTimeout(() => { throw new Error('of the callback') }, 10)
  await t.rejects(clock.advance(20), { message: 'of the callback' })
  await clock.advance(20)
  t.equal(clock.monotonic(), 30)
})

t.test('a timer that arms itself for ever without a delay is reported instead of hanging the test', async (t) => {
  const clock = new FakeClock({ settleTurns: 0 })
  const again = (): void => { clock.setTimeout(again, 0) }
  again()
  await t.rejects(clock.advance(1), /again and again/)
})
