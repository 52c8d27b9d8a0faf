import { plannedSteps, type SagaPlan } from '../jobs/saga-plan.ts'
import type { JobRuntime } from '../events/runtime.ts'
import type { OtelEnvironment } from './environment.ts'
import { INSTRUMENTS, RECORDED_METRICS } from './instruments.ts'
import type { Exclusion } from './job-exclusion.ts'
import type { ZeroScope } from './metric-catalogue/row.ts'
import { MetricsOut } from './metrics-outlets.ts'
import { overrideMetrics } from './metrics-override.ts'
import { noopMetrics, withTimers, type AsyncEndpointsMetrics } from './metrics.ts'
import type { ResolvedMetricsOptions } from './options/metrics.ts'
import { recordInto, type RegistryRecorder } from './registry-recorder.ts'
import { MetricsRegistry } from './registry.ts'
import { Retention } from './series-retention.ts'
import { StoreGauges, type Workload } from './store-gauges.ts'
import type { TelemetryFailures } from './telemetry-failures.ts'
import { runQuietly } from './trace-context.ts'

/** What readers and exporters may take to end. */
const STOP_MS = 2_000

export interface MetricsServiceParts {
  readonly runtime: JobRuntime
  /** `undefined`: metrics are switched off. */
  readonly options: ResolvedMetricsOptions<never> | undefined
  readonly workload: Workload
  readonly excluded: Exclusion
  readonly failures: TelemetryFailures
  readonly environment: OtelEnvironment
  readonly resource: Readonly<Record<string, string>>
}

/**
 * The metrics of one Fastify instance: the registry, what records into it, the loop that reads the gauges from the
 * store, and the ways into OpenTelemetry.
 *
 * ```
 * made ──install──▶ recording (series that start at 0 exist) ──start──▶ running ──stop──▶ stopped
 * ```
 */
export class MetricsService {
  readonly registry: MetricsRegistry
  readonly metrics: AsyncEndpointsMetrics
  readonly #parts: MetricsServiceParts
  readonly #recorder: RegistryRecorder<typeof RECORDED_METRICS> | undefined
  readonly #gauges: StoreGauges | undefined
  readonly #outlets: MetricsOut | undefined
  readonly #retention: Retention | undefined

  /** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for buckets that are not ascending */
  constructor (parts: MetricsServiceParts) {
    const { options, runtime: { context: { clock } } } = this.#parts = parts
    this.registry = new MetricsRegistry({
      maxSeriesPerMetric: options?.maxSeriesPerMetric,
      buckets: options?.buckets,
      exemplars: options?.exemplars,
      now: () => clock.now()
    })
    if (options === undefined) {
      this.metrics = noopMetrics()
      return
    }
    this.#recorder = recordInto(this.registry, RECORDED_METRICS)
    this.metrics = this.#withOwnMethods(withTimers(this.#recorder.methods))
    this.#gauges = this.#makeGauges()
    this.#outlets = this.#makeOutlets(options)
    this.#retention = options.retentionHours === 0 ? undefined : this.#makeRetention(options.retentionHours)
  }

  /** Connects the metrics to the runtime. From here on nothing that is recorded is lost, although nothing runs yet. */
  install (): void {
    if (this.#recorder === undefined) return
    const { registry } = this
    const { failures } = this.#parts
    const failed = registry.instrument(INSTRUMENTS.telemetryFailures)
    failures.count = (source) => { failed.bind({ source }).add() }
    registry.onCollectorError = (error) => { failures.report('metrics.collect', error) }
    registry.onCollect(() => { this.#gauges?.refreshLocal() })
    this.#outlets?.keepEarlyValues()
    this.#makeFirstSeries(this.#recorder)
  }

  async start (): Promise<void> {
    await this.#gauges?.start()
    await this.#outlets?.start()
    await this.#retention?.start()
  }

  /** Takes a little over two seconds at most. Never rejects. */
  async stop (): Promise<void> {
    await this.#gauges?.stop(0)
    await this.#retention?.stop(0)
    await this.#outlets?.stop(STOP_MS)
  }

  /** Series exist at 0 as soon as it is known what they belong to; see `startsAtZero` in the catalogue. */
  #makeFirstSeries ({ startAtZero }: RegistryRecorder<typeof RECORDED_METRICS>): void {
    const { runtime: { store, registry }, options, excluded } = this.#parts
    const replaced = (method: keyof typeof RECORDED_METRICS): boolean => options?.recorder?.[method] !== undefined
    const storeType = store.type
    startAtZero('process', { store_type: storeType }, replaced)
    registry.watch(({ name, queue, slaMs, saga }) => {
      startAtZero('queue', { queue }, replaced)
      if (excluded(name)) return
      startAtZero('job', { job_name: name, store_type: storeType }, replaced)
      if (saga !== undefined) {
        sagaSeries(name, saga, (per, labels) => { startAtZero(per, labels, replaced) })
      }
      if (slaMs > 0) startAtZero('job with slaMs', { job_name: name, store_type: storeType }, replaced)
    })
  }

  #withOwnMethods (metrics: AsyncEndpointsMetrics): AsyncEndpointsMetrics {
    const { options, failures } = this.#parts
    if (options?.recorder === undefined) return metrics
    return overrideMetrics(metrics, options.recorder, (method, error) => { failures.report(`metrics.${method}`, error) })
  }

  #makeGauges (): StoreGauges {
    const { runtime: { context, store, counts, registry }, workload, options } = this.#parts
    return new StoreGauges({
      context,
      store,
      counts,
      queues: () => registry.queues(),
      metrics: this.metrics,
      workload,
      intervalMs: options?.gaugesIntervalMs,
      quietly: runQuietly
    })
  }

  #makeOutlets (options: ResolvedMetricsOptions<never>): MetricsOut {
    const { readers, exporters, exportIntervalMs, meterProvider, bridgeHistograms } = options
    const { runtime: { context: { clock, logger } }, environment, resource, failures } = this.#parts
    return new MetricsOut({
      registry: this.registry,
      readers,
      exporters,
      exportIntervalMs,
      meterProvider,
      bridgeHistograms,
      environment,
      resource,
      clock,
      logger,
      failures,
      quietly: runQuietly
    })
  }

  #makeRetention (hours: number): Retention {
    return new Retention({
      registry: this.registry,
      clock: this.#parts.runtime.context.clock,
      retentionMs: hours * 3_600_000,
      beforeSweep: () => { this.#outlets?.flush() },
      quietly: runQuietly
    })
  }
}

type SagaScope = Extract<ZeroScope, 'saga' | 'step of a saga' | 'step with a compensation'>

/** Everything that can be counted of a saga is known when it is defined: its series begin with 0. */
function sagaSeries (
  name: string, saga: SagaPlan, start: (per: SagaScope, labels: Readonly<Record<string, string>>) => void
): void {
  start('saga', { job_name: name })
  for (const { path, compensate } of plannedSteps(saga)) {
    start('step of a saga', { job_name: name, step: path })
    if (compensate !== undefined) start('step with a compensation', { job_name: name, step: path })
  }
}
