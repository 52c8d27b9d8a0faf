/** Hand-made scopes, claims and runtimes: what the worker and the client would hand to telemetry. */
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor, type ReadableSpan } from '@opentelemetry/sdk-trace-node'
import { createContext, silentLogger, type Clock, type Logger } from '../../lib/core/context.ts'
import { readRedactOptions } from '../../lib/core/redact.ts'
import { EventBus } from '../../lib/events/bus.ts'
import type { JobRuntime } from '../../lib/events/runtime.ts'
import { compileDefinition } from '../../lib/jobs/compile-definition.ts'
import type { JobDefinition } from '../../lib/jobs/definition.ts'
import type { ClaimedJob, TraceCarrier } from '../../lib/jobs/job.ts'
import { StoreCounts } from '../../lib/jobs/store-counts.ts'
import { JobRegistry } from '../../lib/jobs/registry.ts'
import type { AttemptScope, SubmitScope } from '../../lib/jobs/seams.ts'
import type { Claim, SettleVerdict, Settlement } from '../../lib/jobs/store.ts'
import { memoryStore } from '../../lib/stores/memory/index.ts'
import { TraceContext } from '../../lib/telemetry/trace-context.ts'
import { TelemetryFailures } from '../../lib/telemetry/telemetry-failures.ts'
import { bucketSampler, TokenBucket } from '../../lib/telemetry/sampler.ts'
import { TracerSource } from '../../lib/telemetry/tracer-source.ts'
import { Tracing, type TracingParts } from '../../lib/telemetry/tracing.ts'

export const INBOUND = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
export const INBOUND_UNSAMPLED = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00'
export const NOW = 1_767_225_600_000

export const definition: JobDefinition = compileDefinition({ name: 'report', handler: async () => {} })

export function record (parts: Partial<ClaimedJob> = {}): ClaimedJob {
  return {
    id: 'job-1', name: 'report', queue: 'default', state: 'in-progress', input: { body: { secret: 'payload' }, params: {}, query: {}, headers: {} }, owner: undefined,
    correlationId: 'corr-1', trace: undefined, priority: 0, createdAt: NOW, runAt: NOW, startedAt: NOW, finishedAt: undefined, attempts: 1, maxAttempts: 3,
    progress: undefined, error: undefined, cancelRequested: false, resultBytes: undefined, ...parts
  }
}

export function submitScope (requestTrace?: unknown): SubmitScope {
  const { id, name, queue, input, owner, correlationId, priority, createdAt, runAt, maxAttempts } = record()
  return { job: { id, name, queue, input, owner, correlationId, trace: undefined, priority, createdAt, runAt, maxAttempts, idempotency: undefined }, definition, requestTrace }
}

export interface FakeAttempt extends AttemptScope {
  /** What the store would say. */
  settle (verdict: SettleVerdict, settlement: Settlement): void
}

export function attemptScope (job: Partial<ClaimedJob> = {}, claim: Partial<Claim> = {}, given: JobDefinition = definition): FakeAttempt {
  const listeners: Array<(verdict: SettleVerdict, settlement: Settlement) => void> = []
  const full = record(job)
  return {
    claim: { job: full, availableAt: full.runAt, stalled: false, claimMs: undefined, ...claim },
    definition: given,
    workerId: 'worker-1',
    spanRunner: undefined,
    traceIds: undefined,
    trace: undefined,
    makeLogger: undefined,
    onSettled: (listener) => { listeners.push(listener) },
    settle: (verdict, settlement) => { for (const listener of listeners) listener(verdict, settlement) }
  }
}

export const STORED: SettleVerdict = { kind: 'stored' }
export const COMPLETED: Settlement = { kind: 'completed', result: '1', resultBytes: 1 }

export function fakeRuntime (parts: { logger?: Logger, clock?: Clock } = {}): JobRuntime {
  const context = createContext({ logger: parts.logger ?? silentLogger, clock: parts.clock, instanceId: 'instance-1' })
  const store = memoryStore()
  return {
    context, bus: new EventBus(context.logger), registry: new JobRegistry(), store, counts: new StoreCounts(store, context.clock),
    redaction: readRedactOptions(), submitMiddleware: [], attemptMiddleware: [], handlerSpanMiddleware: [], stepMiddleware: [], handlerMiddleware: []
  }
}

export interface TracingUnderTest {
  readonly tracing: Tracing
  readonly source: TracerSource
  readonly bucket: TokenBucket
  readonly failures: string[]
  spans (): ReadableSpan[]
  /** The one span of this name. */
  span (name: string): ReadableSpan
}

/** Tracing over a private provider that keeps its spans in memory. */
export function tracingUnderTest (options: { own?: boolean, perSecond?: number, remoteBucket?: TokenBucket, parts?: Partial<TracingParts>, contexts?: TraceContext } = {}): TracingUnderTest {
  const { own = true, perSecond = 1_000, parts } = options
  const exporter = new InMemorySpanExporter()
  const bucket = new TokenBucket(perSecond, () => 0)
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)], ...(own ? { sampler: bucketSampler(bucket) } : {}) })
  const reported: string[] = []
  const runtime = fakeRuntime()
  runtime.bus.on('telemetry.listener_failed', ({ source, message }) => { reported.push(`${source}: ${message}`) })
  const failures = new TelemetryFailures(runtime.bus, silentLogger)
  const source = new TracerSource(options.contexts ?? new TraceContext('explicit'), failures, provider, own ? { bucket, remoteBucket: options.remoteBucket, followsParent: true } : undefined)
  const tracing = new Tracing({
    source, storeType: 'memory', propagation: 'auto', excluded: () => false, redaction: runtime.redaction, detailed: false, now: () => NOW + 1_000, ...parts
  })
  return {
    tracing,
    source,
    bucket,
    failures: reported,
    spans: () => exporter.getFinishedSpans(),
    span: (name) => {
      const found = exporter.getFinishedSpans().filter((span) => span.name === name)
      if (found.length !== 1 || found[0] === undefined) throw new Error(`${found.length} spans are named ${name}; there are ${exporter.getFinishedSpans().map((span) => span.name).join(', ')}`)
      return found[0]
    }
  }
}

/** Submits through the middleware; resolves to the trace context that the job was stored with. */
export async function submit ({ tracing }: TracingUnderTest, requestTrace?: unknown): Promise<TraceCarrier | undefined> {
  const scope = submitScope(requestTrace)
  await tracing.submit(scope, async () => ({ created: true, id: scope.job.id }))
  return scope.job.trace
}

/** Runs one attempt through the middleware, as the executor does. */
export async function attempt ({ tracing }: TracingUnderTest, scope: FakeAttempt, handler: () => unknown = () => 1, settlement: Settlement = COMPLETED, verdict: SettleVerdict = STORED): Promise<void> {
  const settled = await tracing.attempt(scope, async () => {
    // As the executor does: whatever the handler throws is classified, not passed on.
    try { await tracing.handler(scope, async () => await handler()) } catch { /* classified */ }
    return settlement
  })
  scope.settle(verdict, settled)
}
