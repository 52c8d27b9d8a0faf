import type { Sink } from '../events/router.ts'
import type { Exclusion } from './job-exclusion.ts'
import type { AsyncEndpointsMetrics } from './metrics.ts'
import type { ExemplarSource } from './snapshot.ts'

export interface SagaSinkParts {
  readonly metrics: AsyncEndpointsMetrics
  readonly excluded: Exclusion
}

/** Records what happens to sagas and to the steps of jobs. */
export function sagaSink ({ metrics, excluded }: SagaSinkParts): Sink {
  return {
    'step.completed': (event) => {
      const { jobName, durationMs, attempt } = event
      if (excluded(jobName)) return
      const step = stepLabel(event.step)
      metrics.stepDuration(durationMs / 1_000, { jobName, step, outcome: 'completed' }, exemplarOf(event))
      metrics.stepAttempts(attempt, { jobName, step })
    },
    'step.failed': (event) => {
      const { jobName, durationMs, attempt, final } = event
      if (excluded(jobName)) return
      const step = stepLabel(event.step)
      metrics.stepDuration(durationMs / 1_000, { jobName, step, outcome: 'failed' }, exemplarOf(event))
      if (final) metrics.stepAttempts(attempt, { jobName, step })
    },
    'step.retry_scheduled': (event) => {
      if (!excluded(event.jobName)) metrics.stepRetried(stepLabels(event), exemplarOf(event))
    },
    'step.timed_out': (event) => {
      if (!excluded(event.jobName)) metrics.stepTimedOut(stepLabels(event), exemplarOf(event))
    },
    'step.compensated': (event) => {
      if (excluded(event.jobName)) return
      metrics.stepCompensated({ ...stepLabels(event), outcome: 'compensated' }, exemplarOf(event))
    },
    'step.compensation_failed': (event) => {
      // A try that is followed by another has not decided anything yet.
      if (!event.final || excluded(event.jobName)) return
      metrics.stepCompensated({ ...stepLabels(event), outcome: 'failed' }, exemplarOf(event))
    },
    'saga.completed': (event) => {
      if (!excluded(event.jobName)) metrics.sagaCompleted({ jobName: event.jobName }, exemplarOf(event))
    },
    'saga.failed': (event) => {
      const { jobName, errorCode: errorType } = event
      if (!excluded(jobName)) metrics.sagaFailed({ jobName, errorType }, exemplarOf(event))
    },
    'saga.cancelled': (event) => {
      if (!excluded(event.jobName)) metrics.sagaCancelled({ jobName: event.jobName }, exemplarOf(event))
    },
    'saga.compensation_failed': (event) => {
      if (!excluded(event.jobName)) metrics.sagaCompensationFailed({ jobName: event.jobName }, exemplarOf(event))
    }
  }
}

function stepLabels ({ jobName, step }: { readonly jobName: string, readonly step: string }) {
  return { jobName, step: stepLabel(step) }
}

/** Of an item of an `each`, the name of the `each`: the values of a label must be few. */
function stepLabel (path: string): string {
  const slash = path.lastIndexOf('/')
  return slash > 0 && /^\d+$/.test(path.slice(slash + 1)) ? path.slice(0, slash) : path
}

interface TraceIds {
  readonly traceId?: string | undefined
  readonly spanId?: string | undefined
}

/** The trace of an event, if it was sampled. */
export function exemplarOf ({ traceId, spanId }: TraceIds): ExemplarSource | undefined {
  return traceId === undefined || spanId === undefined ? undefined : { traceId, spanId }
}
