import t from 'tap'
import { readRedactOptions } from '../../lib/core/redact.ts'
import type { JobProgress } from '../../lib/jobs/job.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import { ProgressReporter } from '../../lib/worker/progress.ts'

const { text } = readRedactOptions()

t.test('messages lose what must not be shown, control characters and what is too long', async (t) => {
  const stored: JobProgress[] = []
  let cleaned = 0
  const clock = new FakeClock()
  const reporter = new ProgressReporter(clock, async (progress) => { stored.push(progress) }, (message) => { cleaned++; return text(message) })
  reporter.report({ done: 1, message: 'loading from redis://u:hunter2@h\r\nlevel=50 \u001b[31mred' })
  for (let done = 2; done < 100; done++) reporter.report({ done, message: `password=hunter2 ${'x'.repeat(1_000)}` })
  await reporter.flush()
  t.equal(stored.length, 2)
  t.equal(cleaned, 2, 'what is never written is not searched')
  t.strictSame(stored[0], { done: 1, message: 'loading from redis://[FILTERED]@h level=50  [31mred' })
  t.equal(stored[1]?.done, 99)
  t.equal(stored[1]?.message?.length, 500)
  t.match(stored[1]?.message, /^password=\[FILTERED\] x+…$/)
})

t.test('what a handler passes is not changed', async (t) => {
  const given = { done: 1, message: 'token=a' }
  const reporter = new ProgressReporter(new FakeClock(), async () => {}, text)
  reporter.report(given)
  await reporter.flush()
  t.strictSame(given, { done: 1, message: 'token=a' })
})
