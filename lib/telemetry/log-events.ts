import type { EventName, SubmitOrigin } from '../events/catalogue.ts'

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error'

/** In order of weight. */
export const LOG_LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error']

export interface LogEvent {
  /** Stable for ever: alerts and dashboards match on it. */
  readonly id: number
  readonly level: LogLevel
  /** A template, see `lib/core/line-message.ts`: with the parts that a person wants to read first. */
  readonly message: string
  /** Events whose part has this value are logged at another level: what was asked for is no reason for a warning. */
  readonly lighter?: readonly [from: string, value: string, level: LogLevel]
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
const ATTEMPT = { attempt: 'attempt', maxAttempts: 'max_attempts' } as const
const ERROR = { errorCode: 'error_type', errorMessage: 'error_message' } as const
/** Who sent the request: as much of it as `logging.enrich` asks for. */
const ORIGIN = { origin: 'origin' } as const
const WORKER = { workerId: 'worker_id', queue: 'queue' } as const
const EXPORT = { exporter: 'exporter', format: 'format', target: 'target' } as const
const STORE = { storeType: 'store_type', errorCode: 'error_type' } as const

const ALERT = { fingerprint: 'alert', rule: 'rule', severity: 'severity', alertType: 'alert_type', title: 'title', message: 'detail' } as const

/** Written by the alerts themselves, so that an application without observability has these lines too. */
export const ALERT_LINES = {
  'alert.raised': {
    id: 10801,
    level: 'warn',
    message: 'alert raised: {title}[: {message}]',
    fields: ALERT
  },
  'alert.reminded': {
    id: 10802,
    level: 'warn',
    message: 'alert is still firing[ after {firingMs}]: {title}[: {message}]',
    fields: { ...ALERT, firingMs: 'firingMs' }
  },
  'alert.resolved': {
    id: 10803,
    level: 'info',
    message: 'alert resolved[ after {firingMs}]: {title}',
    fields: { ...ALERT, firingMs: 'firingMs' }
  },
  'alert.send_failed': {
    id: 10804,
    level: 'error',
    message: 'alert {fingerprint} could not be sent by {sender} ({errorCode})[: {message}]; it is tried again, and further failures of this sender are counted, not logged',
    fields: { sender: 'sender', fingerprint: 'alert', rule: 'rule', errorCode: 'error_type', message: 'detail', tries: 'tries' }
  }
} as const satisfies { readonly [N in EventName]?: LogEvent }

/** Written where the routes are registered, so that an application without observability has these lines too. */
export const ACCESS_LINES = {
  'access.jobs_left_open': {
    id: 10901,
    level: 'warn',
    message: 'the job routes are open: whoever knows the id of a job may read, cancel and redrive it, and clients without credentials share their idempotency keys; give http.owner, or say that it is on purpose with http.access: \'open\'',
    fields: { path: 'path' }
  },
  'access.metrics_left_open': {
    id: 10902,
    level: 'warn',
    message: 'the metrics are open to everybody who reaches this port; give observability.metrics.authorize, or say that it is on purpose with observability.metrics.access: \'open\'',
    fields: { path: 'path' }
  }
} as const satisfies { readonly [N in EventName]?: LogEvent }

/**
 * What is logged of the lifecycle events, numbered. 10001 to 10099 belong to sagas and their steps; 101xx jobs, 102xx handlers,
 * 103xx workers, 104xx stores, 105xx health, 106xx performance, 107xx telemetry itself, 108xx alerts, 109xx access.
 * Alerts and searches match on the number: messages are for people, and may change. Events that come once per claim, handler call or store
 * round trip have no line: their sums are metrics. Of the progress of a job there is a line every ten seconds at most.
 */
export const LOG_EVENTS = {
  'job.submitted': { id: 10101, level: 'debug', message: 'job {jobName}/{jobId} submitted in {submitMs}[, to run in {delayMs}]', fields: { ...JOB, ...TRACE, submitMs: 'submitMs', delayMs: 'delayMs', payloadBytes: 'payloadBytes', ...ORIGIN } },
  'job.replayed': { id: 10102, level: 'debug', message: 'submission answered with job {jobName}/{jobId}, which has its idempotency key', fields: { ...JOB, ...TRACE, submitMs: 'submitMs', ...ORIGIN } },
  'job.rejected': { id: 10103, level: 'info', message: 'submission of {jobName} refused: {reason}', fields: { ...SUBMISSION, reason: 'reason', ...ORIGIN } },
  'job.submit_failed': { id: 10104, level: 'error', message: 'submission of {jobName} failed after {submitMs} ({errorCode})[: {message}]', fields: { ...SUBMISSION, errorCode: 'error_type', message: 'detail', submitMs: 'submitMs', ...ORIGIN } },
  'job.started': { id: 10110, level: 'info', message: 'job {jobName}/{jobId} started (attempt {attempt}[ of {maxAttempts}])', fields: { ...RUN, ...TRACE, ...ATTEMPT } },
  'job.completed': { id: 10111, level: 'info', message: 'job {jobName}/{jobId} completed in {processingMs} (attempt {attempt}[ of {maxAttempts}]), {totalMs} after its submission', fields: { ...RUN, ...TRACE, ...ATTEMPT, totalMs: 'totalMs', queueWaitMs: 'queueMs', processingMs: 'processMs', resultBytes: 'resultBytes' } },
  'job.attempt_failed': { id: 10112, level: 'warn', message: 'job {jobName}/{jobId} threw after {processingMs} (attempt {attempt}[ of {maxAttempts}]): {errorCode}[: {errorMessage}]', fields: { ...RUN, ...TRACE, ...ATTEMPT, ...ERROR, failure: 'failure', final: 'final', processingMs: 'processMs' } },
  'job.retry_scheduled': { id: 10113, level: 'info', message: 'job {jobName}/{jobId} will be tried again in {delayMs} (attempt {attempt}[ of {maxAttempts}]) after {errorCode}', fields: { ...RUN, ...TRACE, ...ATTEMPT, errorCode: 'error_type', delayMs: 'delayMs' } },
  'job.failed': { id: 10114, level: 'error', message: 'job {jobName}/{jobId} failed (attempt {attempt}[ of {maxAttempts}]), {totalMs} after its submission: {errorCode}[: {errorMessage}]', fields: { ...RUN, ...TRACE, ...ATTEMPT, ...ERROR, totalMs: 'totalMs', processingMs: 'processMs' } },
  'job.cancelled': { id: 10115, level: 'info', message: 'job {jobName}/{jobId} cancelled[ after running for {processingMs}]', fields: { ...RUN, ...TRACE, totalMs: 'totalMs', processingMs: 'processMs' } },
  'job.cancel_requested': { id: 10116, level: 'info', message: 'job {jobName}/{jobId} runs and was asked to stop', fields: { ...JOB, ...TRACE } },
  'job.snoozed': { id: 10117, level: 'debug', message: 'job {jobName}/{jobId} snoozed for {delayMs}', fields: { ...RUN, ...TRACE, delayMs: 'delayMs', processingMs: 'processMs' } },
  'job.timed_out': { id: 10118, level: 'warn', message: 'job {jobName}/{jobId} took longer than its {timeoutMs} and is aborted (attempt {attempt}[ of {maxAttempts}])', fields: { ...RUN, ...TRACE, ...ATTEMPT, timeoutMs: 'timeoutMs' } },
  'job.released': { id: 10119, level: 'info', message: 'job {jobName}/{jobId} handed back after {processingMs} by a worker that stops', fields: { ...RUN, ...TRACE, processingMs: 'processMs' } },
  'job.stalled': { id: 10120, level: 'warn', message: 'job {jobId} of queue {queue} lost its lease and is back in the queue', fields: { jobId: 'job_id', queue: 'queue' } },
  'job.recovered': { id: 10121, level: 'info', message: 'job {jobName}/{jobId} taken over after its worker stopped renewing the lease (attempt {attempt}[ of {maxAttempts}])', fields: { ...RUN, ...TRACE, ...ATTEMPT } },
  'job.lease_lost': { id: 10122, level: 'warn', message: 'job {jobName}/{jobId} ended after its lease was lost (attempt {attempt}[ of {maxAttempts}]): another worker has it, and this ending does not count', fields: { ...RUN, ...TRACE, ...ATTEMPT, processingMs: 'processMs' } },
  'job.settle_failed': { id: 10123, level: 'error', message: 'how job {jobName}/{jobId} ended could not be stored ({errorCode}) (attempt {attempt}[ of {maxAttempts}]); it will be run again', fields: { ...RUN, ...TRACE, ...ATTEMPT, errorCode: 'error_type' } },
  'job.unhandled': { id: 10124, level: 'warn', message: 'no handler for job {jobName}/{jobId} in this process; it went back to its queue for {delayMs}', fields: { ...RUN, ...TRACE, delayMs: 'delayMs' } },
  'job.redriven': { id: 10125, level: 'info', message: 'failed job {jobName}/{jobId} queued again', fields: { ...JOB, ...TRACE } },
  'job.removed': { id: 10126, level: 'info', message: 'job {jobName}/{jobId} removed on request', fields: { ...JOB, ...TRACE } },
  'job.progressed': { id: 10127, level: 'info', message: 'job {jobName}/{jobId} progressed[: {done} of {total}]', fields: { ...JOB, ...TRACE, done: 'done', total: 'total' } },

  'handler.registered': { id: 10203, level: 'debug', message: 'job {jobName} defined on queue {queue}', fields: { jobName: 'job_name', queue: 'queue' } },
  'handler.failed': { id: 10201, level: 'debug', message: 'handler of job {jobName}/{jobId} threw after {durationMs}: {errorCode}', fields: { ...JOB, ...TRACE, errorCode: 'error_type', durationMs: 'durationMs' } },
  'handler.abandoned': { id: 10202, level: 'warn', message: 'handler of job {jobName}/{jobId} went on for {graceMs} after its abort ({reason}); its attempt was settled without it', fields: { ...JOB, ...TRACE, reason: 'reason', graceMs: 'graceMs' } },
  'handler.ended_late': { id: 10204, level: 'info', message: 'abandoned handler of job {jobName}/{jobId} ended after all, {lateMs} late', fields: { ...JOB, ...TRACE, lateMs: 'lateMs' } },

  'worker.started': { id: 10301, level: 'info', message: 'worker claims jobs of queue {queue}, {concurrency} at a time', fields: { ...WORKER, concurrency: 'concurrency' } },
  'worker.paused': { id: 10302, level: 'info', message: 'worker paused on queue {queue}', fields: WORKER },
  'worker.resumed': { id: 10303, level: 'info', message: 'worker resumed on queue {queue}', fields: WORKER },
  'worker.draining': { id: 10304, level: 'info', message: 'worker claims no more jobs[ and gives the {active} that run {drainTimeoutMs} to end]', fields: { workerId: 'worker_id', active: 'active', drainTimeoutMs: 'drainTimeoutMs' } },
  'worker.stopped': { id: 10305, level: 'info', message: 'worker stopped[; {released} jobs were handed back]', fields: { workerId: 'worker_id', released: 'released' } },
  'worker.failed': { id: 10306, level: 'error', message: 'claiming from queue {queue} met an error and goes on ({errorCode})[: {message}]', fields: { ...WORKER, errorCode: 'error_type', message: 'detail' } },
  'worker.restarted': { id: 10307, level: 'warn', message: 'worker claimed nothing from queue {queue}[ for {silentMs}] although the store answers; it got a new consumer ({reason})', fields: { ...WORKER, silentMs: 'silentMs', reason: 'reason' } },
  'worker.exhausted': { id: 10308, level: 'error', message: '{abandoned} handlers that ignored their abort hold every place of queue {queue}; nothing is claimed from it until one of them ends', fields: { ...WORKER, abandoned: 'abandoned' } },
  'worker.relieved': { id: 10309, level: 'info', message: 'an abandoned handler has ended after {exhaustedMs}; queue {queue} is claimed from again', fields: { ...WORKER, exhaustedMs: 'exhaustedMs' } },

  'store.connected': { id: 10401, level: 'info', message: 'job store ({storeType}) connected[ to {server}]', fields: { storeType: 'store_type', server: 'server' } },
  'store.disconnected': { id: 10402, level: 'warn', message: 'job store ({storeType})[ at {server}] cannot be reached ({errorCode})[: {message}]', fields: { ...STORE, server: 'server', message: 'detail' } },
  'store.failed': { id: 10403, level: 'error', message: 'job store ({storeType}) met an error ({errorCode})[: {message}]', fields: { ...STORE, message: 'detail' } },
  'store.warned': { id: 10404, level: 'warn', message: 'job store ({storeType}) needs attention[: {message}]', fields: { ...STORE, message: 'detail' } },
  'store.operation_failed': { id: 10405, level: 'warn', message: '{operation} of the job store failed after {durationMs} ({errorCode})[: {message}]', fields: { ...STORE, operation: 'operation', message: 'detail', durationMs: 'durationMs' }, lighter: ['operation', 'settle', 'debug'] },

  'health.changed': { id: 10501, level: 'warn', message: 'readiness changed from {previous} to {status}: {reason}', fields: { status: 'status', previous: 'previous', reason: 'reason' }, lighter: ['reason', 'shutting-down', 'info'] },
  'health.check_changed': { id: 10502, level: 'warn', message: 'health check {check} changed from {previous} to {status}[: {message}]', fields: { check: 'check', status: 'status', previous: 'previous', message: 'detail' } },

  'performance.slow_operation': { id: 10601, level: 'warn', message: '{operation} took {durationMs}, longer than {thresholdMs}', fields: { operation: 'operation', context: 'context', durationMs: 'durationMs', thresholdMs: 'thresholdMs' } },
  'performance.memory_spike': { id: 10602, level: 'warn', message: 'the heap is {deltaMb} MB larger after {operation}', fields: { operation: 'operation', context: 'context', deltaMb: 'deltaMb', thresholdMb: 'thresholdMb' } },
  'performance.slow_query': { id: 10603, level: 'warn', message: '{system} {operation} {target} took {durationMs}, longer than {thresholdMs}', fields: { system: 'db_system', operation: 'operation', target: 'target', statement: 'statement', ...TRACE, durationMs: 'durationMs', thresholdMs: 'thresholdMs' } },
  'performance.event_loop_lagged': { id: 10604, level: 'warn', message: 'the event loop was {lagMs} late: something blocked it[, perhaps {jobs}]', fields: { jobs: 'jobs', lagMs: 'lagMs', thresholdMs: 'thresholdMs' } },
  'performance.bottleneck_found': { id: 10605, level: 'warn', message: 'something limits the throughput: {sentence}', fields: { cause: 'cause', severity: 'severity', subject: 'subject', value: 'value', threshold: 'threshold', unit: 'unit', sentence: 'detail' } },

  'subscriber.registered': { id: 10701, level: 'debug', message: 'subscriber {name} registered for {events} events', fields: { name: 'subscriber', events: 'events' } },
  'subscriber.unregistered': { id: 10702, level: 'debug', message: 'subscriber {name} unregistered', fields: { name: 'subscriber', events: 'events' } },
  'telemetry.export_completed': { id: 10711, level: 'debug', message: 'metrics exported by {exporter} in {durationMs}', fields: { ...EXPORT, durationMs: 'durationMs', bytes: 'bytes' } },
  'telemetry.export_failed': { id: 10712, level: 'warn', message: 'metrics could not be exported by {exporter} ({errorCode}); it is tried again[: {message}]', fields: { ...EXPORT, errorCode: 'error_type', message: 'detail', durationMs: 'durationMs' } },
  'telemetry.plugin_registered': { id: 10713, level: 'debug', message: 'exporter of metrics {exporter} registered', fields: { exporter: 'exporter' } },
  'telemetry.plugin_unregistered': { id: 10714, level: 'debug', message: 'exporter of metrics {exporter} unregistered', fields: { exporter: 'exporter' } },

  ...ALERT_LINES,
  ...ACCESS_LINES
} as const satisfies { readonly [N in EventName]?: LogEvent }

export type LoggedEvent = keyof typeof LOG_EVENTS
