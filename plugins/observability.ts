import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { OptionProblems } from '../lib/core/options.ts'
import { negotiate, CONTENT_TYPES } from '../lib/exposition/accept.ts'
import { ExportCoordinator } from '../lib/exposition/coordinator.ts'
import { ExporterRegistry } from '../lib/exposition/exporters.ts'
import { readExportOptions, type ExportOptions, type ReadExportOptions } from '../lib/exposition/options.ts'
import { PrometheusExposition } from '../lib/exposition/prometheus.ts'
import { addMetricsRoutes } from '../lib/http/metrics-routes.ts'
import { isOutcome } from '../lib/jobs/outcome.ts'
import { toStoredError } from '../lib/jobs/stored-error.ts'
import { Monitor, UNMONITORED, type PerformanceMonitor } from '../lib/monitor/monitor.ts'
import { readPerformanceOptions, type PerformanceOptions, type ReadPerformanceOptions } from '../lib/monitor/options.ts'
import { NoopMetrics, type AsyncEndpointsMetrics } from '../lib/telemetry/metrics.ts'
import { readTelemetryOptions, type ReadTelemetry, type TelemetryOptions } from '../lib/telemetry/options/index.ts'
import { MetricsRegistry } from '../lib/telemetry/registry.ts'
import type { Telemetry } from '../lib/telemetry/telemetry.ts'
import { SCOPE_LABELS } from '../lib/telemetry/version.ts'

export interface ObservabilityOptions extends TelemetryOptions<FastifyRequest> {
  /** Slow operations, slow queries, memory spikes, a late event loop, bottlenecks. @defaultValue true */
  performance?: boolean | PerformanceOptions
  /** Metrics to a file or by HTTP, besides `/metrics`. @defaultValue nowhere */
  export?: ExportOptions
}

declare module 'fastify' {
  interface FastifyInstance {
    /** The metrics in use: ours, an application's own, or a no-op object of the same shape. */
    jobMetrics: AsyncEndpointsMetrics
    /** What `/metrics` prints: read a snapshot, or add instruments of your own. */
    metricsRegistry: MetricsRegistry
    /** Formats of metrics and who writes them. */
    metricsExporters: ExporterRegistry
    /** Measures operations of your own. */
    performanceMonitor: PerformanceMonitor
  }
  interface FastifyRequest {
    /** What tracing attached to the request, for the submission; not for applications. */
    jobTrace?: unknown
  }
}

interface ReadOptions {
  readonly telemetry: ReadTelemetry<FastifyRequest>
  readonly performance: ReadPerformanceOptions | undefined
  readonly export: ReadExportOptions
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, one message that lists every bad key of every group */
export function readObservabilityOptions (given: ObservabilityOptions): ReadOptions {
  const problems = new OptionProblems()
  const { performance: monitored = true, export: exported, ...rest } = given
  const telemetry = problems.collect('', () => readTelemetryOptions(rest))
  if (typeof monitored !== 'boolean' && (typeof monitored !== 'object' || monitored === null)) problems.add('performance must be true, false or an object')
  const performance = monitored === false ? undefined : problems.collect('performance.', () => readPerformanceOptions(typeof monitored === 'object' ? monitored : {}))
  const targets = problems.collect('export.', () => readExportOptions(exported))
  problems.throwIfAny('observability')
  if (telemetry === undefined || targets === undefined) throw new Error('a reader of options returned nothing and found nothing wrong')
  return { telemetry, performance, export: targets }
}

async function observabilityPlugin (app: FastifyInstance, given: ObservabilityOptions): Promise<void> {
  const options = readObservabilityOptions(given)
  const { bus, context, store } = app.jobRuntime
  const exporters = new ExporterRegistry(bus)
  app.decorate('metricsExporters', exporters)
  if (!options.telemetry.enabled) {
    app.decorate('jobMetrics', new NoopMetrics())
    app.decorate('metricsRegistry', new MetricsRegistry())
    app.decorate('performanceMonitor', UNMONITORED)
    return
  }
  // Loaded here, so that an application which switches it off loads no part of OpenTelemetry either.
  const { Telemetry } = await import('../lib/telemetry/telemetry.ts')
  const { runQuietly: quietly } = await import('../lib/telemetry/context.ts')
  const telemetry = new Telemetry({ runtime: app.jobRuntime, options: options.telemetry, workload: () => workload(app), thrown: { isOutcome, toStoredError } })
  const monitor = options.performance === undefined ? undefined : new Monitor({ context, bus, registry: telemetry.registry, options: options.performance, quietly })
  const coordinator = new ExportCoordinator({ context, bus, exporters, snapshot: () => telemetry.registry.snapshot(), shared: store.shared, options: options.export, quietly })
  app.decorate('jobMetrics', telemetry.metrics)
  app.decorate('metricsRegistry', telemetry.registry)
  app.decorate('performanceMonitor', monitor ?? UNMONITORED)
  app.decorateRequest('jobTrace', undefined)
  if (telemetry.tracing !== undefined) await traceSubmissions(app, telemetry.tracing, options.telemetry)
  if (options.telemetry.metrics !== undefined && options.telemetry.metrics.path !== false) addRoutes(app, telemetry, monitor, options)
  // Before the worker's own hook, if this plugin is registered first: no job may run ahead of its telemetry.
  app.addHook('onReady', async () => {
    await telemetry.start()
    await monitor?.start()
    await coordinator.start()
  })
  // The last export still has everything; spans and readers are flushed after it.
  app.addHook('onClose', async () => {
    await coordinator.stop(STOP_MS)
    await monitor?.stop(STOP_MS)
    await telemetry.stop()
  })
}

/** What each part may take to end. */
const STOP_MS = 2_000

function workload (app: FastifyInstance): { active: number, concurrency: number } | undefined {
  // The worker's plugin comes later, or not at all.
  return app.hasDecorator('jobWorker') ? app.getDecorator<{ active: number, concurrency: number }>('jobWorker') : undefined
}

/** The requests that submit jobs, and no other: their hooks run after those of every other plugin and see what these did. */
async function traceSubmissions (app: FastifyInstance, tracing: NonNullable<Telemetry['tracing']>, options: ReadTelemetry<FastifyRequest>): Promise<void> {
  const { beginRequest, finishRequest } = await import('../lib/telemetry/request-trace.ts')
  const ownSpans = options.tracing?.serverSpans === 'auto'
  const correlate = options.logging !== undefined

  function traceSubmission (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
    const { source } = tracing
    const begun = source.guard(() => beginRequest(source, request.headers, ownSpans, () => ({
      method: request.method, route: request.routeOptions.url ?? '', path: request.url.split('?', 1)[0] ?? '', scheme: request.protocol
    })))
    request.jobTrace = begun
    if (begun?.span === undefined) return done()
    const { traceId, spanId, traceFlags } = begun.span.spanContext()
    if (correlate && begun.span.isRecording()) request.log = reply.log = request.log.child({ trace_id: traceId, span_id: spanId, trace_flags: `0${traceFlags & 1}` })
    source.contexts.run(begun.context, done)
  }

  function finishSubmission (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
    tracing.source.guard(() => { finishRequest(request.jobTrace, reply.statusCode) })
    done()
  }

  app.addHook('onRoute', (route) => {
    if (!submits(route)) return
    route.onRequest = [route.onRequest ?? [], traceSubmission].flat()
    route.onResponse = [route.onResponse ?? [], finishSubmission].flat()
  })
}

/** By what the endpoints of this package write into the `config` of their routes. */
function submits ({ config }: RouteOptions): boolean {
  const ours: unknown = config === undefined ? undefined : Reflect.get(config, 'asyncEndpoints')
  return typeof ours === 'object' && ours !== null && 'kind' in ours && ours.kind === 'submit'
}

function addRoutes (app: FastifyInstance, telemetry: Telemetry, monitor: Monitor | undefined, { telemetry: { metrics }, performance }: ReadOptions): void {
  if (metrics === undefined) return
  const exposition = new PrometheusExposition({ resource: telemetry.resource, scope: metrics.scopeLabels ? SCOPE_LABELS : undefined })
  addMetricsRoutes(app, {
    path: String(metrics.path),
    authorize: metrics.authorize,
    page: async (accept) => {
      const format = negotiate(accept)
      return { contentType: CONTENT_TYPES[format], body: await exposition.render(telemetry.registry.families(), format) }
    },
    jobs: async () => ({}),
    bottlenecks: monitor === undefined || performance?.bottlenecks !== true ? undefined : () => monitor.report()
  })
}

/** Metrics at `/metrics`, traces, numbered log lines, for every job of this application. Register it before the worker. */
export const observability = fp(observabilityPlugin, { name: 'asyncendpoints-observability', fastify: '5.x', decorators: { fastify: ['jobRuntime'] } })
export default observability
