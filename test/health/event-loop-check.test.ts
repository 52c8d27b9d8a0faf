import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { systemClock } from '../../lib/core/context.ts'
import type { LoopSample } from '../../lib/core/event-loop.ts'
import type { HealthVerdict } from '../../lib/core/health-check.ts'
import { eventLoopCheck, EventLoopSampler } from '../../lib/health/event-loop-check.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import { until } from '../support/redis-jobs.ts'

async function ask (reading: Omit<LoopSample, 'lagMs'> | undefined): Promise<HealthVerdict> {
  return await eventLoopCheck({ degradedEventLoopDelayMs: 200, degradedEventLoopUtilization: 0.95 }, () => reading && { ...reading, lagMs: 0 })({ signal: new AbortController().signal })
}

t.test('over a limit is Degraded, never worse', async (t) => {
  t.match(await ask(undefined), { status: 'Healthy', description: 'not measured yet' })
  t.match(await ask({ meanMs: 200, worstMs: 900, utilization: 0.95 }), {
    status: 'Healthy', description: 'within its limits', data: { delay_ms: 200, max_delay_ms: 900, delay_limit_ms: 200, utilization: 0.95, utilization_limit: 0.95 }
  })
  t.match(await ask({ meanMs: 201, worstMs: 900, utilization: 0.5 }), { status: 'Degraded', description: 'the event loop is blocked too long' })
  t.match(await ask({ meanMs: 201, worstMs: 900, utilization: 0.96 }), { status: 'Degraded', description: 'the event loop is blocked too long; the event loop has no idle time left' })
})

/** Keeps the event loop from turning. */
function block (ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end) { /* nothing else can happen */ }
}

t.test('a loop that is blocked is measured as such, sample by sample', { timeout: 30_000 }, async (t) => {
  const watch = new EventLoopSampler(systemClock)
  await watch.start()
  t.teardown(() => watch.stop(0))
  t.equal(watch.reading, undefined)
  await sleep(20)
  block(600)
  await until('the first sample', () => watch.reading !== undefined)
  const blocked = watch.reading
  t.ok((blocked?.worstMs ?? 0) > 400, `late by ${String(blocked?.worstMs)} ms at most`)
  t.ok((blocked?.utilization ?? 0) > 0.3 && (blocked?.utilization ?? 2) <= 1, `busy for ${String(blocked?.utilization)}`)
  await until('a sample without it', () => watch.reading !== blocked && (watch.reading?.worstMs ?? Infinity) < 400)
  t.ok((watch.reading?.utilization ?? 1) < (blocked?.utilization ?? 0), 'the past is forgotten')
})

t.test('stopped, it leaves no timer', async (t) => {
  const clock = new FakeClock()
  const watch = new EventLoopSampler(clock)
  await watch.start()
  await clock.advance(10_000)
  t.equal(clock.pending, 1)
  await watch.stop(0)
  t.equal(clock.pending, 0)
})
