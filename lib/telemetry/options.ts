import type { TracerProvider } from '@opentelemetry/api'
import { readOptions, invalidOptions, type OptionsSchema } from '../core/options.ts'
import type { EventRoutes } from '../events/router.ts'
import { LOG_LEVELS, type LogLevel } from './log-events.ts'
import { METRIC_METHODS, type AsyncEndpointsMetrics } from './metrics.ts'
import { DEFAULT_MAX_SERIES } from './registry.ts'
import type { Sampler, SpanExporter, SpanProcessor } from './sdk.ts'
import type { Propagation } from './tracing.ts'

export interface MetricsOptions<Request = unknown> {
  /** Where the metrics are printed; `false`: nowhere. @defaultValue '/metrics' */
  path?: string | false
  /** Methods that replace ours. `defineMetrics({...})` replaces them all; then `/metrics` shows only what telemetry tells of itself. */
  recorder?: Partial<AsyncEndpointsMetrics>
  /** Series per metric; further label sets share one series `otel_metric_overflow="true"`. @defaultValue 500 */
  maxSeriesPerMetric?: number
  /** Upper bounds in seconds, ascending, for the durations of jobs and handlers. @defaultValue 5 ms to 1 h in 18 steps */
  buckets?: readonly number[]
  /** Keep, per bucket, the trace of the newest sampled job; shown in the OpenMetrics format. @defaultValue true */
  exemplars?: boolean
  /** How often the gauges that only the store can tell are read. @defaultValue 10000 */
  gaugesIntervalMs?: number
  /** `otel_scope_name` and `otel_scope_version` on every series. @defaultValue false: they cost a third of the page */
  scopeLabels?: boolean
  /** Who may read the metrics; anything but `true` is answered with 403. @defaultValue everybody: keep the port inside */
  authorize?: (request: Request) => boolean | Promise<boolean>
}

export interface TracingOptions {
  /** How an attempt is tied to its submission. @defaultValue 'auto' */
  propagation?: Propagation
  /** Open a server span for a submission when nobody else did. @defaultValue 'auto' */
  serverSpans?: 'auto' | false
  /** New traces that a provider of our own records each second; traces that came in sampled are not limited. @defaultValue 50 */
  maxTracesPerSecond?: number
  /** Used as it is, and never shut down. @defaultValue the one registered with `@opentelemetry/api`, looked for when the application is ready */
  tracerProvider?: TracerProvider
  /** For a private provider. */
  spanProcessors?: readonly SpanProcessor[]
  /** For a private provider: each gets a batch processor. */
  exporters?: readonly SpanExporter[]
  /** For a private provider, instead of the limit of `maxTracesPerSecond`. @defaultValue what `OTEL_TRACES_SAMPLER` says, if it is set */
  sampler?: Sampler
}

export interface LoggingOptions {
  /** Lifecycle events below this level are not written, whatever the logger's own level. @defaultValue 'debug' */
  level?: LogLevel
}

/** Everything has a default: `{}` gives metrics, logs, and traces if somebody collects them. */
export interface ObservabilityOptions<Request = unknown> {
  /** `false`: no metrics, no traces, no log lines, no route, nothing loaded. @defaultValue true */
  enabled?: boolean
  /** @defaultValue true */
  metrics?: boolean | MetricsOptions<Request>
  /** @defaultValue true; without a provider, an exporter or `OTEL_*` variables it does nothing and costs nothing */
  tracing?: boolean | TracingOptions
  /** @defaultValue true */
  logging?: boolean | LoggingOptions
  /** Which events reach traces, metrics and logs; merged over the defaults. */
  events?: EventRoutes
  /** Jobs, by name, without metrics, spans and log lines below `warn`. */
  excludeJobs?: ReadonlyArray<string | RegExp>
  /** Spans for the operations of the store as well. @defaultValue false */
  detailedTracing?: boolean
  /** `service.name` of our own spans and of `target_info`. @defaultValue `OTEL_SERVICE_NAME` */
  serviceName?: string
}

const metricsSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    path: { anyOf: [{ type: 'string', pattern: '^/' }, { type: 'boolean', enum: [false] }] },
    recorder: { isObject: true },
    maxSeriesPerMetric: { type: 'integer', minimum: 1, maximum: 100_000 },
    buckets: { type: 'array', minItems: 1, maxItems: 100, items: { type: 'number' } },
    exemplars: { type: 'boolean' },
    gaugesIntervalMs: { type: 'number', minimum: 100, maximum: 2_147_483_647 },
    scopeLabels: { type: 'boolean' },
    authorize: { isFunction: true }
  }
}

const tracingSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    propagation: { type: 'string', enum: ['auto', 'parent', 'link'] },
    serverSpans: { enum: ['auto', false] },
    maxTracesPerSecond: { type: 'number', minimum: 0 },
    tracerProvider: { isObject: true },
    spanProcessors: { type: 'array', items: { isObject: true } },
    exporters: { type: 'array', items: { isObject: true } },
    sampler: { isObject: true }
  }
}

const loggingSchema: OptionsSchema = {
  type: 'object', additionalProperties: false, properties: { level: { type: 'string', enum: [...LOG_LEVELS] } }
}

export const observabilitySchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    enabled: { type: 'boolean' },
    metrics: { anyOf: [{ type: 'boolean' }, { isObject: true }] },
    tracing: { anyOf: [{ type: 'boolean' }, { isObject: true }] },
    logging: { anyOf: [{ type: 'boolean' }, { isObject: true }] },
    events: { type: 'object' },
    excludeJobs: { type: 'array', items: { anyOf: [{ type: 'string' }, { isRegExp: true }] } },
    detailedTracing: { type: 'boolean' },
    serviceName: { type: 'string', minLength: 1, maxLength: 255 }
  }
}

const METRICS_DEFAULTS = Object.freeze({
  path: '/metrics' as string | false, maxSeriesPerMetric: DEFAULT_MAX_SERIES, exemplars: true, gaugesIntervalMs: 10_000, scopeLabels: false
})
const TRACING_DEFAULTS = Object.freeze({ propagation: 'auto' as Propagation, serverSpans: 'auto' as 'auto' | false })
const LOGGING_DEFAULTS = Object.freeze({ level: 'debug' as LogLevel })

export interface ReadObservability<Request> {
  readonly enabled: boolean
  /** `undefined`: switched off. */
  readonly metrics: Readonly<MetricsOptions<Request> & typeof METRICS_DEFAULTS> | undefined
  readonly tracing: Readonly<TracingOptions & typeof TRACING_DEFAULTS> | undefined
  readonly logging: Readonly<LoggingOptions & typeof LOGGING_DEFAULTS> | undefined
  readonly events: EventRoutes | undefined
  readonly excludeJobs: ReadonlyArray<string | RegExp>
  readonly detailedTracing: boolean
  readonly serviceName: string | undefined
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, one message per group of options that lists all that is wrong */
export function readObservabilityOptions<Request> (given: ObservabilityOptions<Request> | undefined): ReadObservability<Request> {
  const options = readOptions('observability', observabilitySchema, { enabled: true, excludeJobs: [], detailedTracing: false }, given)
  const metrics = group<MetricsOptions<Request>>(options.metrics)
  const tracing = group<TracingOptions>(options.tracing)
  const logging = group<LoggingOptions>(options.logging)
  if (metrics?.recorder !== undefined) checkRecorder(metrics.recorder)
  if (tracing !== undefined) checkTracing(tracing)
  return Object.freeze({
    enabled: options.enabled,
    metrics: metrics && readOptions('observability.metrics', metricsSchema, METRICS_DEFAULTS, metrics),
    tracing: tracing && readOptions('observability.tracing', tracingSchema, TRACING_DEFAULTS, tracing),
    logging: logging && readOptions('observability.logging', loggingSchema, LOGGING_DEFAULTS, logging),
    events: options.events,
    excludeJobs: options.excludeJobs,
    detailedTracing: options.detailedTracing,
    serviceName: options.serviceName
  })
}

function group<T extends object> (given: boolean | T | undefined): T | undefined {
  return given === false ? undefined : typeof given === 'object' ? given : {} as T
}

/** A method that is misspelt would never be called, and nobody would know. Instances of classes may have more. */
function checkRecorder (recorder: object): void {
  if (Object.getPrototypeOf(recorder) !== Object.prototype) return
  const known: readonly string[] = METRIC_METHODS
  const problems = Object.entries(recorder).flatMap(([name, method]) => {
    if (!known.includes(name)) return [`recorder.${name} is not a method of AsyncEndpointsMetrics`]
    return typeof method === 'function' || method === undefined ? [] : [`recorder.${name} must be a function`]
  })
  if (problems.length > 0) throw invalidOptions('observability.metrics', problems)
}

/** With a provider that is given, processors, exporters and samplers would silently do nothing. */
function checkTracing ({ tracerProvider, spanProcessors, exporters, sampler, maxTracesPerSecond }: TracingOptions): void {
  const problems: string[] = []
  if (tracerProvider !== undefined) {
    for (const [name, value] of Object.entries({ spanProcessors, exporters, sampler, maxTracesPerSecond })) {
      if (value !== undefined) problems.push(`${name} belongs to a private provider and cannot be combined with tracerProvider`)
    }
  }
  if (sampler !== undefined && maxTracesPerSecond !== undefined) problems.push('maxTracesPerSecond has no effect beside a sampler; give one of them')
  if (problems.length > 0) throw invalidOptions('observability.tracing', problems)
}
