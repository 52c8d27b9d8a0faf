import type { Attributes, TracerProvider } from '@opentelemetry/api'
import type { Clock, Logger } from '../core/context.ts'
import { TraceContext } from './trace-context.ts'
import { registeredTracerProvider } from './registered-provider.ts'
import type { OtelEnvironment } from './environment.ts'
import type { TelemetryFailures } from './telemetry-failures.ts'
import { DEFAULT_REMOTE_TRACES_PER_SECOND, DEFAULT_TRACES_PER_SECOND, TokenBucket } from './sampler.ts'
import { createPrivateTracing, type Sampler, type SpanExporter, type SpanProcessor } from './sdk/traces.ts'
import { TracerSource } from './tracer-source.ts'

const EXPORT_FAILED = 'spans could not be exported; check OTEL_EXPORTER_OTLP_ENDPOINT and whether the collector runs. Further failures are counted in asyncendpoints.telemetry.failures.total, not logged'

export interface ResolveParts {
  readonly tracerProvider?: TracerProvider
  readonly spanProcessors?: readonly SpanProcessor[]
  readonly exporters?: readonly SpanExporter[]
  readonly sampler?: Sampler
  readonly maxTracesPerSecond?: number
  readonly maxRemoteTracesPerSecond?: number | false
  /** Whose traces are followed. A function lets in no strangers, so that by default there is no limit for those that it lets in. */
  readonly trustInbound?: unknown
  readonly environment: OtelEnvironment
  readonly resource: Attributes
  readonly clock: Clock
  readonly logger: Logger
  readonly failures: TelemetryFailures
}

export interface ResolvedTracing {
  readonly source: TracerSource
  /** Whose spans they are; `undefined`: nobody's. */
  readonly provider: TracerProvider | undefined
  /** Ends what was made here; an application's own provider is left alone. */
  shutdown (): Promise<void>
}

/**
 * Finds out who makes the spans, in this order: the provider or the exporters given as options, the provider that the
 * application has registered, a private one if the environment asks for it, nobody.
 */
export async function resolveTracing (parts: ResolveParts): Promise<ResolvedTracing> {
  const contexts = new TraceContext()
  const foreign = (provider: TracerProvider): ResolvedTracing => ({ source: new TracerSource(contexts, parts.failures, provider), provider, shutdown: async () => {} })
  const { tracerProvider, spanProcessors = [], exporters = [] } = parts
  if (tracerProvider !== undefined) return foreign(tracerProvider)
  if (spanProcessors.length + exporters.length === 0) {
    const registered = registeredTracerProvider()
    if (registered !== undefined) {
      if (parts.sampler !== undefined || parts.maxTracesPerSecond !== undefined || parts.maxRemoteTracesPerSecond !== undefined) {
        parts.logger.warn({ source: 'tracing' }, 'a tracer provider is registered in this process and samples by its own rules; sampler, maxTracesPerSecond and maxRemoteTracesPerSecond have no effect')
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
  if (own === undefined) return { source: new TracerSource(contexts, parts.failures), provider: undefined, shutdown: async () => {} }
  const sampling = { jobTracer: own.jobTracer, bucket: own.bucket, remoteBucket: remoteBucket(parts, monotonic), followsParent: own.followsParent }
  return { source: new TracerSource(contexts, parts.failures, own.provider, sampling), provider: own.provider, shutdown: own.shutdown }
}

function remoteBucket ({ maxRemoteTracesPerSecond: given, trustInbound }: ResolveParts, monotonic: () => number): TokenBucket | undefined {
  const perSecond = given ?? (typeof trustInbound === 'function' ? false : DEFAULT_REMOTE_TRACES_PER_SECOND)
  return perSecond === false ? undefined : new TokenBucket(perSecond, monotonic)
}
