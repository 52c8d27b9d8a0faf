import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { OptionProblems } from '../lib/core/options.ts'
import { PLUGIN } from '../lib/core/plugin-names.ts'
import { REGISTERED } from '../lib/core/registered-channel.ts'
import type { RouteAccess } from '../lib/core/route-access.ts'
import { runtimeOf, workerOf } from '../lib/events/runtime.ts'
import { negotiate } from '../lib/exposition/content-negotiation.ts'
import { createExporters } from '../lib/exposition/built-in-exporters.ts'
import { ExportCoordinator } from '../lib/exposition/export-coordinator.ts'
import type { ExporterRegistry } from '../lib/exposition/exporter-registry.ts'
import type { JobExporters } from '../lib/exposition/job-exporters.ts'
import { jobsSummary, jobsSummarySchema } from '../lib/exposition/jobs-summary.ts'
import { readExportOptions, type ExportOptions, type ResolvedExportOptions } from '../lib/exposition/options.ts'
import { PageMemory } from '../lib/exposition/page-writer.ts'
import { reportLeftOpen } from '../lib/http/left-open.ts'
import { addMetricsRoutes } from '../lib/http/metrics-routes.ts'
import { traceSubmissions } from '../lib/http/trace-submissions.ts'
import type { JobWorker } from '../lib/worker/job-worker.ts'
import type { WorkerView } from '../lib/monitor/fact-reader.ts'
import { Monitor, UNMONITORED, type PerformanceMonitor } from '../lib/monitor/monitor.ts'
import {
  readPerformanceOptions, type PerformanceOptions, type ResolvedPerformanceOptions
} from '../lib/monitor/options.ts'
import { withoutDetails } from '../lib/monitor/bottleneck-report.ts'
import { bottleneckSchema } from '../lib/monitor/bottleneck-schema.ts'
import { ACROSS_PROCESSES, INSTRUMENTS } from '../lib/telemetry/instruments.ts'
import type { JobMetricsRegistry } from '../lib/telemetry/job-metrics-registry.ts'
import { noopMetrics, type AsyncEndpointsMetrics } from '../lib/telemetry/metrics.ts'
import {
  readTelemetryOptions, type ResolvedTelemetryOptions, type TelemetryOptions
} from '../lib/telemetry/options/index.ts'
import { MetricsRegistry } from '../lib/telemetry/registry.ts'
import type { Workload } from '../lib/telemetry/store-gauges.ts'
import type { Telemetry } from '../lib/telemetry/telemetry.ts'
import { SCOPE_LABELS } from '../lib/telemetry/version.ts'

export interface ObservabilityOptions extends TelemetryOptions<FastifyRequest> {
  /** Slow operations, slow queries, memory spikes, a late event loop, bottlenecks. @defaultValue true */
  performance?: boolean | PerformanceOptions | undefined
  /** Metrics to a file or by HTTP, besides `/metrics`. @defaultValue nowhere */
  export?: ExportOptions | undefined
}

declare module 'fastify' {
  interface FastifyInstance {
    /** The metrics in use: ours, an application's own, or a no-op object of the same shape. */
    jobMetrics: AsyncEndpointsMetrics
    /** What `/metrics` prints: read a snapshot, or add instruments of your own. */
    jobMetricsRegistry: JobMetricsRegistry
    /** Formats of metrics and who writes them. */
    jobExporters: JobExporters
    /** Measures operations of your own. */
    jobMonitor: PerformanceMonitor
  }
}

interface ResolvedObservabilityOptions {
  readonly telemetry: ResolvedTelemetryOptions<FastifyRequest>
  readonly performance: ResolvedPerformanceOptions | undefined
  readonly export: ResolvedExportOptions
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, one message that lists every bad key of every group */
export function readObservabilityOptions (given: ObservabilityOptions): ResolvedObservabilityOptions {
  const problems = new OptionProblems()
  const { performance: monitored = true, export: exported, ...rest } = given
  const telemetry = problems.collect('', () => readTelemetryOptions(rest))
  if (typeof monitored !== 'boolean' && (typeof monitored !== 'object' || monitored === null)) {
    problems.add('performance must be true, false or an object')
  }
  const performance = monitored === false
    ? undefined
    : problems.collect('performance.', () => readPerformanceOptions(typeof monitored === 'object' ? monitored : {}))
  const targets = problems.collect('export.', () => readExportOptions(exported))
  if (telemetry !== undefined && telemetry.metrics === undefined && (targets?.file ?? targets?.push) !== undefined) {
    problems.add('export.targets needs metrics, which are switched off')
  }
  problems.throwIfAny('observability')
  if (telemetry === undefined || targets === undefined) {
    throw new Error('a reader of options returned nothing and found nothing wrong')
  }
  return { telemetry, performance, export: targets }
}

async function observabilityPlugin (app: FastifyInstance, given: ObservabilityOptions): Promise<void> {
  const options = readObservabilityOptions(given)
  REGISTERED.publish({ metrics: () => options.telemetry.enabled ? metricsAccess(options.telemetry.metrics) : 'none' })
  const { bus, context } = runtimeOf(app)
  if (!options.telemetry.enabled) {
    const registry = new MetricsRegistry()
    app.decorate('jobExporters', createExporters({ context, bus, registry, resource: {}, scope: undefined }))
    app.decorate('jobMetrics', noopMetrics())
    app.decorate('jobMetricsRegistry', registry)
    app.decorate('jobMonitor', UNMONITORED)
    return
  }
  // Loaded here, so that an application which switches it off loads no part of OpenTelemetry either.
  const { Telemetry } = await import('../lib/telemetry/telemetry.ts')
  const { runQuietly: quietly } = await import('../lib/telemetry/trace-context.ts')
  const telemetry = new Telemetry({
    runtime: runtimeOf(app),
    options: options.telemetry,
    workload: () => workload(app)
  })
  telemetry.install()
  const monitor = makeMonitor(app, telemetry, options, quietly)
  const memory = new PageMemory()
  const exporters = createExporters({
    context,
    bus,
    registry: telemetry.registry,
    resource: telemetry.resource,
    memory,
    scope: options.telemetry.metrics?.scopeLabels === true ? SCOPE_LABELS : undefined
  })
  app.decorate('jobExporters', exporters)
  const coordinator = makeCoordinator(app, telemetry, exporters, options.export, quietly)
  app.decorate('jobMetrics', telemetry.metrics)
  app.decorate('jobMetricsRegistry', telemetry.registry)
  app.decorate('jobMonitor', monitor ?? UNMONITORED)
  const { tracing } = options.telemetry
  if (telemetry.tracing !== undefined && tracing !== undefined) {
    traceSubmissions(app, telemetry.tracing.requests({
      serverSpans: tracing.serverSpans === 'auto',
      trustInbound: tracing.trustInbound,
      sampleRate: (job) => runtimeOf(app).registry.get(job)?.sampleRate,
      logIds: options.telemetry.logging !== undefined
    }))
  }
  if (options.telemetry.metrics !== undefined && options.telemetry.metrics.path !== false) {
    addRoutes(app, telemetry, monitor, options, { exporters, memory })
  }
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

function makeMonitor (
  app: FastifyInstance, telemetry: Telemetry, { performance, telemetry: { metrics } }: ResolvedObservabilityOptions,
  quietly: <R>(work: () => R) => R
): Monitor | undefined {
  if (performance === undefined) return undefined
  const { context, bus, redaction, registry } = runtimeOf(app)
  return new Monitor({
    context,
    bus,
    redaction,
    registry: telemetry.registry,
    options: performance,
    bottlenecks: performance.bottlenecks && metrics !== undefined,
    surroundings: {
      jobs: () => registry.all(),
      worker: () => workerView(app),
      countsIntervalMs: metrics?.gaugesIntervalMs ?? 0
    },
    watchSpans: (watcher) => telemetry.watchSpans(watcher),
    quietly
  })
}

function workerView (app: FastifyInstance): WorkerView | undefined {
  const worker = workerOf<Pick<JobWorker, 'loads' | 'oldestAttempts'>>(app)
  return worker && { loads: worker.loads(), attempts: () => worker.oldestAttempts(MAX_ATTEMPTS_SHOWN) }
}

function makeCoordinator (
  app: FastifyInstance, { registry, resource }: Telemetry, exporters: ExporterRegistry, options: ResolvedExportOptions,
  quietly: <R>(work: () => R) => R
): ExportCoordinator {
  const { context, bus, store } = runtimeOf(app)
  const exports = registry.instrument(INSTRUMENTS.exports)
  const durations = registry.instrument(INSTRUMENTS.exportDuration)
  // From 0 on, so that the first failures are an increase.
  for (const target of ['file', 'push'] as const) {
    if (options[target] === undefined) continue
    for (const outcome of ['completed', 'failed', 'replaced']) exports.keep({ target, outcome })
  }
  return new ExportCoordinator({
    context,
    bus,
    exporters,
    shared: store.shared,
    options,
    rules: ACROSS_PROCESSES,
    host: resource['host.name'],
    quietly,
    recorded: (target, outcome, durationMs) => {
      exports.bind({ target, outcome }).add()
      durations.bind({ target, outcome }).observe(durationMs / 1_000)
    }
  })
}

function workload (app: FastifyInstance): ReturnType<Workload> {
  // The worker's plugin comes later, or not at all.
  return workerOf<NonNullable<ReturnType<Workload>>>(app)
}

/** More would be a list that nobody reads. */
const MAX_ATTEMPTS_SHOWN = 100

function attemptsUnderWay (app: FastifyInstance): readonly unknown[] {
  return workerOf<Pick<JobWorker, 'oldestAttempts'>>(app)?.oldestAttempts(MAX_ATTEMPTS_SHOWN) ?? []
}

interface Pages { readonly exporters: ExporterRegistry, readonly memory: PageMemory }

function addRoutes (
  app: FastifyInstance, telemetry: Telemetry, monitor: Monitor | undefined, options: ResolvedObservabilityOptions,
  { exporters, memory }: Pages
): void {
  const { telemetry: { metrics, activityTracking }, performance } = options
  if (metrics === undefined) return
  const path = String(metrics.path)
  if (metricsAccess(metrics) === 'left-open') {
    const report = (): void => { reportLeftOpen(runtimeOf(app), 'access.metrics_left_open', app.prefix + path) }
    app.addHook('onReady', async () => { report() })
  }
  addMetricsRoutes(app, {
    path,
    authorize: metrics.authorize,
    openapi: metrics.openapi,
    page: async (accept, format) => {
      const page = await exporters.page(format ?? negotiate(accept, metrics.format), 'http')
      return { ...page, release: () => { memory.giveBack(page.body) } }
    },
    failed: (error) => {
      app.log.error(runtimeOf(app).redaction.fields({ err: error }), 'the metrics could not be shown')
    },
    jobs: {
      schema: jobsSummarySchema,
      show: (detailed) => {
        const attempts = activityTracking && detailed ? attemptsUnderWay(app) : undefined
        return jobsSummary(telemetry.registry.families(), runtimeOf(app).context.clock.now(), attempts)
      }
    },
    bottlenecks: monitor === undefined || performance?.bottlenecks !== true
      ? undefined
      : {
          schema: bottleneckSchema,
          maxSamples: performance.maxSamples,
          report: (samples, detailed) => {
            const report = monitor.bottlenecks(samples)
            return detailed ? report : withoutDetails(report)
          }
        }
  })
}

function metricsAccess (metrics: ResolvedTelemetryOptions<FastifyRequest>['metrics']): RouteAccess {
  if (metrics === undefined || metrics.path === false) return 'none'
  return metrics.authorize !== undefined ? 'guarded' : metrics.access ?? 'left-open'
}

/**
 * Metrics at `/metrics`, traces, numbered log lines, for every job of this application. Register it before the worker.
 */
export const observability = fp(observabilityPlugin, {
  name: PLUGIN.observability,
  fastify: '5.x',
  dependencies: [PLUGIN.jobStore]
})
export default observability
