import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, type Context, type Span, type SpanContext } from '@opentelemetry/api'
import type { TraceCarrier } from '../jobs/job.ts'
import { ATTR } from './attributes.ts'
import { fromCarrier, toCarrier } from './propagation.ts'
import type { TracerSource } from './tracer-source.ts'

/** What a request is to its submission: handed through the HTTP room untouched, as `requestTrace`. */
export class RequestTrace {
  /** Parent of the submission's span: holds the request's server span, ours or somebody else's, or the caller's. */
  readonly context: Context
  /** Our own server span, to be ended with the response. */
  readonly span: Span | undefined
  /** What the caller sent, when it is only to be passed on. */
  readonly carrier: TraceCarrier | undefined
  /** This request was not sampled: whatever follows from it is not traced either. */
  readonly dropped: boolean

  constructor (context: Context, parts: { span?: Span, carrier?: TraceCarrier, dropped?: boolean } = {}) {
    this.context = context
    this.span = parts.span
    this.carrier = parts.carrier
    this.dropped = parts.dropped ?? false
  }
}

export interface RequestFacts {
  readonly method: string
  /** The route's template, never the path itself. */
  readonly route: string
  /** Without the query. */
  readonly path: string
  readonly scheme: string
}

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY'])

/**
 * Looks at a request that will submit a job. If somebody else's instrumentation has opened a span for it, that is the
 * parent; otherwise a server span is opened here (`ownSpan`), and the caller's context is honoured.
 *
 * @param facts asked for only when a span is opened
 * @returns `undefined` when there is nothing to remember: the common case without tracing
 */
export function beginRequest (source: TracerSource, headers: Readonly<Record<string, unknown>>, ownSpan: boolean, facts: () => RequestFacts): RequestTrace | undefined {
  const active = source.contexts.active()
  const foreign = active === undefined ? undefined : trace.getSpanContext(active)
  if (active !== undefined && foreign !== undefined && trace.isSpanContextValid(foreign)) return new RequestTrace(active)

  const inbound = headers.traceparent === undefined ? undefined : fromCarrier(headers)
  if (!source.enabled) return inbound === undefined ? undefined : passOn(inbound)
  const parent = withParent(ROOT_CONTEXT, inbound)
  // Without a server span the decision about a new trace is left to the submission's own span.
  if (!ownSpan) return inbound === undefined ? undefined : new RequestTrace(parent)
  const decision = source.decide(inbound)
  if (decision === 'pass') return passOn(inbound)
  return open(source, decision === 'sampled' ? source.sampled(parent) : parent, facts(), inbound)
}

function open (source: TracerSource, parent: Context, { method, route, path, scheme }: RequestFacts, inbound: SpanContext | undefined): RequestTrace | undefined {
  const known = METHODS.has(method)
  const span = source.startSpan(`${known ? method : 'HTTP'} ${route}`, {
    kind: SpanKind.SERVER,
    attributes: { [ATTR.httpMethod]: known ? method : '_OTHER', [ATTR.httpRoute]: route, [ATTR.urlPath]: path, [ATTR.urlScheme]: scheme }
  }, parent)
  if (span === undefined) return passOn(inbound)
  // A provider of our own that did not sample leaves nothing behind; with a foreign one its ids carry the decision on.
  if (source.own && !span.isRecording()) return passOn(inbound)
  return new RequestTrace(trace.setSpan(parent, span), { span })
}

function passOn (inbound: SpanContext | undefined): RequestTrace {
  return inbound === undefined ? DROPPED : new RequestTrace(ROOT_CONTEXT, { carrier: toCarrier(inbound), dropped: true })
}

const DROPPED = new RequestTrace(ROOT_CONTEXT, { dropped: true })

export function withParent (context: Context, parent: SpanContext | undefined): Context {
  return parent === undefined ? context : trace.setSpanContext(context, parent)
}

/** Ends our server span, if there is one. 4xx is the caller's error and leaves the status unset (HTTP conventions). */
export function finishRequest (request: unknown, statusCode: number): void {
  if (!(request instanceof RequestTrace) || request.span === undefined) return
  const { span } = request
  span.setAttribute(ATTR.httpStatus, statusCode)
  if (statusCode >= 500) {
    span.setAttribute(ATTR.errorType, String(statusCode))
    span.setStatus({ code: SpanStatusCode.ERROR })
  }
  span.end()
}
