import type { LogEventTable } from './log-event.ts'

const ALERT = {
  fingerprint: 'alert',
  rule: 'rule',
  severity: 'severity',
  alertType: 'alert_type',
  title: 'title',
  message: 'detail'
} as const

/**
 * The log lines of alerts (108xx). The alerts write them, so that an application without observability has them too.
 */
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
    message: 'sender {sender} could not deliver alert {fingerprint} ({errorCode})[: {message}]; the next evaluation ' +
      'tries again, and further failures of this sender are counted, not logged',
    fields: {
      sender: 'sender',
      fingerprint: 'alert',
      rule: 'rule',
      errorCode: 'error_type',
      message: 'detail',
      tries: 'tries'
    }
  }
} as const satisfies LogEventTable

/**
 * The log lines about routes that are open to everybody (109xx). The plugins that register the routes write them, so
 * that an application without observability has them too.
 */
export const ACCESS_LINES = {
  'access.jobs_left_open': {
    id: 10901,
    level: 'warn',
    message: 'the job routes are open: anybody who knows the id of a job can read, cancel and redrive it, and all ' +
      'clients share one space of idempotency keys; set http.owner, http.authorize or http.links, or confirm that this ' +
      'is intended with http.access: \'open\'',
    fields: { path: 'path' }
  },
  'access.metrics_left_open': {
    id: 10902,
    level: 'warn',
    message: 'the metrics are open: anybody who reaches this port can read them; set ' +
      'observability.metrics.authorize, or confirm that this is intended with observability.metrics.access: \'open\'',
    fields: { path: 'path' }
  }
} as const satisfies LogEventTable
