/**
 * Every instrument, once. Names, labels and descriptions of the first sixteen are fixed; the rest is what operators ask for. Nothing else in the library knows a metric's
 * name. Label values must be few: never a job id, an owner, a URL or a message.
 */
export type InstrumentKind = 'counter' | 'gauge' | 'histogram'

export interface InstrumentDefinition {
  /** Dotted OpenTelemetry name, without the unit. */
  readonly name: string
  readonly kind: InstrumentKind
  /** UCUM: `s`, `By`, `%`, `1`, or an annotation such as `{job}`. */
  readonly unit: string
  readonly description: string
  readonly labels: readonly string[]
  /** Upper bounds of a histogram's buckets, ascending; `+Inf` is added. */
  readonly buckets?: readonly number[] | undefined
}

/** Seconds, 5 ms to 1 h: the defaults of the metrics world end at 10 s, where jobs begin. */
export const JOB_BUCKETS = Object.freeze([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600] as const)

/** Seconds, for round trips to a store: most of them end below 5 ms, and none outlives its deadline. */
export const STORE_BUCKETS = Object.freeze([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const)

/** Bytes, 64 B to 16 MiB in steps of four: what fits into a request, and what a store should not be asked to keep. */
export const SIZE_BUCKETS = Object.freeze([64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216] as const)

/** Bytes, 1 KiB to 1 GiB in steps of four: what an operation may do to a heap. */
export const HEAP_BUCKETS = Object.freeze([1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864, 268_435_456, 1_073_741_824] as const)

/** Attempts: each of the first few tells something, later ones only that it went on and on. */
export const ATTEMPT_BUCKETS = Object.freeze([1, 2, 3, 5, 10, 20, 50, 100] as const)

export const INSTRUMENTS = {
  jobsCreated: { name: 'asyncendpoints.jobs.created.total', kind: 'counter', unit: '{job}', description: 'Total number of jobs created', labels: ['job_name', 'store_type'] },
  jobsProcessed: { name: 'asyncendpoints.jobs.processed.total', kind: 'counter', unit: '{job}', description: 'Total number of jobs processed, by the terminal status they ended in', labels: ['job_name', 'status', 'store_type'] },
  jobsFailed: { name: 'asyncendpoints.jobs.failed.total', kind: 'counter', unit: '{job}', description: 'Total number of job failures, by the code of the last error', labels: ['job_name', 'error_type', 'store_type'] },
  jobsRetries: { name: 'asyncendpoints.jobs.retries.total', kind: 'counter', unit: '{attempt}', description: 'Total number of job retries', labels: ['job_name', 'store_type'] },
  jobsQueueDuration: { name: 'asyncendpoints.jobs.queue.duration', kind: 'histogram', unit: 's', description: 'Time jobs spend in queue before processing, from the moment they may run', labels: ['job_name', 'store_type'], buckets: JOB_BUCKETS },
  jobsProcessingDuration: { name: 'asyncendpoints.jobs.processing.duration', kind: 'histogram', unit: 's', description: 'Time spent processing jobs, one observation per attempt', labels: ['job_name', 'status'], buckets: JOB_BUCKETS },
  jobsClaimDuration: { name: 'asyncendpoints.jobs.claim.duration', kind: 'histogram', unit: 's', description: 'Time taken to claim jobs', labels: ['store_type'], buckets: STORE_BUCKETS },
  jobsCurrentCount: { name: 'asyncendpoints.jobs.current.count', kind: 'gauge', unit: '{job}', description: 'Current number of jobs in each state', labels: ['job_status', 'store_type'] },
  handlersExecutionDuration: { name: 'asyncendpoints.handlers.execution.duration', kind: 'histogram', unit: 's', description: 'Time spent executing handlers', labels: ['job_name', 'handler_type'], buckets: JOB_BUCKETS },
  handlersErrorRate: { name: 'asyncendpoints.handlers.error.rate', kind: 'counter', unit: '{error}', description: 'Count of handler execution errors', labels: ['job_name', 'error_type'] },
  storeOperations: { name: 'asyncendpoints.store.operations.total', kind: 'counter', unit: '{operation}', description: 'Total store operations by operation type', labels: ['operation', 'store_type'] },
  storeOperationDuration: { name: 'asyncendpoints.store.operation.duration', kind: 'histogram', unit: 's', description: 'Duration of store operations', labels: ['operation', 'store_type'], buckets: STORE_BUCKETS },
  storeErrors: { name: 'asyncendpoints.store.errors.total', kind: 'counter', unit: '{error}', description: 'Count of store operation errors', labels: ['operation', 'error_type', 'store_type'] },
  backgroundProcessingRate: { name: 'asyncendpoints.background.processing.rate', kind: 'counter', unit: '{attempt}', description: 'Rate of job processing: attempts that a worker has finished', labels: ['worker_id'] },
  backgroundIdleTime: { name: 'asyncendpoints.background.consumer.idle.time', kind: 'histogram', unit: 's', description: 'Time consumers spend idle', labels: ['worker_id'], buckets: JOB_BUCKETS },
  backgroundChannelUtilization: { name: 'asyncendpoints.background.channel.utilization', kind: 'gauge', unit: '%', description: 'Channel utilization percentage: attempts under way of those that could be', labels: ['channel_type'] },

  jobsSubmitDuration: { name: 'asyncendpoints.jobs.submit.duration', kind: 'histogram', unit: 's', description: 'Time until a submission was answered: created by the store, replayed for its idempotency key, rejected, or failed because the store did not take it', labels: ['job_name', 'store_type', 'outcome'], buckets: STORE_BUCKETS },
  jobsEndToEnd: { name: 'asyncendpoints.jobs.end_to_end.duration', kind: 'histogram', unit: 's', description: 'Time from the submission of a job until it was over, by the terminal status it ended in', labels: ['job_name', 'status'], buckets: JOB_BUCKETS },
  jobsSlaMissed: { name: 'asyncendpoints.jobs.sla.missed.total', kind: 'counter', unit: '{job}', description: 'Jobs that were completed or failed later than the slaMs of their endpoint after their submission', labels: ['job_name', 'store_type'] },
  jobsOldestAge: { name: 'asyncendpoints.jobs.oldest.age', kind: 'gauge', unit: 's', description: 'How long the job that waits longest could have been running; 0 when none waits', labels: ['queue', 'store_type'] },
  jobsActive: { name: 'asyncendpoints.jobs.active', kind: 'gauge', unit: '{job}', description: 'Attempts under way in this process', labels: ['store_type'] },
  handlersAbandoned: { name: 'asyncendpoints.handlers.abandoned', kind: 'gauge', unit: '{handler}', description: 'Handlers of this process that ignored their abort and run on after their attempts were settled without them', labels: ['store_type'] },
  jobsStuck: { name: 'asyncendpoints.jobs.stuck', kind: 'gauge', unit: '{job}', description: 'Jobs in progress whose lease was not renewed in time', labels: ['queue', 'store_type'] },
  jobsCancelled: { name: 'asyncendpoints.jobs.cancelled.total', kind: 'counter', unit: '{job}', description: 'Total number of cancelled jobs', labels: ['job_name', 'store_type'] },
  jobsRecovered: { name: 'asyncendpoints.jobs.recovered.total', kind: 'counter', unit: '{job}', description: 'Jobs taken over from a worker that was lost', labels: ['reason', 'store_type'] },
  requestsRejected: { name: 'asyncendpoints.requests.rejected.total', kind: 'counter', unit: '{request}', description: 'Submissions that were refused, by reason', labels: ['reason'] },
  workerRestarts: { name: 'asyncendpoints.worker.restarts.total', kind: 'counter', unit: '{restart}', description: 'Consumers that were made anew because they claimed nothing although the store answered', labels: ['queue', 'reason'] },
  storeCountsAge: { name: 'asyncendpoints.store.counts.age', kind: 'gauge', unit: 's', description: 'Age of the gauges that are read from the store in the background', labels: ['store_type'] },

  alertsRaised: { name: 'asyncendpoints.alerts.total', kind: 'counter', unit: '{alert}', description: 'Alerts that were raised, reminders not counted', labels: ['rule', 'severity'] },
  alertsFiring: { name: 'asyncendpoints.alerts.firing', kind: 'gauge', unit: '{alert}', description: 'Alerts that are firing, told by the process that evaluates them', labels: ['rule', 'severity'] },
  alertSendFailures: { name: 'asyncendpoints.alerts.send_failures.total', kind: 'counter', unit: '{failure}', description: 'Notices of alerts that a sender could not pass on, each try', labels: ['sender'] },
  operationDuration: { name: 'asyncendpoints.operation.duration', kind: 'histogram', unit: 's', description: 'Duration of operations that are measured with app.jobMonitor.monitor', labels: ['operation'], buckets: JOB_BUCKETS },
  operationMemoryDelta: { name: 'asyncendpoints.operation.memory.delta', kind: 'histogram', unit: 'By', description: 'By how much the heap differed after such an operation, larger or smaller; not recorded when it did not', labels: ['operation'], buckets: HEAP_BUCKETS },
  databaseQueryDuration: { name: 'asyncendpoints.database.query.duration', kind: 'histogram', unit: 's', description: 'Duration of database queries, by the recorded spans of instrumented clients', labels: ['db_system_name', 'db_operation_name', 'db_collection_name'], buckets: STORE_BUCKETS },
  eventLoopLag: { name: 'asyncendpoints.process.event_loop.lag', kind: 'gauge', unit: 's', description: 'How late the event loop was at most for 99 % of the moments of the last performance.sampleIntervalMs', labels: [] },
  eventLoopUtilization: { name: 'asyncendpoints.process.event_loop.utilization', kind: 'gauge', unit: '%', description: 'Share of the last performance.sampleIntervalMs in which the event loop was busy', labels: [] },

  exports: { name: 'asyncendpoints.exports.total', kind: 'counter', unit: '{page}', description: 'Pages of metrics for targets of observability.export, by how they ended', labels: ['target', 'outcome'] },
  exportDuration: { name: 'asyncendpoints.export.duration', kind: 'histogram', unit: 's', description: 'Time until a page of metrics had reached its target, or was given up', labels: ['target', 'outcome'], buckets: STORE_BUCKETS },
  jobsPayloadSize: { name: 'asyncendpoints.jobs.payload.size', kind: 'histogram', unit: 'By', description: 'Size of the request bodies that jobs were submitted with; with detailedMetrics', labels: ['job_name'], buckets: SIZE_BUCKETS },
  jobsResultSize: { name: 'asyncendpoints.jobs.result.size', kind: 'histogram', unit: 'By', description: 'Size of the stored result of completed jobs; with detailedMetrics', labels: ['job_name'], buckets: SIZE_BUCKETS },
  jobsAttempts: { name: 'asyncendpoints.jobs.attempts', kind: 'histogram', unit: '{attempt}', description: 'Attempts that completed and failed jobs took; with detailedMetrics', labels: ['job_name'], buckets: ATTEMPT_BUCKETS },

  seriesDropped: { name: 'asyncendpoints.metrics.series.dropped.total', kind: 'counter', unit: '{series}', description: 'Label sets that went to the overflow series because their metric had reached its cap', labels: ['metric'] },
  telemetryFailures: { name: 'asyncendpoints.telemetry.failures.total', kind: 'counter', unit: '{failure}', description: 'Failures of listeners, metrics implementations, span processors, metric readers and exporters; no job was affected', labels: ['source'] }
} as const satisfies Record<string, InstrumentDefinition>

export type InstrumentKey = keyof typeof INSTRUMENTS
