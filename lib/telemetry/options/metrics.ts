import type { MeterProvider } from '@opentelemetry/api'
import { openApiProperty, type OpenApiOptions } from '../../core/openapi.ts'
import { invalidOptions, pathProperty, readOptions, type OptionsSchema } from '../../core/options.ts'
import { METRIC_METHODS, type AsyncEndpointsMetrics } from '../metrics.ts'
import { DEFAULT_MAX_SERIES } from '../registry.ts'
import type { MetricReader, PushMetricExporter } from '../sdk/metrics.ts'

export interface MetricsOptions<Request = unknown> {
  /**
   * The path of the metrics routes: the page for scrapers here, `/jobs` and `/bottlenecks` below it. `false`
   * registers no routes; the metrics are still recorded and exported.
   * @defaultValue '/metrics'
   */
  path?: string | false | undefined
  /** The format for clients that ask for none (RFC 9110 §12.5.1). @defaultValue 'prometheus' */
  format?: 'prometheus' | 'openmetrics' | 'json' | 'csv' | undefined
  /**
   * Methods that replace those of the default recorder. With `defineMetrics({...})`, which replaces all of them,
   * `/metrics` shows only the metrics that are recorded without a recorder: about exports, the performance monitor
   * and telemetry itself.
   */
  recorder?: Partial<AsyncEndpointsMetrics> | undefined
  /**
   * The largest number of series of one metric. Further label sets share one series `otel_metric_overflow="true"`, so
   * that a label with endless values cannot fill the memory.
   * @defaultValue 500
   */
  maxSeriesPerMetric?: number | undefined
  /**
   * After so many hours without a recording a series is forgotten, unless it exists from the start. 0 forgets none.
   * @defaultValue 24
   */
  retentionHours?: number | undefined
  /**
   * The upper bounds, ascending seconds, of the durations of jobs and handlers.
   * @defaultValue 5 ms to 1 h in 18 steps
   */
  buckets?: readonly number[] | undefined
  /**
   * Keep, for each bucket, the trace of the newest sampled job. Only the OpenMetrics format shows it.
   * @defaultValue true
   */
  exemplars?: boolean | undefined
  /**
   * How often the gauges that come from the store are read, in milliseconds. Each reading costs the store one request
   * per queue.
   * @defaultValue 10000
   */
  gaugesIntervalMs?: number | undefined
  /**
   * Put `otel_scope_name` and `otel_scope_version` on every series. It makes the page a third larger.
   * @defaultValue false
   */
  scopeLabels?: boolean | undefined
  /**
   * Decides who may read the metrics: any answer but `true` becomes a 403. Only with it `/jobs` lists the running
   * attempts, and `/bottlenecks` shows the contexts of slow operations and the texts of slow queries.
   *
   * @defaultValue everybody may read, and nothing about single jobs is shown; in production a warning is logged
   */
  authorize?: ((request: Request) => boolean | Promise<boolean>) | undefined
  /**
   * `'open'` says that everybody may read the metrics on purpose, for example because only the scraper reaches the
   * port: no warning is logged in production. It does not change what is shown. Not together with `authorize`.
   */
  access?: 'open' | undefined
  /**
   * Metric readers of OpenTelemetry, of either SDK line. Each gets everything that `/metrics` shows, as sums since
   * the start or as deltas, whichever it prefers. They are shut down with the application.
   */
  readers?: readonly MetricReader[] | undefined
  /**
   * Push exporters of OpenTelemetry. Each gets everything that `/metrics` shows every `exportIntervalMs`, and once
   * more when the application closes, which also shuts them down.
   */
  exporters?: readonly PushMetricExporter[] | undefined
  /**
   * How often `exporters`, or the exporters that `OTEL_METRICS_EXPORTER` names, get the metrics, in milliseconds.
   * @defaultValue `OTEL_METRIC_EXPORT_INTERVAL`, else 60000
   */
  exportIntervalMs?: number | undefined
  /**
   * A meter provider that gets everything that `/metrics` shows. It is never shut down.
   *
   * @defaultValue the provider registered with `@opentelemetry/api`, looked up when the application is ready
   */
  meterProvider?: MeterProvider | undefined
  /**
   * Pass durations on to the meter provider. Buckets cannot be passed on, so each value is recorded again, which
   * costs about a microsecond. `false` leaves the histograms out.
   * @defaultValue true
   */
  bridgeHistograms?: boolean | undefined
  /**
   * How `/metrics/jobs` and `/metrics/bottlenecks` appear in the OpenAPI document. The metrics page never appears in
   * it.
   *
   * @defaultValue under the tag `metrics`
   */
  openapi?: OpenApiOptions | undefined
}

const metricsSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    path: pathProperty({ root: true, off: true }),
    format: { type: 'string', enum: ['prometheus', 'openmetrics', 'json', 'csv'] },
    recorder: { isObject: true },
    maxSeriesPerMetric: { type: 'integer', minimum: 1, maximum: 100_000 },
    retentionHours: { type: 'number', minimum: 0 },
    buckets: { type: 'array', minItems: 1, maxItems: 100, items: { type: 'number' } },
    exemplars: { type: 'boolean' },
    gaugesIntervalMs: { type: 'number', minimum: 100, maximum: 2_147_483_647 },
    scopeLabels: { type: 'boolean' },
    authorize: { isFunction: true },
    access: { enum: ['open'] },
    readers: { type: 'array', items: { isObject: true } },
    exporters: { type: 'array', items: { isObject: true } },
    exportIntervalMs: { type: 'number', minimum: 10, maximum: 2_147_483_647 },
    meterProvider: { isObject: true },
    bridgeHistograms: { type: 'boolean' },
    openapi: openApiProperty
  }
}

const METRICS_DEFAULTS = Object.freeze({
  path: '/metrics' as string | false,
  format: 'prometheus' as const,
  maxSeriesPerMetric: DEFAULT_MAX_SERIES,
  retentionHours: 24,
  exemplars: true,
  gaugesIntervalMs: 10_000,
  scopeLabels: false,
  bridgeHistograms: true
})

type Defaulted = keyof typeof METRICS_DEFAULTS
export type ResolvedMetricsOptions<Request> =
  Readonly<Omit<MetricsOptions<Request>, Defaulted> & Required<Pick<MetricsOptions<Request>, Defaulted>>>

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readMetricsOptions<Request> (given: MetricsOptions<Request>): ResolvedMetricsOptions<Request> {
  if (given.recorder !== undefined) checkRecorder(given.recorder)
  checkGiven(given)
  const read = readOptions<MetricsOptions<Request>, Partial<MetricsOptions<Request>>>(
    'observability.metrics', metricsSchema, METRICS_DEFAULTS, given)
  return read as ResolvedMetricsOptions<Request>
}

/** Readers and exporters are checked by their methods, not by their class, so that both SDK lines and own ones fit. */
function checkGiven<Request> (options: MetricsOptions<Request>): void {
  const { readers, exporters, meterProvider, access, authorize } = options
  const problems: string[] = []
  if (access !== undefined && authorize !== undefined) {
    problems.push('access "open" contradicts authorize: with it the metrics are not open; leave one of them out')
  }
  const check = (name: string, value: unknown, method: string, needed: string): void => {
    if (typeof value !== 'object' || value === null || typeof Reflect.get(value, method) === 'function') return
    problems.push(`${name} has no ${method}(); give ${needed}`)
  }
  if (Array.isArray(readers)) {
    readers.forEach((reader, index) => {
      check(`readers.${index}`, reader, 'setMetricProducer', 'a metric reader of OpenTelemetry')
    })
  }
  if (Array.isArray(exporters)) {
    exporters.forEach((exporter, index) => {
      check(`exporters.${index}`, exporter, 'export', 'a push exporter of OpenTelemetry')
    })
  }
  check('meterProvider', meterProvider, 'getMeter', 'a meter provider of OpenTelemetry')
  if (problems.length > 0) throw invalidOptions('observability.metrics', problems)
}

/** A misspelt method would never be called, and nobody would notice. Instances of classes may have further methods. */
function checkRecorder (recorder: object): void {
  if (Object.getPrototypeOf(recorder) !== Object.prototype) return
  const known: readonly string[] = METRIC_METHODS
  const problems = Object.entries(recorder).flatMap(([name, method]) => {
    if (!known.includes(name)) return [`recorder.${name} is not a method of AsyncEndpointsMetrics`]
    return typeof method === 'function' || method === undefined ? [] : [`recorder.${name} must be a function`]
  })
  if (problems.length > 0) throw invalidOptions('observability.metrics', problems)
}
