import { invalidOptions, OptionProblems, readOptions, type OptionsSchema } from '../../core/options.ts'
import type { EventName } from '../../events/catalogue.ts'
import { checkRoutes, type EventRoutes } from '../../events/router.ts'
import { idleRows, inexcludable } from '../sink-events.ts'
import { readLoggingOptions, type LoggingOptions, type ResolvedLoggingOptions } from './logging.ts'
import { readMetricsOptions, type MetricsOptions, type ResolvedMetricsOptions } from './metrics.ts'
import { readTracingOptions, type ResolvedTracingOptions, type TracingOptions } from './tracing.ts'

/** Everything has a default: `{}` gives metrics, logs, and traces if somebody collects them. */
export interface TelemetryOptions<Request = unknown> {
  /** `false`: no metrics, no traces, no log lines, no route, nothing loaded. @defaultValue true */
  enabled?: boolean | undefined
  /** @defaultValue true */
  metrics?: boolean | MetricsOptions<Request> | undefined
  /** @defaultValue true; without a provider, an exporter or `OTEL_*` variables it does nothing and costs nothing */
  tracing?: boolean | TracingOptions<Request> | undefined
  /** @defaultValue true */
  logging?: boolean | LoggingOptions | undefined
  /** Which events reach traces, metrics and logs; merged over the defaults. A row that would do nothing is refused. */
  events?: EventRoutes | undefined
  /**
   * Share of the events that reach traces and logs, 0 to 1, where `events` says nothing else. All events of a job are kept or none, and what went
   * wrong is always kept: errors, timeouts, refused settlements, trouble of the store or the worker. @defaultValue 1
   */
  eventSampleRate?: number | undefined
  /**
   * Events that reach neither traces, metrics nor the log: short for `enabled: false` in `events`. Listeners of `app.jobEvents`, alerts and the
   * performance monitor go on.
   */
  excludeEvents?: readonly EventName[] | undefined
  /** Jobs, by name, without metrics, spans and log lines below `warn`. */
  excludeJobs?: ReadonlyArray<string | RegExp> | undefined
  /** Sizes of payloads and results and the attempts a job took, as metrics. @defaultValue false */
  detailedMetrics?: boolean | undefined
  /** Spans for the operations of the store as well. @defaultValue false */
  detailedTracing?: boolean | undefined
  /** `/metrics/jobs` lists the attempts under way. @defaultValue true */
  activityTracking?: boolean | undefined
  /** `service.name` of our own spans and of `target_info`. @defaultValue `OTEL_SERVICE_NAME` */
  serviceName?: string | undefined
  /** `service.version`, likewise. @defaultValue the one in `OTEL_RESOURCE_ATTRIBUTES` */
  serviceVersion?: string | undefined
}

/** For schemas that include these keys. */
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
  enabled: true, excludeJobs: Object.freeze([]) as ReadonlyArray<string | RegExp>, detailedMetrics: false, detailedTracing: false, activityTracking: true
})

export interface ResolvedTelemetryOptions<Request> {
  readonly enabled: boolean
  /** `undefined`: switched off. */
  readonly metrics: ResolvedMetricsOptions<Request> | undefined
  readonly tracing: ResolvedTracingOptions<Request> | undefined
  readonly logging: ResolvedLoggingOptions | undefined
  /** Ready for the router: excluded events and the common sample rate are in it. */
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
export function readTelemetryOptions<Request> (given: TelemetryOptions<Request> | undefined): ResolvedTelemetryOptions<Request> {
  const problems = new OptionProblems()
  const options = problems.collect('', () => readOptions('observability', telemetrySchema, TELEMETRY_DEFAULTS, given))
  const metrics = problems.collect('metrics.', () => group<MetricsOptions<Request>, ResolvedMetricsOptions<Request>>(given?.metrics, readMetricsOptions))
  const tracing = problems.collect('tracing.', () => group<TracingOptions<Request>, ResolvedTracingOptions<Request>>(given?.tracing, readTracingOptions))
  const logging = problems.collect('logging.', () => group(given?.logging, readLoggingOptions))
  const events = problems.collect('events.', () => {
    const rows: EventRoutes = typeof given?.events === 'object' && given.events !== null ? given.events : {}
    checkRoutes(rows)
    const facts = { metrics: metrics !== undefined, tracing: tracing !== undefined, detailedTracing: given?.detailedTracing === true, logging }
    const excluded: readonly EventName[] = Array.isArray(given?.excludeEvents) ? given.excludeEvents : []
    const idle = [...idleRows(rows, facts), ...inexcludable(excluded), ...excluded.filter((name) => rows[name] !== undefined).map((name) => `${name} has a row and is in excludeEvents; leave one of them out`)]
    if (idle.length > 0) throw invalidOptions('observability.events', idle)
    const routes: EventRoutes = { ...rows, ...Object.fromEntries(excluded.map((name) => [name, { enabled: false }])) }
    checkRoutes(routes)
    return routes
  })
  problems.throwIfAny('observability')
  if (options === undefined || events === undefined) throw new Error('a reader of options returned nothing and found nothing wrong')
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

function group<T extends object, R> (given: boolean | T | undefined, read: (options: T) => R): R | undefined {
  if (given === false) return undefined
  // Anything that is no object is told by the schema around it.
  return read(typeof given === 'object' && given !== null ? given : {} as T)
}
