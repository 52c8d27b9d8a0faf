import type { LogEventTable } from './log-event.ts'
import { ATTEMPT, JOB, TRACE } from './log-fields.ts'

const DELIVERY = { ...JOB, ...TRACE, ...ATTEMPT, deliveryId: 'delivery_id', host: 'server_address', statusCode: 'status_code' } as const

/** The log lines about webhooks: 111xx. Of the URL they have only the host. */
export const WEBHOOK_LOG_EVENTS = {
  'webhook.delivered': {
    id: 11101,
    level: 'info',
    message: 'webhook of job {jobName}/{jobId} delivered to {host} in {durationMs} (attempt {attempt}[ of {maxAttempts}])',
    fields: { ...DELIVERY, durationMs: 'durationMs', sinceEndMs: 'sinceEndMs' }
  },
  'webhook.attempt_failed': {
    id: 11102,
    level: 'warn',
    message: 'webhook of job {jobName}/{jobId} was not taken by {host}: {errorCode} (attempt {attempt}[ of {maxAttempts}])',
    fields: { ...DELIVERY, errorCode: 'error_type', durationMs: 'durationMs', delayMs: 'delayMs', final: 'final' }
  },
  'webhook.failed': {
    id: 11103,
    level: 'error',
    message: 'webhook of job {jobName}/{jobId} is not sent to {host} again: {errorCode} (attempt {attempt}[ of {maxAttempts}]); ' +
      'redrive job {deliveryId} when the receiver works',
    fields: { ...DELIVERY, errorCode: 'error_type', sinceEndMs: 'sinceEndMs' }
  },
  'webhook.cancelled': {
    id: 11105,
    level: 'info',
    message: 'webhook of job {jobName}/{jobId} is not sent to {host}: its delivery {deliveryId} was {reason} (attempt {attempt}[ of {maxAttempts}])',
    fields: { ...DELIVERY, reason: 'reason' }
  },
  'webhook.refused': {
    id: 11104,
    level: 'warn',
    message: 'a submission of {jobName} was refused: its webhook[ to {host}] must not be called ({reason}); ' +
      'webhooks.allow and webhooks.outbound say what may be called',
    fields: { jobName: 'job_name', host: 'server_address', reason: 'reason' }
  }
} as const satisfies LogEventTable
