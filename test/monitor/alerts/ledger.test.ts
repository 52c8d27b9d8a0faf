import t from 'tap'
import { Ledger, type Found, type LedgerOptions } from '../../../lib/monitor/alerts/ledger.ts'

const MINUTE = 60_000
const OPTIONS: LedgerOptions = { cooldownMs: 15 * MINUTE, repeatMs: 240 * MINUTE, windowMs: 60 * MINUTE }

function found (rule: string, parts: Partial<Found> = {}): Found {
  return { rule, key: '', type: 'Error', severity: 'high', title: 'T', message: 'm', details: {}, forMs: 0, ...parts }
}

function ledger (options: Partial<LedgerOptions> = {}) {
  let ids = 0
  const kept = new Ledger({ ...OPTIONS, ...options }, () => `id-${++ids}`)
  /** What is told at a minute. */
  const at = (minute: number, findings: readonly Found[] = [], unknown: readonly string[] = [], to = kept): string[] =>
    to.judge(findings, (rule) => unknown.includes(rule), ['log'], 1e12 + minute * MINUTE).map(({ kind, alert }) => `${kind} ${alert.fingerprint}`)
  return { kept, at }
}

/** As an evaluation does it: compares, then remembers. */
function counted (ledger: Ledger, counts: Parameters<Ledger['grownBy']>[0], now: number): number {
  const growth = ledger.grownBy(counts, now)
  ledger.remember(counts, now)
  return growth
}

t.test('raised once, resolved once, with what was found last', async (t) => {
  const { kept, at } = ledger()
  t.same(at(0, [found('a'), found('b', { key: 'x' }), found('b', { key: 'y' }), found('b', { key: 'y' })]), ['raised a', 'raised b:x', 'raised b:y'])
  t.same(at(5, [found('a', { message: 'worse' }), found('b', { key: 'x' })]), ['resolved b:y'])
  t.match(kept.firing(), [{ fingerprint: 'a', message: 'worse', startedAt: 1e12 }, { fingerprint: 'b:x' }])
  t.same(at(10), ['resolved a', 'resolved b:x'])
  t.same(at(15), [])
  t.same(kept.firing(), [])
})

t.test('only what lasts is raised, where a rule asks for that', async (t) => {
  const { at } = ledger()
  const stuck = [found('stuck', { forMs: 10 * MINUTE })]
  t.same(at(0, stuck), [])
  t.same(at(5, stuck), [])
  t.same(at(10, stuck), ['raised stuck'])
  t.same(at(15), ['resolved stuck'])
  t.same(at(40, stuck), [])
  t.same(at(45), [], 'it never fired')
  t.same(at(50, stuck), [])
  t.same(at(55, stuck), [], 'counted anew')
})

t.test('one that flaps is told once per cooldown', async (t) => {
  const { at } = ledger()
  const told: string[] = []
  for (let minute = 0; minute < 60; minute += 5) told.push(...at(minute, minute % 10 === 0 ? [found('a')] : []).map((text) => `${minute} ${text}`))
  t.same(told, ['0 raised a', '5 resolved a', '20 raised a', '25 resolved a', '40 raised a', '45 resolved a'])
  const { at: again } = ledger()
  again(0, [found('a')])
  again(5)
  t.same(again(10, [found('a')]), [], 'it is back too soon to be told')
  t.same(again(15), [], 'and what was not told is not resolved')
  again(16, [found('a')])
  t.same(again(20, [found('a')]), ['raised a'], 'but one that stays is told after the cooldown')
})

t.test('reminders', async (t) => {
  const { at } = ledger()
  t.same([0, 120, 239, 240, 300, 480].map((minute) => at(minute, [found('a')])), [['raised a'], [], [], ['reminded a'], [], ['reminded a']])
  const { at: never } = ledger({ repeatMs: false })
  never(0, [found('a')])
  t.same(never(100_000, [found('a')]), [])
})

t.test('a rule that could not be judged leaves its alerts as they are', async (t) => {
  const { kept, at } = ledger()
  at(0, [found('a'), found('b')])
  t.same(at(5, [], ['a']), ['resolved b'])
  t.match(kept.firing(), [{ rule: 'a' }])
  t.same(at(10), ['resolved a'])
})

t.test('another process that takes over neither repeats nor forgets', async (t) => {
  const first = ledger()
  const second = ledger()
  first.at(0, [found('a'), found('c', { forMs: 10 * MINUTE })])
  first.kept.remember([['default', 5]], 1e12)
  second.kept.adopt(first.kept.encode())
  t.same(second.kept.firing(), first.kept.firing())
  t.equal(second.kept.judgedAt, 1e12)
  t.same(second.at(10, [found('a'), found('c', { forMs: 10 * MINUTE })]), ['raised c'], 'known since the first saw it')
  t.equal(second.kept.grownBy([['default', 25]], 1e12 + 10 * MINUTE), 20)
  first.kept.adopt(second.kept.encode())
  t.same(first.at(15), ['resolved a', 'resolved c'])
  second.kept.adopt(first.kept.encode())
  t.same(second.at(20), [])
  const stale = ledger()
  stale.at(30, [found('z')])
  stale.kept.adopt(second.kept.encode())
  t.match(stale.kept.firing(), [{ rule: 'z' }], 'what is older is not taken over')
  for (const text of ['', '[]', '{"version":1}', second.kept.encode().replace('"version":1', '"version":2'), second.kept.encode().replace(/"entries":\[/, '"entries":[{},')]) {
    const fresh = ledger()
    fresh.kept.adopt(text)
    t.equal(fresh.kept.changedAt, 0, 'what cannot be read is left alone')
  }
})

t.test('what could not be delivered stays owed, travels, and is given up some time', async (t) => {
  const first = ledger()
  first.at(0, [found('a')])
  const notice = first.kept.owed[0]?.notice
  first.kept.settle(1e12)
  const second = ledger()
  second.kept.adopt(first.kept.encode())
  t.match(second.kept.owed, [{ notice, tries: 1 }], 'the same id')
  for (let tries = 1; tries < 12; tries++) {
    t.equal(second.kept.owed.length, 1)
    second.kept.settle(1e12 + tries)
  }
  t.equal(second.kept.owed.length, 0)
  const { kept, at } = ledger()
  at(0, [found('a')])
  at(5)
  t.match(kept.owed, [{ notice: { kind: 'resolved' } }], 'the newer notice takes the place of the older')
  kept.owed[0]?.senders.delete('log')
  kept.settle(0)
  t.equal(kept.owed.length, 0)
})

t.test('a flood is bounded, and who is in stays in', async (t) => {
  const { kept, at } = ledger()
  const many = Array.from({ length: 100 }, (_, n) => found('r', { key: `k${n}` }))
  t.equal(at(0, many).length, 20)
  t.same(at(1, [...many].reverse()), [])
  for (let minute = 2; minute < 200; minute++) at(minute, Array.from({ length: 30 }, (_, n) => found('r', { key: `${minute}-${n}` })))
  t.ok(kept.firing().length <= 20)
  t.ok(kept.owed.length <= 200)
  t.ok(kept.encode().length < 500_000)
})

t.test('growth is against the least of the last hour', async (t) => {
  const { kept } = ledger()
  const grown = [[0, 10], [10, 4], [20, 30], [69, 30], [71, 31], [140, 100]].map(([minute = 0, count = 0]) => counted(kept, [['default', count]], 1e12 + minute * MINUTE))
  t.same(grown, [0, 0, 26, 26, 1, 0])
})

t.test('a queue that comes, goes and comes back with its failed jobs is no growth', async (t) => {
  const { kept } = ledger()
  const at = (minute: number, counts: Parameters<Ledger['grownBy']>[0]): number => counted(kept, counts, 1e12 + minute * MINUTE)
  t.equal(at(0, [['default', 3]]), 0)
  t.equal(at(5, [['default', 3], ['exports', 1_000]]), 0, 'a process that knows of another queue has started')
  t.equal(at(10, [['default', 4]]), 1, 'it is restarted')
  t.equal(at(15, [['default', 4], ['exports', 1_002]]), 3, 'and is back: what failed meanwhile counts')
})

t.test('a clock that is set back keeps nothing silent until it has caught up', async (t) => {
  const { kept, at } = ledger()
  const stuck = [found('a'), found('b', { forMs: 10 * MINUTE })]
  t.same(at(1_440, stuck), ['raised a'])
  t.same(at(0, stuck), [], 'a day earlier')
  t.same(kept.firing().map(({ startedAt }) => startedAt), [1e12])
  t.same(at(10, stuck), ['raised b'])
  t.same(at(240, stuck), ['reminded a'])
  t.same(at(245), ['resolved a', 'resolved b'])
  t.same(at(0, stuck), [])
  t.same(at(15, stuck), ['raised a', 'raised b'], 'after the cooldown, by the clock as it is now')
})
