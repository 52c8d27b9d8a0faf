import t from 'tap'
import { appliedWait, parsePrefer, waitTime } from '../../lib/http/prefer.ts'

t.test('wait is read from every form that RFC 7240 allows', async (t) => {
  for (const header of ['wait=10', 'WAIT=10', 'wait = 10', 'wait="10"', 'respond-async, wait=10', 'foo; bar="a,b;c", wait=10', 'wait=10; x=1', 'return=minimal,wait=10', 'x="a\\",wait=3", wait=10']) {
    t.equal(parsePrefer(header).waitSeconds, 10, header)
  }
  t.equal(parsePrefer(['respond-async', 'wait=10']).waitSeconds, 10)
})

t.test('what cannot be read is ignored, never refused', async (t) => {
  for (const header of ['', ',', ';;,', 'wait', 'wait=', 'wait=-1', 'wait=abc', 'wait=1.5', 'wait=1e3', 'wait=9999999999', 'waiting=3', '"wait=3"', 'wait="3', '=3', `${'x,'.repeat(4_000)}`]) {
    t.equal(parsePrefer(header).waitSeconds, undefined, header.slice(0, 40))
  }
  t.same(parsePrefer(undefined), { waitSeconds: undefined, respondAsync: false })
})

t.test('the first of several counts, even if it is useless', async (t) => {
  t.equal(parsePrefer('wait=3, wait=30').waitSeconds, 3)
  t.equal(parsePrefer('wait=abc, wait=30').waitSeconds, undefined)
})

t.test('respond-async', async (t) => {
  t.equal(parsePrefer('Respond-Async').respondAsync, true)
  t.equal(parsePrefer('wait=3').respondAsync, false)
})

t.test('a wait is capped, and the cap is told', async (t) => {
  t.equal(waitTime(parsePrefer('wait=5'), 30_000), 5_000)
  t.equal(waitTime(parsePrefer('wait=99999'), 30_000), 30_000)
  t.equal(waitTime(parsePrefer('wait=0'), 30_000), 0)
  t.equal(waitTime(parsePrefer('respond-async'), 30_000), 0)
  t.equal(waitTime(parsePrefer('wait=5'), 0), 0)
  t.equal(appliedWait(30_000), 'wait=30')
  t.equal(appliedWait(1_500), 'wait=2')
})
