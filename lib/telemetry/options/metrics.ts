import type { MeterProvider } from '@opentelemetry/api'
import { openApiProperty, type OpenApiOptions } from '../../core/openapi.ts'
import { invalidOptions, pathProperty, readOptions, type OptionsSchema } from '../../core/options.ts'
import { METRIC_METHODS, type AsyncEndpointsMetrics } from '../metrics.ts'
import { DEFAULT_MAX_SERIES } from '../registry.ts'
import type { MetricReader, PushMetricExporter } from '../sdk/metrics.ts'

export interface MetricsOptions<Request = unknown> {
  /**
   * The path of the metrics routes: the page for scrapers here, `/jobs` and `/bottlenecks` below it. `false` registers no routes; the
   * metrics are still collected and exported. @defaultValue '/metrics'
   */
  path?: string | false | undefined
  /** What is printed for who asks for nothing in particular (RFC 9110 §12.5.1). @defaultValue 'prometheus' */
  format?: 'prometheus' | 'openmetrics' | 'json' | 'csv' | undefined
  /** Methods that replace ours. `defineMetrics({...})` replaces them all; then `/metrics` shows only what telemetry tells of itself. */
  recorder?: Partial<AsyncEndpointsMetrics> | undefined
  /** Series per metric; further label sets share one series `otel_metric_overflow="true"`. @defaultValue 500 */
  maxSeriesPerMetric?: number | undefined
  /** A series that nothing was recorded into for so long is forgotten, unless it exists from the start. 0: never. @defaultValue 24 */
  retentionHours?: number | undefined
  /** Upper bounds in seconds, ascending, for the durations of jobs and handlers. @defaultValue 5 ms to 1 h in 18 steps */
  buckets?: readonly number[] | undefined
  /** Keep, per bucket, the trace of the newest sampled job; shown in the OpenMetrics format. @defaultValue true */
  exemplars?: boolean | undefined
  /** How often the gauges that only the store can tell are read. @defaultValue 10000 */
  gaugesIntervalMs?: number | undefined
  /** `otel_scope_name` and `otel_scope_version` on every series. @defaultValue false: they cost a third of the page */
  scopeLabels?: boolean | undefined
  /**
   * Who may read the metrics; anything but `true` is answered with 403. Only with it `/jobs` lists the attempts under way, and `/bottlenecks`
   * shows contexts of slow operations and texts of slow queries.
   *
   * @defaultValue everybody may read, and nothing is shown about single jobs; in production there is a warning
   */
  authorize?: ((request: Request) => boolean | Promise<boolean>) | undefined
  /**
   * `'open'`: everybody may read the metrics, and this is on purpose, for example because only the scraper reaches the port. The warning
   * about it in production is not written. What is shown stays the same. Not together with `authorize`.
   */
  access?: 'open' | undefined
  /** OpenTelemetry metric readers of either SDK line: each is given everything that `/metrics` shows, as sums since the start or as deltas, whichever it prefers. Ended with the application. */
  readers?: readonly MetricReader[] | undefined
  /** OpenTelemetry push exporters: each is given the same every `exportIntervalMs`, and once more when the application ends, which ends them too. */
  exporters?: readonly PushMetricExporter[] | undefined
  /** How often `exporters`, or those that `OTEL_METRICS_EXPORTER` names, are fed. @defaultValue `OTEL_METRIC_EXPORT_INTERVAL`, else 60000 */
  exportIntervalMs?: number | undefined
  /** Is fed with everything that `/metrics` shows, besides readers and exporters. @defaultValue the one registered with `@opentelemetry/api`, looked for when the application is ready; never shut down */
  meterProvider?: MeterProvider | undefined
  /** Durations reach a meter provider one by one, about a microsecond each: buckets cannot be handed over. `false` leaves them out. @defaultValue true */
  bridgeHistograms?: boolean | undefined
  /**
   * How `/metrics/jobs` and `/metrics/bottlenecks` stand in the OpenAPI document; the page of metrics is never in it.
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

export type ResolvedMetricsOptions<Request> = Readonly<Omit<MetricsOptions<Request>, keyof typeof METRICS_DEFAULTS> & Required<Pick<MetricsOptions<Request>, keyof typeof METRICS_DEFAULTS>>>

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readMetricsOptions<Request> (given: MetricsOptions<Request>): ResolvedMetricsOptions<Request> {
  if (given.recorder !== undefined) checkRecorder(given.recorder)
  checkGiven(given)
  return readOptions<MetricsOptions<Request>, Partial<MetricsOptions<Request>>>('observability.metrics', metricsSchema, METRICS_DEFAULTS, given) as ResolvedMetricsOptions<Request>
}

/** Outlets are checked by what they must be able to do, and not by their class: both lines of the SDK fit, and so does what an application makes. */
function checkGiven<Request> ({ readers, exporters, meterProvider, access, authorize }: MetricsOptions<Request>): void {
  const problems: string[] = []
  if (access !== undefined && authorize !== undefined) problems.push('access "open" contradicts authorize: with it the metrics are not open; leave one of them out')
  const check = (name: string, value: unknown, method: string, needed: string): void => {
    if (typeof value === 'object' && value !== null && typeof (value as Record<string, unknown>)[method] !== 'function') problems.push(`${name} has no ${method}(); give ${needed}`)
  }
  if (Array.isArray(readers)) readers.forEach((reader, index) => { check(`readers.${index}`, reader, 'setMetricProducer', 'a metric reader of OpenTelemetry') })
  if (Array.isArray(exporters)) exporters.forEach((exporter, index) => { check(`exporters.${index}`, exporter, 'export', 'a push exporter of OpenTelemetry') })
  check('meterProvider', meterProvider, 'getMeter', 'a meter provider of OpenTelemetry')
  if (problems.length > 0) throw invalidOptions('observability.metrics', problems)
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
