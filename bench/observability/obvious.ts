/** Three spans and eight records per job, as one writes them with OpenTelemetry alone: what ours is compared with. */
import { context, metrics, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, type Span } from '@opentelemetry/api'
import { AggregationTemporality, MeterProvider, PeriodicExportingMetricReader, type PushMetricExporter } from '@opentelemetry/sdk-metrics'
import type { BatchSpanProcessor, SpanExporter } from '@opentelemetry/sdk-trace-node'
import type { FastifyInstance } from 'fastify'
import { runtimeOf } from '../../lib/events/runtime.ts'
import type { SubmitScope } from '../../lib/jobs/seams.ts'
import { JOB_BUCKETS } from '../../lib/telemetry/instruments.ts'

const STORE = 'bullmq'

/** A meter provider that is read every ten seconds, for nobody. */
export function obviousMetrics (): void {
  const exporter: PushMetricExporter = {
    export (_metrics, done) { done({ code: 0 }) },
    async forceFlush () {},
    async shutdown () {},
    selectAggregationTemporality: () => AggregationTemporality.CUMULATIVE
  }
  metrics.setGlobalMeterProvider(new MeterProvider({ readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 10_000 })] }))
}

/** @returns hooks spans and records into an application that has no observability */
export async function obvious (exporter: SpanExporter): Promise<{ processor: BatchSpanProcessor, attach: (app: FastifyInstance) => void }> {
  const { BatchSpanProcessor, NodeTracerProvider } = await import('@opentelemetry/sdk-trace-node')
  const processor = new BatchSpanProcessor(exporter)
  new NodeTracerProvider({ spanProcessors: [processor] }).register()
  obviousMetrics()
  return {
    processor,
    attach (app) {
      attachSpans(app)
      attachRecords(app)
    }
  }
}

/** Whatever the work does, its span ends with it. */
async function inside<R> (span: Span, work: () => Promise<R>): Promise<R> {
  try {
    return await work()
  } catch (error) {
    span.recordException(error instanceof Error ? error : String(error))
    span.setStatus({ code: SpanStatusCode.ERROR })
    throw error
  } finally {
    span.end()
  }
}

function attachSpans (app: FastifyInstance): void {
  const tracer = trace.getTracer('bench', '1.0.0')
  const { submitMiddleware, attemptMiddleware, handlerSpanMiddleware } = runtimeOf(app)

  submitMiddleware.push((scope: SubmitScope, next) => {
    const { job } = scope
    const attributes = {
      ...messaging('send', job.queue),
      'job.id': job.id,
      'job.name': job.name,
      'store.type': STORE,
      'handler.type': 'function',
      'messaging.message.id': job.id,
      'messaging.message.conversation_id': job.correlationId
    }
    return tracer.startActiveSpan(`send ${job.queue}`, { kind: SpanKind.PRODUCER, attributes }, (span) => inside(span, async () => {
      const carrier = { traceparent: '' }
      propagation.inject(context.active(), carrier)
      scope.job.trace = carrier
      const created = await next()
      span.setAttribute('job.status', 'queued')
      span.addEvent('state.applied.queued', { 'state.new': 'queued' })
      return created
    }))
  })

  attemptMiddleware.push(({ claim: { job, availableAt }, workerId }, next) => {
    const parent = propagation.extract(ROOT_CONTEXT, job.trace ?? {})
    const attributes = {
      ...messaging('process', job.queue),
      'job.id': job.id,
      'job.name': job.name,
      'job.status': 'in-progress',
      'worker.id': workerId,
      'store.type': STORE,
      'handler.type': 'function',
      'retry.count': job.attempts - 1,
      'queue.duration': Math.max(0, Date.now() - availableAt) / 1_000,
      'available.at': new Date(availableAt).toISOString(),
      'messaging.message.id': job.id,
      'messaging.message.conversation_id': job.correlationId,
      'messaging.client.id': workerId
    }
    return tracer.startActiveSpan(`process ${job.queue}`, { kind: SpanKind.CONSUMER, attributes }, parent, (span) => inside(span, async () => {
      span.addEvent('state.applied.in-progress', { 'state.old': 'queued', 'state.new': 'in-progress' })
      const settlement = await next()
      span.addEvent(`state.applied.${settlement.kind}`, { 'state.old': 'in-progress', 'state.new': settlement.kind })
      span.setAttribute('job.status', settlement.kind)
      return settlement
    }))
  })

  handlerSpanMiddleware.push(({ claim: { job }, workerId }, next) => {
    const attributes = {
      'job.id': job.id,
      'job.name': job.name,
      'job.status': 'in-progress',
      'worker.id': workerId,
      'store.type': STORE,
      'handler.type': 'function',
      'retry.count': job.attempts - 1
    }
    return tracer.startActiveSpan(job.name, { attributes }, (span) => inside(span, next))
  })
}

function messaging (operation: string, queue: string): Record<string, string> {
  return {
    'messaging.system': STORE,
    'messaging.destination.name': queue,
    'messaging.operation.name': operation,
    'messaging.operation.type': operation
  }
}

function attachRecords (app: FastifyInstance): void {
  const meter = metrics.getMeter('bench', '1.0.0')
  const counter = (name: string): ReturnType<typeof meter.createCounter> => meter.createCounter(name)
  const seconds = (name: string): ReturnType<typeof meter.createHistogram> => meter.createHistogram(name, { unit: 's', advice: { explicitBucketBoundaries: [...JOB_BUCKETS] } })
  const [created, processed, rate] = [counter('jobs.created'), counter('jobs.processed'), counter('worker.processed')]
  const [submit, wait, handler, processing, total] = [seconds('jobs.submit'), seconds('jobs.wait'), seconds('handlers.run'), seconds('jobs.processing'), seconds('jobs.total')]
  const { bus } = runtimeOf(app)

  bus.on('job.submitted', ({ jobName, submitMs }) => {
    created.add(1, { job_name: jobName, store_type: STORE })
    submit.record(submitMs / 1_000, { job_name: jobName, store_type: STORE })
  })
  bus.on('job.claimed', ({ jobName, queueWaitMs }) => { wait.record(queueWaitMs / 1_000, { job_name: jobName, store_type: STORE }) })
  bus.on('handler.completed', ({ jobName, durationMs }) => { handler.record(durationMs / 1_000, { job_name: jobName, handler_type: 'function' }) })
  bus.on('job.completed', ({ jobName, workerId, processingMs, totalMs }) => {
    processed.add(1, { job_name: jobName, status: 'completed', store_type: STORE })
    processing.record(processingMs / 1_000, { job_name: jobName, status: 'completed' })
    total.record(totalMs / 1_000, { job_name: jobName, status: 'completed' })
    rate.add(1, { worker_id: workerId })
  })
}
