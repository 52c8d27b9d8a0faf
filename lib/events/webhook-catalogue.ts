/** The lifecycle events of webhooks. A part of the catalogue. `jobId`, `jobName` and `queue` are of the job that ended. */

/** The name of the job that delivers a webhook: its metric label `job_name`. */
export const DELIVERY_JOB = 'webhook-delivery'
/** The queue of deliveries, if the option `webhooks` names no other. */
export const DELIVERY_QUEUE = 'webhooks'

const DELIVERY = [
  'jobId', 'jobName', 'queue', 'correlationId', 'traceId', 'spanId', 'deliveryId', 'host'
] as const
const TRY = ['attempt', 'maxAttempts', 'statusCode'] as const

export const WEBHOOK_EVENTS = {
  'webhook.delivered': {
    about: 'A receiver has taken the message that a job has ended.',
    measurements: [...TRY, 'durationMs', 'sinceEndMs'], metadata: [...DELIVERY]
  },
  'webhook.attempt_failed': {
    about: 'A message was not taken. `final` says whether it was the last attempt.',
    measurements: [...TRY, 'durationMs', 'delayMs'], metadata: [...DELIVERY, 'errorCode', 'final']
  },
  'webhook.failed': {
    about: 'A message is not sent again: its attempts are spent, the receiver asked for no further one, or its ' +
      'delivery failed for another reason, such as workers that died. Its delivery is a failed job, which can be redriven.',
    measurements: [...TRY, 'sinceEndMs'], metadata: [...DELIVERY, 'errorCode']
  },
  'webhook.cancelled': {
    about: 'A message is not sent, because somebody cancelled or removed its delivery (`reason`).',
    measurements: [...TRY], metadata: [...DELIVERY, 'reason']
  },
  'webhook.refused': {
    about: 'A submission was refused, because the URL of its webhook must not be called. `host` is empty if the URL cannot be read.',
    measurements: [], metadata: ['jobName', 'host', 'reason']
  }
} as const
