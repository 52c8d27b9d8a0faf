import { ACCESS_LINES, ALERT_LINES } from './alert-log-events.ts'
import { JOB_LOG_EVENTS } from './job-log-events.ts'
import { CHANNEL_LOG_EVENTS } from './channel-log-events.ts'
import type { LogEventTable } from './log-event.ts'
import { SAGA_LOG_EVENTS } from './saga-log-events.ts'
import { PROCESS_LOG_EVENTS } from './process-log-events.ts'
import { WEBHOOK_LOG_EVENTS } from './webhook-log-events.ts'

export { ACCESS_LINES, ALERT_LINES } from './alert-log-events.ts'
export { LOG_LEVELS, ORIGIN_FIELDS, type LogEvent, type LogLevel } from './log-event.ts'

/**
 * The numbered log lines of lifecycle events. 10001 to 10099 are sagas and the steps of jobs; 101xx are jobs,
 * 102xx handlers, 103xx workers, 104xx stores, 105xx health, 106xx performance, 107xx telemetry itself, 108xx alerts,
 * 109xx access, 110xx channels, 111xx webhooks. Alerts and searches match on the number: messages are for people and may change. Events that occur
 * once per claim, handler call or store round trip have no line, because metrics count them. The progress of a job is
 * logged once in ten seconds at most.
 */
export const LOG_EVENTS = {
  ...SAGA_LOG_EVENTS,
  ...JOB_LOG_EVENTS,
  ...PROCESS_LOG_EVENTS,
  ...CHANNEL_LOG_EVENTS,
  ...WEBHOOK_LOG_EVENTS,
  ...ALERT_LINES,
  ...ACCESS_LINES
} as const satisfies LogEventTable

export type LoggedEvent = keyof typeof LOG_EVENTS
