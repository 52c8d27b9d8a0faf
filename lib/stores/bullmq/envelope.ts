/**
 * What the store keeps in a job beside the fields of BullMQ: the envelope among its options, the notes in its failed
 * reason.
 */
import { AsyncEndpointsError } from '../../core/errors.ts'
import { cut } from '../../core/text.ts'
import type { JobInput, JobOrigin, NewJob, StoredError, TraceCarrier } from '../../jobs/job.ts'

/**
 * The small fields of a job that BullMQ has no place for. They are stored in the options of the BullMQ job, under
 * {@link OURS}: BullMQ passes unknown options on from the submission to the claim, and a status can be read without
 * `data`, which may be a thousand times as large. One letter per key, because the server holds one envelope per job in
 * memory; what is empty is left out.
 */
export interface Envelope {
  /** owner, correlation id */
  readonly o?: string | undefined
  readonly c: string
  /** W3C trace context: traceparent, tracestate */
  readonly t?: string | undefined
  readonly s?: string | undefined
  /** number of attempts allowed */
  readonly n: number
  /** idempotency key */
  readonly k?: string | undefined
  /** bytes of the input, when there are many */
  readonly b?: number | undefined
  /** who sent the request: its id, user, address and agent; what is not known is empty */
  readonly r?: readonly string[] | undefined
}

/** The name among the options of a BullMQ job that holds the envelope. A job without it was added by somebody else. */
export const OURS = 'fae'

/** The `data` of a job that this store added: body, params, query, headers, webhook; what is empty is left out. */
interface Data {
  readonly b?: unknown
  readonly p?: JobInput['params'] | undefined
  readonly q?: JobInput['query'] | undefined
  readonly h?: JobInput['headers'] | undefined
  readonly w?: JobInput['webhook'] | undefined
}

const NOTHING: Readonly<Record<string, never>> = Object.freeze({})

/** @throws {AsyncEndpointsError} `FAE_INVALID_SUBMISSION` when the input is not JSON */
export function encodeInput ({ body, params, query, headers, webhook }: JobInput): string {
  const data: Data = { b: body, p: orNothing(params), q: orNothing(query), h: orNothing(headers), w: webhook }
  try {
    return JSON.stringify(data)
  } catch {
    // The reason may quote the payload, so it is not passed on.
    throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', 'The input of the job cannot be written as JSON: it has a circular reference, a BigInt or a toJSON that throws')
  }
}

function orNothing<T extends object> (value: T): T | undefined {
  for (const key in value) if (Object.hasOwn(value, key)) return value
  return undefined
}

/** The options of a BullMQ job as it keeps them, as JSON. */
export function encodeOptions (job: NewJob, delay: number, priority: number, inputBytes: number | undefined): string {
  const envelope: Envelope = {
    o: job.owner,
    c: job.correlationId,
    t: job.trace?.traceparent,
    s: job.trace?.tracestate,
    n: job.maxAttempts,
    k: job.idempotency?.key,
    b: inputBytes,
    r: originTexts(job.origin)
  }
  return JSON.stringify({ [OURS]: envelope, ...(delay > 0 && { delay }), ...(priority > 0 && { priority }) })
}

/** `undefined`: the job was added by somebody else, with BullMQ alone. */
export function envelopeIn (opts: unknown): Envelope | undefined {
  const found: unknown = typeof opts === 'object' && opts !== null ? Reflect.get(opts, OURS) : undefined
  return isEnvelope(found) ? found : undefined
}

function isEnvelope (value: unknown): value is Envelope {
  if (typeof value !== 'object' || value === null) return false
  const { c, n, o, t, s, k, b, r } = value as Record<keyof Envelope, unknown>
  return typeof c === 'string' && typeof n === 'number' && (b === undefined || typeof b === 'number') && (r === undefined || isTexts(r)) &&
    [o, t, s, k].every((text) => text === undefined || typeof text === 'string')
}

/** For a job that somebody else added: one attempt, and nothing else is known. */
export const NO_ENVELOPE: Envelope = Object.freeze({ c: '', n: 1 })

/** The input in parsed `data`. Of a job that somebody else added, all data is the body. */
export function inputOf (data: unknown, ours: boolean): JobInput {
  if (!ours) return { body: data, params: NOTHING, query: NOTHING, headers: NOTHING }
  const { b, p, q, h, w } = (typeof data === 'object' && data !== null ? data : NOTHING) as Data
  const input = { body: b, params: p ?? NOTHING, query: q ?? NOTHING, headers: h ?? NOTHING }
  return w === undefined ? input : { ...input, webhook: w }
}

/** `undefined`: it was dropped, or cannot be read. */
export function parseInput (data: unknown, ours: boolean): JobInput | undefined {
  if (typeof data !== 'string') return undefined
  try {
    return inputOf(JSON.parse(data), ours)
  } catch {
    return undefined
  }
}

const ORIGIN_PARTS = ['requestId', 'userId', 'clientIp', 'userAgent'] as const satisfies ReadonlyArray<keyof JobOrigin>

/** Without the empty ones at its end. */
function originTexts (origin: JobOrigin | undefined): string[] | undefined {
  if (origin === undefined) return undefined
  const texts = ORIGIN_PARTS.map((part) => origin[part] ?? '')
  while (texts.at(-1) === '') texts.pop()
  return texts.length === 0 ? undefined : texts
}

export function originOf ({ r }: Envelope): JobOrigin | undefined {
  return r === undefined ? undefined : Object.fromEntries(ORIGIN_PARTS.flatMap((part, index) => r[index] === undefined || r[index] === '' ? [] : [[part, r[index]]]))
}

function isTexts (value: unknown): value is readonly string[] { return Array.isArray(value) && value.every((text) => typeof text === 'string') }

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
  /**
   * Claims up to now that spent no attempt (snoozed, postponed, released), so that a job that runs without a lease
   * can be distinguished from them.
   */
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
  if (!text.startsWith('{')) return { c: 'Error', m: cut(text, 1_000) }
  try {
    const notes: unknown = JSON.parse(text)
    return isNotes(notes) ? notes : NO_NOTES
  } catch {
    return { c: 'Error', m: cut(text, 1_000) }
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

/** The error of an earlier attempt, for notes that are written again. */
export function keptError ({ c, m, e }: Notes): Notes {
  return e === 1 ? { c, m, e } : { c, m }
}
