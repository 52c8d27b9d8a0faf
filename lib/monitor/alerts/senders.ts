import type { Clock, Logger } from '../../core/context.ts'
import { compileMessage } from '../../core/line-message.ts'
import { singleLine } from '../../core/text.ts'
import { ALERT_LINES } from '../../telemetry/log-events.ts'
import type { AlertMail, AlertNotice, AlertSender, EmailOptions } from './alert.ts'
import type { ResolvedAlertsOptions } from './options.ts'
import { webhookSender } from './webhook.ts'

/** The event of a notice; its log line has the same name and fields. */
export function eventOf ({ kind, at, alert }: AlertNotice) {
  const { fingerprint, rule, severity, type, title, message, startedAt } = alert
  const firingMs = Math.max(0, at - startedAt)
  return { name: `alert.${kind}` as const, payload: { fingerprint, rule, severity, alertType: type, title, message, firingMs } }
}

/** Longer texts are cut off in the message of a log line. */
const MAX_SHOWN = 1_000

type LineName = keyof typeof ALERT_LINES

/** Writes one numbered log line; {@link ALERT_LINES} defines its level, message and fields. */
export function writeLine (logger: Logger, name: LineName, payload: Readonly<Record<string, unknown>>, more: object = {}): void {
  const { id, level, message, fields } = ALERT_LINES[name]
  const line: Record<string, unknown> = { eventId: id, event: name, component: 'asyncendpoints.alert' }
  const shown: Record<string, unknown> = {}
  for (const [from, to] of Object.entries(fields)) {
    const value = line[to] = payload[from]
    // A text from a rule of the application may have line breaks; the message of a log line must not.
    shown[to] = typeof value === 'string' ? singleLine(value, MAX_SHOWN) : value
  }
  logger[level]({ ...line, ...more }, compileMessage(message, fields)(shown, payload))
}

/** @param logger a logger that redacts what it is given */
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
  const when = `${kind} at ${new Date(at).toISOString()}, first found at ${new Date(startedAt).toISOString()}`
  const text = [message, '', `${type} alert of rule ${rule}, ${when}.`, '', JSON.stringify(details, null, 2), ''].join('\n')
  return { subject: singleLine(`[${word}] ${title}`, 200), text, notice }
}

/**
 * All senders that the options ask for.
 *
 * @param plainly runs the application's senders, whose spans are recorded. The built-in senders make no spans and send
 * no trace context to receivers.
 */
export function sendersOf (
  { log, webhooks, email, senders }: ResolvedAlertsOptions, logger: Logger, clock: Clock, plainly: <R>(work: () => R) => R
): AlertSender[] {
  const own = email === undefined ? senders : [emailSender(email), ...senders]
  return [
    ...(log ? [logSender(logger)] : []), ...webhooks.map((webhook) => webhookSender(webhook, clock)),
    ...own.map((sender): AlertSender => ({ name: sender.name, send: (notice, context) => plainly(() => sender.send(notice, context)) }))
  ]
}
