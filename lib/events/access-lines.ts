/**
 * The log lines about routes that are open to everybody. They are written where the routes are registered, so that an
 * application without observability has them too; their numbers belong to the one table of numbered log events.
 */
import type { JobRuntime } from './runtime.ts'

export const ACCESS_LINES = {
  'access.jobs_left_open': {
    id: 10901,
    level: 'warn',
    message: 'the job routes are open: whoever knows the id of a job may read, cancel and redrive it, and clients without credentials share their idempotency keys; give http.owner, or say that it is on purpose with http.access: \'open\'',
    fields: { path: 'path' }
  },
  'access.metrics_left_open': {
    id: 10902,
    level: 'warn',
    message: 'the metrics are open to everybody who reaches this port; give observability.metrics.authorize, or say that it is on purpose with observability.metrics.access: \'open\'',
    fields: { path: 'path' }
  }
} as const

/** Reports routes that anybody may use, in production, where nobody has said that this is intended. */
export function reportLeftOpen ({ context, bus, redaction }: Pick<JobRuntime, 'context' | 'bus' | 'redaction'>, event: keyof typeof ACCESS_LINES, path: string): void {
  if (!context.production) return
  const { id, level, message } = ACCESS_LINES[event]
  redaction.logger(context.logger)[level]({ eventId: id, event, component: 'asyncendpoints.access', path }, message)
  bus.emit(event, { path })
}
