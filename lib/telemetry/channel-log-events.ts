import type { LogEventTable } from './log-event.ts'

/** The log lines about connections on which clients listen to their jobs: 110xx. */
export const CHANNEL_LOG_EVENTS = {
  'channel.opened': {
    id: 11001,
    level: 'debug',
    message: 'a client listens by {kind}',
    fields: { kind: 'channel' }
  },
  'channel.closed': {
    id: 11002,
    level: 'debug',
    message: 'a client that listened by {kind} is gone after {durationMs} ({reason})',
    fields: { kind: 'channel', reason: 'reason', durationMs: 'durationMs', sent: 'sent' }
  }
} as const satisfies LogEventTable
