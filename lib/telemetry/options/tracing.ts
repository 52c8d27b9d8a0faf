import type { TracerProvider } from '@opentelemetry/api'
import { invalidOptions, readOptions, type OptionsSchema } from '../../core/options.ts'
import type { Propagation } from '../../jobs/definition.ts'
import type { Sampler, SpanExporter, SpanProcessor } from '../sdk/traces.ts'

export interface TracingOptions<Request = unknown> {
  /**
   * How the trace of an attempt is connected with the trace of its submission; the definition of a job may say
   * otherwise.
   * `parent`: the attempt is part of that trace. `link`: the attempt has a trace of its own with a link to it, and
   * the sampler of the application decides about each attempt. `auto`: `parent` for the first prompt attempt, `link`
   * for retries, redrives and attempts after a long wait; what was decided about the submission holds for all of
   * them.
   *
   * @defaultValue 'auto'
   */
  propagation?: Propagation | undefined
  /**
   * `'auto'` opens a server span for a request that submits a job, unless instrumentation of the application has
   * opened one. `false` never does.
   * @defaultValue 'auto'
   */
  serverSpans?: 'auto' | false | undefined
  /**
   * Which callers may decide about traces here: the `traceparent` of a trusted caller is continued. One of an
   * untrusted caller becomes a link, and the sampling decision is made here, so that strangers can neither join
   * traces nor switch sampling on. A function is called for requests that bring a valid `traceparent` and must answer
   * at once; every answer but `true`, and a throw, means no. Where instrumentation of the application has opened a
   * span for the request, that span is the parent and this option has no effect.
   *
   * @defaultValue true: all callers, within `maxRemoteTracesPerSecond`
   */
  trustInbound?: (boolean | ((request: Request) => boolean)) | undefined
  /** How many new traces a private provider records per second. @defaultValue 50 */
  maxTracesPerSecond?: number | undefined
  /**
   * How many sampled traces of callers a private provider records per second; `false`: no limit. Traces over the
   * limit are passed on unrecorded: with the same trace id, a new parent id and the sampled flag off. Without a
   * limit, any client that sends a sampled `traceparent` decides how many spans are exported.
   *
   * @defaultValue 50; no limit where `trustInbound` is a function, because that function admits callers already
   */
  maxRemoteTracesPerSecond?: number | false | undefined
  /**
   * A tracer provider of the application. It is used as it is and never shut down.
   *
   * @defaultValue the provider registered with `@opentelemetry/api`, looked up when the application is ready
   */
  tracerProvider?: TracerProvider | undefined
  /** Span processors for a private provider, which is then made. */
  spanProcessors?: readonly SpanProcessor[] | undefined
  /** Span exporters for a private provider, which is then made. Each gets a batch processor. */
  exporters?: readonly SpanExporter[] | undefined
  /**
   * The sampler of a private provider, instead of the limit of `maxTracesPerSecond`.
   *
   * @defaultValue the one that `OTEL_TRACES_SAMPLER` names, if it is set
   */
  sampler?: Sampler | undefined
}

const tracingSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    propagation: { type: 'string', enum: ['auto', 'parent', 'link'] satisfies Propagation[] },
    serverSpans: { enum: ['auto', false] },
    trustInbound: { anyOf: [{ type: 'boolean' }, { isFunction: true }] },
    maxTracesPerSecond: { type: 'number', minimum: 0 },
    maxRemoteTracesPerSecond: { anyOf: [{ type: 'number', minimum: 0 }, { const: false }] },
    tracerProvider: { isObject: true },
    spanProcessors: { type: 'array', items: { isObject: true } },
    exporters: { type: 'array', items: { isObject: true } },
    sampler: { isObject: true }
  }
}

const TRACING_DEFAULTS = Object.freeze({
  propagation: 'auto' as Propagation,
  serverSpans: 'auto' as 'auto' | false,
  trustInbound: true as const
})

type Defaulted = keyof typeof TRACING_DEFAULTS
export type ResolvedTracingOptions<Request> =
  Readonly<Omit<TracingOptions<Request>, Defaulted> & Required<Pick<TracingOptions<Request>, Defaulted>>>

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readTracingOptions<Request> (given: TracingOptions<Request>): ResolvedTracingOptions<Request> {
  checkTracing(given)
  const read = readOptions<TracingOptions<Request>, Partial<TracingOptions<Request>>>(
    'observability.tracing', tracingSchema, TRACING_DEFAULTS, given)
  return read as ResolvedTracingOptions<Request>
}

/** What belongs to a private provider would silently do nothing beside a given provider. */
function checkTracing<Request> (options: TracingOptions<Request>): void {
  const { tracerProvider, spanProcessors, exporters, sampler, maxTracesPerSecond, maxRemoteTracesPerSecond } = options
  const problems: string[] = []
  if (tracerProvider !== undefined) {
    const ofPrivateProvider = { spanProcessors, exporters, sampler, maxTracesPerSecond, maxRemoteTracesPerSecond }
    for (const [name, value] of Object.entries(ofPrivateProvider)) {
      if (value === undefined) continue
      problems.push(`${name} belongs to a private provider and cannot be combined with tracerProvider`)
    }
  }
  if (sampler !== undefined && maxTracesPerSecond !== undefined) {
    problems.push('maxTracesPerSecond has no effect beside a sampler; give one of them')
  }
  if (problems.length > 0) throw invalidOptions('observability.tracing', problems)
}
