import type { Sink } from '../events/router.ts'
import type { Exclusion } from './job-exclusion.ts'
import type { AsyncEndpointsMetrics } from './metrics.ts'
import type { ExemplarSource } from './snapshot.ts'

/** Records what happens to sagas and to the steps of jobs. */
export function sagaSink ({ metrics, excluded }: { readonly metrics: AsyncEndpointsMetrics, readonly excluded: Exclusion }): Sink {
  return {
    'step.completed': (event) => {
      const { jobName, durationMs, attempt } = event
      if (excluded(jobName)) return
      const step = stepLabel(event.step)
      const exemplar = exemplarOf(event)
      metrics.stepDuration(durationMs / 1_000, { jobName, step, outcome: 'completed' }, exemplar)
      metrics.stepAttempts(attempt, { jobName, step })
    },
    'step.failed': (event) => {
      const { jobName, durationMs, attempt, final } = event
      if (excluded(jobName)) return
      const step = stepLabel(event.step)
      const exemplar = exemplarOf(event)
      metrics.stepDuration(durationMs / 1_000, { jobName, step, outcome: 'failed' }, exemplar)
      if (final) metrics.stepAttempts(attempt, { jobName, step })
    },
    'step.retry_scheduled': (event) => {
      if (!excluded(event.jobName)) metrics.stepRetried({ jobName: event.jobName, step: stepLabel(event.step) }, exemplarOf(event))
    },
    'step.compensated': (event) => {
      const { jobName } = event
      if (!excluded(jobName)) metrics.stepCompensated({ jobName, step: stepLabel(event.step), outcome: 'compensated' }, exemplarOf(event))
    },
    'step.compensation_failed': (event) => {
      const { jobName, final } = event
      if (final && !excluded(jobName)) metrics.stepCompensated({ jobName, step: stepLabel(event.step), outcome: 'failed' }, exemplarOf(event))
    },
    'saga.completed': (event) => {
      if (!excluded(event.jobName)) metrics.sagaCompleted({ jobName: event.jobName }, exemplarOf(event))
    },
    'saga.failed': (event) => {
      if (!excluded(event.jobName)) metrics.sagaFailed({ jobName: event.jobName, errorType: event.errorCode }, exemplarOf(event))
    },
    'saga.cancelled': (event) => {
      if (!excluded(event.jobName)) metrics.sagaCancelled({ jobName: event.jobName }, exemplarOf(event))
    },
    'saga.compensation_failed': (event) => {
      if (!excluded(event.jobName)) metrics.sagaCompensationFailed({ jobName: event.jobName }, exemplarOf(event))
    }
  }
}

/** Of an item of an `each`, the name of the `each`: the values of a label must be few. */
function stepLabel (path: string): string {
  const slash = path.lastIndexOf('/')
  return slash > 0 && /^\d+$/.test(path.slice(slash + 1)) ? path.slice(0, slash) : path
}

/** The trace of an event, if it was sampled. */
export function exemplarOf ({ traceId, spanId }: { readonly traceId?: string | undefined, readonly spanId?: string | undefined }): ExemplarSource | undefined {
  return traceId === undefined || spanId === undefined ? undefined : { traceId, spanId }
}
