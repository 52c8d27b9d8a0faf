import { ACCESS_LINES } from '../events/access-lines.ts'
import { ALERT_LINES } from '../events/alert-lines.ts'
import type { EventName, SubmitOrigin } from '../events/catalogue.ts'

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error'

/** In order of weight. */
export const LOG_LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error']

export interface LogEvent {
  /** Stable for ever: alerts and dashboards match on it. */
  readonly id: number
  readonly level: LogLevel
  readonly message: string
  /**
   * Which parts of the event are logged, and under which name. Nothing else is: no payload can slip in. Two become several
   * fields: `origin` those of {@link ORIGIN_FIELDS}, `failure` `error_causes` and `error_stack`.
   */
  readonly fields: Readonly<Record<string, string>>
}

/** What a request says about its sender, as it is logged. */
export const ORIGIN_FIELDS = { request_id: 'requestId', user_id: 'userId', client_ip: 'clientIp', user_agent: 'userAgent' } as const satisfies Record<string, keyof SubmitOrigin>

const CORRELATION = { correlationId: 'correlation_id' } as const
const JOB = { jobId: 'job_id', jobName: 'job_name', queue: 'queue', ...CORRELATION } as const
const SUBMISSION = { jobName: 'job_name', queue: 'queue', ...CORRELATION } as const
const RUN = { ...JOB, workerId: 'worker_id' } as const
const TRACE = { traceId: 'trace_id', spanId: 'span_id' } as const
const ERROR = { errorCode: 'error_type', errorMessage: 'error_message' } as const
/** Who sent the request: as much of it as `logging.enrich` asks for. */
const ORIGIN = { origin: 'origin' } as const
const WORKER = { workerId: 'worker_id', queue: 'queue' } as const
const EXPORT = { exporter: 'exporter', format: 'format', target: 'target' } as const
const STORE = { storeType: 'store_type', errorCode: 'error_type' } as const

/**
 * What is logged of the lifecycle events, numbered. 10001 to 10099 belong to sagas and their steps; 101xx jobs, 102xx handlers,
 * 103xx workers, 104xx stores, 105xx health, 106xx performance, 107xx telemetry itself, 108xx alerts, 109xx access.
 * Events that come once per claim, handler call or store round trip have no line: their sums are metrics. Of the progress of a job there is a line every ten seconds at most.
 */
export const LOG_EVENTS = {
  'job.submitted': { id: 10101, level: 'debug', message: 'job submitted', fields: { ...JOB, ...TRACE, submitMs: 'submitMs', delayMs: 'delayMs', payloadBytes: 'payloadBytes', ...ORIGIN } },
  'job.replayed': { id: 10102, level: 'debug', message: 'submission answered with the job of its idempotency key', fields: { ...JOB, submitMs: 'submitMs', ...ORIGIN } },
  'job.rejected': { id: 10103, level: 'info', message: 'submission refused', fields: { ...SUBMISSION, reason: 'reason', ...ORIGIN } },
  'job.submit_failed': { id: 10104, level: 'error', message: 'the store did not take a submission', fields: { ...SUBMISSION, errorCode: 'error_type', message: 'detail', submitMs: 'submitMs', ...ORIGIN } },
  'job.started': { id: 10110, level: 'info', message: 'job started', fields: { ...RUN, ...TRACE, attempt: 'attempt' } },
  'job.completed': { id: 10111, level: 'info', message: 'job completed', fields: { ...RUN, ...TRACE, attempt: 'attempt', totalMs: 'totalMs', queueWaitMs: 'queueMs', processingMs: 'processMs', resultBytes: 'resultBytes' } },
  'job.attempt_failed': { id: 10112, level: 'warn', message: 'attempt failed', fields: { ...RUN, ...TRACE, attempt: 'attempt', ...ERROR, failure: 'failure', final: 'final', processingMs: 'processMs' } },
  'job.retry_scheduled': { id: 10113, level: 'info', message: 'retry scheduled', fields: { ...RUN, ...TRACE, attempt: 'attempt', errorCode: 'error_type', delayMs: 'delayMs' } },
  'job.failed': { id: 10114, level: 'error', message: 'job failed', fields: { ...RUN, ...TRACE, attempt: 'attempt', ...ERROR, totalMs: 'totalMs', processingMs: 'processMs' } },
  'job.cancelled': { id: 10115, level: 'info', message: 'job cancelled', fields: { ...RUN, ...TRACE, totalMs: 'totalMs', processingMs: 'processMs' } },
  'job.cancel_requested': { id: 10116, level: 'info', message: 'running job asked to stop', fields: JOB },
  'job.snoozed': { id: 10117, level: 'debug', message: 'job snoozed', fields: { ...RUN, ...TRACE, delayMs: 'delayMs', processingMs: 'processMs' } },
  'job.timed_out': { id: 10118, level: 'warn', message: 'attempt timed out', fields: { ...RUN, ...TRACE, attempt: 'attempt', timeoutMs: 'timeoutMs' } },
  'job.released': { id: 10119, level: 'info', message: 'job handed back by a stopping worker', fields: { ...RUN, ...TRACE, processingMs: 'processMs' } },
  'job.stalled': { id: 10120, level: 'warn', message: 'a lease ran out; the job is back in its queue', fields: { jobId: 'job_id', queue: 'queue' } },
  'job.recovered': { id: 10121, level: 'info', message: 'stalled job taken over', fields: { ...RUN, attempt: 'attempt' } },
  'job.lease_lost': { id: 10122, level: 'warn', message: 'attempt ended after its lease was lost; its ending does not count', fields: { ...RUN, ...TRACE, attempt: 'attempt', processingMs: 'processMs' } },
  'job.settle_failed': { id: 10123, level: 'error', message: 'the ending of an attempt could not be stored; the job will be run again', fields: { ...RUN, ...TRACE, attempt: 'attempt', errorCode: 'error_type' } },
  'job.unhandled': { id: 10124, level: 'warn', message: 'no handler for a job of this name in this process; it went back', fields: { ...RUN, delayMs: 'delayMs' } },
  'job.redriven': { id: 10125, level: 'info', message: 'failed job queued again', fields: JOB },
  'job.removed': { id: 10126, level: 'info', message: 'job removed on request', fields: JOB },
  'job.progressed': { id: 10127, level: 'info', message: 'job progressed', fields: { ...JOB, done: 'done', total: 'total' } },

  'handler.registered': { id: 10203, level: 'debug', message: 'job defined', fields: { jobName: 'job_name', queue: 'queue' } },
  'handler.failed': { id: 10201, level: 'debug', message: 'handler threw', fields: { ...JOB, ...TRACE, errorCode: 'error_type', durationMs: 'durationMs' } },
  'handler.abandoned': { id: 10202, level: 'warn', message: 'handler went on after its grace; its attempt was settled without it', fields: { ...JOB, ...TRACE, reason: 'reason', graceMs: 'graceMs' } },
  'handler.ended_late': { id: 10204, level: 'info', message: 'abandoned handler has ended after all', fields: { ...JOB, lateMs: 'lateMs' } },

  'worker.started': { id: 10301, level: 'info', message: 'worker claims jobs', fields: { ...WORKER, concurrency: 'concurrency' } },
  'worker.paused': { id: 10302, level: 'info', message: 'worker paused', fields: WORKER },
  'worker.resumed': { id: 10303, level: 'info', message: 'worker resumed', fields: WORKER },
  'worker.draining': { id: 10304, level: 'info', message: 'worker claims no more jobs and waits for its attempts', fields: { workerId: 'worker_id', active: 'active', drainTimeoutMs: 'drainTimeoutMs' } },
  'worker.stopped': { id: 10305, level: 'info', message: 'worker stopped', fields: { workerId: 'worker_id', released: 'released' } },
  'worker.failed': { id: 10306, level: 'error', message: 'claiming met an error; it goes on', fields: { ...WORKER, errorCode: 'error_type', message: 'detail' } },
  'worker.restarted': { id: 10307, level: 'warn', message: 'worker claimed nothing although the store answers; its consumer was made anew', fields: { ...WORKER, silentMs: 'silentMs', reason: 'reason' } },
  'worker.exhausted': { id: 10308, level: 'error', message: 'handlers that ignored their abort hold every place of a queue; nothing is claimed from it until one of them ends', fields: { ...WORKER, abandoned: 'abandoned' } },
  'worker.relieved': { id: 10309, level: 'info', message: 'an abandoned handler has ended; the queue is claimed from again', fields: { ...WORKER, exhaustedMs: 'exhaustedMs' } },

  'store.connected': { id: 10401, level: 'info', message: 'job store connected', fields: { storeType: 'store_type' } },
  'store.disconnected': { id: 10402, level: 'warn', message: 'job store cannot be reached', fields: STORE },
  'store.failed': { id: 10403, level: 'error', message: 'job store met an error', fields: { ...STORE, message: 'detail' } },
  'store.warned': { id: 10404, level: 'warn', message: 'job store found something that an operator should know', fields: { ...STORE, message: 'detail' } },
  'store.operation_failed': { id: 10405, level: 'warn', message: 'job store operation failed', fields: { ...STORE, operation: 'operation', message: 'detail', durationMs: 'durationMs' } },

  'health.changed': { id: 10501, level: 'warn', message: 'readiness changed', fields: { status: 'status', previous: 'previous' } },
  'health.check_changed': { id: 10502, level: 'warn', message: 'health check changed', fields: { check: 'check', status: 'status', previous: 'previous', message: 'detail' } },

  'performance.slow_operation': { id: 10601, level: 'warn', message: 'slow operation', fields: { operation: 'operation', context: 'context', durationMs: 'durationMs', thresholdMs: 'thresholdMs' } },
  'performance.memory_spike': { id: 10602, level: 'warn', message: 'the heap is much larger after an operation', fields: { operation: 'operation', context: 'context', deltaMb: 'deltaMb', thresholdMb: 'thresholdMb' } },
  'performance.slow_query': { id: 10603, level: 'warn', message: 'slow database query', fields: { system: 'db_system', operation: 'operation', target: 'target', statement: 'statement', ...TRACE, durationMs: 'durationMs', thresholdMs: 'thresholdMs' } },
  'performance.event_loop_lagged': { id: 10604, level: 'warn', message: 'the event loop was late: something blocked it', fields: { jobs: 'jobs', lagMs: 'lagMs', thresholdMs: 'thresholdMs' } },
  'performance.bottleneck_found': { id: 10605, level: 'warn', message: 'something limits the throughput', fields: { cause: 'cause', severity: 'severity', subject: 'subject', value: 'value', threshold: 'threshold', unit: 'unit', sentence: 'detail' } },

  'subscriber.registered': { id: 10701, level: 'debug', message: 'subscriber of events registered', fields: { name: 'subscriber', events: 'events' } },
  'subscriber.unregistered': { id: 10702, level: 'debug', message: 'subscriber of events taken away', fields: { name: 'subscriber', events: 'events' } },
  'telemetry.export_completed': { id: 10711, level: 'debug', message: 'metrics exported', fields: { ...EXPORT, durationMs: 'durationMs', bytes: 'bytes' } },
  'telemetry.export_failed': { id: 10712, level: 'warn', message: 'metrics could not be exported; the next turn tries again', fields: { ...EXPORT, errorCode: 'error_type', message: 'detail', durationMs: 'durationMs' } },
  'telemetry.plugin_registered': { id: 10713, level: 'debug', message: 'exporter of metrics registered', fields: { exporter: 'exporter' } },
  'telemetry.plugin_unregistered': { id: 10714, level: 'debug', message: 'exporter of metrics taken away', fields: { exporter: 'exporter' } },

  // Tables of their own, because they are written where the alerts are made and the routes are registered.
  ...ALERT_LINES,
  ...ACCESS_LINES
} as const satisfies { readonly [N in EventName]?: LogEvent }

export type LoggedEvent = keyof typeof LOG_EVENTS
