import type { Clock, Logger } from '../../core/context.ts'
import { compileMessage } from '../../core/line-message.ts'
import { singleLine } from '../../core/text.ts'
import { ALERT_LINES } from '../../telemetry/log-events.ts'
import type { AlertMail, AlertNotice, AlertSender, EmailOptions } from './alert.ts'
import type { ResolvedAlertsOptions } from './options.ts'
import { webhookSender } from './webhook.ts'

/** What a notice is called in events and log lines. */
export function eventOf ({ kind, at, alert }: AlertNotice) {
  const { fingerprint, rule, severity, type, title, message, startedAt } = alert
  return { name: `alert.${kind}` as const, payload: { fingerprint, rule, severity, alertType: type, title, message, firingMs: Math.max(0, at - startedAt) } }
}

/** Characters of a text that are looked at for the message of a line. */
const MAX_SHOWN = 1_000

type LineName = keyof typeof ALERT_LINES

/** Writes one numbered line, as the table of the log events says. */
export function writeLine (logger: Logger, name: LineName, payload: Readonly<Record<string, unknown>>, more: object = {}): void {
  const { id, level, message, fields } = ALERT_LINES[name]
  const line: Record<string, unknown> = { eventId: id, event: name, component: 'asyncendpoints.alert' }
  const shown: Record<string, unknown> = {}
  for (const [from, to] of Object.entries(fields)) {
    const value = line[to] = payload[from]
    // A rule of the application may have written it over several lines.
    shown[to] = typeof value === 'string' ? singleLine(value, MAX_SHOWN) : value
  }
  logger[level]({ ...line, ...more }, compileMessage(message, fields)(shown, payload))
}

/** @param logger hides already what must not be shown */
export function logSender (logger: Logger): AlertSender {
  return {
    name: 'log',
    send: (notice) => {
      const { name, payload } = eventOf(notice)
      writeLine(logger, name, payload, { details: notice.alert.details })
    }
  }
}

export function emailSender ({ send }: EmailOptions): AlertSender {
  return { name: 'email', send: async (notice, context) => { await send(mailOf(notice), context) } }
}

export function mailOf (notice: AlertNotice): AlertMail {
  const { kind, at, alert: { title, severity, message, rule, type, startedAt, details } } = notice
  const word = kind === 'resolved' ? 'RESOLVED' : severity.toUpperCase()
  const text = [
    message, '', `${type} alert of rule ${rule}, ${kind} at ${new Date(at).toISOString()}, first found at ${new Date(startedAt).toISOString()}.`, '', JSON.stringify(details, null, 2), ''
  ].join('\n')
  return { subject: singleLine(`[${word}] ${title}`, 200), text, notice }
}

/**
 * All that the options ask for, the log first: it cannot hang.
 *
 * @param plainly runs the application's own work, which may leave spans; ours leaves none, and no trace goes to a receiver
 */
export function sendersOf ({ log, webhooks, email, senders }: ResolvedAlertsOptions, logger: Logger, clock: Clock, plainly: <R>(work: () => R) => R): AlertSender[] {
  const own = email === undefined ? senders : [emailSender(email), ...senders]
  return [
    ...(log ? [logSender(logger)] : []), ...webhooks.map((webhook) => webhookSender(webhook, clock)),
    ...own.map((sender): AlertSender => ({ name: sender.name, send: (notice, context) => plainly(() => sender.send(notice, context)) }))
  ]
}
