import type { Sink } from '../events/router.ts'
import type { Exclusion } from './exclude.ts'
import type { TelemetryFailures } from './failures.ts'
import type { AsyncEndpointsMetrics } from './metrics.ts'
import type { ExemplarSource } from './snapshot.ts'

/** What kind of handler ran, for spans. */
export const HANDLER_TYPE = 'function'

export interface MetricsSinkParts {
  readonly metrics: AsyncEndpointsMetrics
  /** The label `store_type` of events that carry none. */
  readonly storeType: string
  readonly excluded: Exclusion
  readonly failures: TelemetryFailures
  /** Sizes and attempts as well. @defaultValue false */
  readonly detailed?: boolean
  /** What this process knows about a job; `undefined`: nothing. */
  readonly definition?: (jobName: string) => { readonly handlerType: string, readonly slaMs: number } | undefined
}

/** Translates events into recordings, each at the moment that the event tells of. */
export function createMetricsSink ({ metrics, storeType, excluded, failures, detailed = false, definition = () => undefined }: MetricsSinkParts): Sink {
  const handlerTypeOf = (jobName: string): string => definition(jobName)?.handlerType ?? HANDLER_TYPE
  const overdue = ({ jobName, totalMs }: { readonly jobName: string, readonly totalMs: number }): boolean => {
    const slaMs = definition(jobName)?.slaMs ?? 0
    return slaMs > 0 && totalMs > slaMs
  }
  return {
    'job.submitted': (event) => {
      if (excluded(event.jobName)) return
      const { jobName } = event
      const exemplar = exemplarOf(event)
      metrics.jobCreated({ jobName, storeType }, exemplar)
      // Written out: a spread costs more than all the rest.
      metrics.jobSubmitDuration(event.submitMs / 1_000, { jobName, storeType, outcome: 'created' }, exemplar)
      if (detailed && event.payloadBytes !== undefined) metrics.jobPayloadSize(event.payloadBytes, { jobName: event.jobName })
    },
    'job.replayed': (event) => {
      if (!excluded(event.jobName)) metrics.jobSubmitDuration(event.submitMs / 1_000, { jobName: event.jobName, storeType, outcome: 'replayed' })
    },
    'job.rejected': (event) => {
      metrics.requestRejected({ reason: event.reason })
      if (!excluded(event.jobName)) metrics.jobSubmitDuration(event.submitMs / 1_000, { jobName: event.jobName, storeType, outcome: 'rejected' })
    },
    // The client was refused all the same; nobody else tells it.
    'job.submit_failed': (event) => {
      metrics.requestRejected({ reason: reasonOf(event.errorCode) })
      if (!excluded(event.jobName)) metrics.jobSubmitDuration(event.submitMs / 1_000, { jobName: event.jobName, storeType, outcome: 'failed' })
    },

    'job.claimed': (event) => {
      if (excluded(event.jobName)) return
      metrics.jobQueueDuration(event.queueWaitMs / 1_000, { jobName: event.jobName, storeType }, exemplarOf(event))
      if (event.claimMs !== undefined) metrics.jobClaimDuration(event.claimMs / 1_000, { storeType })
    },
    'job.recovered': (event) => {
      if (!excluded(event.jobName)) metrics.jobRecovered({ reason: 'stalled', storeType })
    },

    'job.completed': (event) => {
      if (excluded(event.jobName)) return
      const exemplar = exemplarOf(event)
      metrics.jobProcessed({ jobName: event.jobName, status: 'completed', storeType }, exemplar)
      const labels = { jobName: event.jobName, status: 'completed' }
      metrics.jobProcessingDuration(event.processingMs / 1_000, labels, exemplar)
      metrics.jobEndToEndDuration(event.totalMs / 1_000, labels, exemplar)
      metrics.workerProcessed({ workerId: event.workerId })
      if (overdue(event)) metrics.jobSlaMissed({ jobName: event.jobName, storeType }, exemplar)
      if (!detailed) return
      metrics.jobAttempts(event.attempt, { jobName: event.jobName })
      if (event.resultBytes !== undefined) metrics.jobResultSize(event.resultBytes, { jobName: event.jobName })
    },
    // Every attempt that ended in an error, the last one included: `job.failed` adds only that the job is over.
    'job.attempt_failed': (event) => {
      if (excluded(event.jobName)) return
      metrics.jobProcessingDuration(event.processingMs / 1_000, { jobName: event.jobName, status: 'failed' }, exemplarOf(event))
      metrics.workerProcessed({ workerId: event.workerId })
    },
    'job.retry_scheduled': (event) => {
      if (!excluded(event.jobName)) metrics.jobRetried({ jobName: event.jobName, storeType }, exemplarOf(event))
    },
    'job.failed': (event) => {
      if (excluded(event.jobName)) return
      const exemplar = exemplarOf(event)
      metrics.jobProcessed({ jobName: event.jobName, status: 'failed', storeType }, exemplar)
      metrics.jobFailed({ jobName: event.jobName, errorType: event.errorCode, storeType }, exemplar)
      metrics.jobEndToEndDuration(event.totalMs / 1_000, { jobName: event.jobName, status: 'failed' }, exemplar)
      if (overdue(event)) metrics.jobSlaMissed({ jobName: event.jobName, storeType }, exemplar)
      if (detailed) metrics.jobAttempts(event.attempt, { jobName: event.jobName })
    },
    'job.cancelled': (event) => {
      if (excluded(event.jobName)) return
      const exemplar = exemplarOf(event)
      metrics.jobProcessed({ jobName: event.jobName, status: 'cancelled', storeType }, exemplar)
      metrics.jobCancelled({ jobName: event.jobName, storeType }, exemplar)
      metrics.jobEndToEndDuration(event.totalMs / 1_000, { jobName: event.jobName, status: 'cancelled' }, exemplar)
      // Without a worker it was cancelled while it waited: nothing was processed.
      if (event.workerId === '') return
      metrics.jobProcessingDuration(event.processingMs / 1_000, { jobName: event.jobName, status: 'cancelled' }, exemplar)
      metrics.workerProcessed({ workerId: event.workerId })
    },
    'job.snoozed': (event) => {
      if (!excluded(event.jobName)) metrics.jobProcessingDuration(event.processingMs / 1_000, { jobName: event.jobName, status: 'snoozed' }, exemplarOf(event))
    },
    'job.released': (event) => {
      if (!excluded(event.jobName)) metrics.jobProcessingDuration(event.processingMs / 1_000, { jobName: event.jobName, status: 'released' }, exemplarOf(event))
    },
    'job.lease_lost': (event) => {
      if (!excluded(event.jobName)) metrics.jobProcessingDuration(event.processingMs / 1_000, { jobName: event.jobName, status: 'lease-lost' }, exemplarOf(event))
    },

    'handler.completed': (event) => {
      if (!excluded(event.jobName)) metrics.handlerDuration(event.durationMs / 1_000, { jobName: event.jobName, handlerType: handlerTypeOf(event.jobName) }, exemplarOf(event))
    },
    'handler.failed': (event) => {
      if (excluded(event.jobName)) return
      const exemplar = exemplarOf(event)
      metrics.handlerDuration(event.durationMs / 1_000, { jobName: event.jobName, handlerType: handlerTypeOf(event.jobName) }, exemplar)
      metrics.handlerError({ jobName: event.jobName, errorType: event.errorCode }, exemplar)
    },
    // It has taken so long until nobody waited for it any more; what it does after that is not part of a job.
    'handler.abandoned': (event) => {
      if (excluded(event.jobName)) return
      const exemplar = exemplarOf(event)
      metrics.handlerDuration(event.durationMs / 1_000, { jobName: event.jobName, handlerType: handlerTypeOf(event.jobName) }, exemplar)
      if (event.reason === 'timeout') metrics.handlerError({ jobName: event.jobName, errorType: 'FAE_ATTEMPT_TIMEOUT' }, exemplar)
    },

    'worker.restarted': (event) => { metrics.workerRestarted({ queue: event.queue, reason: event.reason }) },
    'worker.idled': (event) => { metrics.workerIdle(event.idleMs / 1_000, { workerId: event.workerId }) },

    'store.operated': (event) => {
      const labels = { operation: event.operation, storeType: event.storeType }
      metrics.storeOperation(labels)
      metrics.storeOperationDuration(event.durationMs / 1_000, labels)
    },
    'store.operation_failed': (event) => {
      const labels = { operation: event.operation, storeType: event.storeType }
      metrics.storeOperation(labels)
      metrics.storeOperationDuration(event.durationMs / 1_000, labels)
      metrics.storeError({ operation: event.operation, errorType: event.errorCode, storeType: event.storeType })
    },

    'alert.raised': (event) => { metrics.alertRaised({ rule: event.rule, severity: event.severity }) },
    'alert.send_failed': (event) => { metrics.alertSendFailed({ sender: event.sender }) },

    'telemetry.listener_failed': (event) => {
      if (!failures.owns(event.source)) failures.count(event.source)
    }
  }
}

/** As the reasons of `job.rejected` are written: `FAE_STORE_UNAVAILABLE` is `store-unavailable`. */
function reasonOf (errorCode: string): string {
  return errorCode.replace(/^FAE_/, '').toLowerCase().replaceAll('_', '-')
}

function exemplarOf ({ traceId, spanId }: { readonly traceId?: string | undefined, readonly spanId?: string | undefined }): ExemplarSource | undefined {
  return traceId === undefined || spanId === undefined ? undefined : { traceId, spanId }
}
