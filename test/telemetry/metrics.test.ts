import { join } from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import { ERROR_TABLE, type ErrorCode } from '../../lib/core/errors.ts'
import { problemSlug } from '../../lib/http/problem.ts'
import { RECORDED_METRICS } from '../../lib/telemetry/instruments.ts'
import { REFUSAL_REASONS } from '../../lib/telemetry/metric-catalogue/jobs.ts'
import { METRIC_LABELS } from '../../lib/telemetry/metric-catalogue/labels.ts'
import type { MetricRow } from '../../lib/telemetry/metric-catalogue/row.ts'
import { defineMetrics, overrideMetrics } from '../../lib/telemetry/metrics-override.ts'
import {
  METRIC_METHODS, noopMetrics, startTimer, withTimers, type AsyncEndpointsMetrics
} from '../../lib/telemetry/metrics.ts'
import { recordInto } from '../../lib/telemetry/registry-recorder.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'
import { recordingMetrics } from '../../lib/testing/recording-metrics.ts'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'

const JOB = { jobName: 'TestJob', storeType: 'memory' }

const VALUES: Readonly<Record<string, string>> = {
  jobName: 'TestJob', storeType: 'memory', status: 'completed', errorType: 'E', operation: 'get', handlerType: 'function', channelType: 'worker'
}
const AMOUNTS: Readonly<Record<string, number>> = { s: 1, By: 512, '%': 50, '{attempt}': 3 }

function argumentsOf ({ kind, unit, labels }: MetricRow): unknown[] {
  const given = Object.fromEntries(labels.map((label) => [METRIC_LABELS[label].property, VALUES[METRIC_LABELS[label].property] ?? 'x']))
  return kind === 'counter' ? [given] : [AMOUNTS[unit] ?? 1, given]
}

/** Calls every method once, as the sink would. */
function callAll (metrics: AsyncEndpointsMetrics): void {
  for (const [method, row] of Object.entries<MetricRow>(RECORDED_METRICS)) Reflect.apply(Reflect.get(metrics, method), metrics, argumentsOf(row))
  metrics.timeJobProcessing({ jobName: 'TestJob', status: 'completed' }).stop()
  metrics.timeHandler({ jobName: 'TestJob', handlerType: 'function' }).stop()
}

function recorderFor (registry: MetricsRegistry): AsyncEndpointsMetrics { return withTimers(recordInto(registry, RECORDED_METRICS).methods) }

t.test('every method of the default finds its instrument, and every instrument is fed', async (t) => {
  const registry = new MetricsRegistry()
  callAll(recorderFor(registry))
  const families = new Map(registry.families().map((family) => [family.name, family]))
  t.same([...families.keys()].sort(), Object.values(RECORDED_METRICS).map(({ name }) => name).sort())
  t.match(families.get('asyncendpoints.jobs.created.total')?.points, [{ labels: { job_name: 'TestJob', store_type: 'memory' }, value: 1 }])
  t.match(families.get('asyncendpoints.store.errors.total')?.points, [{ labels: { operation: 'get', error_type: 'E', store_type: 'memory' }, value: 1 }])
  t.match(families.get('asyncendpoints.jobs.processing.duration')?.points, [{ labels: { job_name: 'TestJob', status: 'completed' }, count: 2 }], 'the timer fed it too')
  t.match(families.get('asyncendpoints.jobs.attempts'), { unit: '{attempt}', points: [{ labels: { job_name: 'TestJob' }, count: 1, sum: 3, bucketCounts: [0, 0, 1] }] })
  t.match(families.get('asyncendpoints.jobs.payload.size'), { unit: 'By', points: [{ count: 1, sum: 512, bucketCounts: [0, 0, 1] }] })
  t.match(families.get('asyncendpoints.background.channel.utilization')?.points, [{ labels: { channel_type: 'worker' }, value: 50 }])
})

t.test('nothing records nothing, and has the same shape', async (t) => {
  const noop = noopMetrics()
  callAll(noop)
  for (const method of METRIC_METHODS) t.type(noop[method], 'function', method)
})

t.test('the cells of a job exist from its definition on', async (t) => {
  const registry = new MetricsRegistry()
  recordInto(registry, RECORDED_METRICS).startAtZero('job', { job_name: 'report', store_type: 'memory' })
  t.same(registry.families().map(({ name, points }) => [name, points.length]), [
    ['asyncendpoints.jobs.created.total', 1], ['asyncendpoints.jobs.processed.total', 3], ['asyncendpoints.jobs.retries.total', 1], ['asyncendpoints.jobs.cancelled.total', 1]
  ])
})

t.test('counters with known label values exist at 0, so that their first increment is an increase', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { observability: { export: { targets: { file: { path: join(t.testdir(), 'metrics.prom') } } } } })
  app.defineJob({ name: 'report', queue: 'reports', slaMs: 1_000, handler: () => 1 })
  await app.ready()
  const { body } = await app.inject('/metrics')
  for (const line of [
    'asyncendpoints_jobs_recovered_total{reason="stalled",store_type="memory"} 0',
    'asyncendpoints_requests_rejected_total{reason="queue-full"} 0',
    'asyncendpoints_requests_rejected_total{reason="store-unavailable"} 0',
    'asyncendpoints_store_errors_total{operation="create",error_type="FAE_STORE_UNAVAILABLE",store_type="memory"} 0',
    'asyncendpoints_store_operations_total{operation="settle",store_type="memory"} 0',
    'asyncendpoints_worker_restarts_total{queue="reports",reason="silent"} 0',
    'asyncendpoints_jobs_sla_missed_total{job_name="report",store_type="memory"} 0',
    'asyncendpoints_exports_total{target="file",outcome="failed"} 0'
  ]) t.ok(body.includes(`${line}\n`), line)
  t.notOk(body.includes('target="push"'), 'a target that there is none of')
  const refusable = Object.entries(ERROR_TABLE).filter(([, { statusCode }]) => [400, 410, 413, 415, 422, 429, 503].includes(statusCode)).map(([code]) => problemSlug(code as ErrorCode))
  t.same(REFUSAL_REASONS.filter((reason) => !refusable.includes(reason)), [], 'none is made up')
  const ofOtherRequests = ['result-expired', 'unknown-format', 'too-many-channels', 'too-many-subscriptions', 'url-refused']
  t.same(refusable.filter((reason) => !ofOtherRequests.includes(reason) && !REFUSAL_REASONS.some((known) => known === reason)), [], 'none is missing')
})

t.test('a flood of error types is bounded in the caches too', async (t) => {
  const registry = new MetricsRegistry({ maxSeriesPerMetric: 10 })
  const metrics = recorderFor(registry)
  for (let n = 0; n < 1_000; n++) metrics.jobFailed({ ...JOB, errorType: `E${n}` })
  metrics.jobFailed({ ...JOB, errorType: 'E999' })
  metrics.jobFailed({ ...JOB, errorType: 'E0' })
  const points = registry.families().find(({ name }) => name === 'asyncendpoints.jobs.failed.total')?.points
  t.equal(points?.length, 11)
  t.match(points?.[0], { labels: { error_type: 'E0' }, value: 2 })
  t.match(points?.[10], { labels: { otel_metric_overflow: 'true' }, value: 991 })
  const dropped = registry.families().find(({ name }) => name === 'asyncendpoints.metrics.series.dropped.total')?.points[0]
  t.match(dropped, { labels: { metric: 'asyncendpoints.jobs.failed.total' }, value: 991 }, 'nothing over the cap was remembered')
})

t.test('a series that was forgotten is not remembered by its labels either', async (t) => {
  const registry = new MetricsRegistry({ maxSeriesPerMetric: 2 })
  const { methods: metrics, startAtZero } = recordInto(registry, RECORDED_METRICS)
  const seen = (): string[] => registry.families().filter(({ name }) => name === 'asyncendpoints.jobs.failed.total').flatMap(({ points }) => points.map((point) => `${point.labels['error_type']} ${'value' in point ? point.value : ''}`))
  startAtZero('job', { job_name: 'TestJob', store_type: 'memory' })
  metrics.jobFailed({ ...JOB, errorType: 'A' })
  metrics.jobFailed({ ...JOB, errorType: 'B' })
  registry.sweep(0)
  registry.sweep(0)
  t.same(seen(), [], 'silent for more than one sweep')
  metrics.jobFailed({ ...JOB, errorType: 'C' })
  metrics.jobFailed({ ...JOB, errorType: 'A' })
  metrics.jobFailed({ ...JOB, errorType: 'A' })
  t.same(seen(), ['C 1', 'A 2'], 'the places are free, and the old number is gone with its cell')
  t.equal(registry.families().filter(({ name }) => /created|processed|retries/.test(name)).length, 3, 'what was prepared stays')
})

t.test('timers record once, by stop() or at the end of a block', async (t) => {
  const recorded: number[] = []
  let now = 0
  const timer = startTimer((seconds) => recorded.push(seconds), () => now)
  now = 1_500
  t.equal(timer.stop(), 1.5)
  now = 9_000
  t.equal(timer.stop(), 1.5)
  {
    using inBlock = startTimer((seconds) => recorded.push(seconds), () => now)
    t.ok(inBlock)
    now = 9_250
  }
  t.same(recorded, [1.5, 0.25])
})

t.test('defineMetrics: the whole is replaced, and timers feed what is there', async (t) => {
  const calls: string[] = []
  const metrics = defineMetrics({
    jobCreated: ({ jobName, storeType }) => { calls.push(`${jobName} ${storeType}`) },
    handlerDuration: (_seconds, { handlerType }) => { calls.push(`handler ${handlerType}`) }
  })
  callAll(metrics)
  t.same(calls, ['TestJob memory', 'handler function', 'handler function'])
  class Own { readonly seen: string[] = []; jobCreated ({ jobName }: { jobName: string }): void { this.seen.push(jobName) } }
  const own = new Own()
  callAll(defineMetrics(own))
  t.same(own.seen, ['TestJob'], 'methods of a class keep their `this`')
})

t.test('one part is replaced, the rest stays', async (t) => {
  const registry = new MetricsRegistry()
  const seen: unknown[] = []
  callAll(overrideMetrics(recorderFor(registry), { jobFailed: (labels) => { seen.push(labels) } }, () => t.fail('nothing threw')))
  t.same(seen, [{ ...JOB, errorType: 'E' }])
  t.equal(registry.families().some(({ name }) => name === 'asyncendpoints.jobs.failed.total'), false)
  t.equal(registry.families().length, Object.keys(RECORDED_METRICS).length - 1)
})

t.test('an implementation that throws, rejects or gives broken timers is survived', async (t) => {
  const failed: string[] = []
  const broken = Object.fromEntries(METRIC_METHODS.map((method) => [method, () => { throw new Error('broken') }]))
  const throwing = overrideMetrics(noopMetrics(), broken, (method, error) => { failed.push(`${method} ${(error as Error).message}`) })
  t.doesNotThrow(() => { callAll(throwing) })
  t.same(failed, METRIC_METHODS.map((method) => `${method} broken`))

  const late: string[] = []
  const rejecting = overrideMetrics(noopMetrics(), { jobCreated: async () => { throw new Error('late') } }, (method) => { late.push(method) })
  rejecting.jobCreated(JOB)
  await new Promise((resolve) => { setImmediate(resolve) })
  t.same(late, ['jobCreated'])

  const timers: string[] = []
  const odd = overrideMetrics(noopMetrics(), {
    timeHandler: () => ({ stop: () => { throw new Error('no') }, [Symbol.dispose]: () => {} }),
    timeJobProcessing: () => undefined as never
  }, (method) => { timers.push(method) })
  t.equal(odd.timeHandler({ jobName: 'a', handlerType: 'b' }).stop(), 0)
  t.equal(odd.timeJobProcessing({ jobName: 'a', status: 'b' }).stop(), 0)
  t.same(timers, ['timeHandler'])
})

t.test('recordingMetrics remembers calls for the tests of an application', async (t) => {
  const metrics = recordingMetrics()
  const waited = metrics.waitFor('jobCreated', { jobName: 'TestJob' }, { count: 2 })
  callAll(metrics)
  metrics.jobCreated(JOB, { traceId: 'a', spanId: 'b' })
  t.same(await waited, [
    { method: 'jobCreated', labels: JOB, value: undefined, exemplar: undefined },
    { method: 'jobCreated', labels: JOB, value: undefined, exemplar: { traceId: 'a', spanId: 'b' } }
  ])
  t.ok(metrics.has('jobCreated', { storeType: 'memory' }))
  t.notOk(metrics.has('jobCreated', { storeType: 'bullmq' }))
  t.match(metrics.of('jobQueueDuration'), [{ value: 1, labels: JOB }])
  t.equal(metrics.of('handlerDuration').length, 2, 'the timer recorded as well')
  await t.rejects(metrics.waitFor('jobCreated', { jobName: 'other' }, { timeoutMs: 1 }), { message: /waited 1 ms for 1 × jobCreated .*other.*TestJob/ })
  metrics.clear()
  t.same(metrics.calls, [])
})

t.test('recordingMetrics is taken as metrics.recorder, as its description shows', async (t) => {
  const metrics = recordingMetrics()
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints, { observability: { metrics: { recorder: metrics } } })
  app.defineJob({ name: 'generate-report', handler: async () => 1 })
  await app.ready()
  await app.jobs.submit('generate-report', {})
  t.equal((await metrics.waitFor('jobProcessed', { jobName: 'generate-report', status: 'completed' })).length, 1)
})
