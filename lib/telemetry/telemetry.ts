import type { JobRuntime } from '../events/runtime.ts'
import { connectSinks, type Sink, type SinkName } from '../events/router.ts'
import type { Propagation } from '../jobs/definition.ts'
import { storeNow } from '../jobs/store-clock.ts'
import { startDiagnostics } from './diagnostics.ts'
import { readOtelEnvironment, resourceAttributes, type OtelEnvironment } from './environment.ts'
import { compileExclusion, type Exclusion } from './job-exclusion.ts'
import { carryOrigin } from './log-request-origin.ts'
import { attemptLogging, createLogSink, logsTraceIdsItself } from './logging.ts'
import { MetricsService } from './metrics-service.ts'
import { createMetricsSink } from './metrics-sink.ts'
import type { AsyncEndpointsMetrics } from './metrics.ts'
import type { ResolvedTelemetryOptions } from './options/index.ts'
import { registeredTracerProvider } from './registered-provider.ts'
import type { MetricsRegistry } from './registry.ts'
import { resolveTracing, type ResolvedTracing } from './resolve-tracing.ts'
import { attachWatcher, realProvider, type SpanWatcher } from './sdk/span-watch.ts'
import type { Workload } from './store-gauges.ts'
import { TelemetryFailures } from './telemetry-failures.ts'
import { TraceContext } from './trace-context.ts'
import { createTraceSink } from './trace-sink.ts'
import { TracerSource } from './tracer-source.ts'
import { Tracing } from './tracing.ts'

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
 * The telemetry of one Fastify instance: makes the parts that the options ask for, connects them to the runtime, and
 * ends what it has made.
 *
 * ```
 * made ──install──▶ middleware and sinks in place, no spans yet ──start──▶ running ──stop──▶ stopped
 * ```
 */
export class Telemetry {
  /** `undefined`: tracing is switched off. */
  readonly tracing: Tracing | undefined
  /** Labels of `target_info`, and attributes of the spans of a private provider. */
  readonly resource: Readonly<Record<string, string>>
  readonly #runtime: JobRuntime
  readonly #options: ResolvedTelemetryOptions<never>
  readonly #environment: OtelEnvironment
  readonly #failures: TelemetryFailures
  readonly #excluded: Exclusion
  readonly #metrics: MetricsService
  #resolved: ResolvedTracing | undefined
  #disconnect: () => void = () => {}
  #endDiagnostics: () => void = () => {}

  /** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
  constructor ({ runtime, options, workload, env }: TelemetryParts) {
    const { context, bus } = runtime
    this.#runtime = runtime
    this.#options = options
    const environment = this.#environment = readOtelEnvironment(env)
    const service = { 'service.name': options.serviceName, 'service.version': options.serviceVersion }
    const resource = this.resource = resourceAttributes(environment, service, context.instanceId)
    const failures = this.#failures = new TelemetryFailures(bus, runtime.redaction.logger(context.logger))
    const excluded = this.#excluded = compileExclusion(options.excludeJobs)
    const { metrics } = options
    this.#metrics = new MetricsService({ runtime, options: metrics, workload, excluded, failures, environment, resource })
    this.tracing = options.tracing === undefined ? undefined : this.#makeTracing(options.tracing.propagation)
  }

  get registry (): MetricsRegistry { return this.#metrics.registry }
  get metrics (): AsyncEndpointsMetrics { return this.#metrics.metrics }

  /**
   * Connects telemetry to the runtime: sinks to the events, middleware around submissions, attempts and handlers.
   * Call it once, before a job can be submitted; nothing runs in the background before `start`.
   */
  install (): void {
    this.#metrics.install()
    const { events, eventSampleRate } = this.#options
    this.#disconnect = connectSinks(this.#runtime.bus, this.#sinks(), events, eventSampleRate)
    this.#addMiddleware()
  }

  /** Call it when every plugin is loaded: an SDK that the application registers is there by then. */
  async start (): Promise<void> {
    this.#endDiagnostics = startDiagnostics(this.#environment, this.#runtime.context.logger)
    if (this.tracing !== undefined) await this.#startTracing(this.tracing)
    await this.#metrics.start()
  }

  /**
   * Shows a watcher every span that is recorded in this process from now on: by the provider in use, and by the
   * registered provider, which instrumented clients use. Call it after `start`.
   *
   * @returns what ends it, and whether there was a provider that could not be watched
   */
  watchSpans (watcher: SpanWatcher): SpanWatch {
    const used = [this.#resolved?.provider, registeredTracerProvider()]
    const providers = new Set(used.flatMap((provider) => provider === undefined ? [] : [realProvider(provider)]))
    const detach = [...providers].map((provider) => attachWatcher(provider, watcher))
    return { missed: detach.includes(undefined), stop: () => { for (const stop of detach) stop?.() } }
  }

  /** Ends the loops, exports the last spans and metrics; takes a little over two seconds at most. Never rejects. */
  async stop (): Promise<void> {
    await Promise.all([this.#metrics.stop(), this.#resolved?.shutdown()])
    this.#disconnect()
    this.#endDiagnostics()
  }

  async #startTracing (tracing: Tracing): Promise<void> {
    const { context: { clock, logger }, currentJobs, traceExits } = this.#runtime
    this.#resolved = await resolveTracing({
      ...this.#options.tracing,
      environment: this.#environment,
      resource: this.resource,
      clock,
      logger,
      failures: this.#failures
    })
    tracing.use(this.#resolved.source)
    const { enabled, contexts: { mode, ways } } = this.#resolved.source
    // The application has registered a context manager and pays for it, so the running job can be known everywhere too.
    if (mode === 'global') currentJobs?.carry()
    // Now it is known how contexts are carried in this process: internal loops leave the active trace from here on.
    if (ways !== undefined && (enabled || mode === 'global')) traceExits?.use(ways)
  }

  #makeTracing (propagation: Propagation): Tracing {
    const { context, store, redaction } = this.#runtime
    return new Tracing({
      // Nothing is traced before the application is ready.
      source: new TracerSource(new TraceContext('explicit'), this.#failures),
      storeType: store.type,
      propagation,
      excluded: this.#excluded,
      redaction,
      detailed: this.#options.detailedTracing,
      now: () => storeNow(store, context.clock)
    })
  }

  #sinks (): Partial<Record<SinkName, Sink>> {
    const { metrics, logging, detailedTracing, detailedMetrics } = this.#options
    const { context, store, registry, redaction } = this.#runtime
    const sinks: Partial<Record<SinkName, Sink>> = {}
    if (this.tracing !== undefined) sinks.traces = createTraceSink(this.tracing, detailedTracing)
    if (metrics !== undefined) {
      sinks.metrics = createMetricsSink({
        metrics: this.metrics,
        storeType: store.type,
        excluded: this.#excluded,
        failures: this.#failures,
        detailed: detailedMetrics,
        definition: (name) => registry.get(name)
      })
    }
    if (logging !== undefined) {
      const now = (): number => context.clock.monotonic()
      sinks.log = createLogSink({ ...logging, logger: context.logger, excluded: this.#excluded, redaction, now })
    }
    return sinks
  }

  #addMiddleware (): void {
    const { submitMiddleware, attemptMiddleware, handlerSpanMiddleware, stepMiddleware, context, redaction } = this.#runtime
    if (this.tracing !== undefined) {
      submitMiddleware.push(this.tracing.submit)
      attemptMiddleware.push(this.tracing.attempt)
      handlerSpanMiddleware.push(this.tracing.handler)
      stepMiddleware.push(this.tracing.step)
    }
    if (this.#options.logging === undefined) return
    const { enrichJobs } = this.#options.logging
    // Found out at the first job: instrumentation of the logger may be switched on later than this line runs.
    let ownIds: boolean | undefined
    const withTraceIds = (): boolean => {
      ownIds ??= this.tracing?.source.contexts.mode === 'global' && logsTraceIdsItself(context.logger)
      return !ownIds
    }
    submitMiddleware.push(carryOrigin(redaction, enrichJobs))
    const logger = redaction.logger(context.logger)
    attemptMiddleware.push(attemptLogging({ logger, withTraceIds, enrich: enrichJobs, redaction }))
  }
}
