import { invalidOptions, OptionProblems, readOptions, type OptionsSchema } from '../../core/options.ts'
import type { EventName } from '../../events/catalogue.ts'
import { checkRoutes, type EventRoutes } from '../../events/router.ts'
import { idleRows, inexcludable, type SinkFacts } from '../sink-events.ts'
import { readLoggingOptions, type LoggingOptions, type ResolvedLoggingOptions } from './logging.ts'
import { readMetricsOptions, type MetricsOptions, type ResolvedMetricsOptions } from './metrics.ts'
import { readTracingOptions, type ResolvedTracingOptions, type TracingOptions } from './tracing.ts'

/** Everything has a default: `{}` gives metrics, logs, and traces where a provider or exporter collects them. */
export interface TelemetryOptions<Request = unknown> {
  /** `false`: no metrics, no traces, no log lines, no route, nothing loaded. @defaultValue true */
  enabled?: boolean | undefined
  /** @defaultValue true */
  metrics?: boolean | MetricsOptions<Request> | undefined
  /**
   * Without a provider, an exporter or `OTEL_*` variables, tracing does nothing and costs nothing.
   * @defaultValue true
   */
  tracing?: boolean | TracingOptions<Request> | undefined
  /** @defaultValue true */
  logging?: boolean | LoggingOptions | undefined
  /**
   * Which events reach traces, metrics and logs: rows that replace those of the default table. A row that would have no
   * effect is refused.
   */
  events?: EventRoutes | undefined
  /**
   * The share of the events that reach traces and logs, 0 to 1, where `events` has no rate of its own. Either all
   * events of a job are kept or none. Whatever went wrong is always kept: errors, timeouts, lost leases, failures of
   * the store or the worker.
   * @defaultValue 1
   */
  eventSampleRate?: number | undefined
  /**
   * Events that reach neither traces, metrics nor the log: short for `enabled: false` in `events`. Listeners of
   * `app.jobEvents`, alerts and the performance monitor still get them.
   */
  excludeEvents?: readonly EventName[] | undefined
  /** Jobs, by name or pattern, that have no metrics, no spans and no log lines below `warn`. */
  excludeJobs?: ReadonlyArray<string | RegExp> | undefined
  /** Record the sizes of payloads and results, and the attempts that a job took. @defaultValue false */
  detailedMetrics?: boolean | undefined
  /** Make spans for the operations of the store too. @defaultValue false */
  detailedTracing?: boolean | undefined
  /** `/metrics/jobs` lists the running attempts. @defaultValue true */
  activityTracking?: boolean | undefined
  /** `service.name` of the spans of a private provider and of `target_info`. @defaultValue `OTEL_SERVICE_NAME` */
  serviceName?: string | undefined
  /** `service.version` of the same. @defaultValue the one in `OTEL_RESOURCE_ATTRIBUTES` */
  serviceVersion?: string | undefined
}

/** The schema of these keys, for the schema of the plugin's options. */
export const telemetryProperties: OptionsSchema = {
  enabled: { type: 'boolean' },
  metrics: { anyOf: [{ type: 'boolean' }, { isObject: true }] },
  tracing: { anyOf: [{ type: 'boolean' }, { isObject: true }] },
  logging: { anyOf: [{ type: 'boolean' }, { isObject: true }] },
  events: { type: 'object' },
  eventSampleRate: { type: 'number', minimum: 0, maximum: 1 },
  excludeEvents: { type: 'array', items: { type: 'string' } },
  excludeJobs: { type: 'array', items: { anyOf: [{ type: 'string' }, { isRegExp: true }] } },
  detailedMetrics: { type: 'boolean' },
  detailedTracing: { type: 'boolean' },
  activityTracking: { type: 'boolean' },
  serviceName: { type: 'string', minLength: 1, maxLength: 255 },
  serviceVersion: { type: 'string', minLength: 1, maxLength: 255 }
}

const telemetrySchema: OptionsSchema = { type: 'object', additionalProperties: false, properties: telemetryProperties }

const TELEMETRY_DEFAULTS = Object.freeze({
  enabled: true,
  excludeJobs: Object.freeze([]) as ReadonlyArray<string | RegExp>,
  detailedMetrics: false,
  detailedTracing: false,
  activityTracking: true
})

export interface ResolvedTelemetryOptions<Request> {
  readonly enabled: boolean
  /** `undefined`: switched off. */
  readonly metrics: ResolvedMetricsOptions<Request> | undefined
  readonly tracing: ResolvedTracingOptions<Request> | undefined
  readonly logging: ResolvedLoggingOptions | undefined
  /** What the router needs: the rows of `events`, and a switched-off row for each of `excludeEvents`. */
  readonly events: EventRoutes
  readonly eventSampleRate: number | undefined
  readonly excludeJobs: ReadonlyArray<string | RegExp>
  readonly detailedMetrics: boolean
  readonly detailedTracing: boolean
  readonly activityTracking: boolean
  readonly serviceName: string | undefined
  readonly serviceVersion: string | undefined
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, one message that lists every bad key of every group */
export function readTelemetryOptions<Request> (
  given: TelemetryOptions<Request> | undefined
): ResolvedTelemetryOptions<Request> {
  const problems = new OptionProblems()
  const options = problems.collect('', () => readOptions('observability', telemetrySchema, TELEMETRY_DEFAULTS, given))
  const metrics = problems.collect('metrics.', () =>
    group<MetricsOptions<Request>, ResolvedMetricsOptions<Request>>(given?.metrics, readMetricsOptions))
  const tracing = problems.collect('tracing.', () =>
    group<TracingOptions<Request>, ResolvedTracingOptions<Request>>(given?.tracing, readTracingOptions))
  const logging = problems.collect('logging.', () => group(given?.logging, readLoggingOptions))
  const facts: SinkFacts = {
    metrics: metrics !== undefined,
    tracing: tracing !== undefined,
    detailedTracing: given?.detailedTracing === true,
    logging
  }
  const events = problems.collect('events.', () => readRoutes(given, facts))
  problems.throwIfAny('observability')
  if (options === undefined || events === undefined) {
    throw new Error('a reader of options returned nothing and found nothing wrong')
  }
  return Object.freeze({
    enabled: options.enabled,
    metrics,
    tracing,
    logging,
    events,
    eventSampleRate: options.eventSampleRate,
    excludeJobs: options.excludeJobs,
    detailedMetrics: options.detailedMetrics,
    detailedTracing: options.detailedTracing,
    activityTracking: options.activityTracking,
    serviceName: options.serviceName,
    serviceVersion: options.serviceVersion
  })
}

/**
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for a row without effect, and for an event that is in both
 * options
 */
function readRoutes<Request> (given: TelemetryOptions<Request> | undefined, facts: SinkFacts): EventRoutes {
  const rows: EventRoutes = typeof given?.events === 'object' && given.events !== null ? given.events : {}
  checkRoutes(rows)
  const excluded: readonly EventName[] = Array.isArray(given?.excludeEvents) ? given.excludeEvents : []
  const twice = excluded.filter((name) => rows[name] !== undefined)
  const problems = [
    ...idleRows(rows, facts),
    ...inexcludable(excluded),
    ...twice.map((name) => `${name} has a row and is in excludeEvents; leave one of them out`)
  ]
  if (problems.length > 0) throw invalidOptions('observability.events', problems)
  const routes: EventRoutes = { ...rows, ...Object.fromEntries(excluded.map((name) => [name, { enabled: false }])) }
  checkRoutes(routes)
  return routes
}

function group<T extends object, R> (given: boolean | T | undefined, read: (options: T) => R): R | undefined {
  if (given === false) return undefined
  // The schema of the group above reports anything that is not an object.
  return read(typeof given === 'object' && given !== null ? given : {} as T)
}
