/** The types of alerts: what a rule finds, the notice that is sent about it, and the sender that sends it. */
import type { AlertFacts } from './alert-facts.ts'

/** The least urgent first. */
export const ALERT_SEVERITIES = ['low', 'medium', 'high', 'critical'] as const
export type AlertSeverity = typeof ALERT_SEVERITIES[number]

export const ALERT_TYPES = ['Performance', 'Error', 'System'] as const
export type AlertType = typeof ALERT_TYPES[number]

/**
 * One problem that a rule found in one evaluation. The first evaluation that finds it raises an alert; the first that
 * no longer finds it resolves the alert.
 */
export interface AlertFinding {
  /**
   * Distinguishes the alerts of one rule: the name of a job, a queue, a process. At most 100 characters. @defaultValue
   * ''
   */
  readonly key?: string | undefined
  /** @defaultValue 'medium' */
  readonly severity?: AlertSeverity | undefined
  /** @defaultValue 'System' */
  readonly type?: AlertType | undefined
  /** The same for every alert of its kind, at most 200 characters. */
  readonly title: string
  /** One sentence with the numbers, at most 1,000 characters. */
  readonly message: string
  /**
   * Facts for the person who investigates, as JSON of at most 8,000 characters. Never put a job's input or result in
   * here.
   */
  readonly details?: Readonly<Record<string, unknown>> | undefined
  /**
   * The alert is raised only after every evaluation has found the problem for this many milliseconds. @defaultValue 0
   */
  readonly forMs?: number | undefined
}

/** A rule that the application defines. */
export interface AlertRule {
  /** Letters, digits, `_`, `-`, `.`; it becomes a metric label. */
  readonly name: string
  /**
   * Returns what is wrong now, or nothing if all is well. When it throws, or takes longer than 10 s, the alerts of this
   * rule stay as they are.
   */
  evaluate (facts: AlertFacts, context: { readonly signal: AbortSignal }): AlertOutcome | Promise<AlertOutcome>
}

export type AlertOutcome = AlertFinding | readonly AlertFinding[] | undefined | void

export interface Alert {
  /** `rule`, or `rule:key`. The same problem has the same fingerprint in every process that evaluates it. */
  readonly fingerprint: string
  readonly rule: string
  readonly type: AlertType
  readonly severity: AlertSeverity
  readonly title: string
  readonly message: string
  readonly details: Readonly<Record<string, unknown>>
  /** When the problem was first found, in milliseconds since the epoch. */
  readonly startedAt: number
}

/** `reminded`: the alert is still firing after `repeatMs`. */
export type AlertNoticeKind = 'raised' | 'reminded' | 'resolved'

/** One message about an alert, as the senders get it. */
export interface AlertNotice {
  /** Stays the same in every attempt to send the notice, so that a receiver can recognize a repeated delivery. */
  readonly id: string
  readonly kind: AlertNoticeKind
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly alert: Alert
}

/**
 * Sends notices to people or to another system. A sender that throws, rejects or hangs affects neither jobs nor other
 * senders; the notice is sent again later.
 */
export interface AlertSender {
  /** Letters, digits, `_`, `-`, `.`; it becomes a metric label. */
  readonly name: string
  /** `signal` aborts when the time is up (`senderTimeoutMs`) and when the application closes. */
  send (notice: AlertNotice, context: { readonly signal: AbortSignal }): void | Promise<void>
}

/** A notice, written as a mail. */
export interface AlertMail {
  /** One line, for example `[HIGH] High Job Failure Rate`. */
  readonly subject: string
  readonly text: string
  readonly notice: AlertNotice
}

export interface EmailOptions {
  /** Sends the mail with the mail client of the application. */
  send (mail: AlertMail, context: { readonly signal: AbortSignal }): void | Promise<void>
}

/**
 * Why a notice could not be sent. Its code and message appear in events and log lines, so they must contain no secrets.
 */
export class AlertSendError extends Error {
  readonly code: string

  constructor (code: string, message: string) {
    super(message)
    this.name = 'AlertSendError'
    this.code = code
  }
}
