import t from 'tap'
import { WebhookOrigins } from '../../lib/channels/webhook-origins.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

const A = 'https://a.example'
const B = 'https://b.example'

t.test('places of one origin, and the turns of those that find none', async (t) => {
  const clock = new FakeClock()
  const origins = new WebhookOrigins(clock, 2, () => 0)
  t.equal(origins.enter(A), undefined)
  t.equal(origins.enter(A), undefined)
  const turns = [origins.enter(A), origins.enter(A), origins.enter(A)]
  t.same(turns, [250, 500, 750], 'one after the other, as fast as places become free')
  t.equal(origins.enter(B), undefined, 'another origin has places of its own')
  origins.leave(A, true, 500)
  t.equal(origins.enter(A), undefined)
  origins.leave(A, true, 500)
  origins.leave(A, true, 500)
  origins.leave(B, true, 500)
  t.equal(origins.size, 0, 'what works and is idle is forgotten')
  origins.leave('https://never.example', true, 1)
  t.equal(origins.size, 0)
})

t.test('an origin that fails again and again is left alone, and then tried with one message', async (t) => {
  const clock = new FakeClock()
  const origins = new WebhookOrigins(clock, 2, () => 0)
  const fail = (): void => {
    t.equal(origins.enter(A), undefined)
    origins.leave(A, false, 100)
  }
  for (let index = 0; index < 5; index++) fail()
  t.equal(origins.enter(A), 30_000)
  await clock.advance(30_000)
  t.equal(origins.enter(A), undefined, 'on trial')
  t.type(origins.enter(A), 'number', 'one at a time')
  origins.leave(A, false, 100)
  t.equal(origins.enter(A), 60_000, 'the next pause is longer')
  await clock.advance(60_000)
  t.equal(origins.enter(A), undefined)
  origins.leave(A, true, 100)
  t.equal(origins.enter(A), undefined)
  t.equal(origins.enter(A), undefined, 'it works again')
})

t.test('many broken origins: those that were seen first are forgotten', async (t) => {
  const origins = new WebhookOrigins(new FakeClock(), 2)
  for (let index = 0; index < 10_050; index++) {
    origins.enter(`https://${index}.example`)
    origins.leave(`https://${index}.example`, false, 1)
  }
  t.equal(origins.size, 10_000)
})
