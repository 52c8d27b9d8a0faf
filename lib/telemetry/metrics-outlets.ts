import { createNoopMeter, metrics, type Attributes, type MeterProvider } from '@opentelemetry/api'
import type { Clock, Logger } from '../core/context.ts'
import { EXPIRED, withDeadline } from '../core/deadline.ts'
import { BaseService } from '../core/service.ts'
import type { OtelEnvironment } from './environment.ts'
import type { TelemetryFailures } from './telemetry-failures.ts'
import { PeriodicExport } from './otel-export.ts'
import { EarlyValues, MeterBridge } from './otel-flush.ts'
import { RegistryProducer, type TemporalityPreference } from './otel-producer.ts'
import type { MetricsRegistry } from './registry.ts'
import { takeRetries } from './sdk/otlp-exports.ts'
import { environmentMetricExporters, type MetricReader, type PushMetricExporter } from './sdk/metrics.ts'
import { SCOPE_NAME, SCOPE_VERSION } from './version.ts'

export interface MetricsOutParts {
  readonly registry: MetricsRegistry
  readonly readers?: readonly MetricReader[]
  readonly exporters?: readonly PushMetricExporter[]
  /** @defaultValue `OTEL_METRIC_EXPORT_INTERVAL`, else 60000 */
  readonly exportIntervalMs?: number
  /** @defaultValue the one registered with the API, if there is one */
  readonly meterProvider?: MeterProvider
  readonly bridgeHistograms: boolean
  readonly environment: OtelEnvironment
  readonly resource: Attributes
  readonly clock: Clock
  readonly logger: Logger
  readonly failures: TelemetryFailures
  /** Runs long-lived work outside of any trace, so that it leaves no spans. */
  readonly quietly: <R>(work: () => R) => R
}

// Defaults of the OpenTelemetry specification.
const DEFAULT_INTERVAL_MS = 60_000
const DEFAULT_TIMEOUT_MS = 30_000

/**
 * Passes the metrics on to OpenTelemetry: to given readers and exporters, to a given or registered meter provider, and,
 * when there is none of these, to the exporters that the environment asks for. It registers nothing globally, and no
 * failure here reaches a job.
 *
 * ```
 * made ──keepEarlyValues──▶ values of histograms are kept ──start──▶ passing on ──stop──▶ flushed and ended
 * ```
 */
export class MetricsOut extends BaseService {
  readonly #parts: MetricsOutParts
  #early: EarlyValues | undefined
  /** Functions that end what the exporters still send or wait for. */
  #ends: ReadonlyArray<() => void> = []
  #exports: readonly PeriodicExport[] = []
  #bridge: MeterBridge | undefined

  constructor (parts: MetricsOutParts) {
    super()
    this.#parts = parts
  }

  /** Keeps the values that histograms record before `start`, for a meter provider that is found only then. */
  keepEarlyValues (): void {
    const { bridgeHistograms, registry } = this.#parts
    if (!bridgeHistograms) return
    this.#early = new EarlyValues()
    registry.tapHistograms(this.#early.tap)
  }

  /** A reader may listen on a port as soon as it is made, so readers are shut down even if `start` was never called. */
  override async stop (deadlineMs: number): Promise<void> {
    const neverStarted = this.phase === 'new'
    await super.stop(deadlineMs)
    if (neverStarted) await this.onStop(deadlineMs)
  }

  /** Passes the growth of the counters on to the meter provider now, without waiting for a reader. */
  flush (): void { this.#bridge?.flush() }

  protected async onStart (): Promise<void> {
    const { environment, readers = [], exporters = [], meterProvider, quietly } = this.#parts
    this.#parts.registry.tapHistograms(undefined)
    const provider = meterProvider ?? registeredMeterProvider()
    if (provider !== undefined) quietly(() => { this.#startBridge(provider) })
    this.#early = undefined
    // OTEL_SDK_DISABLED switches off what would be private; a provider of the application decides for itself.
    if (environment.disabled) return
    for (const reader of readers) quietly(() => { this.#attach(reader) })
    const asked = provider === undefined && readers.length + exporters.length === 0
    const all = asked ? await this.#fromEnvironment() : exporters
    // `stop` may have been called while packages were loaded.
    if (this.phase !== 'starting') return
    this.#ends = all.map(takeRetries)
    this.#exports = all.map((exporter) => this.#periodic(exporter))
    for (const periodic of this.#exports) await periodic.start()
  }

  /** Takes at most as long as the deadline. Never rejects. */
  protected async onStop (deadlineMs: number): Promise<void> {
    this.#parts.registry.tapHistograms(undefined)
    this.#bridge?.stop()
    const { readers = [], exporters = [] } = this.#parts
    // Exporters that were never used are shut down too.
    const idle = this.#exports.length > 0 ? [] : exporters
    await Promise.all([
      ...this.#exports.map((periodic) => periodic.stop(deadlineMs)),
      ...readers.map((reader) => this.#end(reader, deadlineMs, 'metrics.reader')),
      ...idle.map((exporter) => this.#end(exporter, deadlineMs, 'metrics.exporter'))
    ])
    for (const end of this.#ends) end()
  }

  #startBridge (provider: MeterProvider): void {
    const { registry, bridgeHistograms: histograms } = this.#parts
    this.#bridge = new MeterBridge({ registry, provider, histograms, failed: this.#failed('metrics.bridge') })
    this.#bridge.start(this.#early)
  }

  #attach (reader: MetricReader): void {
    const failed = this.#failed('metrics.reader')
    try {
      // The SDK's own provider binds readers by this method. A reader that has a provider already throws.
      reader.setMetricProducer(this.#producer(reader, failed))
    } catch (error) {
      failed(error)
    }
  }

  async #end (part: { shutdown (): Promise<void> }, deadlineMs: number, source: string): Promise<void> {
    const { clock, quietly } = this.#parts
    const failed = this.#failed(source)
    try {
      // A reader that pushes exports once more when it is shut down.
      const ended = await withDeadline(clock, deadlineMs, quietly(async () => { await part.shutdown() }))
      if (ended === EXPIRED) failed(new Error(`the shutdown took longer than ${deadlineMs} ms and is not waited for`))
    } catch (error) {
      failed(error)
    }
  }

  #periodic (exporter: PushMetricExporter): PeriodicExport {
    const { exportIntervalMs, environment: { metrics }, clock, quietly } = this.#parts
    const failed = this.#failed('metrics.exporter')
    return new PeriodicExport({
      exporter,
      producer: this.#producer(exporter, failed),
      intervalMs: exportIntervalMs ?? metrics.intervalMs ?? DEFAULT_INTERVAL_MS,
      timeoutMs: metrics.timeoutMs ?? DEFAULT_TIMEOUT_MS,
      clock,
      quietly,
      failed
    })
  }

  #producer (prefers: TemporalityPreference, failed: (error: unknown) => void): RegistryProducer {
    const { registry, resource, clock } = this.#parts
    return new RegistryProducer({ registry, resource, now: () => clock.now(), prefers, failed })
  }

  async #fromEnvironment (): Promise<PushMetricExporter[]> {
    const { environment: { metrics }, logger } = this.#parts
    for (const problem of metrics.problems) logger.warn({ source: 'metrics' }, problem)
    return await environmentMetricExporters(metrics, logger)
  }

  #failed (source: string): (error: unknown) => void {
    return (error) => { this.#parts.failures.report(source, error) }
  }
}

/**
 * The meter provider that the application has registered, or `undefined`. It is compared by identity with the API's
 * no-op meter, as for traces. Call it when the application is ready: meters have no proxy, so an earlier call may
 * find none.
 */
export function registeredMeterProvider (): MeterProvider | undefined {
  try {
    const provider = metrics.getMeterProvider()
    return provider.getMeter(SCOPE_NAME, SCOPE_VERSION) === createNoopMeter() ? undefined : provider
  } catch {
    // A provider that cannot make a meter is of no use.
    return undefined
  }
}
