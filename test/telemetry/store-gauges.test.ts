import t from 'tap'
import { createContext } from '../../lib/core/context.ts'
import type { JobState } from '../../lib/jobs/states.ts'
import type { QueueCounts } from '../../lib/jobs/store.ts'
import { StoreCounts } from '../../lib/jobs/store-counts.ts'
import { StoreGauges } from '../../lib/telemetry/store-gauges.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import { recordingMetrics } from '../../lib/testing/recording-metrics.ts'

const ZERO: Record<JobState, number> = { queued: 0, scheduled: 0, 'in-progress': 0, completed: 0, failed: 0, cancelled: 0 }

function setUp (counts: (queue: string) => Promise<QueueCounts>, workload?: { active: number, concurrency: number, abandoned: number }) {
  const clock = new FakeClock()
  const metrics = recordingMetrics()
  const asked: string[] = []
  const gauges = new StoreGauges({
    context: createContext({ clock }),
    store: { type: 'memory' },
    counts: new StoreCounts({ counts: (queue) => { asked.push(queue); return counts(queue) } }, clock),
    queues: () => ['default', 'slow'],
    metrics,
    workload: () => workload
  })
  const age = (): number | undefined => metrics.of('storeCountsAge').at(-1)?.value
  return { clock, metrics, asked, gauges, age }
}

t.test('all queues, summed by state, on a timer of its own', async (t) => {
  const { clock, metrics, asked, gauges } = setUp(async (queue) => ({
    queue, states: { ...ZERO, queued: 2, failed: 1 }, oldestQueuedAt: queue === 'slow' ? clock.now() - 5_000 : undefined, stuck: queue === 'slow' ? 1 : 0
  }), { active: 3, concurrency: 4, abandoned: 2 })
  await gauges.start()
  await clock.advance(0)
  t.same(asked, ['default', 'slow'], 'read at once')
  t.match(metrics.of('jobCurrentCount', { jobStatus: 'queued' }), [{ value: 4 }])
  t.match(metrics.of('jobCurrentCount', { jobStatus: 'failed' }), [{ value: 2 }])
  t.equal(metrics.of('jobCurrentCount').length, 6, 'every state, the empty ones too')
  t.match(metrics.of('jobsOldestAge'), [{ value: 0, labels: { queue: 'default' } }, { value: 5, labels: { queue: 'slow' } }])
  t.match(metrics.of('jobsStuck', { queue: 'slow' }), [{ value: 1 }])
  t.match(metrics.of('jobsActive'), [{ value: 3 }])
  t.match(metrics.of('handlersAbandoned'), [{ value: 2 }])
  t.match(metrics.of('channelUtilization', { channelType: 'worker' }), [{ value: 75 }])
  await clock.advance(9_999)
  t.equal(asked.length, 2)
  await clock.advance(1)
  t.equal(asked.length, 4, 'again after the interval')
  await gauges.stop(0)
  t.equal(clock.pending, 0, 'no timer is left')
  await clock.advance(60_000)
  t.equal(asked.length, 4)
})

t.test('a store that does not answer is asked once, and the age of the numbers grows', async (t) => {
  let answer: (counts: QueueCounts) => void = () => {}
  const hanging = new Promise<QueueCounts>((resolve) => { answer = resolve })
  const { clock, metrics, asked, gauges, age } = setUp(() => hanging)
  await gauges.start()
  await clock.advance(1_000)
  t.equal(age(), 1)
  await clock.advance(30_000)
  t.equal(asked.length, 2, 'no second reading behind one that hangs')
  t.equal(metrics.of('jobCurrentCount').length, 0)
  gauges.refreshLocal()
  t.ok((age() ?? 0) >= 30)
  answer({ queue: 'default', states: ZERO, oldestQueuedAt: undefined, stuck: 0 })
  await clock.advance(20_000)
  t.ok(asked.length > 2, 'once it has answered, it is asked again')
  t.ok((age() ?? 99) <= 10)
  await gauges.stop(0)
  t.equal(clock.pending, 0)
})

t.test('a store that is always slow is heard all the same, and the numbers are as old as the question', async (t) => {
  const waiting: Array<() => void> = []
  const { clock, metrics, gauges, age } = setUp((queue) => new Promise((resolve) => {
    waiting.push(() => { resolve({ queue, states: { ...ZERO, queued: 2 }, oldestQueuedAt: undefined, stuck: 0 }) })
  }))
  await gauges.start()
  for (let reading = 1; reading <= 2; reading++) {
    await clock.advance(3_000)
    for (const answer of waiting.splice(0)) answer()
    await clock.advance(0)
    t.equal(metrics.of('jobCurrentCount', { jobStatus: 'queued' }).length, reading)
    gauges.refreshLocal()
    t.equal(age(), 3, 'since it was asked')
    await clock.advance(8_000)
  }
  await gauges.stop(0)
  for (const answer of waiting.splice(0)) answer()
  await clock.advance(0)
  t.equal(metrics.of('jobCurrentCount', { jobStatus: 'queued' }).length, 2, 'nothing after the stop')
  t.equal(clock.pending, 0)
})

t.test('a store that fails: the last values stay, the loop goes on', async (t) => {
  let broken = false
  const { clock, metrics, gauges, age } = setUp(async (queue) => {
    if (broken) throw new Error('away')
    return { queue, states: { ...ZERO, queued: 1 }, oldestQueuedAt: undefined, stuck: 0 }
  })
  await gauges.start()
  await clock.advance(0)
  const before = metrics.of('jobCurrentCount').length
  broken = true
  await clock.advance(25_000)
  t.equal(metrics.of('jobCurrentCount').length, before)
  t.equal(age(), 20)
  broken = false
  await clock.advance(10_000)
  t.ok(metrics.of('jobCurrentCount').length > before)
  await gauges.stop(0)
})

t.test('without a worker nothing is said about one; stopping before starting is fine', async (t) => {
  const { clock, metrics, gauges } = setUp(async (queue) => ({ queue, states: ZERO, oldestQueuedAt: undefined, stuck: 0 }))
  await gauges.refresh()
  t.notOk(metrics.has('jobsActive'))
  t.notOk(metrics.has('channelUtilization'))
  await gauges.stop(0)
  await gauges.stop(0)
  await gauges.start()
  await clock.advance(60_000)
  t.equal(clock.pending, 0)
})

t.test('ages are told by the clock of the store, and queues that nobody works on are shown as well, also when they are empty again', async (t) => {
  const clock = new FakeClock()
  const metrics = recordingMetrics()
  const asked: string[] = []
  let unattended = [{ queue: 'removed', waiting: 3 }]
  const gauges = new StoreGauges({
    context: createContext({ clock }),
    store: {
      type: 'fake',
      now: () => clock.now() - 90_000,
      unattended: () => unattended
    },
    counts: new StoreCounts({
      counts: async (queue) => {
        asked.push(queue)
        return { queue, states: { ...ZERO, queued: 1 }, oldestQueuedAt: clock.now() - 92_000, stuck: 0 }
      }
    }, clock),
    queues: () => ['default'],
    metrics,
    workload: () => undefined
  })
  await gauges.refresh()
  t.match(metrics.of('jobsOldestAge'), [{ value: 2, labels: { queue: 'default' } }, { value: 2, labels: { queue: 'removed' } }])
  unattended = []
  clock.jump(10_000)
  await gauges.refresh()
  t.same(asked, ['default', 'removed', 'default', 'removed'])
})
