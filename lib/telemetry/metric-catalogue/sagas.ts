import { ATTEMPT_BUCKETS, JOB_BUCKETS } from './buckets.ts'
import type { MetricTable } from './row.ts'

/**
 * Sagas and the steps of jobs, recorded through `AsyncEndpointsMetrics`: each key is the method that records the row.
 */
export const SAGA_METRICS = {
  /** A saga was submitted. Not called for a submission that was answered with an existing job. */
  sagaSubmitted: {
    name: 'asyncendpoints.sagas.submitted.total',
    kind: 'counter',
    unit: '{saga}',
    description: 'Total number of sagas submitted',
    labels: ['job_name'],
    exemplar: true,
    startsAtZero: { per: 'saga' },
    panel: 'Sagas'
  },
  /** Every step of a saga was completed or skipped. */
  sagaCompleted: {
    name: 'asyncendpoints.sagas.completed.total',
    kind: 'counter',
    unit: '{saga}',
    description: 'Total number of sagas completed',
    labels: ['job_name'],
    exemplar: true,
    startsAtZero: { per: 'saga' },
    panel: 'Sagas'
  },
  /** A saga ended as failed. */
  sagaFailed: {
    name: 'asyncendpoints.sagas.failed.total',
    kind: 'counter',
    unit: '{saga}',
    description: 'Total number of sagas that ended as failed, by the code of the error',
    labels: ['job_name', 'error_type'],
    exemplar: true,
    panel: 'Sagas'
  },
  /** A saga ended as cancelled. */
  sagaCancelled: {
    name: 'asyncendpoints.sagas.cancelled.total',
    kind: 'counter',
    unit: '{saga}',
    description: 'Total number of sagas that ended as cancelled, after they had undone their steps',
    labels: ['job_name'],
    exemplar: true,
    startsAtZero: { per: 'saga' },
    panel: 'Sagas'
  },
  /** A step was undone, or could not be undone for good. */
  stepCompensated: {
    name: 'asyncendpoints.steps.compensations.total',
    kind: 'counter',
    unit: '{compensation}',
    description: 'Total number of compensations of steps, by how they ended: `compensated`, or `failed` when no try ' +
      'is left',
    labels: ['job_name', 'step', 'outcome'],
    exemplar: true,
    startsAtZero: { per: 'step with a compensation', values: { outcome: ['compensated', 'failed'] } },
    panel: 'Sagas'
  },
  /** A saga ended with steps that could not be undone. */
  sagaCompensationFailed: {
    name: 'asyncendpoints.sagas.compensation.failures.total',
    kind: 'counter',
    unit: '{saga}',
    description: 'Total number of sagas that ended with steps that could not be undone',
    labels: ['job_name'],
    exemplar: true,
    startsAtZero: { per: 'saga' },
    panel: 'Sagas'
  },
  /** One try of a step: `outcome` is `completed` or `failed`. */
  stepDuration: {
    name: 'asyncendpoints.steps.duration',
    kind: 'histogram',
    unit: 's',
    description: 'Duration of the tries of steps',
    labels: ['job_name', 'step', 'outcome'],
    buckets: JOB_BUCKETS,
    exemplar: true,
    panel: 'Sagas'
  },
  /** How many tries a step took that has completed, or failed for good. */
  stepAttempts: {
    name: 'asyncendpoints.steps.attempts',
    kind: 'histogram',
    unit: '{attempt}',
    description: 'Number of tries of the steps that have completed, or failed for good',
    labels: ['job_name', 'step'],
    buckets: ATTEMPT_BUCKETS,
    panel: 'Sagas'
  },
  /** A step, or its compensation, will be tried again. */
  stepRetried: {
    name: 'asyncendpoints.steps.retries.total',
    kind: 'counter',
    unit: '{attempt}',
    description: 'Total number of tries of steps and compensations that are followed by another',
    labels: ['job_name', 'step'],
    exemplar: true,
    startsAtZero: { per: 'step of a saga' },
    panel: 'Sagas'
  },
  /** A try of a step, or of its compensation, took longer than its `timeoutMs`. */
  stepTimedOut: {
    name: 'asyncendpoints.steps.timeouts.total',
    kind: 'counter',
    unit: '{attempt}',
    description: 'Total number of tries of steps and compensations that were aborted because of their timeout',
    labels: ['job_name', 'step'],
    exemplar: true,
    startsAtZero: { per: 'step of a saga' },
    panel: 'Sagas'
  },
  /** Sagas that undo their steps now, whether they run or wait. */
  sagasCompensating: {
    name: 'asyncendpoints.sagas.compensating',
    kind: 'gauge',
    unit: '{saga}',
    description: 'Sagas that undo their steps now, whether they run or wait, as last read from the store',
    labels: ['queue', 'store_type'],
    acrossProcesses: 'newest',
    panel: 'Sagas'
  },
  /** Sagas that could not undo all of their steps, until somebody redrives or removes them. */
  sagasNotUndone: {
    name: 'asyncendpoints.sagas.not_undone',
    kind: 'gauge',
    unit: '{saga}',
    description: 'Failed sagas with steps that could not be undone, until they are redriven or removed, as last read ' +
      'from the store',
    labels: ['queue', 'store_type'],
    acrossProcesses: 'newest',
    panel: 'Sagas',
    alert: {
      name: 'AsyncEndpointsCompensationFailed',
      above: { value: 0, aggregate: 'max', by: ['queue'] },
      forMinutes: 0,
      severity: 'critical',
      summary: 'A saga could not undo its steps.',
      description: '{{ $value | printf "%.0f" }} sagas on the queue {{ $labels.queue }} of {{ $labels.app }} have ' +
        'steps that could not be undone, so that something is half done outside. The health check ' +
        'asyncendpoints.compensations and the log lines 10024 name them: mend the cause and redrive the jobs, which ' +
        'undoes only what is left, or undo it by hand and remove them.'
    }
  },
  /** How long the oldest of them does. */
  sagasCompensationAge: {
    name: 'asyncendpoints.sagas.compensation.oldest.age',
    kind: 'gauge',
    unit: 's',
    description: 'How long the saga has been undoing its steps that began first; 0 if there is none',
    labels: ['queue', 'store_type'],
    acrossProcesses: 'newest',
    panel: 'Sagas',
    alert: {
      name: 'AsyncEndpointsCompensationSlow',
      above: { value: 900, aggregate: 'max', by: ['queue'] },
      forMinutes: 5,
      severity: 'warning',
      summary: 'A saga has been undoing its steps for long.',
      description: 'A saga on the queue {{ $labels.queue }} of {{ $labels.app }} has been undoing its steps for ' +
        '{{ $value | humanizeDuration }}. Its compensations fail and are tried again, or no worker has its ' +
        'definition: look at the log lines 10008 and 10010.'
    }
  },
  /** Sagas that wait until somebody sends a signal. */
  sagasAwaitingSignal: {
    name: 'asyncendpoints.sagas.awaiting_signal',
    kind: 'gauge',
    unit: '{saga}',
    description: 'Sagas that wait for a signal, as last read from the store',
    labels: ['queue', 'store_type'],
    acrossProcesses: 'newest',
    panel: 'Sagas'
  }
} as const satisfies MetricTable
