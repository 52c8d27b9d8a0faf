/** What is counted of sagas and steps: from the events to the series, with labels that stay few. */
import Fastify from 'fastify'
import t from 'tap'
import { createContext, silentLogger } from '../../lib/core/context.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { connectSinks } from '../../lib/events/router.ts'
import { StoreCounts } from '../../lib/jobs/store-counts.ts'
import { compileExclusion } from '../../lib/telemetry/job-exclusion.ts'
import { createMetricsSink } from '../../lib/telemetry/metrics-sink.ts'
import { StoreGauges } from '../../lib/telemetry/store-gauges.ts'
import { TelemetryFailures } from '../../lib/telemetry/telemetry-failures.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import { recordingMetrics } from '../../lib/testing/recording-metrics.ts'
import asyncEndpoints from '../../plugins/async-endpoints.ts'

const IDS = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) }
const SAGA = { jobId: 'j', jobName: 'transcode', queue: 'default', workerId: 'w', correlationId: 'c', ...IDS }
const STEP = { ...SAGA, step: 'upload', order: 1, attempt: 2, maxAttempts: 3 }
const ERROR = { errorCode: 'ETIMEDOUT', errorMessage: 'no answer' }

function connected (excludeJobs: readonly string[] = [], handlerType: 'saga' | 'function' = 'saga') {
  const bus = new EventBus(silentLogger)
  const metrics = recordingMetrics()
  connectSinks(bus, {
    metrics: createMetricsSink({
      metrics, storeType: 'memory', excluded: compileExclusion(excludeJobs), failures: new TelemetryFailures(bus, silentLogger), detailed: false, definition: () => ({ handlerType, slaMs: 0 })
    })
  })
  const said = (): string[] => metrics.calls.map(({ method, value, labels: { jobName, ...labels }, exemplar }) =>
    [method, value, ...Object.values(labels), exemplar === undefined ? undefined : 'traced'].filter((part) => part !== undefined).join(' '))
  return { bus, metrics, said }
}

t.test('a submitted saga is counted as a job and as a saga; other jobs are not sagas', async (t) => {
  const submitted = { jobId: 'j', jobName: 'transcode', queue: 'default', correlationId: 'c', ...IDS, submitMs: 1, delayMs: 0, payloadBytes: undefined, origin: undefined }
  const saga = connected()
  saga.bus.emit('job.submitted', submitted)
  t.equal(saga.metrics.of('jobCreated').length, 1)
  t.match(saga.metrics.of('sagaSubmitted'), [{ labels: { jobName: 'transcode' }, exemplar: IDS }])
  const other = connected([], 'function')
  other.bus.emit('job.submitted', submitted)
  t.notOk(other.metrics.has('sagaSubmitted'))
})

t.test('steps: each try is timed, its tries are counted when it is over', async (t) => {
  const { bus, said } = connected()
  bus.emit('step.failed', { ...STEP, ...ERROR, attempt: 1, durationMs: 40, final: false })
  bus.emit('step.retry_scheduled', { ...STEP, attempt: 1, delayMs: 100, errorCode: 'ETIMEDOUT' })
  bus.emit('step.completed', { ...STEP, durationMs: 1_500, resultBytes: 2 })
  bus.emit('step.failed', { ...STEP, ...ERROR, attempt: 3, durationMs: 50, final: true })
  t.same(said(), [
    'stepDuration 0.04 upload failed traced', 'stepRetried upload traced', 'stepDuration 1.5 upload completed traced', 'stepAttempts 2 upload', 'stepDuration 0.05 upload failed traced', 'stepAttempts 3 upload'
  ])
})

t.test('timeouts and compensations; an undo that is tried again has not failed', async (t) => {
  const { bus, said } = connected()
  bus.emit('step.timed_out', { ...STEP, timeoutMs: 10 })
  bus.emit('step.compensation_failed', { ...STEP, ...ERROR, durationMs: 5, final: false })
  t.same(said(), ['stepTimedOut upload traced'])
  bus.emit('step.compensation_failed', { ...STEP, ...ERROR, durationMs: 5, final: true })
  bus.emit('step.compensated', { ...STEP, durationMs: 5 })
  t.same(said().slice(1), ['stepCompensated upload failed traced', 'stepCompensated upload compensated traced'])
})

t.test('how sagas end', async (t) => {
  const { bus, said } = connected()
  bus.emit('saga.completed', { ...SAGA, total: 3, totalMs: 10 })
  bus.emit('saga.failed', { ...SAGA, ...ERROR, total: 3, totalMs: 10, phase: 'compensated' })
  bus.emit('saga.cancelled', { ...SAGA, total: 3, totalMs: 10 })
  bus.emit('saga.compensation_failed', { ...SAGA, ...ERROR, total: 1, steps: 'upload' })
  t.same(said(), ['sagaCompleted traced', 'sagaFailed ETIMEDOUT traced', 'sagaCancelled traced', 'sagaCompensationFailed traced'])
})

t.test('the items of an each share one series, the siblings of a group do not', async (t) => {
  const { bus, metrics } = connected()
  for (const step of ['thumbnails/0', 'thumbnails/1', 'thumbnails/999', 'renditions/hd', 'renditions/uhd', 'renditions/4k2']) bus.emit('step.completed', { ...STEP, step, durationMs: 1, resultBytes: 0 })
  t.same([...new Set(metrics.of('stepDuration').map(({ labels }) => labels['step']))], ['thumbnails', 'renditions/hd', 'renditions/uhd', 'renditions/4k2'])
})

t.test('an excluded saga is not recorded', async (t) => {
  const { bus, metrics } = connected(['transcode'])
  bus.emit('step.completed', { ...STEP, durationMs: 1, resultBytes: 0 })
  bus.emit('step.failed', { ...STEP, ...ERROR, durationMs: 1, final: true })
  bus.emit('step.timed_out', { ...STEP, timeoutMs: 1 })
  bus.emit('step.retry_scheduled', { ...STEP, delayMs: 1, errorCode: 'E' })
  bus.emit('step.compensated', { ...STEP, durationMs: 1 })
  bus.emit('step.compensation_failed', { ...STEP, ...ERROR, durationMs: 1, final: true })
  bus.emit('saga.completed', { ...SAGA, total: 3, totalMs: 10 })
  bus.emit('saga.failed', { ...SAGA, ...ERROR, total: 3, totalMs: 10, phase: 'compensated' })
  bus.emit('saga.cancelled', { ...SAGA, total: 3, totalMs: 10 })
  bus.emit('saga.compensation_failed', { ...SAGA, ...ERROR, total: 1, steps: 'upload' })
  t.same(metrics.calls, [])
})

t.test('sagas that compensate or wait for a signal, as the store counts them; a store without steps says nothing', async (t) => {
  const clock = new FakeClock()
  const metrics = recordingMetrics()
  const states = { queued: 0, scheduled: 1, 'in-progress': 0, completed: 0, failed: 0, cancelled: 0 }
  const about: Record<string, object> = {
    busy: { sagas: { compensating: 2, compensatingSince: clock.now() - 90_000, awaitingSignal: 7, notUndone: 3, notUndoneIds: [] } }, calm: { sagas: { compensating: 0, compensatingSince: undefined, awaitingSignal: 0, notUndone: 0, notUndoneIds: [] } }, plain: {}
  }
  const gauges = new StoreGauges({
    context: createContext({ clock }),
    store: { type: 'memory' },
    counts: new StoreCounts({ counts: async (queue) => ({ queue, states, oldestQueuedAt: undefined, stuck: 0, ...about[queue] }) }, clock),
    queues: () => Object.keys(about),
    metrics,
    workload: () => undefined
  })
  await gauges.start()
  await clock.advance(0)
  const read = (method: 'sagasCompensating' | 'sagasCompensationAge' | 'sagasAwaitingSignal' | 'sagasNotUndone') => metrics.of(method).map(({ value, labels }) => [labels['queue'], value])
  t.same(read('sagasCompensating'), [['busy', 2], ['calm', 0]])
  t.same(read('sagasCompensationAge'), [['busy', 90], ['calm', 0]])
  t.same(read('sagasAwaitingSignal'), [['busy', 7], ['calm', 0]])
  t.same(read('sagasNotUndone'), [['busy', 3], ['calm', 0]])
  await gauges.stop(0)
})

t.test('the series of a saga exist at 0 as soon as it is defined, and grow when it runs', async (t) => {
  const app = Fastify()
  await app.register(asyncEndpoints)
  app.saga({
    name: 'transcode',
    steps: (s) => s
      .step('upload', { run: () => 1, compensate: () => {} })
      .step('probe', () => 2)
      .parallel('renditions', (g) => g.step('hd', { run: () => 'hd', compensate: () => {} }).step('uhd', () => 'uhd'))
      .step('publish', { attempts: 1, run: () => { throw new Error('refused') } })
  })
  await app.ready()
  t.teardown(async () => { await app.close() })
  const page = async (): Promise<string> => (await app.inject('/metrics')).body
  const value = (text: string, series: string): number | undefined => {
    const line = text.split('\n').find((line) => line.startsWith(`${series} `))
    return line === undefined ? undefined : Number(line.split(' ')[1])
  }
  const undone = (step: string, outcome: string): string => `asyncendpoints_steps_compensations_total{job_name="transcode",outcome="${outcome}",step="${step}"}`
  const sorted = (text: string): string => text.replace(/\{([^}]*)\}/g, (_, labels: string) => `{${labels.split(',').sort().join(',')}}`)
  const before = sorted(await page())
  for (const name of ['submitted', 'completed', 'cancelled', 'compensation_failures']) t.equal(value(before, `asyncendpoints_sagas_${name}_total{job_name="transcode"}`), 0, name)
  for (const step of ['upload', 'renditions/hd']) t.same([value(before, undone(step, 'compensated')), value(before, undone(step, 'failed'))], [0, 0], step)
  t.equal(value(before, undone('probe', 'compensated')), undefined, 'it has no compensation')
  for (const step of ['upload', 'probe', 'renditions/uhd']) t.equal(value(before, `asyncendpoints_steps_retries_total{job_name="transcode",step="${step}"}`), 0, step)

  const { id } = await app.jobs.submit('transcode' as never)
  await app.jobs.waitFor(id, { timeoutMs: 10_000 })
  const after = sorted(await page())
  t.equal(value(after, 'asyncendpoints_sagas_submitted_total{job_name="transcode"}'), 1)
  t.equal(value(after, 'asyncendpoints_sagas_failed_total{error_type="Error",job_name="transcode"}'), 1)
  t.same(['upload', 'renditions/hd'].map((step) => value(after, undone(step, 'compensated'))), [1, 1])
  t.equal(value(after, 'asyncendpoints_sagas_compensation_failures_total{job_name="transcode"}'), 0)
  t.equal(value(after, 'asyncendpoints_steps_attempts_count{job_name="transcode",step="publish"}'), 1)
  t.equal(value(after, 'asyncendpoints_steps_duration_seconds_count{job_name="transcode",outcome="failed",step="publish"}'), 1)
  t.equal(value(after, 'asyncendpoints_jobs_created_total{job_name="transcode",store_type="memory"}'), 1, 'it is a job like any other')
})
