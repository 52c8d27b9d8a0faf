import t from 'tap'
import { PeriodicExport } from '../../lib/telemetry/otel-export.ts'
import { RegistryProducer } from '../../lib/telemetry/otel-producer.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'
import type { PushMetricExporter, ResourceMetrics } from '../../lib/telemetry/sdk/metrics.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

type Answer = Parameters<PushMetricExporter['export']>[1]

interface Fake extends PushMetricExporter {
  readonly exported: number[]
  readonly answers: Answer[]
  ended: number
}

/** Remembers the value of the one counter at each export. */
function fake (given: Partial<PushMetricExporter> = {}): Fake {
  const exporter: Fake = {
    exported: [],
    answers: [],
    ended: 0,
    export: (metrics: ResourceMetrics, answer) => {
      exporter.exported.push(Number(metrics.scopeMetrics[0]?.metrics[0]?.dataPoints[0]?.value))
      exporter.answers.push(answer)
      answer({ code: 0 })
    },
    forceFlush: async () => {},
    shutdown: async () => { exporter.ended++ },
    ...given
  }
  return exporter
}

async function started (exporter: PushMetricExporter, timeoutMs = 30_000) {
  const clock = new FakeClock()
  const registry = new MetricsRegistry({ now: () => clock.now() })
  const counter = registry.instrument({ name: 'c', kind: 'counter', unit: '', description: 'C', labels: [] }).bind({})
  const failures: string[] = []
  const failed = (error: unknown): void => { failures.push(error instanceof Error ? error.message : String(error)) }
  const producer = new RegistryProducer({ registry, resource: {}, now: () => clock.now(), failed })
  const periodic = new PeriodicExport({ exporter, producer, intervalMs: 60_000, timeoutMs, clock, quietly: (work) => work(), failed })
  await periodic.start()
  return { clock, counter, failures, periodic }
}

t.test('everything once an interval, and once more at the end', async (t) => {
  const exporter = fake()
  const { clock, counter, failures, periodic } = await started(exporter)
  counter.add(1)
  await clock.advance(60_000)
  counter.add(1)
  await clock.advance(60_000)
  counter.add(1)
  await periodic.stop(2_000)
  t.same(exporter.exported, [1, 2, 3])
  t.equal(exporter.ended, 1)
  t.same(failures, [])
  t.equal(clock.pending, 0)
})

t.test('nothing to tell, nothing exported', async (t) => {
  const clock = new FakeClock()
  const exporter = fake()
  const producer = new RegistryProducer({ registry: new MetricsRegistry(), resource: {}, now: () => 0, failed: () => {} })
  const periodic = new PeriodicExport({ exporter, producer, intervalMs: 1_000, timeoutMs: 1_000, clock, quietly: (work) => work(), failed: () => {} })
  await periodic.start()
  await clock.advance(1_000)
  await periodic.stop(2_000)
  t.same([exporter.exported, exporter.ended], [[], 1])
})

t.test('an exporter that throws, fails or answers twice is tried again', async (t) => {
  let call = 0
  const exporter = fake({
    export: (_metrics, answer) => {
      call++
      if (call === 1) throw new Error('thrown')
      answer({ code: 1, error: new Error('refused') })
      answer({ code: 0 })
    },
    forceFlush: async () => { throw new Error('no flush') },
    shutdown: async () => { throw new Error('no shutdown') }
  })
  const { clock, counter, failures, periodic } = await started(exporter)
  counter.add()
  await clock.advance(120_000)
  t.same(failures, ['thrown', 'refused'])
  await t.resolves(periodic.stop(2_000))
  t.same(failures, ['thrown', 'refused', 'refused', 'no flush', 'no shutdown'])
  t.equal(clock.pending, 0)
})

t.test('an exporter that never answers: tried a few times, then left alone; late answers let it go on', async (t) => {
  const answers: Answer[] = []
  const exporter = fake({ export: (_metrics, answer) => { answers.push(answer) } })
  const { clock, counter, failures, periodic } = await started(exporter, 10_000)
  counter.add()
  await clock.advance(10 * 70_000)
  t.equal(answers.length, 3, 'what it keeps is bounded')
  t.equal(failures.filter((message) => message === 'an export of metrics was not answered within 10000 ms').length, 3)
  t.ok(failures.includes('the exporter has left 3 exports unanswered'))
  // An answer that comes twice makes no room for two.
  for (const answer of answers.splice(0)) for (let n = 0; n < 2; n++) answer({ code: 0 })
  await clock.advance(10 * 70_000)
  t.equal(answers.length, 3)
  const stopping = periodic.stop(2_000)
  await clock.advance(2_000)
  await stopping
})

t.test('stopping takes two seconds at most, and leaves no timer behind', async (t) => {
  const answers: Answer[] = []
  const exporter = fake({ export: (_metrics, answer) => { answers.push(answer) } })
  const { clock, counter, failures, periodic } = await started(exporter)
  counter.add()
  await clock.advance(60_000)
  let over = false
  const stopping = periodic.stop(2_000).then(() => { over = true })
  await clock.advance(1_999)
  t.equal(over, false)
  await clock.advance(1)
  await stopping
  await clock.advance(0)
  t.match(failures, [/could not be exported within 2000 ms of the shutdown/])
  t.equal(answers.length, 1, 'no second one is sent after the first')
  t.equal(exporter.ended, 1, 'it is asked to end all the same')
  t.equal(clock.pending, 0)
})

t.test('a flush or a shutdown that hangs holds nothing up', async (t) => {
  for (const given of [{ forceFlush: () => new Promise<void>(() => {}) }, { shutdown: () => new Promise<void>(() => {}) }]) {
    const { clock, counter, failures, periodic } = await started(fake(given))
    counter.add()
    const stopping = periodic.stop(2_000)
    await clock.advance(2_000)
    await stopping
    t.match(failures, [/within 2000 ms/])
    t.equal(clock.pending, 0)
  }
})
