import { createTraceState, type SpanContext } from '@opentelemetry/api'
import { randomHex128 } from '../core/ids.ts'
import type { TraceCarrier } from '../jobs/job.ts'

/**
 * W3C Trace Context, written by hand: the propagator of the SDK is in a package that this library does not depend on,
 * and costs three times as much. Anything invalid is ignored, never repaired: a new trace begins instead (§4.3).
 *
 * Baggage is not stored with a job: it would stay in Redis for as long as the job is kept, with any personal data
 * that callers have put into it. What a handler needs belongs in the body of the job.
 */
const SAMPLED = 1
/** Only the flags `sampled` and `random` have a meaning. Unknown bits are not passed on (§3.2.2.5). */
const KNOWN_FLAGS = 3
const FLAGS_TEXTS = ['00', '01', '02', '03'] as const
const TRACEPARENT_V0 = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/
// A later version may append fields after the flags; its first 55 characters are read as version 00 (§4.3).
const TRACEPARENT_LATER = /^(?!00|ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?$/
const ZERO_TRACE = '0'.repeat(32)
const ZERO_SPAN = '0'.repeat(16)

const MAX_TRACEPARENT = 512
/** The length that must be passed on (§3.3.1.5). Longer values lose whole entries. */
const MAX_TRACESTATE = 512
/** Longer input is ignored. */
const MAX_TRACESTATE_INPUT = 8_192
const MAX_MEMBERS = 32
const LONG_MEMBER = 128
const KEY = /^(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})$/
const VALUE = /^[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/

/** False for the ids of a tracer without an SDK. For ids that an SDK has made no other check is needed. */
export function hasIds ({ traceId, spanId }: SpanContext): boolean {
  return traceId !== ZERO_TRACE && spanId !== ZERO_SPAN
}

export function isSampled (context: { readonly traceFlags: number }): boolean {
  return (context.traceFlags & SAMPLED) === SAMPLED
}

/** Two hex digits, as in a traceparent and as the log field `trace_flags`. */
export function flagsText (flags: number): string {
  return FLAGS_TEXTS[flags & KNOWN_FLAGS] ?? '00'
}

export function encodeTraceparent ({ traceId, spanId, traceFlags }: SpanContext): string {
  return `00-${traceId}-${spanId}-${flagsText(traceFlags)}`
}

/**
 * The context to pass on when the trace of a caller continues but is not recorded here. The sampled flag says what
 * the owner of the parent id did (§3.2.2.3.1), so a changed flag needs a new parent id (§3.4), under which nothing is
 * recorded. With the parent id and flag of the caller, the next process would record what this one has refused.
 */
export function unrecorded (caller: SpanContext): SpanContext {
  return { ...caller, spanId: randomHex128().slice(16), traceFlags: caller.traceFlags & ~SAMPLED }
}

/**
 * A link to the trace of an untrusted caller, without its tracestate, which concerns only the vendors of that trace.
 */
export function pointTo ({ traceId, spanId, traceFlags }: SpanContext): SpanContext {
  return { traceId, spanId, traceFlags, isRemote: true }
}

/** A remote span context, or `undefined` for anything that is not a valid traceparent. */
export function decodeTraceparent (text: unknown): SpanContext | undefined {
  if (typeof text !== 'string' || text.length < 55 || text.length > MAX_TRACEPARENT) return undefined
  if (!TRACEPARENT_V0.test(text) && !TRACEPARENT_LATER.test(text)) return undefined
  const traceFlags = Number.parseInt(text.slice(53, 55), 16) & KNOWN_FLAGS
  const context = { traceId: text.slice(3, 35), spanId: text.slice(36, 52), traceFlags, isRemote: true }
  return hasIds(context) ? context : undefined
}

/** The tracestate within its limits, or `undefined` when it is empty or any part of it is invalid. */
export function cleanTracestate (text: unknown): string | undefined {
  if (typeof text !== 'string' || text === '' || text.length > MAX_TRACESTATE_INPUT) return undefined
  const members: string[] = []
  const seen = new Set<string>()
  for (const part of text.split(',')) {
    const member = part.trim()
    if (member === '') continue
    const at = member.indexOf('=')
    const key = member.slice(0, Math.max(at, 0))
    if (!KEY.test(key) || !VALUE.test(member.slice(at + 1)) || seen.has(key)) return undefined
    seen.add(key)
    members.push(member)
  }
  if (members.length === 0 || members.length > MAX_MEMBERS) return undefined
  return shorten(members)
}

/** Drops whole entries: first those longer than 128 characters, then the oldest, which stand last (§3.3.1.5). */
function shorten (members: readonly string[]): string | undefined {
  const length = (list: readonly string[]): number => list.reduce((sum, member) => sum + member.length + 1, -1)
  let kept = [...members]
  for (let index = kept.length - 1; index >= 0 && length(kept) > MAX_TRACESTATE; index--) {
    if ((kept[index] ?? '').length > LONG_MEMBER) kept = kept.toSpliced(index, 1)
  }
  while (kept.length > 0 && length(kept) > MAX_TRACESTATE) kept.pop()
  return kept.length === 0 ? undefined : kept.join(',')
}

/** The trace context of a span in the form that is stored with a job. */
export function toCarrier (context: SpanContext): TraceCarrier {
  const traceparent = encodeTraceparent(context)
  const tracestate = cleanTracestate(context.traceState?.serialize())
  return tracestate === undefined ? { traceparent } : { traceparent, tracestate }
}

interface Carrier { readonly traceparent?: unknown, readonly tracestate?: unknown }

/** The span context that a job, or the headers of a request, brought. */
export function fromCarrier (carrier: Carrier | undefined): SpanContext | undefined {
  const context = decodeTraceparent(carrier?.traceparent)
  if (context === undefined) return undefined
  const tracestate = cleanTracestate(carrier?.tracestate)
  if (tracestate !== undefined) context.traceState = createTraceState(tracestate)
  return context
}
