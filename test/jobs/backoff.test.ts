import t from 'tap'
import { compileBackoff } from '../../lib/jobs/backoff.ts'

const at = (attempt: number) => ({ attempt, maxAttempts: 10, error: new Error('x') })

t.test('fixed and exponential waits, capped', async (t) => {
  const fixed = compileBackoff({ type: 'fixed', delayMs: 500, jitter: 0 })
  t.same([1, 2, 5].map((n) => fixed(at(n))), [500, 500, 500])
  const doubling = compileBackoff({ delayMs: 100, jitter: 0, maxDelayMs: 1_000 })
  t.same([1, 2, 3, 4, 5, 50, 5_000].map((n) => doubling(at(n))), [100, 200, 400, 800, 1_000, 1_000, 1_000])
})

t.test('jitter only shortens, so that the cap holds', async (t) => {
  const options = { type: 'fixed', delayMs: 1_000, jitter: 0.5 } as const
  t.equal(compileBackoff(options, () => 0)(at(1)), 1_000)
  t.equal(compileBackoff(options, () => 0.5)(at(1)), 750)
  t.equal(compileBackoff(options, () => 0.999)(at(1)), 501)
})

t.test('a custom backoff may give up, and its nonsense or throw means giving up', async (t) => {
  t.equal(compileBackoff(({ attempt }) => attempt * 7)(at(3)), 21)
  t.equal(compileBackoff(() => 0)(at(1)), 0)
  for (const answer of [-1, Number.NaN, undefined, 'soon']) t.equal(compileBackoff(() => answer as number)(at(1)), -1, String(answer))
  t.equal(compileBackoff(() => { throw new Error('broken') })(at(1)), -1)
})
