import type { TraceCarrier } from './job.ts'

export interface TraceIds {
  readonly traceId: string
  readonly spanId: string
}

/**
 * W3C Trace Context §3.2: version 00, or a later version, which may have more fields. Ids of only zeros are invalid.
 */
const TRACEPARENT = /^(?:00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}|(?!00|ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.{0,400})?)$/

export function isTraceparent (text: unknown): text is string { return typeof text === 'string' && TRACEPARENT.test(text) }

/** W3C Trace Context §3.2, with the sampled flag. */
const SAMPLED = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf]$/

/**
 * The ids of a submission's trace if it is sampled, for events whose own work has no span. The text is validated
 * because it comes from the store, and exemplars are made of it.
 */
export function sampledIds (trace: TraceCarrier | undefined): TraceIds | undefined {
  if (trace === undefined || !SAMPLED.test(trace.traceparent)) return undefined
  return { traceId: trace.traceparent.slice(3, 35), spanId: trace.traceparent.slice(36, 52) }
}

/** Of an event whose work was not recorded anywhere. */
const NO_IDS: { readonly traceId: undefined, readonly spanId: undefined } = Object.freeze({ traceId: undefined, spanId: undefined })

/**
 * The `traceId` and `spanId` of an event: those of the work's own span; where it has none, those of the submission it
 * belongs to, if that was recorded and is given. Nothing is made for them, so read the two fields and do not spread
 * the object: it may have more.
 */
export function eventIds (own: TraceIds | undefined, submission?: TraceCarrier): TraceIds | typeof NO_IDS {
  return own ?? sampledIds(submission) ?? NO_IDS
}
