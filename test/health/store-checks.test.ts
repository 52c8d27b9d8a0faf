import t from 'tap'
import { AsyncEndpointsError } from '../../lib/core/errors.ts'
import type { HealthCheck, HealthVerdict } from '../../lib/core/health-check.ts'
import { StoreReadings } from '../../lib/health/store-readings.ts'
import { asyncEndpointsCheck, queueDepthCheck, redisCheck, type StoreCheckParts } from '../../lib/health/store-checks.ts'
import type { JobRecord } from '../../lib/jobs/job.ts'
import { StoreCounts } from '../../lib/jobs/store-counts.ts'
import type { JobPage, JobStore, QueueCounts } from '../../lib/jobs/store.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

async function ask (check: HealthCheck): Promise<HealthVerdict> {
  return await check({ signal: new AbortController().signal })
}

interface Given { get?: () => Promise<JobRecord | undefined>, probe?: () => Promise<void>, stuck?: number, parts?: Partial<StoreCheckParts>, clock?: FakeClock }

function check ({ get = async () => undefined, probe, stuck = 0, parts, clock = new FakeClock() }: Given): HealthCheck {
  return asyncEndpointsCheck({
    store: { type: 'fake', get, probe },
    clock,
    ids: { job: () => 'an-id' },
    readings: { counts: async () => ({ queued: 0, stuck }) },
    maxRetries: () => 4,
    latencyMs: 1_000,
    answerMs: 1_500,
    maxStuckJobs: 10,
    submitProbe: true,
    ...parts
  })
}

t.test('S1-34, S1-37: the time of one read decides; what a healthy one says', async (t) => {
  for (const [latencyMs, verdict] of [
    [3, { status: 'Healthy', data: { store_type: 'fake', store_latency_ms: 3, stuck_jobs: 0, max_retries: 4 } }],
    [1_000, { status: 'Healthy', data: { store_latency_ms: 1_000 } }],
    [1_001, { status: 'Degraded', description: 'the fake store answers slowly', data: { store_latency_ms: 1_001, threshold_ms: 1_000 } }]
  ] as const) {
    const clock = new FakeClock()
    t.match(await ask(check({ clock, get: async () => { clock.jump(latencyMs); return undefined } })), verdict)
  }
})

t.test('S1-35: more stuck jobs than ten', async (t) => {
  t.match(await ask(check({ stuck: 10 })), { status: 'Healthy', data: { stuck_jobs: 10 } })
  const verdict = await ask(check({ stuck: 11 }))
  t.match(verdict, {
    status: 'Degraded',
    description: '11 jobs are in progress without a lease, because it was not renewed in time; no worker has claimed them again yet',
    data: { stuck_jobs_count: 11, threshold: 10 }
  })
  t.notHas((verdict as { data: object }).data, 'threshold_ms', 'it was not slow')
})

t.test('S1-36: a submission on trial that would be refused is Unhealthy, and says why', async (t) => {
  const full = new AsyncEndpointsError('FAE_STORE_FULL', 'The server is out of memory')
  t.match(await ask(check({ probe: async () => { throw full } })), {
    status: 'Unhealthy', description: 'the fake store would take no job: The server is out of memory', data: { error: 'FAE_STORE_FULL' }
  })
  const foreign = await ask(check({ probe: async () => { throw Object.assign(new Error('redis://u:hunter2@h'), { code: 'EPIPE' }) } }))
  t.match(foreign, { status: 'Unhealthy', description: 'the fake store would take no job', data: { error: 'EPIPE' } })
  t.notMatch(JSON.stringify(foreign), 'hunter2')
  t.match(await ask(check({ probe: async () => {} })), { status: 'Healthy', data: { submit_probe: 'passed' } })
})

t.test('a store without a trial, or a trial that nobody wants', async (t) => {
  t.match(await ask(check({})), { status: 'Healthy', data: { submit_probe: 'none' } })
  const probe = async (): Promise<void> => { throw new Error('asked all the same') }
  t.match(await ask(check({ probe, parts: { submitProbe: false } })), { status: 'Healthy', data: { submit_probe: 'none' } })
})

t.test('a store that never answers is given up, within the time of the probe', async (t) => {
  for (const [answerMs, limitMs] of [[1_500, 1_500], [5_000, 2_000]] as const) {
    const clock = new FakeClock()
    const verdict = t.rejects(ask(check({ clock, get: () => new Promise(() => {}), parts: { answerMs, readings: { counts: () => new Promise(() => {}) } } })), { code: 'FAE_STORE_UNAVAILABLE', message: new RegExp(`within ${limitMs} ms`) })
    await clock.advance(limitMs)
    await verdict
    t.equal(clock.pending, 0)
  }
})

t.test('a store that is far away answers all questions in the time of one', async (t) => {
  const clock = new FakeClock()
  const slow = <T>(value: T, ms: number): Promise<T> => new Promise((resolve) => { clock.setTimeout(() => resolve(value), ms) })
  const far = (readMs: number, restMs: number): HealthCheck => check({
    clock, get: () => slow(undefined, readMs), probe: () => slow(undefined, restMs), parts: { readings: { counts: () => slow({ queued: 0, stuck: 0 }, restMs) } }
  })
  for (const [readMs, restMs, expected] of [
    [900, 900, { status: 'Healthy', data: { store_latency_ms: 900 } }],
    [1_400, 1_400, { status: 'Degraded', description: 'the fake store answers slowly', data: { submit_probe: 'passed' } }],
    [9_000, 1_400, { status: 'Degraded', description: 'the fake store answers slowly', data: { store_latency_ms: 1_500 } }],
    [800, 9_000, { status: 'Degraded', description: 'the fake store answers slowly', data: { submit_probe: 'no-answer' } }],
    [3, 9_000, { status: 'Unhealthy', description: 'the fake store would take no job: it did not answer within 1500 ms' }]
  ] as const) {
    const asked = ask(far(readMs, restMs))
    await clock.advance(1_500)
    t.match(await asked, expected, `a read of ${readMs} ms, the rest ${restMs} ms`)
  }
})

t.test('S1-40: the length of the line; Degraded and never worse', async (t) => {
  for (const [queued, status] of [[0, 'Healthy'], [99, 'Healthy'], [100, 'Degraded'], [1e9, 'Degraded']] as const) {
    t.match(await ask(queueDepthCheck({ counts: async () => ({ queued, stuck: 0 }) }, 100)), { status, data: { queue_depth: queued, threshold: 100 } })
  }
})

t.test('redis: one PING, timed', async (t) => {
  const clock = new FakeClock()
  t.match(await ask(redisCheck({ ping: async () => { clock.jump(2) } }, clock)), { status: 'Healthy', data: { ping_ms: 2 } })
  await t.rejects(ask(redisCheck({ ping: async () => { throw new Error('away') } }, clock)), /away/)
})

/** A store of two queues that remembers what it was asked. `pages`: of jobs in progress in the first of them. */
function queues (pages: readonly JobPage[] = [{ jobs: [] }]): Pick<JobStore, 'counts' | 'list'> & { asked: string[] } {
  const asked: string[] = []
  return {
    asked,
    async counts (queue) {
      asked.push(`counts ${queue}`)
      return { queue, states: { queued: 2, scheduled: 100 }, stuck: 1 } as Partial<QueueCounts> as QueueCounts
    },
    async list ({ queue, state, cursor, limit }) {
      asked.push(`list ${queue} ${state} ${limit} ${cursor}`)
      return queue === 'a' ? pages[Number(cursor ?? 0)] ?? { jobs: [] } : { jobs: [] }
    }
  }
}

t.test('readings: one for all who ask, over all queues, and again when it is old', async (t) => {
  const clock = new FakeClock()
  const store = queues()
  const readings = new StoreReadings(store, new StoreCounts(store, clock), clock, () => ['a', 'b'])
  t.strictSame(await Promise.all([readings.counts(), readings.counts()]), [{ queued: 4, stuck: 2 }, { queued: 4, stuck: 2 }])
  await clock.advance(249)
  await readings.counts()
  t.strictSame(store.asked.splice(0), ['counts a', 'counts b'])
  await clock.advance(1)
  await readings.counts()
  t.equal(store.asked.length, 2)
})

t.test('readings: a failure is told to all who wait for it, and not kept', async (t) => {
  let broken = true
  const counts = async (): Promise<QueueCounts> => {
    if (broken) throw new Error('away')
    return { states: { queued: 7 }, stuck: 0 } as Partial<QueueCounts> as QueueCounts
  }
  const clock = new FakeClock()
  const readings = new StoreReadings(queues(), new StoreCounts({ counts }, clock), clock, () => ['a'])
  await Promise.all([t.rejects(readings.counts(), /away/), t.rejects(readings.counts(), /away/)])
  broken = false
  t.strictSame(await readings.counts(), { queued: 7, stuck: 0 })
})

function readingsOf (store: Pick<JobStore, 'counts' | 'list'>, names: readonly string[]): StoreReadings {
  const clock = new FakeClock()
  return new StoreReadings(store, new StoreCounts(store, clock), clock, () => names)
}

t.test('readings: what runs is read page by page, and not for ever', async (t) => {
  const job = { name: 'x' } as JobRecord
  const store = queues([{ jobs: [job], cursor: '1' }, { jobs: [job, job] }])
  t.equal((await readingsOf(store, ['a', 'b']).running()).length, 3)
  t.strictSame(store.asked.sort(), ['list a in-progress 100 1', 'list a in-progress 100 undefined', 'list b in-progress 100 undefined'])
  const endless = queues(Array.from({ length: 2 }, () => ({ jobs: [job], cursor: '0' })))
  t.equal((await readingsOf(endless, ['a']).running()).length, 20)
})

t.test('jobs in queues that no worker works on are work to do: Degraded, with their names', async (t) => {
  const parts = (count: number): Partial<StoreCheckParts> => ({
    store: { type: 'fake', get: async () => undefined, unattended: () => Array.from({ length: count }, (_, n) => ({ queue: `q${n}`, waiting: n + 1 })) }
  })
  t.match(await ask(check({ parts: parts(0) })), { status: 'Healthy' })
  t.match(await ask(check({ parts: parts(7) })), {
    status: 'Degraded',
    description: 'jobs wait in queues that no worker works on: q0 (1), q1 (2), q2 (3), q3 (4), q4 (5)',
    data: { unattended_queues: 7, unattended_jobs: 28 }
  })
})
