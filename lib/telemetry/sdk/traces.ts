/** Private tracing: loads the tracing SDK, and only when there is something to export to. */
import type { Attributes, TracerProvider } from '@opentelemetry/api'
import type { Sampler, SpanExporter, SpanProcessor } from '@opentelemetry/sdk-trace-node'
import type { Clock, Logger } from '../../core/context.ts'
import { EXPIRED, withDeadline } from '../../core/deadline.ts'
import type { OtelEnvironment } from '../environment.ts'
import { load, plainResource } from './parts.ts'
import { bucketSampler, type TokenBucket } from '../sampler.ts'
import { SCOPE_NAME, SCOPE_VERSION } from '../version.ts'
import { LeanTracer } from './lean-tracer.ts'
import { reportingExporter, takeRetries } from './otlp-exports.ts'
import { processorsOf } from './span-watch.ts'

export type { Sampler, SpanExporter, SpanProcessor } from '@opentelemetry/sdk-trace-node'

/** A dead collector makes the SDK's own shutdown last eight seconds. */
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
  /** Is told of every export that fails. */
  readonly exportFailed: (error: unknown) => void
}

/** A provider that belongs to one Fastify instance and is registered nowhere. */
export interface PrivateTracing {
  readonly provider: TracerProvider
  /** Makes the spans that every job has; `undefined`: the provider does. */
  readonly jobTracer: LeanTracer | undefined
  /** Set when this bucket decides which traces are kept. */
  readonly bucket: TokenBucket | undefined
  /** Its sampler records nothing that a parent did not. */
  readonly followsParent: boolean
  flush (): Promise<void>
  /** Flushes and ends it, or gives up after two seconds. Never rejects. */
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
  // What an option names replaces what the environment asks for; both would send every span twice.
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
  return {
    provider,
    // What others decide about spans, samplers or limits, is for the SDK to know.
    jobTracer: sampler === undefined || environment.limitsGiven ? undefined : new LeanTracer({ resource, instrumentationScope: { name: SCOPE_NAME, version: SCOPE_VERSION }, processors: processorsOf(provider) ?? (() => spanProcessors) }),
    bucket: ownSampler ? parts.bucket : undefined,
    followsParent: ownSampler || followsParent(parts.sampler),
    flush: () => provider.forceFlush(),
    shutdown: async () => {
      try {
        const outcome = await withDeadline(parts.clock, SHUTDOWN_TIMEOUT_MS, provider.shutdown())
        if (outcome === EXPIRED) logger.warn({ source: 'tracing' }, `spans could not be exported within ${SHUTDOWN_TIMEOUT_MS} ms of the shutdown; the rest is given up`)
      } catch (error) {
        logger.warn({ source: 'tracing', code: (error as { code?: unknown } | undefined)?.code }, 'spans could not be exported at shutdown')
      } finally {
        for (const end of ends) end()
      }
    }
  }
}

/**
 * By what the specification has a parent-based sampler call itself, with parts that may be set otherwise; the SDK itself
 * reads the variable when no sampler is given. For any other sampler the answer is no, and it is asked about every span.
 */
function followsParent (sampler: Sampler | undefined): boolean {
  if (sampler === undefined) return process.env.OTEL_TRACES_SAMPLER?.trim().startsWith('parentbased_') === true
  try {
    const text = sampler.toString()
    return text.startsWith('ParentBased{') && text.includes('remoteParentNotSampled=AlwaysOffSampler') && text.includes('localParentNotSampled=AlwaysOffSampler')
  } catch {
    return false
  }
}

type Sdk = typeof import('@opentelemetry/sdk-trace-node')

async function environmentProcessors (sdk: Sdk, environment: OtelEnvironment, logger: Logger, batch: (exporter: SpanExporter) => SpanProcessor): Promise<SpanProcessor[]> {
  const processors: SpanProcessor[] = []
  for (const name of environment.exporters) {
    if (name === 'console') processors.push(new sdk.SimpleSpanProcessor(new sdk.ConsoleSpanExporter()))
    else {
      // The exporters read endpoint, headers and timeouts from the environment themselves.
      const exporter = environment.protocol === 'http/json'
        ? await load('@opentelemetry/exporter-trace-otlp-http', async () => new (await import('@opentelemetry/exporter-trace-otlp-http')).OTLPTraceExporter(), logger)
        : await load('@opentelemetry/exporter-trace-otlp-proto', async () => new (await import('@opentelemetry/exporter-trace-otlp-proto')).OTLPTraceExporter(), logger)
      if (exporter !== undefined) processors.push(batch(exporter))
    }
  }
  return processors
}
