import type { EventName } from '../events/catalogue.ts'
import { DEFAULT_ROUTES, SINKS, type EventRoute, type EventRoutes, type SinkName } from '../events/router.ts'
import { ACCESS_LINES, ALERT_LINES, LOG_EVENTS, LOG_LEVELS, type LogEvent } from './log-events.ts'
import { METRIC_EVENTS } from './metrics-sink.ts'
import type { ResolvedLoggingOptions } from './options/logging.ts'

/** Events that become events of a span. How an attempt ended is always written into its span, whatever the rows say. */
export const TRACE_EVENTS: ReadonlySet<EventName> = new Set<EventName>([
  'job.progressed', 'job.timed_out', 'job.cancel_requested', 'job.cancelled', 'job.redriven', 'handler.abandoned',
  'saga.resumed', 'saga.signalled', 'saga.definition_changed', 'saga.compensating',
  'saga.compensation_failed', 'step.retry_scheduled', 'step.timed_out', 'step.abandoned', 'step.skipped', 'step.refused'
])

/** Events that become spans with `detailedTracing`. */
export const DETAILED_TRACE_EVENTS: ReadonlySet<EventName> = new Set<EventName>([
  'store.operated', 'store.operation_failed'
])

/** Events whose lines are written where they are emitted, with or without observability. */
const WRITTEN_ELSEWHERE: ReadonlySet<string> = new Set([...Object.keys(ALERT_LINES), ...Object.keys(ACCESS_LINES)])

/** Which sinks the options leave switched on. */
export interface SinkFacts {
  readonly metrics: boolean
  readonly tracing: boolean
  readonly detailedTracing: boolean
  readonly logging: ResolvedLoggingOptions | undefined
}

/** Why an event does not reach a sink; `undefined`: it does. */
function obstacle (name: EventName, sink: SinkName, facts: SinkFacts): string | undefined {
  const { metrics, tracing, detailedTracing, logging } = facts
  const nothing = `${sink} does nothing with this event`
  if (sink === 'metrics') {
    if (!METRIC_EVENTS.has(name)) return nothing
    return metrics ? undefined : 'metrics are switched off'
  }
  if (sink === 'traces') {
    if (DETAILED_TRACE_EVENTS.has(name) && !detailedTracing) return 'traces take this event with detailedTracing only'
    if (!TRACE_EVENTS.has(name) && !DETAILED_TRACE_EVENTS.has(name)) return nothing
    return tracing ? undefined : 'tracing is switched off'
  }
  if (WRITTEN_ELSEWHERE.has(name)) return 'its log line is written in any case, whatever this table says'
  const line = (LOG_EVENTS as { readonly [N in EventName]?: LogEvent })[name]
  if (line === undefined) return nothing
  if (logging === undefined) return 'logging is switched off'
  if (LOG_LEVELS.indexOf(line.level) >= LOG_LEVELS.indexOf(logging.level)) return undefined
  return `its line has the level ${line.level}, and logging.level is ${logging.level}`
}

/**
 * The rows of the router that would have no effect, as sentences: a sink that does nothing with the event, or a rate
 * for an event that is never sampled.
 *
 * @param routes whose events and sinks exist
 */
export function idleRows (routes: EventRoutes, facts: SinkFacts): string[] {
  return (Object.entries(routes) as Array<[EventName, EventRoute]>).flatMap(([name, { sinks, sampleRate, enabled }]) => {
    if (sinks === undefined && sampleRate === undefined && enabled === undefined) {
      return [`${name} is empty; say sinks, sampleRate or enabled`]
    }
    const problems = (sinks ?? []).flatMap((sink) => {
      const why = obstacle(name, sink, facts)
      return why === undefined ? [] : [`${name}.sinks: ${why}; leave ${sink} out`]
    })
    const asked = sinks ?? SINKS.filter((sink) => DEFAULT_ROUTES[name].sinks.includes(sink))
    const reached = asked.filter((sink) => obstacle(name, sink, facts) === undefined)
    if (problems.length > 0) return problems
    if (reached.length === 0 && sinks?.length !== 0) {
      return [`${name} reaches neither traces, metrics nor the log, so that this row does nothing; leave it out`]
    }
    if (sampleRate !== undefined && sampleRate < 1 && reached.every((sink) => sink === 'metrics')) {
      return [`${name}.sampleRate has no effect: metrics count every event, and nothing else takes this one`]
    }
    return []
  })
}

/** Which of these events cannot be excluded, as sentences. */
export function inexcludable (names: readonly string[]): string[] {
  return names.filter((name) => WRITTEN_ELSEWHERE.has(name))
    .map((name) => `${name} cannot be excluded: its log line is written in any case`)
}
