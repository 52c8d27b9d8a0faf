import type { EventName, SubmitOrigin } from '../events/catalogue.ts'

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error'

/** From the lightest to the heaviest. */
export const LOG_LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error']

export interface LogEvent {
  /** Never changes: alerts and searches match on it. */
  readonly id: number
  readonly level: LogLevel
  /**
   * A template, see `lib/core/line-message.ts`. It says what happened to what, with the parts that a person reads
   * first, and what to do where that is not obvious.
   */
  readonly message: string
  /** Events whose part has this value have another message. */
  readonly reworded?: readonly [from: string, value: string, message: string]
  /** Events whose part has this value are logged at another level: what somebody asked for deserves no warning. */
  readonly lighter?: readonly [from: string, value: string, level: LogLevel]
  /**
   * The parts of the event that are logged, and the names of their fields. No other part is logged, so that no
   * payload can reach the log. Two parts become several fields: `origin` becomes those of {@link ORIGIN_FIELDS},
   * `failure` becomes `error_causes` and `error_stack`.
   */
  readonly fields: Readonly<Record<string, string>>
}

export type LogEventTable = { readonly [N in EventName]?: LogEvent }

/** What a request says about its sender: the log fields, and the parts of the event that they show. */
export const ORIGIN_FIELDS = {
  request_id: 'requestId',
  user_id: 'userId',
  client_ip: 'clientIp',
  user_agent: 'userAgent'
} as const satisfies Record<string, keyof SubmitOrigin>
