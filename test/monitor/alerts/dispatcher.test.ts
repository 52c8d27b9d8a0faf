import t from 'tap'
import { sleep } from '../../../lib/core/deadline.ts'
import { readRedactOptions } from '../../../lib/core/redact.ts'
import { EventBus } from '../../../lib/events/bus.ts'
import type { AlertNotice, AlertSender } from '../../../lib/monitor/alerts/alert.ts'
import { Dispatcher } from '../../../lib/monitor/alerts/dispatcher.ts'
import type { Owed } from '../../../lib/monitor/alerts/ledger.ts'
import { logSender } from '../../../lib/monitor/alerts/senders.ts'
import { FakeClock } from '../../../lib/testing/fake-clock.ts'
import { lineLogger, NOTICE } from './support.ts'

function world (senders: readonly AlertSender[]) {
  const clock = new FakeClock()
  const { logger, lines } = lineLogger()
  const bus = new EventBus(logger)
  const failed: unknown[] = []
  bus.on('alert.send_failed', (event) => { failed.push(event) })
  const dispatcher = new Dispatcher({ clock, bus, logger, redaction: readRedactOptions(), senders, timeoutMs: 30_000 })
  const owed = (...ids: readonly string[]): Owed[] => ids.map((id) => ({ notice: { ...NOTICE, id }, senders: new Set(dispatcher.names), tries: 0 }))
  return { clock, dispatcher, failed, lines, owed }
}

/** A sender that remembers. */
function good (name = 'good'): AlertSender & { heard: string[] } {
  const heard: string[] = []
  return { name, heard, send: ({ id }: AlertNotice) => { heard.push(id) } }
}

t.test('one that hangs takes nobody else\'s time, and is not asked again and again', async (t) => {
  const fine = good()
  let calls = 0
  const ends: Array<() => void> = []
  const signals: AbortSignal[] = []
  const hanging: AlertSender = {
    name: 'hanging',
    send: (_notice, { signal }) => {
      calls++
      signals.push(signal)
      return new Promise((resolve) => { ends.push(resolve) })
    }
  }
  const { clock, dispatcher, failed, lines, owed } = world([hanging, fine])
  const list = owed('a', 'b')
  const delivered = dispatcher.deliver(list)
  await clock.advance(0)
  t.same(fine.heard, ['a', 'b'], 'before the deadline of the other')
  await clock.advance(30_000)
  await delivered
  t.equal(calls, 1, 'after a timeout the rest is left for later')
  t.ok(signals[0]?.aborted)
  t.same(list.map(({ senders }) => [...senders]), [['hanging'], ['hanging']])
  t.match(failed, [{ sender: 'hanging', rule: 'memory', errorCode: 'ETIMEDOUT', tries: 1 }])
  const again = dispatcher.deliver(list)
  await clock.advance(30_000)
  await again
  await dispatcher.deliver(list)
  t.equal(calls, 2, 'two calls may hang, a third is not made')
  t.equal(failed.length, 3)
  t.equal(lines.filter(({ eventId }) => eventId === 10804).length, 1, 'logged once')
  for (const end of ends) end()
  await clock.advance(0)
  const last = dispatcher.deliver(list)
  await clock.advance(0)
  t.equal(calls, 3)
  ends.at(-1)?.()
  await clock.advance(0)
  ends.at(-1)?.()
  await last
  t.same(list.map(({ senders }) => [...senders]), [[], []])
  t.equal(clock.pending, 0)
})

t.test('one that throws or rejects is counted each time, logged once until it works, and shows no secret', async (t) => {
  const fine = good()
  let broken = true
  const throwing: AlertSender = {
    name: 'throwing',
    send: () => { if (broken) throw Object.assign(new Error('no\nroute password=hunter2'), { code: 'E_ROUTE' }) }
  }
  const rejecting: AlertSender = { name: 'rejecting', send: async () => { throw 'text' } }
  const { dispatcher, failed, lines, owed } = world([throwing, rejecting, fine])
  const list = owed('a', 'b')
  await dispatcher.deliver(list)
  t.same(fine.heard, ['a', 'b'])
  t.match(failed.filter((event) => (event as { sender: string }).sender === 'throwing'), [{ errorCode: 'E_ROUTE', message: 'no route password=[FILTERED]' }, {}])
  t.match(failed.filter((event) => (event as { sender: string }).sender === 'rejecting'), [{ errorCode: 'UNKNOWN' }, {}])
  t.equal(lines.length, 2)
  broken = false
  await dispatcher.deliver(list)
  t.same(list.map(({ senders }) => [...senders]), [['rejecting'], ['rejecting']], 'only what is owed is sent again')
  t.same(fine.heard, ['a', 'b'])
  broken = true
  await dispatcher.deliver(owed('c'))
  t.equal(lines.filter(({ sender }) => sender === 'throwing').length, 2, 'told again after it had worked')
})

t.test('one that is slow but works gets as much as its time allows, and the rest next time', async (t) => {
  const heard: string[] = []
  const slow = world([{ name: 'slow', send: async ({ id }) => { await sleep(slow.clock, 20_000); heard.push(id) } }])
  const list = slow.owed('a', 'b', 'c', 'd')
  for (const expected of [['a', 'b'], ['a', 'b', 'c', 'd']]) {
    const delivered = slow.dispatcher.deliver(list)
    await slow.clock.advance(40_000)
    await delivered
    t.same(heard, expected)
  }
  t.same(slow.failed, [])
})

t.test('closing cuts off what is under way, without blaming anybody', async (t) => {
  const hanging: AlertSender = { name: 'hanging', send: () => new Promise(() => {}) }
  const { clock, dispatcher, failed, owed } = world([hanging])
  const list = owed('a')
  const delivered = dispatcher.deliver(list)
  await clock.advance(0)
  dispatcher.close()
  await delivered
  t.same([failed, [...list[0]?.senders ?? []]], [[], ['hanging']])
  await dispatcher.deliver(list)
  t.equal(clock.pending, 0)
})

t.test('the numbered lines', async (t) => {
  const { logger, lines } = lineLogger()
  const { send } = logSender(logger)
  const signal = new AbortController().signal
  for (const kind of ['raised', 'reminded', 'resolved'] as const) send({ ...NOTICE, kind, at: NOTICE.at + 5_000 }, { signal })
  t.match(lines, [
    { level: 'warn', eventId: 10801, event: 'alert.raised', component: 'asyncendpoints.alert', msg: 'alert raised: High Memory Usage: x uses 81 %', alert: 'memory:x', rule: 'memory', severity: 'high', alert_type: 'System', title: 'High Memory Usage', detail: 'x uses 81 %', details: { instance: 'x' } },
    { level: 'warn', eventId: 10802, firingMs: 5_000 }, { level: 'info', eventId: 10803 }
  ])
})
