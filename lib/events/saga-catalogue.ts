/** The lifecycle events of sagas, and of the durable steps of jobs. A part of the catalogue. */

const JOB = ['jobId', 'jobName', 'queue'] as const
/** `total` is how many steps a saga has, as far as is known. */
const SAGA = [...JOB, 'workerId', 'correlationId', 'traceId', 'spanId'] as const
const STEP = [...SAGA, 'step'] as const
/** `attempt` and `maxAttempts` of an event of a step count the tries of the step; `order` is its place, from 1. */
const TRY = ['attempt', 'maxAttempts', 'order'] as const

export const SAGA_EVENTS = {
  'step.started': {
    about: 'A try of a step began.',
    measurements: [...TRY], metadata: [...STEP]
  },
  'step.completed': {
    about: 'A step returned, and its result is stored.',
    measurements: [...TRY, 'durationMs', 'resultBytes'], metadata: [...STEP]
  },
  'step.failed': {
    about: 'A try of a step ended with an error. `final` says whether it was the last one.',
    measurements: [...TRY, 'durationMs'], metadata: [...STEP, 'errorCode', 'errorMessage', 'final']
  },
  'step.retry_scheduled': {
    about: 'A step, or its compensation, will be tried again after a pause.',
    measurements: [...TRY, 'delayMs'], metadata: [...STEP, 'errorCode']
  },
  'step.timed_out': {
    about: 'A try of a step, or of its compensation, took longer than its timeout and was aborted.',
    measurements: [...TRY, 'timeoutMs'], metadata: [...STEP]
  },
  'step.abandoned': {
    about: 'A step still ran when its grace after an abort ended. The saga went on without it.',
    measurements: [...TRY, 'durationMs', 'graceMs'], metadata: [...STEP, 'reason']
  },
  'step.skipped': {
    about: 'The condition of a step did not hold, so that it was not run.',
    measurements: ['order'], metadata: [...STEP]
  },
  'step.refused': {
    about: 'What a step has done could not be stored, because the lease of the attempt was lost. Another worker runs ' +
      'the step again.',
    measurements: ['order'], metadata: [...STEP, 'errorCode']
  },
  'step.compensating': {
    about: 'A try of a compensation began.',
    measurements: [...TRY], metadata: [...STEP]
  },
  'step.compensated': {
    about: 'A step was undone.',
    measurements: [...TRY, 'durationMs'], metadata: [...STEP]
  },
  'step.compensation_failed': {
    about: 'A try of a compensation ended with an error. `final` says whether it was the last one.',
    measurements: [...TRY, 'durationMs'], metadata: [...STEP, 'errorCode', 'errorMessage', 'final']
  },

  'saga.started': {
    about: 'A saga began its first step.',
    measurements: ['total'], metadata: [...SAGA]
  },
  'saga.resumed': {
    about: 'An attempt goes on where the steps before it had got to.',
    measurements: ['done', 'total'], metadata: [...SAGA, 'phase']
  },
  'saga.steps_ready': {
    about: 'The next steps of a saga can begin: one, or the siblings of a group. `steps` names them.',
    measurements: ['total'], metadata: [...SAGA, 'steps']
  },
  'saga.group_started': {
    about: 'The siblings of a group began, side by side.',
    measurements: ['total', 'concurrency'], metadata: [...STEP]
  },
  'saga.group_completed': {
    about: 'All siblings of a group have ended.',
    measurements: ['durationMs', 'total'], metadata: [...STEP]
  },
  'saga.suspended': {
    about: 'A saga waits without a slot: for a time, a signal, or the next try of a step (`reason`: sleep, signal, ' +
      'backoff or version).',
    measurements: ['delayMs'], metadata: [...STEP, 'reason']
  },
  'saga.signalled': {
    about: 'Somebody sent a signal to a saga, and it is stored.',
    measurements: [], metadata: [...JOB, 'correlationId', 'traceId', 'spanId', 'signal']
  },
  'saga.definition_changed': {
    about: 'The stored steps of a saga were written by another version of its definition. `reason` says what was done.',
    measurements: [], metadata: [...SAGA, 'reason']
  },
  'saga.compensating': {
    about: 'A saga begins to undo its steps, because a step failed, it was cancelled, or its time was over ' +
      '(`reason`: failed, cancelled or timeout).',
    measurements: ['total'], metadata: [...STEP, 'reason', 'errorCode', 'errorMessage']
  },
  'saga.compensated': {
    about: 'Every step of a saga that had an effect was undone.',
    measurements: ['durationMs', 'total'], metadata: [...SAGA]
  },
  'saga.compensation_failed': {
    about: 'Not every step could be undone: somebody has to look at it. `steps` names those that were not.',
    measurements: ['total'], metadata: [...SAGA, 'steps', 'errorCode', 'errorMessage']
  },
  'saga.completed': {
    about: 'A saga ended: every step was completed or skipped, and its result is stored.',
    measurements: ['totalMs', 'total'], metadata: [...SAGA]
  },
  'saga.failed': {
    about: 'A saga ended as failed. `phase` says what became of its steps.',
    measurements: ['totalMs', 'total'], metadata: [...SAGA, 'errorCode', 'errorMessage', 'phase']
  },
  'saga.cancelled': {
    about: 'A saga ended as cancelled, after it had undone its steps.',
    measurements: ['totalMs', 'total'], metadata: [...SAGA]
  }
} as const
