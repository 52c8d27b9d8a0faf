import t from 'tap'
import { SubmitGate, type GateErrors } from '../../lib/client/submit-gate.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

const made: GateErrors = {
  unconfirmed: () => new Error('unconfirmed'),
  unsent: () => new Error('unsent'),
  silence: (error) => error instanceof Error && error.message === 'silence'
}
const errors = (): GateErrors => made

/** A store that answers when it is told to. */
class SlowStore {
  readonly sent: number[] = []
  readonly #answers: Array<() => void> = []

  send (n: number): Promise<number> {
    this.sent.push(n)
    return new Promise((resolve) => { this.#answers.push(() => resolve(n)) })
  }

  answer (count: number): void { for (const answer of this.#answers.splice(0, count)) answer() }
}

const range = (length: number): number[] => Array.from({ length }, (_, n) => n)
const reasons = (ends: Array<PromiseSettledResult<number>>): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const end of ends) {
    const key = end.status === 'fulfilled' ? 'stored' : String((end.reason as Error).message)
    counts[key] = (counts[key] ?? 0) + 1
  }
  return counts
}

t.test('the time of a submission counts from when it is sent', async (t) => {
  const clock = new FakeClock()
  const gate = new SubmitGate(clock, 2_000)
  const store = new SlowStore()
  const all = Promise.allSettled(range(200).map((n) => gate.run(2_000, () => store.send(n), errors)))
  t.equal(store.sent.length, 64, 'the window is not filled beyond what is answered in time')
  t.equal(gate.waiting, 136)
  // 1.9 s in the line and 1.9 s on the way: longer than the limit together, and each within it.
  await clock.advance(1_900)
  store.answer(64)
  await clock.advance(1)
  t.ok(store.sent.length > 64, 'the line moves')
  await clock.advance(50)
  store.answer(200)
  await clock.advance(1)
  store.answer(200)
  await clock.advance(1)
  store.answer(200)
  await clock.advance(1)
  t.same(reasons(await all), { stored: 200 })
  t.same(store.sent, range(200), 'in order')
})

t.test('what waits longer is refused before it is sent', async (t) => {
  const clock = new FakeClock()
  const gate = new SubmitGate(clock, 2_000)
  const store = new SlowStore()
  const all = Promise.allSettled(range(100).map((n) => gate.run(5_000, () => store.send(n), errors)))
  await clock.advance(2_001)
  t.equal(gate.waiting, 0)
  store.answer(100)
  t.same(reasons(await all), { stored: 64, unsent: 36 })
  await clock.advance(10_000)
  t.equal(store.sent.length, 64, 'none of them is sent later')
})

t.test('a silent store: nothing more is sent, and nobody waits twice', async (t) => {
  const clock = new FakeClock()
  const gate = new SubmitGate(clock, 2_000)
  const store = new SlowStore()
  const first = Promise.allSettled(range(64).map((n) => gate.run(2_000, () => store.send(n), errors)))
  await clock.advance(500)
  const later = Promise.allSettled(range(10).map((n) => gate.run(2_000, () => store.send(n), errors)))
  await clock.advance(1_501)
  t.same(reasons(await first), { unconfirmed: 64 })
  t.same(reasons(await later), { unsent: 10 })
  const trial = gate.run(2_000, () => store.send(99), errors)
  t.equal(store.sent.at(-1), 99, 'the next one finds out whether it is back')
  store.answer(100)
  t.equal(await trial, 99)
})

t.test('the time limit of the store itself is silence too; a quick error is an answer', async (t) => {
  const clock = new FakeClock()
  const gate = new SubmitGate(clock, 2_000)
  const slow = gate.run(2_000, () => new Promise((_resolve, reject) => { clock.setTimeout(() => reject(new Error('silence')), 1_999) }), errors)
  const refused = t.rejects(slow, { message: 'unconfirmed' })
  await clock.advance(2_000)
  await refused
  await t.rejects(gate.run(2_000, () => Promise.reject(new Error('silence')), errors), { message: 'silence' })
  await t.rejects(gate.run(2_000, () => { throw new Error('thrown') }, errors), { message: 'thrown' })
})

t.test('a store that throws does not keep places; large windows are grown into', async (t) => {
  const clock = new FakeClock()
  const gate = new SubmitGate(clock, 2_000)
  t.same(reasons(await Promise.allSettled(range(500).map(() => gate.run<number>(2_000, () => { throw new Error('thrown') }, errors)))), { thrown: 500 })
  const store = new SlowStore()
  const all = Promise.allSettled(range(3_000).map((n) => gate.run(2_000, () => store.send(n), errors)))
  let widest = 0
  for (let answered = 0; answered < 3_000;) {
    const open = store.sent.length - answered
    widest = Math.max(widest, open)
    store.answer(open)
    answered += open
    await clock.advance(1)
  }
  t.same(reasons(await all), { stored: 3_000 })
  t.ok(widest > 500, `${widest} at one time`)
})

t.test('closing refuses what waits', async (t) => {
  const gate = new SubmitGate(new FakeClock(), 2_000)
  const store = new SlowStore()
  const all = Promise.allSettled(range(70).map((n) => gate.run(2_000, () => store.send(n), errors)))
  gate.close(new Error('closed'))
  store.answer(100)
  t.same(reasons(await all), { stored: 64, closed: 6 })
})

t.test('one of many waits for any time, and lets others be refused', async (t) => {
  const clock = new FakeClock()
  const gate = new SubmitGate(clock, 2_000)
  const store = new SlowStore()
  const sent = Promise.allSettled(range(64).map((n) => gate.run(60_000, () => store.send(n), errors)))
  const patient = gate.run(60_000, () => store.send(100), errors, { patient: true })
  const hurried = gate.run(60_000, () => store.send(101), errors)
  const refused = t.rejects(hurried, { message: 'unsent' })
  await clock.advance(10_000)
  await refused
  t.equal(gate.waiting, 1, 'the patient one')
  store.answer(64)
  await clock.advance(1)
  store.answer(1)
  await clock.advance(1)
  t.equal(await patient, 100)
  await sent
})

t.test('an event loop that is busy counts against nobody', async (t) => {
  const clock = new FakeClock()
  let skipped = 0
  const busy = { ...clock, now: () => clock.now(), monotonic: () => clock.monotonic() + skipped, setTimeout: clock.setTimeout.bind(clock), clearTimeout: clock.clearTimeout.bind(clock) }
  const gate = new SubmitGate(busy, 2_000)
  const store = new SlowStore()
  const all = Promise.allSettled(range(65).map((n) => gate.run(60_000, () => store.send(n), errors)))
  // Five seconds pass without a turn of the loop.
  skipped = 5_000
  await clock.advance(200)
  t.equal(gate.waiting, 1)
  await clock.advance(2_000)
  t.equal(gate.waiting, 0, 'its time is up')
  store.answer(64)
  await clock.advance(1)
  t.equal(reasons(await all).unsent, 1)
})
