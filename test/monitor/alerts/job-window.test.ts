import t from 'tap'
import { decodeWindow, encodeWindow, JobWindow, sumUp } from '../../../lib/monitor/alerts/job-window.ts'

const START = Date.UTC(2026, 0, 1)
const MINUTE = 60_000

function window (slowMs = 30_000): { window: JobWindow, clock: { now: number } } {
  const clock = { now: START }
  return { window: new JobWindow(() => clock.now, slowMs), clock }
}

t.test('jobs and attempts are counted by name, and forgotten after the hour', async (t) => {
  const { window: counted, clock } = window()
  counted.completed('a')
  counted.failed('a')
  clock.now += 30 * MINUTE
  counted.completed('a')
  counted.completed('b')
  const facts = (): unknown => sumUp([counted.show()], clock.now).jobs.map(({ name, completed, failed }) => [name, completed, failed])
  t.same(facts(), [['a', 2, 1], ['b', 1, 0]])
  clock.now = START + 54 * MINUTE
  t.same(facts(), [['a', 2, 1], ['b', 1, 0]])
  clock.now = START + 60 * MINUTE
  t.same(facts(), [['a', 1, 0], ['b', 1, 0]])
  clock.now = START + 90 * MINUTE
  t.same(facts(), [])
  counted.failed('a')
  t.same(facts(), [['a', 0, 1]], 'a place in the ring that is used again starts from nothing')
})

t.test('the 95th percentile, exact at the default threshold', async (t) => {
  const p95 = (durations: readonly number[]): number => {
    const { window: counted } = window()
    for (const ms of durations) counted.took('a', ms)
    return sumUp([counted.show()], START).jobs[0]?.p95Ms ?? NaN
  }
  t.ok(p95(Array(100).fill(4_999)) <= 5_000)
  t.equal(p95([10, 3_000]), 3_000, 'never above what was measured at most')
  t.ok(p95(Array(100).fill(5_001)) > 5_000)
  t.ok(p95([...Array(95).fill(10), ...Array(5).fill(60_000)]) < 20, 'five of a hundred may be slow')
  t.ok(p95([...Array(94).fill(10), ...Array(6).fill(60_000)]) > 30_000, 'six may not')
  t.equal(p95([1e12]), 5_000 * 1.25 ** 29, 'what is longer than all bounds counts as the largest')
})

t.test('windows of several processes are laid over each other, as they travel', async (t) => {
  const one = window()
  const other = window()
  for (let n = 0; n < 10; n++) {
    one.window.completed('a')
    one.window.took('a', 100)
    other.window.failed('a')
    other.window.took('a', 20_000)
  }
  one.window.slow('j1', 'a', 40_000)
  other.window.slow('j2', 'a', 30_000)
  const shown = [one, other].map((entry) => decodeWindow(encodeWindow({ ...entry.window.show(), claims: [['default', START]] })))
  t.same(shown[0], { ...one.window.show(), claims: [['default', START]] })
  const { jobs, slow } = sumUp(shown.filter((entry) => entry !== undefined), START)
  t.match(jobs, [{ name: 'a', completed: 10, failed: 10, attempts: 20 }])
  t.ok((jobs[0]?.p95Ms ?? 0) > 15_000)
  t.same(slow, [{ jobId: 'j1', jobName: 'a', durationMs: 40_000, running: false }], 'exactly at the threshold is not slow')
  t.same(sumUp([one.window.show()], START + 61 * MINUTE).slow, [])
})

t.test('what a clock that was wrong has counted does not stay until it would be right', async (t) => {
  const { window: counted, clock } = window(1)
  clock.now += 24 * 60 * MINUTE
  counted.failed('a')
  counted.slow('tomorrow', 'a', 100)
  clock.now = START
  counted.failed('b')
  t.match(counted.show().jobs.map(([name]) => name), ['b'])
  const shown = { jobs: [['a', [[Math.floor(START / 300_000) + 288, 0, 1]]]], slow: [['tomorrow', 'a', 100, START + 24 * 60 * MINUTE]] } as const
  t.same(sumUp([shown], START), { jobs: [], slow: [] }, 'nor does that of another host')
  t.same(sumUp([{ jobs: [['a', [[Math.floor(START / 300_000) + 1, 0, 1]]]], slow: [] }], START).jobs.length, 1, 'which may be a little ahead')
})

t.test('memory is bounded: names, slow jobs', async (t) => {
  const { window: counted } = window(1)
  for (let n = 0; n < 500; n++) {
    counted.failed(`name-${n}`)
    counted.slow(`job-${n}`, 'a', 100)
  }
  const { jobs, slow } = sumUp([counted.show()], START)
  t.equal(jobs.length, 51)
  t.match(jobs.at(-1), { name: 'other jobs', failed: 450 })
  t.same([slow.length, slow.at(-1)?.jobId], [20, 'job-499'])
})

t.test('what is not ours is not believed', async (t) => {
  for (const text of ['', '{', '[]', '{}', '[2,[],[],[]]', '[1,[],[]]', '[1,[["a",[["x"]]]],[],[]]', '[1,[["a",[[1,2]]]],[],[]]', '[1,[[5,[]]],[],[]]', '[1,[],[["a"]],[]]', '[1,[["a",[[-1,1,1]]]],[],[]]', '[1,[],[],[["a","b"]]]']) t.equal(decodeWindow(text), undefined, text)
  t.same(sumUp([{ jobs: [['a', [[Math.floor(START / 300_000), 1, 0, 9_999, 5]]]], slow: [] }], START).jobs, [{ name: 'a', completed: 1, failed: 0, attempts: 0, p95Ms: undefined }], 'a bin that is none is left out')
})
