import type { LogEvent, LogEventTable } from './log-event.ts'
import { ERROR, JOB, RUN, TRACE } from './log-fields.ts'

const STEP = { ...RUN, ...TRACE, step: 'step', order: 'step_order' } as const
/** Of a try: which one it is, and how many the step has. */
const TRY = { ...STEP, attempt: 'attempt', maxAttempts: 'max_attempts' } as const
const SAGA = { ...RUN, ...TRACE } as const

/** An event of a step, which may be a step of an ordinary handler: those have no place in a list, their order is 0. */
function ofStep<const E extends LogEvent> (event: E): E & Pick<LogEvent, 'reworded'> {
  return { ...event, reworded: ['order', '0', event.message.replace(/\bsaga\b/g, 'job')] }
}

/**
 * The log lines about sagas and the steps of jobs: 10001 to 10099. That a saga was submitted is line 10101, as of any
 * job: 10009 is not used, so that no submission has two lines.
 */
export const SAGA_LOG_EVENTS = {
  'step.started': ofStep({
    id: 10001,
    level: 'info',
    message: 'saga {jobName}/{jobId} step {step} started (attempt {attempt}[ of {maxAttempts}])',
    fields: TRY
  }),
  'step.completed': ofStep({
    id: 10002,
    level: 'info',
    message: 'saga {jobName}/{jobId} step {step} completed in {durationMs} (attempt {attempt}[ of {maxAttempts}])',
    fields: { ...TRY, durationMs: 'durationMs', resultBytes: 'resultBytes' }
  }),
  'step.failed': ofStep({
    id: 10003,
    level: 'error',
    lighter: ['final', 'false', 'warn'],
    message: 'saga {jobName}/{jobId} step {step} failed after {durationMs} (attempt {attempt}[ of {maxAttempts}]): ' +
      '{errorCode}[: {errorMessage}]',
    fields: { ...TRY, ...ERROR, durationMs: 'durationMs', final: 'final' }
  }),
  'step.compensating': {
    id: 10004,
    level: 'warn',
    message: 'saga {jobName}/{jobId} step {step} is being undone (attempt {attempt}[ of {maxAttempts}])',
    fields: TRY
  },
  'saga.completed': {
    id: 10005,
    level: 'info',
    message: 'saga {jobName}/{jobId} completed in {totalMs} ({total} steps)',
    fields: { ...SAGA, totalMs: 'totalMs', total: 'steps' }
  },
  'saga.failed': {
    id: 10006,
    level: 'error',
    message: 'saga {jobName}/{jobId} failed {totalMs} after its submission ({total} steps; {phase}): {errorCode}[: ' +
      '{errorMessage}]',
    fields: { ...SAGA, ...ERROR, totalMs: 'totalMs', total: 'steps', phase: 'phase' }
  },
  'step.compensated': {
    id: 10007,
    level: 'info',
    message: 'saga {jobName}/{jobId} step {step} was undone in {durationMs} (attempt {attempt}[ of {maxAttempts}])',
    fields: { ...TRY, durationMs: 'durationMs' }
  },
  'step.compensation_failed': {
    id: 10008,
    level: 'error',
    lighter: ['final', 'false', 'warn'],
    message: 'saga {jobName}/{jobId} step {step} could not be undone after {durationMs} (attempt ' +
      '{attempt}[ of {maxAttempts}]): {errorCode}[: {errorMessage}]',
    fields: { ...TRY, ...ERROR, durationMs: 'durationMs', final: 'final' }
  },
  'step.retry_scheduled': ofStep({
    id: 10010,
    level: 'info',
    message: 'saga {jobName}/{jobId} step {step} will be tried again in {delayMs} after {errorCode} (attempt ' +
      '{attempt}[ of {maxAttempts}])',
    fields: { ...TRY, errorCode: 'error_type', delayMs: 'delayMs' }
  }),
  'step.timed_out': ofStep({
    id: 10011,
    level: 'warn',
    message: 'saga {jobName}/{jobId} step {step} was aborted: it took longer than its timeout of {timeoutMs} ' +
      '(attempt {attempt}[ of {maxAttempts}])',
    fields: { ...TRY, timeoutMs: 'timeoutMs' }
  }),
  'step.abandoned': ofStep({
    id: 10012,
    level: 'warn',
    message: 'saga {jobName}/{jobId} step {step} still runs {graceMs} after its abort by {reason} (attempt ' +
      '{attempt}[ of {maxAttempts}]): the saga went on without it; make the step obey its signal',
    fields: { ...TRY, reason: 'reason', durationMs: 'durationMs', graceMs: 'graceMs' }
  }),
  'step.skipped': {
    id: 10013,
    level: 'debug',
    message: 'saga {jobName}/{jobId} step {step} skipped: its condition does not hold',
    fields: STEP
  },
  'step.refused': ofStep({
    id: 10014,
    level: 'warn',
    message: 'saga {jobName}/{jobId} step {step} could not be stored, because the lease of its worker was lost ' +
      '({errorCode}): another worker runs it again; a step that blocks the event loop for long is the usual cause',
    fields: { ...STEP, errorCode: 'error_type' }
  }),
  'saga.started': {
    id: 10015,
    level: 'info',
    message: 'saga {jobName}/{jobId} began ({total} steps)',
    fields: { ...SAGA, total: 'steps' }
  },
  'saga.resumed': {
    id: 10016,
    level: 'info',
    message: 'saga {jobName}/{jobId} goes on: {done} of {total} steps are done ({phase})',
    fields: { ...SAGA, done: 'done', total: 'steps', phase: 'phase' }
  },
  'saga.group_started': {
    id: 10017,
    level: 'debug',
    message: 'saga {jobName}/{jobId} group {step} began: {total} steps, {concurrency} at a time',
    fields: { ...SAGA, step: 'step', total: 'steps', concurrency: 'concurrency' }
  },
  'saga.group_completed': {
    id: 10018,
    level: 'debug',
    message: 'saga {jobName}/{jobId} group {step} ended after {durationMs}',
    fields: { ...SAGA, step: 'step', total: 'steps', durationMs: 'durationMs' }
  },
  'saga.suspended': {
    id: 10019,
    level: 'info',
    message: 'saga {jobName}/{jobId} waits[ at {step}] for up to {delayMs} ({reason})',
    fields: { ...SAGA, step: 'step', reason: 'reason', delayMs: 'delayMs' }
  },
  'saga.signalled': {
    id: 10020,
    level: 'info',
    message: 'saga {jobName}/{jobId} got the signal {signal}',
    fields: { ...JOB, ...TRACE, signal: 'signal' }
  },
  'saga.definition_changed': {
    id: 10021,
    level: 'warn',
    message: 'saga {jobName}/{jobId} has another definition now: {reason}',
    fields: { ...SAGA, reason: 'reason' }
  },
  'saga.compensating': {
    id: 10022,
    level: 'warn',
    message: 'saga {jobName}/{jobId} undoes {total} of its steps ({reason})[, because of step {step}][: ' +
      '{errorMessage}]',
    fields: { ...SAGA, ...ERROR, step: 'step', total: 'steps', reason: 'reason' }
  },
  'saga.compensated': {
    id: 10023,
    level: 'info',
    message: 'saga {jobName}/{jobId} has undone {total} of its steps in {durationMs}',
    fields: { ...SAGA, total: 'steps', durationMs: 'durationMs' }
  },
  'saga.compensation_failed': {
    id: 10024,
    level: 'error',
    message: 'saga {jobName}/{jobId} could not undo all of its steps: undo {steps} by hand, or mend the cause and ' +
      'redrive the job[: {errorMessage}]',
    fields: { ...SAGA, ...ERROR, steps: 'failed_steps', total: 'steps' }
  },
  'saga.cancelled': {
    id: 10025,
    level: 'info',
    message: 'saga {jobName}/{jobId} cancelled',
    fields: { ...SAGA, totalMs: 'totalMs', total: 'steps' }
  }
} as const satisfies LogEventTable
