/**
 * Log lines about routes that are open to everybody. The plugins that register the routes write these lines
 * themselves, so that an application without observability has them too. Their ids belong to the one table of
 * numbered log events.
 */
import type { JobRuntime } from './runtime.ts'

export const ACCESS_LINES = {
  'access.jobs_left_open': {
    id: 10901,
    level: 'warn',
    message: 'the job routes are open: anybody who knows the id of a job can read, cancel and redrive it, and all clients share one space of ' +
      'idempotency keys; set http.owner, or confirm that this is intended with http.access: \'open\'',
    fields: { path: 'path' }
  },
  'access.metrics_left_open': {
    id: 10902,
    level: 'warn',
    message: 'the metrics are open: anybody who reaches this port can read them; set observability.metrics.authorize, or confirm that this is ' +
      'intended with observability.metrics.access: \'open\'',
    fields: { path: 'path' }
  }
} as const

/**
 * Logs and emits that a group of routes is open to everybody. Only in production; call it when no option says that
 * this is intended.
 */
export function reportLeftOpen ({ context, bus, redaction }: Pick<JobRuntime, 'context' | 'bus' | 'redaction'>, event: keyof typeof ACCESS_LINES, path: string): void {
  if (!context.production) return
  const { id, level, message } = ACCESS_LINES[event]
  redaction.logger(context.logger)[level]({ eventId: id, event, component: 'asyncendpoints.access', path }, message)
  bus.emit(event, { path })
}
