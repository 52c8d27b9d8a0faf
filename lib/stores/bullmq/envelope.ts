import { AsyncEndpointsError } from '../../core/errors.ts'
import type { JobInput, NewJob, StoredError, TraceCarrier } from '../../jobs/job.ts'

/**
 * What travels as the `data` of a BullMQ job: everything of ours that BullMQ does not keep itself. One letter per key,
 * because there is one for every job in the server's memory; what is empty is left out.
 */
export interface Envelope {
  readonly v: 1
  /** body, params, query, headers */
  readonly b?: unknown
  readonly p?: JobInput['params']
  readonly q?: JobInput['query']
  readonly h?: JobInput['headers']
  /** owner, correlation id */
  readonly o?: string
  readonly c: string
  /** W3C trace context: traceparent, tracestate */
  readonly t?: string
  readonly s?: string
  /** number of attempts allowed */
  readonly n: number
  /** fingerprint of the request, when an idempotency key came with it */
  readonly f?: string
}

const NOTHING: Readonly<Record<string, never>> = Object.freeze({})

/** @throws {AsyncEndpointsError} `FAE_INVALID_SUBMISSION` when the input is not JSON */
export function encodeEnvelope (job: NewJob): string {
  const { input } = job
  const envelope: Envelope = {
    v: 1,
    b: input.body,
    p: orNothing(input.params),
    q: orNothing(input.query),
    h: orNothing(input.headers),
    o: job.owner,
    c: job.correlationId,
    t: job.trace?.traceparent,
    s: job.trace?.tracestate,
    n: job.maxAttempts,
    f: job.idempotency?.fingerprint
  }
  try {
    return JSON.stringify(envelope)
  } catch {
    // The reason may quote the payload, so it is not passed on.
    throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', 'The input of the job cannot be written as JSON: it has a circular reference, a BigInt or a toJSON that throws')
  }
}

function orNothing<T extends object> (value: T): T | undefined {
  for (const key in value) if (Object.hasOwn(value, key)) return value
  return undefined
}

/** Data that is not ours (a job that somebody added with BullMQ alone) is taken as the body of a job. */
export function asEnvelope (data: unknown): Envelope {
  return isEnvelope(data) ? data : { v: 1, b: data, c: '', n: 1 }
}

function isEnvelope (data: unknown): data is Envelope {
  return typeof data === 'object' && data !== null && Reflect.get(data, 'v') === 1 && typeof Reflect.get(data, 'c') === 'string' && typeof Reflect.get(data, 'n') === 'number'
}

export function parseEnvelope (text: string): Envelope {
  try {
    return asEnvelope(JSON.parse(text))
  } catch {
    return asEnvelope(undefined)
  }
}

export function inputOf ({ b, p, q, h }: Envelope): JobInput {
  return { body: b, params: p ?? NOTHING, query: q ?? NOTHING, headers: h ?? NOTHING }
}

export function traceOf ({ t, s }: Envelope): TraceCarrier | undefined {
  return t === undefined ? undefined : s === undefined ? { traceparent: t } : { traceparent: t, tracestate: s }
}

/**
 * What the newest settlement left for later, kept as the `failedReason` of the BullMQ job: the one field that every
 * settlement writes, and that comes with every claim, at no cost for a job that never went wrong.
 */
export interface Notes {
  /** The error's code and message. */
  readonly c?: string
  readonly m?: string
  /** The message is for clients. */
  readonly e?: 1
  /** Since when the job can be claimed again. */
  readonly r?: number
  /** Stalls whose backoff was served. */
  readonly s?: number
  /** Claims up to now that spent no attempt (snoozed, postponed, released), so that one without a lease can be told from them. */
  readonly a?: number
  /** It failed at a claim after a stall, without having been run once more. */
  readonly k?: 1
  /** It was cancelled; `m` is the reason. */
  readonly x?: 1
  /** When it was cancelled, for a job that has yet to be taken out of the line. */
  readonly t?: number
}

/** How the notes of a cancelled job begin: scripts on the server look for it. */
export const CANCELLED_MARK = '{"x":1'
const NO_NOTES: Notes = Object.freeze({})

export function encodeNotes (notes: Notes): string {
  return JSON.stringify(notes.x === 1 ? { x: 1, ...notes } : notes)
}

export function parseNotes (text: string | undefined | null): Notes {
  if (text === undefined || text === null || text === '') return NO_NOTES
  // BullMQ writes texts of its own in some cases (a worker that is not ours): they are the message of an error.
  if (!text.startsWith('{')) return { c: 'Error', m: text.slice(0, 1_000) }
  try {
    const notes: unknown = JSON.parse(text)
    return isNotes(notes) ? notes : NO_NOTES
  } catch {
    return { c: 'Error', m: text.slice(0, 1_000) }
  }
}

function isNotes (value: unknown): value is Notes {
  if (typeof value !== 'object' || value === null) return false
  const { c, m, r, s, t, a } = value as Record<keyof Notes, unknown>
  return [c, m].every((text) => text === undefined || typeof text === 'string') && [r, s, t, a].every((count) => count === undefined || typeof count === 'number')
}

export function errorOf ({ c, m, e }: Notes): StoredError | undefined {
  if (c === undefined) return undefined
  return e === 1 ? { code: c, message: m ?? '', expose: true } : { code: c, message: m ?? '' }
}

/** An error as notes; what is not there takes no room. */
export function errorNotes ({ code, message, expose }: StoredError): Notes {
  return expose === true ? { c: code, m: message, e: 1 } : { c: code, m: message }
}

/** The error of an earlier attempt, for notes that are written anew. */
export function keptError ({ c, m, e }: Notes): Notes {
  return e === 1 ? { c, m, e } : { c, m }
}
