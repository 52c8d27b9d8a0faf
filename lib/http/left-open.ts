import type { JobRuntime } from '../events/runtime.ts'
import { ACCESS_LINES } from '../telemetry/log-events.ts'

/**
 * Reports routes that anybody may use, in production, unless the application has said that this is intended. The
 * lines are written where the routes are registered, so that an application without observability has them too.
 */
export function reportLeftOpen ({ context, bus, redaction }: Pick<JobRuntime, 'context' | 'bus' | 'redaction'>, event: keyof typeof ACCESS_LINES, path: string): void {
  if (!context.production) return
  const { id, level, message } = ACCESS_LINES[event]
  redaction.logger(context.logger)[level]({ eventId: id, event, component: 'asyncendpoints.access', path }, message)
  bus.emit(event, { path })
}
