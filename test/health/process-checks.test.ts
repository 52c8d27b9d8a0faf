import t from 'tap'
import { memoryCheck, workerCheck, type WorkerView } from '../../lib/health/process-checks.ts'
import type { HealthCheck, HealthVerdict } from '../../lib/health/registry.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

async function ask (check: HealthCheck): Promise<HealthVerdict> {
  return await check({ signal: new AbortController().signal })
}

type ConsumerView = ReturnType<WorkerView['consumers']>[number]

const NONE = { running: 0, exhaustedSince: undefined }

function workerOf (consumers: readonly ConsumerView[], running = true, abandoned: ReturnType<WorkerView['abandonedIn']> = NONE): WorkerView {
  return { running, consumers: () => consumers, worksOn: () => true, slotsOf: () => 2, abandonedIn: () => abandoned }
}

t.test('worker: consumption is proven, not the connection', async (t) => {
  const clock = new FakeClock()
  await clock.advance(100_000)
  const consumer = (parts: Partial<ConsumerView>): ConsumerView => ({ queue: 'default', active: 0, lastSeenAt: 99_000, paused: false, ...parts })
  const verdict = async (...parts: Array<Partial<ConsumerView>>): Promise<HealthVerdict> => await ask(workerCheck(workerOf(parts.map(consumer)), clock, 30_000))

  t.match(await verdict({ active: 1 }), { status: 'Healthy', description: 'claiming jobs', data: { queues: 1, active: 1, oldest_proof_ms: 1_000, threshold_ms: 30_000 } })
  t.match(await verdict(), { status: 'Healthy', description: 'no job is defined', data: { queues: 0 } })
  t.match(await verdict({}, { queue: 'mail', lastSeenAt: 69_999 }), { status: 'Unhealthy', description: 'the worker has stopped looking for jobs in mail', data: { oldest_proof_ms: 30_001 } })
  t.match(await verdict({ lastSeenAt: 0, active: 2 }), { status: 'Healthy' }, 'every place is taken: there is nothing to look for')
  t.match(await verdict({ lastSeenAt: 0, paused: true }), { status: 'Degraded', description: 'paused: default' })
  t.match(await verdict(...['a', 'b', 'c', 'd', 'e'].map((queue) => ({ queue, lastSeenAt: 0 }))), { description: 'the worker has stopped looking for jobs in a, b, c and 2 more' })
  t.match(await ask(workerCheck(workerOf([], false), clock, 30_000)), { status: 'Unhealthy', description: 'the worker is not running' })
})

t.test('worker: abandoned handlers are Degraded, and Unhealthy when they have held every place for long', async (t) => {
  const clock = new FakeClock()
  await clock.advance(100_000)
  const consumer: ConsumerView = { queue: 'default', active: 0, lastSeenAt: 99_000, paused: false }
  const verdict = async (view: ConsumerView, running: number, exhaustedSince?: number): Promise<HealthVerdict> => await ask(workerCheck(workerOf([view], true, { running, exhaustedSince }), clock, 30_000))
  t.match(await verdict(consumer, 1), { status: 'Degraded', description: 'handlers that ignored their abort signal are still running: 1', data: { abandoned: 1 } })
  t.match(await verdict({ ...consumer, paused: true }, 2, 90_000), { status: 'Degraded', description: /hold every slot of default/ })
  t.match(await verdict({ ...consumer, paused: true }, 2, 60_000), { status: 'Unhealthy', data: { abandoned: 2 } })
})

t.test('memory: over a limit is Degraded, never worse', async (t) => {
  const limits = { degradedRssBytes: 500, degradedHeapRatio: 0.9 }
  const verdict = async ({ rssBytes = 500, heapUsedBytes = 90 }): Promise<HealthVerdict> =>
    await ask(memoryCheck(limits, { rssBytes: () => rssBytes, heap: () => ({ usedBytes: heapUsedBytes, limitBytes: 100 }) }))
  t.match(await verdict({}), { status: 'Healthy', data: { rss_bytes: 500, rss_limit_bytes: 500, heap_used_bytes: 90, heap_limit_bytes: 100 } })
  t.match(await verdict({ rssBytes: 501 }), { status: 'Degraded', description: 'resident memory is over its limit' })
  t.match(await verdict({ heapUsedBytes: 91, rssBytes: 501 }), { status: 'Degraded', description: 'resident memory is over its limit; the heap is nearly full' })
  t.match(await ask(memoryCheck({ degradedRssBytes: 1, degradedHeapRatio: 1 })), { status: 'Degraded' }, 'this very process uses more than a byte')
})
