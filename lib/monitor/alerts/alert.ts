/** The words of alerts: what a rule finds, what is told of it, and who tells it. */
import type { AlertFacts } from './alert-facts.ts'

/** From a note to a call at night. */
export const ALERT_SEVERITIES = ['low', 'medium', 'high', 'critical'] as const
export type AlertSeverity = typeof ALERT_SEVERITIES[number]

export const ALERT_TYPES = ['Performance', 'Error', 'System'] as const
export type AlertType = typeof ALERT_TYPES[number]

/** What a rule found to be wrong, at this evaluation. An alert is raised when it is new, and resolved when it is no longer found. */
export interface AlertFinding {
  /** Tells the alerts of one rule apart: a job, a queue, a process. At most 100 characters. @defaultValue '' */
  readonly key?: string | undefined
  /** @defaultValue 'medium' */
  readonly severity?: AlertSeverity | undefined
  /** @defaultValue 'System' */
  readonly type?: AlertType | undefined
  /** The same for every alert of its kind, at most 200 characters. */
  readonly title: string
  /** One sentence with the numbers, at most 1,000 characters. */
  readonly message: string
  /** Facts for whoever looks into it; JSON, at most 8,000 characters. Never a payload. */
  readonly details?: Readonly<Record<string, unknown>> | undefined
  /** The alert is raised only when it has been found for so long, evaluation after evaluation. @defaultValue 0 */
  readonly forMs?: number | undefined
}

/** A rule of an application's own. */
export interface AlertRule {
  /** Letters, digits, `_`, `-`, `.`; it becomes a metric label. */
  readonly name: string
  /** What is wrong now; nothing: all is well. One that throws, or takes longer than 10 s, leaves its alerts as they are. */
  evaluate (facts: AlertFacts, context: { readonly signal: AbortSignal }): AlertOutcome | Promise<AlertOutcome>
}

export type AlertOutcome = AlertFinding | readonly AlertFinding[] | undefined | void

export interface Alert {
  /** `rule`, or `rule:key`: the same thing has the same one, whoever evaluates it. */
  readonly fingerprint: string
  readonly rule: string
  readonly type: AlertType
  readonly severity: AlertSeverity
  readonly title: string
  readonly message: string
  readonly details: Readonly<Record<string, unknown>>
  /** When it was first found, milliseconds since the epoch. */
  readonly startedAt: number
}

/** `reminded`: it is still firing after `repeatMs`. */
export type AlertNoticeKind = 'raised' | 'reminded' | 'resolved'

/** One thing to tell. */
export interface AlertNotice {
  /** The same however often it is tried: who receives it can tell a repeated delivery by it. */
  readonly id: string
  readonly kind: AlertNoticeKind
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly alert: Alert
}

/** Passes notices on. One that throws, rejects or hangs harms neither jobs nor other senders; the notice is tried again later. */
export interface AlertSender {
  /** Letters, digits, `_`, `-`, `.`; it becomes a metric label. */
  readonly name: string
  /** `signal` aborts when the time is up (`senderTimeoutMs`) and when the application closes. */
  send (notice: AlertNotice, context: { readonly signal: AbortSignal }): void | Promise<void>
}

/** A notice as a mail. */
export interface AlertMail {
  /** One line, for example `[HIGH] High Job Failure Rate`. */
  readonly subject: string
  readonly text: string
  readonly notice: AlertNotice
}

export interface EmailOptions {
  /** Hands the mail to whatever the application sends mail with. */
  send (mail: AlertMail, context: { readonly signal: AbortSignal }): void | Promise<void>
}

/** An error with a code that may be shown. */
export class AlertSendError extends Error {
  readonly code: string

  constructor (code: string, message: string) {
    super(message)
    this.name = 'AlertSendError'
    this.code = code
  }
}
