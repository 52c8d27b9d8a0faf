/**
 * The log lines of alerts. The alerts write them directly, so that an application without observability has them too.
 * Their ids belong to the one table of numbered log events.
 */
const ABOUT = { fingerprint: 'alert', rule: 'rule', severity: 'severity', alertType: 'alert_type', title: 'title', message: 'detail' } as const

export const ALERT_LINES = {
  'alert.raised': { id: 10801, level: 'warn', message: 'alert raised: {title}[: {message}]', fields: ABOUT },
  'alert.reminded': { id: 10802, level: 'warn', message: 'alert is still firing[ after {firingMs}]: {title}[: {message}]', fields: { ...ABOUT, firingMs: 'firingMs' } },
  'alert.resolved': { id: 10803, level: 'info', message: 'alert resolved[ after {firingMs}]: {title}', fields: { ...ABOUT, firingMs: 'firingMs' } },
  'alert.send_failed': {
    id: 10804,
    level: 'error',
    message: 'sender {sender} could not deliver alert {fingerprint} ({errorCode})[: {message}]; the next evaluation tries again, and further ' +
      'failures of this sender are counted, not logged',
    fields: { sender: 'sender', fingerprint: 'alert', rule: 'rule', errorCode: 'error_type', message: 'detail', tries: 'tries' }
  }
} as const
