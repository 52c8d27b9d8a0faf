import t from 'tap'
import { silentLogger } from '../../lib/core/context.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { connectSinks } from '../../lib/events/router.ts'
import type { HandlerType } from '../../lib/jobs/definition.ts'
import { compileExclusion } from '../../lib/telemetry/job-exclusion.ts'
import { TelemetryFailures } from '../../lib/telemetry/telemetry-failures.ts'
import { createMetricsSink } from '../../lib/telemetry/metrics-sink.ts'
import { recordingMetrics } from '../../lib/testing/recording-metrics.ts'

const IDS = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) }
const NO_IDS = { traceId: undefined, spanId: undefined }
const ABOUT = { jobId: 'j', jobName: 'report', queue: 'default', correlationId: 'c', ...NO_IDS }
const FAILURE = { errorMessage: 'no answer', failure: undefined }
const RUN = { ...ABOUT, workerId: 'w' }

function connected (excludeJobs: ReadonlyArray<string | RegExp> = [], detailed = false, definition?: { handlerType: HandlerType, slaMs: number }) {
  const bus = new EventBus(silentLogger)
  const metrics = recordingMetrics()
  const failures = new TelemetryFailures(bus, silentLogger)
  const counted: string[] = []
  failures.count = (source) => { counted.push(source) }
  connectSinks(bus, { metrics: createMetricsSink({ metrics, storeType: 'memory', excluded: compileExclusion(excludeJobs), failures, detailed, definition: () => definition }) })
  const methods = (): string[] => metrics.calls.map(({ method, value, labels, exemplar }) =>
    [method, value, Object.entries(labels).filter(([key]) => key !== 'jobName' && key !== 'storeType').map(([, text]) => text).join(' '), exemplar === undefined ? '' : 'traced'].filter((part) => part !== undefined && part !== '').join(' '))
  return { bus, metrics, failures, counted, methods }
}

t.test('a submission is created and timed; a replay is timed', async (t) => {
  const { bus, methods } = connected()
  bus.emit('job.submitted', { ...ABOUT, ...IDS, correlationId: 'c', submitMs: 12, delayMs: 0, payloadBytes: undefined, origin: undefined })
  bus.emit('job.replayed', { ...ABOUT, correlationId: 'c', submitMs: 12, origin: undefined })
  t.same(methods(), ['jobCreated traced', 'jobSubmitDuration 0.012 created traced', 'jobSubmitDuration 0.012 replayed'])
})

t.test('refusals are counted by reason and timed, from whoever tells of them', async (t) => {
  const { bus, methods } = connected()
  bus.emit('job.rejected', { jobName: 'report', queue: 'default', correlationId: 'c', reason: 'queue-full', submitMs: 3, origin: undefined })
  bus.emit('job.submit_failed', { jobName: 'report', queue: 'default', correlationId: 'c', errorCode: 'FAE_STORE_UNAVAILABLE', message: '', submitMs: 2_000, origin: undefined })
  t.same(methods(), ['requestRejected queue-full', 'jobSubmitDuration 0.003 rejected', 'requestRejected store-unavailable', 'jobSubmitDuration 2 failed'])
})

t.test('claim: the wait since the job could run, and how long the store took, if it says', async (t) => {
  const { bus, methods } = connected()
  bus.emit('job.claimed', { ...RUN, ...IDS, attempt: 1, queueWaitMs: 1_500, claimMs: 3 })
  bus.emit('job.claimed', { ...RUN, attempt: 1, queueWaitMs: 0, claimMs: undefined })
  bus.emit('job.recovered', { ...RUN, attempt: 2 })
  t.same(methods(), ['jobQueueDuration 1.5 traced', 'jobClaimDuration 0.003', 'jobQueueDuration 0', 'jobRecovered stalled'])
})

t.test('failure and retry, then success: each attempt is timed, the job is processed once', async (t) => {
  const { bus, methods } = connected()
  bus.emit('handler.failed', { ...ABOUT, ...IDS, durationMs: 40, errorCode: 'ETIMEDOUT' })
  bus.emit('job.attempt_failed', { ...RUN, ...IDS, ...FAILURE, attempt: 1, processingMs: 50, errorCode: 'ETIMEDOUT', final: false })
  bus.emit('job.retry_scheduled', { ...RUN, ...IDS, attempt: 1, delayMs: 1_000, errorCode: 'ETIMEDOUT' })
  bus.emit('handler.completed', { ...ABOUT, ...NO_IDS, durationMs: 70 })
  bus.emit('job.completed', { ...RUN, ...NO_IDS, correlationId: 'c', attempt: 2, processingMs: 80, queueWaitMs: 0, totalMs: 1_130, resultBytes: 2 })
  t.same(methods(), [
    'handlerDuration 0.04 function traced', 'handlerError ETIMEDOUT traced', 'jobProcessingDuration 0.05 failed traced', 'workerProcessed w', 'jobRetried traced',
    'handlerDuration 0.07 function', 'jobProcessed completed', 'jobEndToEndDuration 1.13 completed', 'jobProcessingDuration 0.08 completed', 'workerProcessed w'
  ])
})

t.test('the last failure: processed and failed once, timed by its attempt alone', async (t) => {
  const { bus, methods } = connected()
  bus.emit('job.attempt_failed', { ...RUN, ...IDS, ...FAILURE, attempt: 3, processingMs: 50, errorCode: 'E', final: true })
  bus.emit('job.failed', { ...RUN, ...IDS, ...FAILURE, attempt: 3, processingMs: 50, totalMs: 90, errorCode: 'E' })
  t.same(methods(), ['jobProcessingDuration 0.05 failed traced', 'workerProcessed w', 'jobProcessed failed traced', 'jobEndToEndDuration 0.09 failed traced', 'jobFailed E traced'])
})

t.test('an abandoned handler is timed until nobody waited for it; it is an error when its time was over', async (t) => {
  const { bus, methods } = connected()
  bus.emit('handler.abandoned', { ...ABOUT, ...IDS, reason: 'timeout', durationMs: 7_000, graceMs: 2_000 })
  bus.emit('handler.abandoned', { ...ABOUT, reason: 'cancelled', durationMs: 3_000, graceMs: 2_000 })
  t.same(methods(), ['handlerDuration 7 function traced', 'handlerError FAE_ATTEMPT_TIMEOUT traced', 'handlerDuration 3 function'])
})

t.test('what a job is, and what was promised, is taken from its definition', async (t) => {
  const { bus, methods } = connected([], false, { handlerType: 'saga', slaMs: 1_000 })
  bus.emit('handler.completed', { ...ABOUT, durationMs: 70 })
  const completed = (totalMs: number): void => { bus.emit('job.completed', { ...RUN, ...NO_IDS, attempt: 1, processingMs: 80, queueWaitMs: 0, totalMs, resultBytes: 2 }) }
  completed(1_000)
  t.same(methods().filter((line) => /^handler|Sla/.test(line)), ['handlerDuration 0.07 saga'])
  completed(1_001)
  bus.emit('job.failed', { ...RUN, ...NO_IDS, ...FAILURE, attempt: 3, processingMs: 50, totalMs: 9_000, errorCode: 'E' })
  bus.emit('job.cancelled', { ...RUN, ...NO_IDS, processingMs: 50, totalMs: 9_000 })
  t.equal(methods().filter((line) => line.startsWith('jobSlaMissed')).length, 2)
})

t.test('cancelled while waiting: nothing was processed by a worker', async (t) => {
  const { bus, methods } = connected()
  bus.emit('job.cancelled', { ...ABOUT, workerId: '', correlationId: 'c', processingMs: 0, totalMs: 10 })
  t.same(methods(), ['jobProcessed cancelled', 'jobEndToEndDuration 0.01 cancelled', 'jobCancelled'])
  bus.emit('job.cancelled', { ...RUN, ...IDS, correlationId: 'c', processingMs: 20, totalMs: 30 })
  t.same(methods().slice(3), ['jobProcessed cancelled traced', 'jobEndToEndDuration 0.03 cancelled traced', 'jobCancelled traced', 'jobProcessingDuration 0.02 cancelled traced', 'workerProcessed w'])
})

t.test('endings that do not end the job are timed, not counted as processed', async (t) => {
  const { bus, methods } = connected()
  bus.emit('job.snoozed', { ...RUN, delayMs: 10, processingMs: 1_000 })
  bus.emit('job.released', { ...RUN, ...IDS, processingMs: 2_000 })
  bus.emit('job.lease_lost', { ...RUN, attempt: 1, processingMs: 3_000 })
  t.same(methods(), ['jobProcessingDuration 1 snoozed', 'jobProcessingDuration 2 released traced', 'jobProcessingDuration 3 lease-lost'])
})

t.test('store operations count, failed ones too; idle time', async (t) => {
  const { bus, methods } = connected()
  bus.emit('store.operated', { storeType: 'bullmq', operation: 'get', durationMs: 1 })
  bus.emit('store.operation_failed', { storeType: 'bullmq', operation: 'create', errorCode: 'E', message: '', durationMs: 2_000 })
  bus.emit('worker.idled', { workerId: 'w', queue: 'default', idleMs: 500 })
  t.same(methods(), ['storeOperation get', 'storeOperationDuration 0.001 get', 'storeOperation create', 'storeOperationDuration 2 create', 'storeError create E', 'workerIdle 0.5 w'])
})

t.test('with details: sizes where they are known, and the attempts that jobs took', async (t) => {
  const { bus, methods } = connected(['hidden'], true)
  for (const jobName of ['report', 'hidden']) {
    for (const payloadBytes of [512, undefined]) bus.emit('job.submitted', { ...ABOUT, jobName, ...NO_IDS, submitMs: 12, delayMs: 0, payloadBytes, origin: undefined })
    for (const resultBytes of [2, undefined]) bus.emit('job.completed', { ...RUN, jobName, ...NO_IDS, attempt: 2, processingMs: 80, queueWaitMs: 0, totalMs: 1_130, resultBytes })
    bus.emit('job.failed', { ...RUN, jobName, ...NO_IDS, ...FAILURE, attempt: 3, processingMs: 50, totalMs: 90, errorCode: 'E' })
  }
  t.same(methods().filter((line) => /Size|Attempts/.test(line)), ['jobPayloadSize 512', 'jobAttempts 2', 'jobResultSize 2', 'jobAttempts 2', 'jobAttempts 3'])
})

t.test('excluded jobs leave no trace in the metrics', async (t) => {
  const { bus, methods } = connected(['report', /^internal-/g])
  for (const jobName of ['report', 'internal-a', 'internal-b', 'internal-b']) {
    bus.emit('job.submitted', { ...ABOUT, jobName, ...IDS, correlationId: 'c', submitMs: 12, delayMs: 0, payloadBytes: undefined, origin: undefined })
    bus.emit('job.claimed', { ...RUN, jobName, attempt: 1, queueWaitMs: 1_500, claimMs: 3 })
    bus.emit('handler.failed', { ...ABOUT, jobName, ...IDS, durationMs: 40, errorCode: 'E' })
    bus.emit('job.failed', { ...RUN, jobName, ...IDS, ...FAILURE, attempt: 3, processingMs: 50, totalMs: 90, errorCode: 'E' })
  }
  t.same(methods(), [])
  bus.emit('job.snoozed', { ...RUN, jobName: 'reports', delayMs: 10, processingMs: 1_000 })
  t.equal(methods().length, 1, 'a name is matched whole')
})

t.test('failures of listeners are counted; those that telemetry reported itself only once', async (t) => {
  const { bus, failures, counted } = connected()
  bus.on('job.redriven', () => { throw new Error('somebody else') })
  bus.emit('job.redriven', ABOUT)
  bus.emit('job.redriven', ABOUT)
  t.same(counted, ['job.redriven', 'job.redriven'])
  failures.report('metrics.jobCreated', new Error('x'))
  failures.report('metrics.jobCreated', new Error('x'))
  t.same(counted.slice(2), ['metrics.jobCreated', 'metrics.jobCreated'])
})

t.test('alerts are counted when they are raised, and senders each time they fail', async (t) => {
  const { bus, methods, metrics } = connected()
  const alert = { fingerprint: 'memory:x', rule: 'memory', severity: 'high', alertType: 'System', title: 'T', message: 'm' }
  bus.emit('alert.raised', alert)
  bus.emit('alert.reminded', { ...alert, firingMs: 1 })
  bus.emit('alert.resolved', { ...alert, firingMs: 1 })
  bus.emit('alert.send_failed', { sender: 'webhook', fingerprint: 'memory:x', rule: 'memory', errorCode: 'E', message: 'm', tries: 1 })
  t.same(methods(), ['alertRaised memory high', 'alertSendFailed webhook'])
  t.same(metrics.calls[0]?.labels, { rule: 'memory', severity: 'high' })
})
