import type { JobRuntime } from '../events/runtime.ts'
import type { Propagation } from '../jobs/definition.ts'
import { connectSinks, type Sink, type SinkName } from '../events/router.ts'
import { runQuietly, TraceContext } from './context.ts'
import { registeredTracerProvider } from './detect.ts'
import { startDiagnostics } from './diagnostics.ts'
import { readOtelEnvironment, resourceAttributes, type OtelEnvironment } from './environment.ts'
import { compileExclusion, type Exclusion } from './exclude.ts'
import { TelemetryFailures } from './failures.ts'
import { INSTRUMENTS } from './instruments.ts'
import { carryOrigin } from './log-request-origin.ts'
import { attemptLogging, createLogSink, logsTraceIdsItself } from './logging.ts'
import { createMetricsSink } from './metrics-sink.ts'
import { NoopMetrics, overrideMetrics, type AsyncEndpointsMetrics } from './metrics.ts'
import type { ResolvedTelemetryOptions } from './options/index.ts'
import type { ResolvedMetricsOptions } from './options/metrics.ts'
import { RegistryMetrics } from './registry-metrics.ts'
import { MetricsRegistry } from './registry.ts'
import { MetricsOut } from './resolve-metrics.ts'
import { resolveTracing, type ResolvedTracing } from './resolve.ts'
import { Retention } from './retention.ts'
import { attachWatcher, realProvider, type SpanWatcher } from './sdk/span-watch.ts'
import { StoreGauges, type Workload } from './store-gauges.ts'
import { createTraceSink } from './trace-sink.ts'
import { TracerSource } from './tracer-source.ts'
import { Tracing } from './tracing.ts'

/** The counters that start at 0 for every job; a recorder that replaces one of them owns their start too. */
const PREPARED = ['jobCreated', 'jobProcessed', 'jobRetried', 'jobCancelled'] as const
/** The counters of the whole process that start at 0, likewise. */
const PREPARED_PROCESS = ['jobRecovered', 'requestRejected', 'storeOperation', 'storeError', 'workerRestarted', 'jobSlaMissed'] as const

/** Those of every store that jobs depend on. */
const STORE_OPERATIONS = ['create', 'claim', 'settle', 'progress', 'get', 'input', 'result', 'list', 'counts', 'cancel', 'redrive', 'remove', 'ping'] as const

/** What readers and exporters may take to end. */
const METRICS_STOP_MS = 2_000

export interface TelemetryParts {
  readonly runtime: JobRuntime
  readonly options: ResolvedTelemetryOptions<never>
  readonly workload: Workload
  /** @defaultValue process.env */
  readonly env?: Readonly<Record<string, string | undefined>>
}

/** See {@link Telemetry.watchSpans}. */
export interface SpanWatch {
  readonly missed: boolean
  stop (): void
}

/**
 * The telemetry of one Fastify instance: builds the parts that the options ask for, hooks them into the runtime, and
 * ends what it has made.
 *
 * ```
 * made (middleware and sinks in place, no spans yet) ──start──▶ running ──stop──▶ stopped
 * ```
 */
export class Telemetry {
  readonly registry: MetricsRegistry
  readonly metrics: AsyncEndpointsMetrics
  /** `undefined`: tracing is switched off. */
  readonly tracing: Tracing | undefined
  /** Labels of `target_info`, attributes of our own spans. */
  readonly resource: Readonly<Record<string, string>>
  readonly #runtime: JobRuntime
  readonly #options: ResolvedTelemetryOptions<never>
  readonly #environment: OtelEnvironment
  readonly #failures: TelemetryFailures
  readonly #excluded: Exclusion
  readonly #gauges: StoreGauges | undefined
  readonly #metricsOut: MetricsOut | undefined
  readonly #retention: Retention | undefined
  readonly #disconnect: () => void
  #resolved: ResolvedTracing | undefined
  #endDiagnostics: () => void = () => {}

  /** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
  constructor ({ runtime, options, workload, env }: TelemetryParts) {
    const { context, bus } = runtime
    this.#runtime = runtime
    this.#options = options
    this.#environment = readOtelEnvironment(env)
    this.resource = resourceAttributes(this.#environment, { 'service.name': options.serviceName, 'service.version': options.serviceVersion }, context.instanceId)
    this.#failures = new TelemetryFailures(bus, runtime.redaction.logger(context.logger))
    this.#excluded = compileExclusion(options.excludeJobs)
    this.registry = new MetricsRegistry({
      maxSeriesPerMetric: options.metrics?.maxSeriesPerMetric,
      buckets: options.metrics?.buckets,
      exemplars: options.metrics?.exemplars,
      now: () => context.clock.now()
    })
    this.metrics = this.#buildMetrics()
    this.#gauges = options.metrics === undefined ? undefined : this.#buildGauges(workload)
    this.#metricsOut = options.metrics === undefined ? undefined : this.#buildMetricsOut(options.metrics)
    this.#retention = options.metrics === undefined ? undefined : this.#buildRetention(options.metrics.retentionHours)
    this.tracing = options.tracing === undefined ? undefined : this.#buildTracing(options.tracing.propagation)
    this.#disconnect = connectSinks(bus, this.#sinks(), options.events, options.eventSampleRate)
    this.#hookIn()
  }

  /** Call it when every plugin is loaded: an SDK of the application's is registered by then. */
  async start (): Promise<void> {
    this.#endDiagnostics = startDiagnostics(this.#environment, this.#runtime.context.logger)
    if (this.tracing !== undefined) {
      const { clock, logger } = this.#runtime.context
      this.#resolved = await resolveTracing({
        ...this.#options.tracing, environment: this.#environment, resource: this.resource, clock, logger, failures: this.#failures
      })
      this.tracing.use(this.#resolved.source)
      // Now it is known how contexts are carried here: loops of ours stay out of them from here on.
      const { enabled, contexts: { mode, ways } } = this.#resolved.source
      // The application has switched on a context manager, and pays for it: the job that runs can be known as well.
      if (mode === 'global') this.#runtime.currentJobs?.carry()
      if (ways !== undefined && (enabled || mode === 'global')) this.#runtime.traceExits?.use(ways)
    }
    await this.#gauges?.start()
    await this.#metricsOut?.start()
    await this.#retention?.start()
  }

  /**
   * Shows a watcher every span that is recorded in this process from now on: by the provider in use, and by the one that
   * is registered, where instrumented clients leave theirs. Call it after `start`.
   *
   * @returns ends it, and whether there was a provider that could not be watched
   */
  watchSpans (watcher: SpanWatcher): SpanWatch {
    const providers = new Set([this.#resolved?.provider, registeredTracerProvider()].flatMap((provider) => provider === undefined ? [] : [realProvider(provider)]))
    const detach = [...providers].map((provider) => attachWatcher(provider, watcher))
    return { missed: detach.includes(undefined), stop: () => { for (const stop of detach) stop?.() } }
  }

  /** Ends the poller, exports the last spans; takes a little over two seconds at most. Never rejects. */
  async stop (): Promise<void> {
    await this.#gauges?.stop(0)
    await this.#retention?.stop(0)
    await Promise.all([this.#metricsOut?.stop(METRICS_STOP_MS), this.#resolved?.shutdown()])
    this.#disconnect()
    this.#endDiagnostics()
  }

  #buildMetrics (): AsyncEndpointsMetrics {
    const { metrics } = this.#options
    if (metrics === undefined) return new NoopMetrics()
    const { registry } = this
    const failures = registry.instrument(INSTRUMENTS.telemetryFailures)
    this.#failures.count = (source) => { failures.bind({ source }).add() }
    registry.onCollectorError = (error) => { this.#failures.report('metrics.collect', error) }
    const own = new RegistryMetrics(registry)
    const { recorder } = metrics
    const { type } = this.#runtime.store
    if (PREPARED.every((method) => recorder?.[method] === undefined)) {
      this.#runtime.registry.watch(({ name }) => {
        if (!this.#excluded(name)) own.prepareJob(name, type)
      })
    }
    if (PREPARED_PROCESS.every((method) => recorder?.[method] === undefined)) {
      own.prepareProcess(type, STORE_OPERATIONS)
      this.#runtime.registry.watch(({ name, queue, slaMs }) => {
        own.prepareQueue(queue)
        if (slaMs > 0 && !this.#excluded(name)) own.prepareSla(name, type)
      })
    }
    return recorder === undefined ? own : overrideMetrics(own, recorder, (method, error) => { this.#failures.report(`metrics.${method}`, error) })
  }

  #buildGauges (workload: Workload): StoreGauges {
    const { context, store, counts, registry } = this.#runtime
    const gauges = new StoreGauges({
      context,
      store,
      counts,
      queues: () => registry.queues(),
      metrics: this.metrics,
      workload,
      intervalMs: this.#options.metrics?.gaugesIntervalMs,
      quietly: runQuietly
    })
    this.registry.onCollect(() => { gauges.refreshLocal() })
    return gauges
  }

  #buildMetricsOut (metrics: ResolvedMetricsOptions<never>): MetricsOut {
    const { clock, logger } = this.#runtime.context
    const { readers, exporters, exportIntervalMs, meterProvider, bridgeHistograms } = metrics
    return new MetricsOut({
      registry: this.registry, readers, exporters, exportIntervalMs, meterProvider, bridgeHistograms, environment: this.#environment, resource: this.resource, clock, logger, failures: this.#failures, quietly: runQuietly
    })
  }

  #buildRetention (hours: number): Retention | undefined {
    if (hours === 0) return undefined
    const { clock } = this.#runtime.context
    return new Retention({ registry: this.registry, clock, retentionMs: hours * 3_600_000, beforeSweep: () => { this.#metricsOut?.flush() }, quietly: runQuietly })
  }

  #buildTracing (propagation: Propagation): Tracing {
    const { context, store } = this.#runtime
    return new Tracing({
      // Nothing is traced before the application is ready.
      source: new TracerSource(new TraceContext('explicit'), this.#failures),
      storeType: store.type,
      propagation,
      excluded: this.#excluded,
      redaction: this.#runtime.redaction,
      detailed: this.#options.detailedTracing,
      now: () => store.now?.() ?? context.clock.now()
    })
  }

  #sinks (): Partial<Record<SinkName, Sink>> {
    const { metrics, logging, detailedTracing } = this.#options
    const { context, store, registry } = this.#runtime
    const sinks: Partial<Record<SinkName, Sink>> = {}
    if (this.tracing !== undefined) sinks.traces = createTraceSink(this.tracing, detailedTracing)
    if (metrics !== undefined) sinks.metrics = createMetricsSink({ metrics: this.metrics, storeType: store.type, excluded: this.#excluded, failures: this.#failures, detailed: this.#options.detailedMetrics, definition: (name) => registry.get(name) })
    if (logging !== undefined) {
      sinks.log = createLogSink({ ...logging, logger: context.logger, excluded: this.#excluded, redaction: this.#runtime.redaction, now: () => context.clock.monotonic() })
    }
    return sinks
  }

  #hookIn (): void {
    const { submitMiddleware, attemptMiddleware, handlerSpanMiddleware, context } = this.#runtime
    if (this.tracing !== undefined) {
      submitMiddleware.push(this.tracing.submit)
      attemptMiddleware.push(this.tracing.attempt)
      handlerSpanMiddleware.push(this.tracing.handler)
    }
    if (this.#options.logging !== undefined) {
      const { enrichJobs } = this.#options.logging
      // Asked on first use: instrumentation of the logger may be switched on later than this line.
      let ownIds: boolean | undefined
      const withTraceIds = (): boolean => {
        ownIds ??= this.tracing?.source.contexts.mode === 'global' && logsTraceIdsItself(context.logger)
        return !ownIds
      }
      const { redaction } = this.#runtime
      submitMiddleware.push(carryOrigin(redaction, enrichJobs))
      attemptMiddleware.push(attemptLogging({ logger: redaction.logger(context.logger), withTraceIds, enrich: enrichJobs, redaction }))
    }
  }
}
