import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import { lateness, watchEventLoop } from '../../lib/core/event-loop.ts'

t.test('the lag is that of a moment, not that of an interval', async (t) => {
  t.equal(lateness([[100, 0]], 0, 20), 0, 'nothing was measured')
  t.equal(lateness([[0, 20], [100, 20]], 500, 20), 0, 'never late')
  // One of 251 intervals is long: half of all moments lie in it, and the worst hundredth waits nearly for all of it.
  const blocked = lateness([[0, 20], [50, 20], [99.6015936, 20], [100, 5_020]], 251, 20)
  t.ok(blocked > 4_800 && blocked < 5_000, `${blocked}`)
  const little = lateness([[0, 21], [50, 21], [75, 21], [100, 22]], 100, 20)
  t.ok(little > 0.5 && little < 2, `${little}`)
  // A single late interval of 40 among a thousand is no hundredth of the time.
  t.ok(lateness([[0, 20], [99.9, 20], [100, 60]], 1_000, 20) < 1)
})

/** Computes without a pause. */
function block (forMs: number): void {
  const end = performance.now() + forMs
  while (performance.now() < end) { /* nobody else gets a turn */ }
}

const turns = async (ms: number): Promise<void> => { await new Promise((resolve) => setTimeout(resolve, ms)) }

t.test('a loop that is really blocked is seen by every watch, and one does not reset the other', async (t) => {
  const [one, other] = [watchEventLoop(), watchEventLoop()]
  t.teardown(() => { one.stop(); other.stop() })
  one.start()
  other.start()
  // Its timer has to be under way before anything can make it late.
  await turns(50)
  block(400)
  await turns(50)
  const seen = one.sample()
  t.ok((seen?.worstMs ?? 0) > 300 && (seen?.lagMs ?? 0) > 300, JSON.stringify(seen))
  t.ok((seen?.utilization ?? 0) > 0.5)
  t.ok((seen?.meanMs ?? 0) > 20 && (seen?.meanMs ?? Infinity) < (seen?.worstMs ?? 0), 'one long interval among some short ones')
  t.ok((other.sample()?.worstMs ?? 0) > 300, 'the other too')
  await turns(50)
  t.ok((one.sample()?.worstMs ?? Infinity) < 300, 'since the last sample it was not')
  one.stop()
  t.equal(one.sample(), undefined, 'stopped')
  await turns(50)
  t.ok(other.sample(), 'the other goes on')
})

t.test('it does not keep the process alive', async (t) => {
  const url = new URL('../../lib/core/event-loop.js', import.meta.url).href
  await promisify(execFile)(process.execPath, ['--input-type=module', '-e', `const { watchEventLoop } = await import(${JSON.stringify(url)}); watchEventLoop().start()`], { timeout: 10_000 })
  t.pass('it ended')
})
