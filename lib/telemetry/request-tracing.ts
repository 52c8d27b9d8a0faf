import { ROOT_CONTEXT, SpanKind, trace, type Context, type Link, type SpanContext } from '@opentelemetry/api'
import { cut } from '../core/text.ts'
import { ATTR } from './attributes.ts'
import type { Exclusion } from './job-exclusion.ts'
import { flagsText, fromCarrier, pointTo, toCarrier, unrecorded } from './propagation.ts'
import { RequestTrace } from './request-trace.ts'
import { parentIn, rootOr } from './span-maker.ts'
import type { TracerSource } from './tracer-source.ts'

/** What the tracing of requests needs. */
export interface RequestTracingParts {
  /** Where spans come from. */
  readonly source: TracerSource
  readonly excluded: Exclusion
  /** Hides what looks like credentials. */
  text (text: string): string
}

/** The part of a Fastify request that is read. */
export interface TracedRequest {
  readonly method: string
  readonly url: string
  readonly protocol: string
  readonly headers: Readonly<Record<string, unknown>>
  readonly routeOptions: { readonly url?: string | undefined }
}

export interface RequestRules<Request> {
  /** Open a server span where there is none. */
  readonly serverSpans: boolean
  /** Which callers' `traceparent` is continued. */
  readonly trustInbound: boolean | ((request: Request) => boolean)
  /** The share of the traces that submissions of this job begin, 0 to 1. */
  readonly sampleRate?: (jobName: string) => number | undefined
  /** Put the ids of a recorded request on its log lines. */
  readonly logIds: boolean
}

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY'])
const TRUST = 'tracing.trustInbound'

/** Decides about the trace of each request that submits a job, before the library does anything else with it. */
export class RequestTracing<Request extends TracedRequest> {
  readonly #tracing: RequestTracingParts
  readonly #rules: RequestRules<Request>

  constructor (tracing: RequestTracingParts, rules: RequestRules<Request>) {
    this.#tracing = tracing
    this.#rules = rules
  }

  /**
   * Where instrumentation has opened a span for the request, that span is the parent, whatever the caller sent: the
   * instrumentation has decided whom to trust. Otherwise a server span is opened here, with a trusted caller as its
   * parent.
   *
   * @returns `undefined` when there is nothing to remember, as is usual without tracing. Never throws
   */
  begin (request: Request, jobName: string): RequestTrace | undefined {
    try {
      return this.#begin(request, jobName)
    } catch (error) {
      this.#tracing.source.complain(error)
      return undefined
    }
  }

  #begin (request: Request, jobName: string): RequestTrace | undefined {
    const { source } = this.#tracing
    const active = source.contexts.active()
    if (active !== undefined && parentIn(active) !== undefined) return new RequestTrace(active)
    const { headers } = request
    const caller = headers.traceparent === undefined ? undefined : fromCarrier(headers)
    const inbound = caller !== undefined && this.#trusts(request) ? caller : undefined
    if (!source.enabled) return inbound === undefined ? undefined : passOn(inbound)
    if (this.#tracing.excluded(jobName)) return passOn(inbound)
    // An untrusted caller can neither join a trace here nor switch sampling on: its trace becomes a link.
    const link = caller === undefined || inbound !== undefined ? undefined : { context: pointTo(caller) }
    // Without a server span, the span of the submission decides about a new trace.
    if (!this.#rules.serverSpans) return caller === undefined ? undefined : new RequestTrace(rootOr(inbound), { link })
    const decision = source.decide(inbound, this.#rules.sampleRate?.(jobName))
    if (decision === 'pass') return passOn(inbound)
    if (decision === 'over') return passOn(inbound === undefined ? undefined : unrecorded(inbound))
    const parent = decision === 'sampled' ? source.sampled(ROOT_CONTEXT) : rootOr(inbound)
    return this.#open(request, parent, { inbound, link, jobName })
  }

  #open (request: Request, parent: Context, { inbound, link, jobName }: Opening): RequestTrace | undefined {
    const { source } = this.#tracing
    const { method, routeOptions: { url: route = '' } } = request
    const known = METHODS.has(method)
    const attributes = {
      [ATTR.httpMethod]: known ? method : '_OTHER',
      [ATTR.httpRoute]: route,
      [ATTR.jobName]: jobName,
      // Without the query, and with credentials hidden: a path may have them in its parameters.
      [ATTR.urlPath]: this.#tracing.text(request.url.split('?', 1)[0] ?? ''),
      [ATTR.urlScheme]: request.protocol,
      ...(known ? undefined : { [ATTR.httpMethodOriginal]: cut(method, 50) })
    }
    const options = { kind: SpanKind.SERVER, links: link === undefined ? undefined : [link], attributes }
    const span = source.startSpan(`${known ? method : 'HTTP'} ${route}`, options, parent)
    if (span === undefined) return passOn(inbound)
    // The ids of an unsampled span matter only to a provider of the application: they carry its decision on.
    if (source.own && !span.isRecording()) return passOn(inbound)
    const { traceId, spanId, traceFlags } = span.spanContext()
    const logFields = this.#rules.logIds && span.isRecording()
      ? { trace_id: traceId, span_id: spanId, trace_flags: flagsText(traceFlags) }
      : undefined
    return new RequestTrace(trace.setSpan(parent, span), { span, source, logFields })
  }

  /** Any answer but `true` means no: a function that throws or returns a promise trusts nobody. */
  #trusts (request: Request): boolean {
    const { trustInbound } = this.#rules
    if (typeof trustInbound === 'boolean') return trustInbound
    const { source } = this.#tracing
    const answer: unknown = source.guard(() => trustInbound(request), TRUST)
    if (answer instanceof Promise) {
      // Nothing else handles its rejection, which would end the process.
      answer.catch(() => {})
      source.complain(new TypeError('trustInbound returned a promise, which counts as no; return true or false'), TRUST)
    }
    return answer === true
  }
}

interface Opening {
  readonly inbound: SpanContext | undefined
  readonly link: Link | undefined
  readonly jobName: string
}

function passOn (inbound: SpanContext | undefined): RequestTrace {
  return inbound === undefined ? DROPPED : new RequestTrace(ROOT_CONTEXT, { carrier: toCarrier(inbound), dropped: true })
}

const DROPPED = new RequestTrace(ROOT_CONTEXT, { dropped: true })
