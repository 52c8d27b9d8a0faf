import type { LogEventTable } from './log-event.ts'
import { ATTEMPT, ERROR, JOB, ORIGIN, RUN, SUBMISSION, TRACE } from './log-fields.ts'

/** The log lines about jobs (101xx) and their handlers (102xx). */
export const JOB_LOG_EVENTS = {
  'job.submitted': {
    id: 10101,
    level: 'debug',
    message: 'job {jobName}/{jobId} submitted in {submitMs}[, to run in {delayMs}]',
    fields: { ...JOB, ...TRACE, submitMs: 'submitMs', delayMs: 'delayMs', payloadBytes: 'payloadBytes', ...ORIGIN }
  },
  'job.replayed': {
    id: 10102,
    level: 'debug',
    message: 'submission answered with the existing job {jobName}/{jobId}, which has the same idempotency key',
    fields: { ...JOB, ...TRACE, submitMs: 'submitMs', ...ORIGIN }
  },
  'job.rejected': {
    id: 10103,
    level: 'info',
    message: 'submission of {jobName} was refused: {reason}',
    fields: { ...SUBMISSION, reason: 'reason', ...ORIGIN }
  },
  'job.submit_failed': {
    id: 10104,
    level: 'error',
    message: 'submission of {jobName} failed after {submitMs} ({errorCode})[: {message}]',
    fields: { ...SUBMISSION, errorCode: 'error_type', message: 'detail', submitMs: 'submitMs', ...ORIGIN }
  },
  'job.started': {
    id: 10110,
    level: 'info',
    message: 'job {jobName}/{jobId} started (attempt {attempt}[ of {maxAttempts}])',
    fields: { ...RUN, ...TRACE, ...ATTEMPT }
  },
  'job.completed': {
    id: 10111,
    level: 'info',
    message: 'job {jobName}/{jobId} completed in {processingMs} (attempt {attempt}[ of {maxAttempts}]), ' +
      '{totalMs} after its submission',
    fields: {
      ...RUN, ...TRACE, ...ATTEMPT, totalMs: 'totalMs', queueWaitMs: 'queueMs', processingMs: 'processMs',
      resultBytes: 'resultBytes'
    }
  },
  'job.attempt_failed': {
    id: 10112,
    level: 'warn',
    message: 'an attempt of job {jobName}/{jobId} failed after {processingMs} (attempt {attempt}[ of ' +
      '{maxAttempts}]): {errorCode}[: {errorMessage}]',
    fields: { ...RUN, ...TRACE, ...ATTEMPT, ...ERROR, failure: 'failure', final: 'final', processingMs: 'processMs' }
  },
  'job.retry_scheduled': {
    id: 10113,
    level: 'info',
    message: 'job {jobName}/{jobId} will be retried in {delayMs} after {errorCode} (attempt {attempt}[ of ' +
      '{maxAttempts}])',
    fields: { ...RUN, ...TRACE, ...ATTEMPT, errorCode: 'error_type', delayMs: 'delayMs' }
  },
  'job.failed': {
    id: 10114,
    level: 'error',
    message: 'job {jobName}/{jobId} failed (attempt {attempt}[ of {maxAttempts}]), {totalMs} after its ' +
      'submission: {errorCode}[: {errorMessage}]',
    fields: { ...RUN, ...TRACE, ...ATTEMPT, ...ERROR, totalMs: 'totalMs', processingMs: 'processMs' }
  },
  'job.cancelled': {
    id: 10115,
    level: 'info',
    message: 'job {jobName}/{jobId} cancelled[ after running for {processingMs}]',
    fields: { ...RUN, ...TRACE, totalMs: 'totalMs', processingMs: 'processMs' }
  },
  'job.cancel_requested': {
    id: 10116,
    level: 'info',
    message: 'running job {jobName}/{jobId} was asked to stop',
    fields: { ...JOB, ...TRACE }
  },
  'job.snoozed': {
    id: 10117,
    level: 'debug',
    message: 'job {jobName}/{jobId} snoozed for {delayMs}',
    fields: { ...RUN, ...TRACE, delayMs: 'delayMs', processingMs: 'processMs' }
  },
  'job.timed_out': {
    id: 10118,
    level: 'warn',
    message: 'job {jobName}/{jobId} exceeded its timeout of {timeoutMs}: this attempt is aborted (attempt ' +
      '{attempt}[ of {maxAttempts}])',
    fields: { ...RUN, ...TRACE, ...ATTEMPT, timeoutMs: 'timeoutMs' }
  },
  'job.released': {
    id: 10119,
    level: 'info',
    message: 'job {jobName}/{jobId} was handed back to its queue after {processingMs}, because its worker is ' +
      'stopping; no attempt was spent',
    fields: { ...RUN, ...TRACE, processingMs: 'processMs' }
  },
  'job.stalled': {
    id: 10120,
    level: 'warn',
    message: 'lease of job {jobId} ran out, and the job is back in queue {queue}: look whether its worker was ' +
      'killed or its event loop was blocked',
    fields: { jobId: 'job_id', queue: 'queue' }
  },
  'job.recovered': {
    id: 10121,
    level: 'info',
    message: 'job {jobName}/{jobId} was claimed again after its previous worker had stopped renewing the lease ' +
      '(attempt {attempt}[ of {maxAttempts}])',
    fields: { ...RUN, ...TRACE, ...ATTEMPT }
  },
  'job.lease_lost': {
    id: 10122,
    level: 'warn',
    message: 'an attempt of job {jobName}/{jobId} ended after its lease was lost (attempt {attempt}[ of ' +
      '{maxAttempts}]): another worker owns the job, and this outcome is ignored',
    fields: { ...RUN, ...TRACE, ...ATTEMPT, processingMs: 'processMs' }
  },
  'job.settle_failed': {
    id: 10123,
    level: 'error',
    message: 'the outcome of job {jobName}/{jobId} could not be stored ({errorCode}) (attempt {attempt}[ of ' +
      '{maxAttempts}]): the job runs again when its lease has run out; look at the job store',
    fields: { ...RUN, ...TRACE, ...ATTEMPT, errorCode: 'error_type' }
  },
  'job.unhandled': {
    id: 10124,
    level: 'warn',
    message: 'this process has no handler for job {jobName}/{jobId}: the job went back to its queue for ' +
      '{delayMs}; define it here, or start a worker that defines it',
    fields: { ...RUN, ...TRACE, delayMs: 'delayMs' }
  },
  'job.redriven': {
    id: 10125,
    level: 'info',
    message: 'failed job {jobName}/{jobId} was redriven and is queued again',
    fields: { ...JOB, ...TRACE }
  },
  'job.removed': {
    id: 10126,
    level: 'info',
    message: 'job {jobName}/{jobId} was removed on request',
    fields: { ...JOB, ...TRACE }
  },
  'job.progressed': {
    id: 10127,
    level: 'info',
    message: 'job {jobName}/{jobId} progressed[: {done} of {total}]',
    fields: { ...JOB, ...TRACE, done: 'done', total: 'total' }
  },
  'handler.registered': {
    id: 10203,
    level: 'debug',
    message: 'job {jobName} defined on queue {queue}',
    fields: { jobName: 'job_name', queue: 'queue' }
  },
  'handler.failed': {
    id: 10201,
    level: 'debug',
    message: 'handler of job {jobName}/{jobId} threw after {durationMs}: {errorCode}',
    fields: { ...JOB, ...TRACE, errorCode: 'error_type', durationMs: 'durationMs' }
  },
  'handler.abandoned': {
    id: 10202,
    level: 'warn',
    message: 'handler of job {jobName}/{jobId} still runs {graceMs} after its abort ({reason}): its attempt was ' +
      'settled without it; make the handler obey job.signal',
    fields: { ...JOB, ...TRACE, reason: 'reason', graceMs: 'graceMs' }
  },
  'handler.ended_late': {
    id: 10204,
    level: 'info',
    message: 'abandoned handler of job {jobName}/{jobId} has ended, {lateMs} after its attempt was settled; its ' +
      'slot is free again',
    fields: { ...JOB, ...TRACE, lateMs: 'lateMs' }
  }
} as const satisfies LogEventTable
