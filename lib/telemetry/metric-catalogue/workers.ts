import { RESTART_REASONS } from '../../events/restart-reasons.ts'
import { JOB_BUCKETS, STORE_BUCKETS } from './buckets.ts'
import type { MetricTable } from './row.ts'

/** The operations of every store that jobs depend on. */
const STORE_OPERATIONS = [
  'create', 'claim', 'settle', 'progress', 'get', 'input', 'result', 'list', 'counts', 'cancel', 'redrive', 'remove', 'ping'
] as const

/** Handlers and workers, recorded through `AsyncEndpointsMetrics`: each key is the method that records the row. */
export const WORKER_METRICS = {
  /** One call of a handler, however it ended. */
  handlerDuration: {
    name: 'asyncendpoints.handlers.execution.duration',
    kind: 'histogram',
    unit: 's',
    description: 'Time spent executing handlers',
    labels: ['job_name', 'handler_type'],
    buckets: JOB_BUCKETS,
    exemplar: true,
    panel: 'Workers'
  },
  /** A handler threw, or was abandoned after its timeout. */
  handlerError: {
    name: 'asyncendpoints.handlers.error.rate',
    kind: 'counter',
    unit: '{error}',
    description: 'Count of handler execution errors',
    labels: ['job_name', 'error_type'],
    exemplar: true,
    panel: 'Workers'
  },
  /** A worker finished an attempt. */
  workerProcessed: {
    name: 'asyncendpoints.background.processing.rate',
    kind: 'counter',
    unit: '{attempt}',
    description: 'Rate of job processing: counts the attempts that a worker has finished',
    labels: ['worker_id'],
    panel: 'Workers'
  },
  /** A worker had a free slot and nothing to do until now. */
  workerIdle: {
    name: 'asyncendpoints.background.consumer.idle.time',
    kind: 'histogram',
    unit: 's',
    description: 'Time consumers spend idle: how long a free slot waited for a job',
    labels: ['worker_id'],
    buckets: JOB_BUCKETS,
    panel: 'Workers'
  },
  /** 0 to 100: how many of the slots of this process are taken. */
  channelUtilization: {
    name: 'asyncendpoints.background.channel.utilization',
    kind: 'gauge',
    unit: '%',
    description: 'Channel utilization percentage: the share of the worker slots that run an attempt',
    labels: ['channel_type'],
    acrossProcesses: 'max',
    panel: 'Workers'
  },
  /** Attempts that run in this process now. */
  jobsActive: {
    name: 'asyncendpoints.jobs.active',
    kind: 'gauge',
    unit: '{job}',
    description: 'Attempts that run in this process now',
    labels: ['store_type'],
    acrossProcesses: 'sum',
    panel: 'Workers'
  },
  /** Handlers that still run although their attempts were settled without them. */
  handlersAbandoned: {
    name: 'asyncendpoints.handlers.abandoned',
    kind: 'gauge',
    unit: '{handler}',
    description: 'Handlers of this process that ignored their abort and still run after their attempts were settled',
    labels: ['store_type'],
    acrossProcesses: 'sum',
    panel: 'Workers',
    alert: {
      name: 'AsyncEndpointsHandlersAbandoned',
      above: { value: 0, aggregate: 'sum', lowestOfMinutes: 10 },
      forMinutes: 5,
      severity: 'warning',
      summary: 'Handlers ignore their abort and keep their slots.',
      description: '{{ $value | printf "%.0f" }} handlers in the workers of {{ $labels.app }} have run for more than ' +
        'ten minutes after they were cancelled or timed out. Each keeps a slot of its worker; when all slots are ' +
        'held, the worker claims nothing. Make the handlers obey job.signal, and restart the workers that are full.'
    }
  },
  /** A worker made a new consumer for a queue that it claimed nothing from. */
  workerRestarted: {
    name: 'asyncendpoints.worker.restarts.total',
    kind: 'counter',
    unit: '{restart}',
    description: 'Consumers that a worker replaced because they claimed nothing although the store answered',
    labels: ['queue', 'reason'],
    startsAtZero: { per: 'queue', values: { reason: RESTART_REASONS } },
    panel: 'Workers',
    alert: {
      name: 'AsyncEndpointsConsumersRestart',
      grows: { moreThan: 2.5, withinMinutes: 60, by: ['queue'], where: 'reason!="requested"' },
      forMinutes: 1,
      severity: 'warning',
      summary: 'Consumers of a queue fall silent again and again.',
      description: '{{ $value | printf "%.0f" }} times in the last hour a worker of {{ $labels.app }} claimed ' +
        'nothing from the queue {{ $labels.queue }} although the store answered, and replaced its consumer. Jobs ' +
        'waited meanwhile, and the cause is still there: look at the log lines 10307 and at the connections to Redis.'
    }
  }
} as const satisfies MetricTable

/** The job store, recorded through `AsyncEndpointsMetrics`: each key is the method that records the row. */
export const STORE_METRICS = {
  /** A store operation ended, well or not. */
  storeOperation: {
    name: 'asyncendpoints.store.operations.total',
    kind: 'counter',
    unit: '{operation}',
    description: 'Total store operations by operation type',
    labels: ['operation', 'store_type'],
    startsAtZero: { per: 'process', values: { operation: STORE_OPERATIONS } },
    panel: 'Store'
  },
  /** A store operation ended, well or not. */
  storeOperationDuration: {
    name: 'asyncendpoints.store.operation.duration',
    kind: 'histogram',
    unit: 's',
    description: 'Duration of store operations',
    labels: ['operation', 'store_type'],
    buckets: STORE_BUCKETS,
    panel: 'Store',
    alert: {
      name: 'AsyncEndpointsStoreSlow',
      slow: { quantile: 0.95, aboveSeconds: 0.5, withinMinutes: 5 },
      forMinutes: 10,
      severity: 'warning',
      summary: 'The job store is slow.',
      description: 'One in twenty operations on the job store of {{ $labels.app }} takes longer than {{ $value | ' +
        'humanizeDuration }}. Look at Redis (SLOWLOG, its CPU, its disk) and at the event loops of the processes.'
    }
  },
  /** A store operation failed. */
  storeError: {
    name: 'asyncendpoints.store.errors.total',
    kind: 'counter',
    unit: '{error}',
    description: 'Count of store operation errors',
    labels: ['operation', 'error_type', 'store_type'],
    startsAtZero: { per: 'process', values: { operation: STORE_OPERATIONS, error_type: ['FAE_STORE_UNAVAILABLE'] } },
    panel: 'Store'
  },
  /** How old the numbers of `jobCurrentCount`, `jobsOldestAge` and `jobsStuck` are. */
  storeCountsAge: {
    name: 'asyncendpoints.store.counts.age',
    kind: 'gauge',
    unit: 's',
    description: 'How long ago the counts, the oldest age and the jobs without a lease were last read from the store',
    labels: ['store_type'],
    acrossProcesses: 'newest',
    panel: 'At a glance',
    alert: {
      name: 'AsyncEndpointsStoreGaugesStale',
      above: { value: 60, aggregate: 'max', by: ['instance'] },
      forMinutes: 2,
      severity: 'warning',
      summary: 'A process cannot read the counts of the job store.',
      description: '{{ $labels.instance }} of {{ $labels.app }} last read the counts of the store {{ $value | ' +
        'humanizeDuration }} ago. Until it can read them again, do not trust its counts, its oldest age and its ' +
        'stuck jobs. Look whether it reaches Redis.'
    }
  }
} as const satisfies MetricTable
