/** Private tracing: loads the tracing SDK when there is something to export to, and only then. */
import type { Attributes, TracerProvider } from '@opentelemetry/api'
import type { Sampler, SpanExporter, SpanProcessor } from '@opentelemetry/sdk-trace-node'
import type { Clock, Logger } from '../../core/context.ts'
import { EXPIRED, withDeadline } from '../../core/deadline.ts'
import type { OtelEnvironment, OtlpProtocol } from '../environment.ts'
import { bucketSampler, type TokenBucket } from '../sampler.ts'
import { SCOPE_NAME, SCOPE_VERSION } from '../version.ts'
import { LeanTracer } from './lean-tracer.ts'
import { reportingExporter, takeRetries } from './otlp-exports.ts'
import { load, plainResource } from './parts.ts'
import { processorsOf } from './span-watch.ts'

export type { Sampler, SpanExporter, SpanProcessor } from '@opentelemetry/sdk-trace-node'

/** With a dead collector, the shutdown of the SDK alone would last eight seconds. */
const SHUTDOWN_TIMEOUT_MS = 2_000

export interface PrivateTracingParts {
  readonly spanProcessors: readonly SpanProcessor[]
  readonly exporters: readonly SpanExporter[]
  readonly sampler: Sampler | undefined
  /** Used when neither the option nor `OTEL_TRACES_SAMPLER` names a sampler. */
  readonly bucket: TokenBucket
  readonly environment: OtelEnvironment
  readonly resource: Attributes
  readonly clock: Clock
  readonly logger: Logger
  /** Called for every failed export. */
  readonly exportFailed: (error: unknown) => void
}

/** A provider that belongs to one Fastify instance and is not registered globally. */
export interface PrivateTracing {
  readonly provider: TracerProvider
  /** Makes the spans that every job has; `undefined`: the provider makes them. */
  readonly jobTracer: LeanTracer | undefined
  /** The bucket that decides which traces are kept; `undefined`: a sampler decides. */
  readonly bucket: TokenBucket | undefined
  /** The sampler never records what its parent did not. */
  readonly followsParent: boolean
  flush (): Promise<void>
  /** Flushes and shuts down, or gives up after two seconds. Never rejects. */
  shutdown (): Promise<void>
}

/** @returns `undefined` when there is nothing to export to, or the SDK is not installed */
export async function createPrivateTracing (parts: PrivateTracingParts): Promise<PrivateTracing | undefined> {
  const { environment, logger } = parts
  for (const problem of environment.problems) logger.warn({ source: 'tracing' }, problem)
  const given = parts.spanProcessors.length + parts.exporters.length
  if (environment.disabled || (given === 0 && environment.exporters.length === 0)) return undefined

  const sdk = await load('@opentelemetry/sdk-trace-node', () => import('@opentelemetry/sdk-trace-node'), logger)
  if (sdk === undefined) return undefined
  const ends: Array<() => void> = []
  const batch = (exporter: SpanExporter): SpanProcessor => {
    ends.push(takeRetries(exporter))
    return new sdk.BatchSpanProcessor(reportingExporter(exporter, parts.exportFailed))
  }
  const spanProcessors: SpanProcessor[] = [...parts.spanProcessors, ...parts.exporters.map(batch)]
  // Exporters of the options replace those of the environment: with both, every span would be sent twice.
  if (given === 0) spanProcessors.push(...await environmentProcessors(sdk, environment, logger, batch))
  if (spanProcessors.length === 0) return undefined

  const ownSampler = parts.sampler === undefined && !environment.samplerGiven
  const sampler = ownSampler ? bucketSampler(parts.bucket) : undefined
  const resource = plainResource(parts.resource)
  const provider = new sdk.NodeTracerProvider({
    spanProcessors,
    resource,
    // Without a sampler the SDK reads OTEL_TRACES_SAMPLER itself.
    ...(sampler !== undefined ? { sampler } : parts.sampler === undefined ? {} : { sampler: parts.sampler })
  })
  const origin = {
    resource,
    instrumentationScope: { name: SCOPE_NAME, version: SCOPE_VERSION },
    processors: processorsOf(provider) ?? (() => spanProcessors)
  }
  return {
    provider,
    // Samplers and limits that others have set are known to the SDK alone.
    jobTracer: sampler === undefined || environment.limitsGiven ? undefined : new LeanTracer(origin),
    bucket: ownSampler ? parts.bucket : undefined,
    followsParent: ownSampler || followsParent(parts.sampler),
    flush: () => provider.forceFlush(),
    shutdown: async () => {
      try {
        const outcome = await withDeadline(parts.clock, SHUTDOWN_TIMEOUT_MS, provider.shutdown())
        if (outcome === EXPIRED) {
          const late = `spans could not be exported within ${SHUTDOWN_TIMEOUT_MS} ms of the shutdown; the last ones are lost`
          logger.warn({ source: 'tracing' }, late)
        }
      } catch (error) {
        const { code } = (error ?? {}) as { code?: unknown }
        logger.warn({ source: 'tracing', code }, 'spans could not be exported at shutdown; the last ones are lost')
      } finally {
        for (const end of ends) end()
      }
    }
  }
}

/**
 * True for a parent-based sampler that never records what its parent did not. It is recognised by the text that the
 * specification prescribes; when no sampler is given, the SDK reads the variable. Every other sampler is asked about
 * each span.
 */
function followsParent (sampler: Sampler | undefined): boolean {
  if (sampler === undefined) return process.env.OTEL_TRACES_SAMPLER?.trim().startsWith('parentbased_') === true
  try {
    const text = sampler.toString()
    const off = ['remoteParentNotSampled=AlwaysOffSampler', 'localParentNotSampled=AlwaysOffSampler']
    return text.startsWith('ParentBased{') && off.every((part) => text.includes(part))
  } catch {
    return false
  }
}

type Sdk = typeof import('@opentelemetry/sdk-trace-node')

async function environmentProcessors (
  sdk: Sdk, environment: OtelEnvironment, logger: Logger, batch: (exporter: SpanExporter) => SpanProcessor
): Promise<SpanProcessor[]> {
  const processors: SpanProcessor[] = []
  for (const name of environment.exporters) {
    if (name === 'console') processors.push(new sdk.SimpleSpanProcessor(new sdk.ConsoleSpanExporter()))
    else {
      const exporter = await otlpExporter(environment.protocol, logger)
      if (exporter !== undefined) processors.push(batch(exporter))
    }
  }
  return processors
}

/** The exporter reads endpoint, headers and timeouts from the environment itself. */
function otlpExporter (protocol: OtlpProtocol, logger: Logger): Promise<SpanExporter | undefined> {
  if (protocol === 'http/json') {
    return load('@opentelemetry/exporter-trace-otlp-http', async () => {
      const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-http')
      return new OTLPTraceExporter()
    }, logger)
  }
  return load('@opentelemetry/exporter-trace-otlp-proto', async () => {
    const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-proto')
    return new OTLPTraceExporter()
  }, logger)
}
