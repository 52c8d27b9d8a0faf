import type { TracerProvider } from '@opentelemetry/api'
import { invalidOptions, readOptions, type OptionsSchema } from '../../core/options.ts'
import type { Propagation } from '../../jobs/definition.ts'
import type { Sampler, SpanExporter, SpanProcessor } from '../sdk/traces.ts'

export interface TracingOptions<Request = unknown> {
  /**
   * How an attempt is tied to its submission; a job may say otherwise. With `auto` and `parent` an attempt keeps to what
   * was decided about the submission; with `link` the application's own sampler decides about each attempt anew.
   *
   * @defaultValue 'auto'
   */
  propagation?: Propagation | undefined
  /** Open a server span for a submission when nobody else did. @defaultValue 'auto' */
  serverSpans?: 'auto' | false | undefined
  /**
   * Whose `traceparent` is continued. From who is not trusted it becomes a link, and the decision to sample is our own:
   * a stranger can neither join our traces nor switch sampling on. A function is asked about requests that bring a valid
   * one, and must answer at once; anything but `true`, a throw included, is no. Where instrumentation of the
   * application's has opened a span for the request, that span is the parent and this has no effect: whom to trust was
   * decided there.
   *
   * @defaultValue true: everybody's, within `maxRemoteTracesPerSecond`
   */
  trustInbound?: boolean | ((request: Request) => boolean) | undefined
  /** New traces that a provider of our own records each second. @defaultValue 50 */
  maxTracesPerSecond?: number | undefined
  /**
   * Traces that came in sampled and are recorded each second by a provider of our own; `false`: no limit. What comes beyond that
   * is passed on unrecorded: under the same trace id, with a parent-id of our own and the sampled flag off. Without a limit, whoever
   * sends a sampled `traceparent` decides how many spans are exported.
   *
   * @defaultValue 50; no limit where `trustInbound` is a function, which lets in no strangers
   */
  maxRemoteTracesPerSecond?: number | false | undefined
  /** Used as it is, and never shut down. @defaultValue the one registered with `@opentelemetry/api`, looked for when the application is ready */
  tracerProvider?: TracerProvider | undefined
  /** For a private provider. */
  spanProcessors?: readonly SpanProcessor[] | undefined
  /** For a private provider: each gets a batch processor. */
  exporters?: readonly SpanExporter[] | undefined
  /** For a private provider, instead of the limit of `maxTracesPerSecond`. @defaultValue what `OTEL_TRACES_SAMPLER` says, if it is set */
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

const TRACING_DEFAULTS = Object.freeze({ propagation: 'auto' as Propagation, serverSpans: 'auto' as 'auto' | false, trustInbound: true as const })

export type ResolvedTracingOptions<Request> = Readonly<Omit<TracingOptions<Request>, keyof typeof TRACING_DEFAULTS> & Required<Pick<TracingOptions<Request>, keyof typeof TRACING_DEFAULTS>>>

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readTracingOptions<Request> (given: TracingOptions<Request>): ResolvedTracingOptions<Request> {
  checkTracing(given)
  return readOptions<TracingOptions<Request>, Partial<TracingOptions<Request>>>('observability.tracing', tracingSchema, TRACING_DEFAULTS, given) as ResolvedTracingOptions<Request>
}

/** With a provider that is given, processors, exporters and samplers would silently do nothing. */
function checkTracing<Request> ({ tracerProvider, spanProcessors, exporters, sampler, maxTracesPerSecond, maxRemoteTracesPerSecond }: TracingOptions<Request>): void {
  const problems: string[] = []
  if (tracerProvider !== undefined) {
    for (const [name, value] of Object.entries({ spanProcessors, exporters, sampler, maxTracesPerSecond, maxRemoteTracesPerSecond })) {
      if (value !== undefined) problems.push(`${name} belongs to a private provider and cannot be combined with tracerProvider`)
    }
  }
  if (sampler !== undefined && maxTracesPerSecond !== undefined) problems.push('maxTracesPerSecond has no effect beside a sampler; give one of them')
  if (problems.length > 0) throw invalidOptions('observability.tracing', problems)
}
