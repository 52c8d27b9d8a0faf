import type { Attributes, TracerProvider } from '@opentelemetry/api'
import type { Clock, Logger } from '../core/context.ts'
import { TraceContext } from './trace-context.ts'
import { registeredTracerProvider } from './registered-provider.ts'
import type { OtelEnvironment } from './environment.ts'
import type { TelemetryFailures } from './telemetry-failures.ts'
import { DEFAULT_REMOTE_TRACES_PER_SECOND, DEFAULT_TRACES_PER_SECOND, TokenBucket } from './sampler.ts'
import { createPrivateTracing, type Sampler, type SpanExporter, type SpanProcessor } from './sdk/traces.ts'
import { TracerSource } from './tracer-source.ts'

const EXPORT_FAILED = 'spans could not be exported; check OTEL_EXPORTER_OTLP_ENDPOINT and whether the collector ' +
  'runs. Further failures are counted in asyncendpoints.telemetry.failures.total, not logged'

export interface ResolveParts {
  readonly tracerProvider?: TracerProvider
  readonly spanProcessors?: readonly SpanProcessor[]
  readonly exporters?: readonly SpanExporter[]
  readonly sampler?: Sampler
  readonly maxTracesPerSecond?: number
  readonly maxRemoteTracesPerSecond?: number | false
  /**
   * Which callers are trusted. A function decides about each caller, so by default there is no limit for those it
   * trusts.
   */
  readonly trustInbound?: unknown
  readonly environment: OtelEnvironment
  readonly resource: Attributes
  readonly clock: Clock
  readonly logger: Logger
  readonly failures: TelemetryFailures
}

export interface ResolvedTracing {
  readonly source: TracerSource
  /** The provider that makes the spans; `undefined`: there is none. */
  readonly provider: TracerProvider | undefined
  /** Shuts down what was made here, never a provider of the application. */
  shutdown (): Promise<void>
}

/**
 * Finds the provider that makes the spans, in this order: the provider or the exporters given as options, the
 * provider that the application has registered, a private one if the environment asks for it. Otherwise nothing is
 * traced.
 */
export async function resolveTracing (parts: ResolveParts): Promise<ResolvedTracing> {
  const contexts = new TraceContext()
  const foreign = (provider: TracerProvider): ResolvedTracing =>
    ({ source: new TracerSource(contexts, parts.failures, provider), provider, shutdown: async () => {} })
  const { tracerProvider, spanProcessors = [], exporters = [] } = parts
  if (tracerProvider !== undefined) return foreign(tracerProvider)
  if (spanProcessors.length + exporters.length === 0) {
    const registered = registeredTracerProvider()
    if (registered !== undefined) {
      const { sampler, maxTracesPerSecond, maxRemoteTracesPerSecond } = parts
      if ((sampler ?? maxTracesPerSecond ?? maxRemoteTracesPerSecond) !== undefined) {
        parts.logger.warn({ source: 'tracing' }, 'a tracer provider is registered in this process and samples by its own ' +
          'rules; sampler, maxTracesPerSecond and maxRemoteTracesPerSecond have no effect')
      }
      return foreign(registered)
    }
  }
  const monotonic = (): number => parts.clock.monotonic()
  const own = await createPrivateTracing({
    spanProcessors,
    exporters,
    sampler: parts.sampler,
    bucket: new TokenBucket(parts.maxTracesPerSecond ?? DEFAULT_TRACES_PER_SECOND, monotonic),
    environment: parts.environment,
    resource: parts.resource,
    clock: parts.clock,
    logger: parts.logger,
    exportFailed: (error) => { parts.failures.report('tracing.export', error, EXPORT_FAILED) }
  })
  if (own === undefined) {
    return { source: new TracerSource(contexts, parts.failures), provider: undefined, shutdown: async () => {} }
  }
  const { provider, jobTracer, bucket, followsParent, shutdown } = own
  const sampling = { jobTracer, bucket, remoteBucket: remoteBucket(parts, monotonic), followsParent }
  return { source: new TracerSource(contexts, parts.failures, provider, sampling), provider, shutdown }
}

function remoteBucket (parts: ResolveParts, monotonic: () => number): TokenBucket | undefined {
  const { maxRemoteTracesPerSecond: given, trustInbound } = parts
  const perSecond = given ?? (typeof trustInbound === 'function' ? false : DEFAULT_REMOTE_TRACES_PER_SECOND)
  return perSecond === false ? undefined : new TokenBucket(perSecond, monotonic)
}
