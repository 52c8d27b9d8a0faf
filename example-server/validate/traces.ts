import type { Ended } from './jobs.ts'
import type { OtlpReceiver } from './support/otlp-receiver.ts'
import { eventually } from './waiting.ts'

const ANSWER_MS = 30_000
const KINDS = ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'] as const

/** As much of a span as is looked at, wherever it comes from. */
export interface Span {
  readonly name: string
  readonly kind: string
  readonly spanId: string
  readonly parentSpanId: string | undefined
  /** The `service.instance.id` of its process. */
  readonly process: string
  readonly failed: boolean
  readonly durationMs: number
}

export interface TraceSource {
  readonly what: string
  /** The spans that have arrived so far. */
  spansOf (traceId: string): Promise<readonly Span[]>
}

export function receiverSource (receiver: OtlpReceiver): TraceSource {
  return {
    what: 'a collector of its own',
    spansOf: async (traceId) => receiver.spans().filter((span) => span.traceId === traceId).map(({ name, kind, spanId, parentSpanId, resource, status, startedAt, endedAt }) => ({
      name, kind: KINDS[kind] ?? 'unspecified', spanId, parentSpanId, process: String(resource['service.instance.id'] ?? ''), failed: status.code === 2, durationMs: Number(endedAt - startedAt) / 1e6
    }))
  }
}

interface JaegerTag { readonly key: string, readonly value: unknown }
interface JaegerSpan {
  readonly operationName: string
  readonly spanID: string
  readonly processID: string
  /** Microseconds. */
  readonly duration: number
  readonly references?: ReadonlyArray<{ readonly refType: string, readonly traceID: string, readonly spanID: string }>
  readonly tags?: readonly JaegerTag[]
}
interface JaegerTrace { readonly spans: readonly JaegerSpan[], readonly processes: Readonly<Record<string, { readonly serviceName: string, readonly tags?: readonly JaegerTag[] }>> }

/** Jaeger's query API, of 1.x and 2.x. */
export function jaegerSource (url: string): TraceSource {
  return {
    what: url,
    spansOf: async (traceId) => {
      const response = await fetch(`${url}/api/traces/${traceId}`, { signal: AbortSignal.timeout(ANSWER_MS) })
      // Not there yet.
      if (response.status === 404) return []
      if (!response.ok) throw new Error(`${url}/api/traces was answered ${response.status}`)
      const { data = [] } = await response.json() as { data?: readonly JaegerTrace[] }
      return data.flatMap(({ spans, processes }) => spans.map((span) => jaegerSpan(span, traceId, processes[span.processID]?.tags ?? [])))
    }
  }
}

function jaegerSpan ({ operationName, spanID, duration, references = [], tags = [] }: JaegerSpan, traceId: string, process: readonly JaegerTag[]): Span {
  const tag = (of: readonly JaegerTag[], key: string): unknown => of.find((tag) => tag.key === key)?.value
  return {
    name: operationName,
    kind: String(tag(tags, 'span.kind') ?? 'internal'),
    spanId: spanID,
    parentSpanId: references.find(({ refType, traceID }) => refType === 'CHILD_OF' && traceID === traceId)?.spanID,
    process: String(tag(process, 'service.instance.id') ?? ''),
    failed: tag(tags, 'error') === true || tag(tags, 'otel.status_code') === 'ERROR',
    durationMs: duration / 1_000
  }
}

/** The names of services that Jaeger has heard of. */
export async function jaegerServices (url: string): Promise<readonly string[]> {
  const response = await fetch(`${url}/api/services`, { signal: AbortSignal.timeout(ANSWER_MS) })
  if (!response.ok) throw new Error(`${url}/api/services was answered ${response.status}`)
  const { data } = await response.json() as { data: readonly string[] | null }
  return data ?? []
}

/** From the request to the handler, each the parent of the next. */
const CHAIN = ['server', 'producer', 'consumer', 'internal'] as const

/** What a job's trace lacks. `crossing`: its attempt ran in another process than its submission. */
export function gapsOf (spans: readonly Span[], { kind }: Pick<Ended, 'kind'>): { readonly problems: string[], readonly crossing: boolean } {
  const has = spans.map(({ kind, name }) => `${kind} ${name}`).join(', ') || 'nothing'
  const names = { server: `POST ${kind.path}`, producer: /^send /, consumer: /^process /, internal: kind.job }
  const chain: Span[] = []
  for (const step of CHAIN) {
    const parent = chain.at(-1)
    const wanted = names[step]
    const found = spans.find((span) => span.kind === step && (typeof wanted === 'string' ? span.name === wanted : wanted.test(span.name)) && (parent === undefined || span.parentSpanId === parent.spanId))
    if (found === undefined) return { problems: [`no ${step} span${parent === undefined ? '' : ` below "${parent.name}"`}; the trace has ${has}`], crossing: false }
    chain.push(found)
  }
  const [, submission, attempt, handler] = chain
  // The first attempt is the one in the trace of the submission.
  const fails = kind.attempts > 1
  const wrong = [attempt, handler].filter((span) => span !== undefined && span.failed !== fails).map((span) => `"${span?.name}" ${fails ? 'does not say' : 'says'} that it failed`)
  return { problems: wrong, crossing: submission?.process !== attempt?.process }
}

export interface TraceFindings {
  readonly problems: string[]
  /** Traces that span two processes. */
  readonly crossing: number
  readonly complete: number
  readonly spans: number
}

/** Waits for the traces of these jobs to be whole. */
export async function checkTraces (source: TraceSource, jobs: readonly Ended[], timeoutMs: number): Promise<TraceFindings> {
  const end = performance.now() + timeoutMs
  const problems: string[] = []
  let crossing = 0
  let complete = 0
  let count = 0
  for (const job of jobs) {
    const { traceId, id, kind } = job
    if (traceId === undefined) {
      problems.push(`${kind.job} ${id} has no trace`)
      continue
    }
    let spans: readonly Span[] = []
    const whole = await eventually(Math.max(0, end - performance.now()), async () => {
      spans = await source.spansOf(traceId)
      const gaps = gapsOf(spans, job)
      return gaps.problems.length === 0 ? gaps : undefined
    })
    count += spans.length
    if (whole === undefined) problems.push(`trace ${traceId} of ${kind.job} ${id}: ${gapsOf(spans, job).problems.join('; ')}`)
    else complete++
    if (whole?.crossing === true) crossing++
  }
  return { problems, crossing, complete, spans: count }
}
