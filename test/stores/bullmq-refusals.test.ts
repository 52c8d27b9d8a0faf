import t from 'tap'
import type { StoreReport } from '../../lib/jobs/store.ts'
import { Refusals } from '../../lib/stores/bullmq/refusals.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

function refusingServer () {
  const clock = new FakeClock()
  const seen = { refuses: true, probes: 0, reconnects: 0 }
  const reported: string[] = []
  const refusals = new Refusals({
    clock,
    report: (report: StoreReport) => { if (report.kind !== 'connected') reported.push(report.code) },
    reconnect: () => { seen.reconnects++ },
    probe: async () => {
      seen.probes++
      if (!seen.refuses) return
      refusals.heard('OOM')
      throw new Error('OOM command not allowed')
    }
  })
  return { clock, refusals, reported, seen }
}

t.test('a server that refuses is asked once a second until it serves, and again after the next refusal', async (t) => {
  const { clock, refusals, seen } = refusingServer()
  refusals.heard('OOM')
  refusals.heard('OOM')
  await clock.advance(3_000)
  t.equal(seen.probes, 3, 'one loop, however many refusals')
  seen.refuses = false
  await clock.advance(1_000)
  t.equal(seen.probes, 4)
  t.equal(clock.pending, 0, 'a server that serves is not asked')
  seen.refuses = true
  refusals.heard('OOM')
  await clock.advance(1_000)
  t.equal(seen.probes, 5)
  refusals.stop()
  t.equal(clock.pending, 0)
})

t.test('the same refusal is reported once in half a minute, each kind by itself', async (t) => {
  const { clock, refusals, reported, seen } = refusingServer()
  refusals.heard('OOM')
  refusals.heard('READONLY')
  refusals.heard('WRONGTYPE')
  await clock.advance(29_000)
  t.strictSame(reported, ['OOM', 'READONLY'])
  await clock.advance(2_000)
  t.strictSame(reported, ['OOM', 'READONLY', 'OOM'])
  t.equal(seen.reconnects, 1, 'for the replica only')
  refusals.stop()
})

t.test('a pause ends when the server serves again', async (t) => {
  const { clock, refusals, seen } = refusingServer()
  refusals.heard('OOM')
  let over = false
  const pause = refusals.pause(60_000).then(() => { over = true })
  await clock.advance(1_000)
  t.notOk(over)
  seen.refuses = false
  await clock.advance(1_000)
  await pause
  t.ok(over)
})
