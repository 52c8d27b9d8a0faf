import type { Sink } from '../events/router.ts'
import type { HandlerType } from '../jobs/definition.ts'
import type { Exclusion } from './job-exclusion.ts'
import { noopMetrics, type AsyncEndpointsMetrics } from './metrics.ts'
import { exemplarOf, sagaSink } from './saga-metrics.ts'
import type { ExemplarSource } from './snapshot.ts'
import type { TelemetryFailures } from './telemetry-failures.ts'
import { webhookSink } from './webhook-metrics.ts'

export interface MetricsSinkParts {
  readonly metrics: AsyncEndpointsMetrics
  /** The label `store_type` for events that do not name a store. */
  readonly storeType: string
  readonly excluded: Exclusion
  readonly failures: Pick<TelemetryFailures, 'owns' | 'count'>
  /** Record sizes and attempts as well. @defaultValue false */
  readonly detailed?: boolean
  /** The definition of a job; `undefined` where this process has none of that name. */
  readonly definition?: (jobName: string) => DefinitionFacts | undefined
}

interface DefinitionFacts { readonly handlerType: HandlerType, readonly slaMs: number }

interface About { readonly jobName: string, readonly traceId?: string | undefined, readonly spanId?: string | undefined }
interface Timed extends About { readonly processingMs: number }
interface Ended extends About { readonly totalMs: number }

/**
 * Records events as metrics, each when it happens. It runs several times per job, so the labels are written out: a
 * spread would cost more than the recording.
 */
export function createMetricsSink (parts: MetricsSinkParts): Sink {
  const { metrics, storeType, excluded, failures, detailed = false, definition = () => undefined } = parts

  const submitted = (submitMs: number, jobName: string, outcome: string, exemplar?: ExemplarSource): void => {
    metrics.jobSubmitDuration(submitMs / 1_000, { jobName, storeType, outcome }, exemplar)
  }
  const attempted = ({ jobName, processingMs }: Timed, status: string, exemplar: ExemplarSource | undefined): void => {
    metrics.jobProcessingDuration(processingMs / 1_000, { jobName, status }, exemplar)
  }
  const ended = ({ jobName, totalMs }: Ended, status: string, exemplar: ExemplarSource | undefined): void => {
    metrics.jobProcessed({ jobName, status, storeType }, exemplar)
    metrics.jobEndToEndDuration(totalMs / 1_000, { jobName, status }, exemplar)
  }
  const checkSla = ({ jobName, totalMs }: Ended, exemplar: ExemplarSource | undefined): void => {
    const slaMs = definition(jobName)?.slaMs ?? 0
    if (slaMs > 0 && totalMs > slaMs) metrics.jobSlaMissed({ jobName, storeType }, exemplar)
  }
  const handled = (durationMs: number, jobName: string, exemplar: ExemplarSource | undefined): void => {
    const handlerType: HandlerType = definition(jobName)?.handlerType ?? 'function'
    metrics.handlerDuration(durationMs / 1_000, { jobName, handlerType }, exemplar)
  }
  const operated = (operation: string, store: string, durationMs: number): void => {
    const labels = { operation, storeType: store }
    metrics.storeOperation(labels)
    metrics.storeOperationDuration(durationMs / 1_000, labels)
  }

  return {
    'job.submitted': (event) => {
      const { jobName } = event
      if (excluded(jobName)) return
      const exemplar = exemplarOf(event)
      metrics.jobCreated({ jobName, storeType }, exemplar)
      if (definition(jobName)?.handlerType === 'saga') metrics.sagaSubmitted({ jobName }, exemplar)
      submitted(event.submitMs, jobName, 'created', exemplar)
      if (detailed && event.payloadBytes !== undefined) metrics.jobPayloadSize(event.payloadBytes, { jobName })
    },
    'job.replayed': ({ jobName, submitMs }) => {
      if (!excluded(jobName)) submitted(submitMs, jobName, 'replayed')
    },
    'job.rejected': ({ jobName, submitMs, reason }) => {
      metrics.requestRejected({ reason })
      if (!excluded(jobName)) submitted(submitMs, jobName, 'rejected')
    },
    // The client was refused as well, and no `job.rejected` is emitted for it.
    'job.submit_failed': ({ jobName, submitMs, errorCode }) => {
      metrics.requestRejected({ reason: reasonOf(errorCode) })
      if (!excluded(jobName)) submitted(submitMs, jobName, 'failed')
    },

    'job.claimed': (event) => {
      const { jobName, queueWaitMs, claimMs } = event
      if (excluded(jobName)) return
      metrics.jobQueueDuration(queueWaitMs / 1_000, { jobName, storeType }, exemplarOf(event))
      if (claimMs !== undefined) metrics.jobClaimDuration(claimMs / 1_000, { storeType })
    },
    'job.recovered': ({ jobName }) => {
      if (!excluded(jobName)) metrics.jobRecovered({ reason: 'stalled', storeType })
    },

    'job.completed': (event) => {
      const { jobName, workerId } = event
      if (excluded(jobName)) return
      const exemplar = exemplarOf(event)
      ended(event, 'completed', exemplar)
      attempted(event, 'completed', exemplar)
      metrics.workerProcessed({ workerId })
      checkSla(event, exemplar)
      if (!detailed) return
      metrics.jobAttempts(event.attempt, { jobName })
      if (event.resultBytes !== undefined) metrics.jobResultSize(event.resultBytes, { jobName })
    },
    // Every attempt that ended in an error, the last one included: `job.failed` adds only that the job is over.
    'job.attempt_failed': (event) => {
      if (excluded(event.jobName)) return
      attempted(event, 'failed', exemplarOf(event))
      metrics.workerProcessed({ workerId: event.workerId })
    },
    'job.retry_scheduled': (event) => {
      if (!excluded(event.jobName)) metrics.jobRetried({ jobName: event.jobName, storeType }, exemplarOf(event))
    },
    'job.failed': (event) => {
      const { jobName } = event
      if (excluded(jobName)) return
      const exemplar = exemplarOf(event)
      ended(event, 'failed', exemplar)
      metrics.jobFailed({ jobName, errorType: event.errorCode, storeType }, exemplar)
      checkSla(event, exemplar)
      if (detailed) metrics.jobAttempts(event.attempt, { jobName })
    },
    'job.cancelled': (event) => {
      const { jobName, workerId } = event
      if (excluded(jobName)) return
      const exemplar = exemplarOf(event)
      ended(event, 'cancelled', exemplar)
      metrics.jobCancelled({ jobName, storeType }, exemplar)
      // Without a worker it was cancelled while it waited: no attempt was made.
      if (workerId === '') return
      attempted(event, 'cancelled', exemplar)
      metrics.workerProcessed({ workerId })
    },
    'job.snoozed': (event) => { if (!excluded(event.jobName)) attempted(event, 'snoozed', exemplarOf(event)) },
    'job.released': (event) => { if (!excluded(event.jobName)) attempted(event, 'released', exemplarOf(event)) },
    'job.lease_lost': (event) => { if (!excluded(event.jobName)) attempted(event, 'lease-lost', exemplarOf(event)) },

    'handler.completed': (event) => {
      if (!excluded(event.jobName)) handled(event.durationMs, event.jobName, exemplarOf(event))
    },
    'handler.failed': (event) => {
      const { jobName, durationMs, errorCode } = event
      if (excluded(jobName)) return
      const exemplar = exemplarOf(event)
      handled(durationMs, jobName, exemplar)
      metrics.handlerError({ jobName, errorType: errorCode }, exemplar)
    },
    // The duration ends where its attempt stopped waiting for it; what the handler does after that belongs to no job.
    'handler.abandoned': (event) => {
      const { jobName, durationMs, reason } = event
      if (excluded(jobName)) return
      const exemplar = exemplarOf(event)
      handled(durationMs, jobName, exemplar)
      if (reason === 'timeout') metrics.handlerError({ jobName, errorType: 'FAE_ATTEMPT_TIMEOUT' }, exemplar)
    },

    ...sagaSink(parts),
    ...webhookSink(parts),

    'channel.opened': ({ kind, open }) => { metrics.channelsOpen(open, { channelType: kind }) },
    'channel.closed': ({ kind, open, reason, sent }) => {
      metrics.channelsOpen(open, { channelType: kind })
      metrics.channelClosed({ channelType: kind, reason })
      metrics.channelMessages(sent, { channelType: kind })
    },

    'worker.restarted': ({ queue, reason }) => { metrics.workerRestarted({ queue, reason }) },
    'worker.idled': ({ workerId, idleMs }) => { metrics.workerIdle(idleMs / 1_000, { workerId }) },

    'store.operated': (event) => { operated(event.operation, event.storeType, event.durationMs) },
    'store.operation_failed': (event) => {
      operated(event.operation, event.storeType, event.durationMs)
      metrics.storeError({ operation: event.operation, errorType: event.errorCode, storeType: event.storeType })
    },

    'alert.raised': ({ rule, severity }) => { metrics.alertRaised({ rule, severity }) },
    'alert.send_failed': ({ sender }) => { metrics.alertSendFailed({ sender }) },

    'telemetry.listener_failed': ({ source }) => { if (!failures.owns(source)) failures.count(source) }
  }
}

/** The events that are recorded as metrics. */
export const METRIC_EVENTS: ReadonlySet<string> = new Set(Object.keys(createMetricsSink({
  metrics: noopMetrics(), storeType: '', excluded: () => true, failures: { owns: () => true, count: () => {} }
})))

/** In the form of the reasons of `job.rejected`: `FAE_STORE_UNAVAILABLE` is `store-unavailable`. */
function reasonOf (errorCode: string): string {
  return errorCode.replace(/^FAE_/, '').toLowerCase().replaceAll('_', '-')
}
