/** What a client may say on a WebSocket, and how that is read. */

/**
 * The subprotocol (RFC 6455 §1.9). The number is that of the messages: one that an old client would misunderstand gets
 * a new number, and both can be offered.
 */
export const SOCKET_PROTOCOL = 'fae.jobs.v1+json'

/**
 * In bytes. A subscription to fifty jobs fits, also with the link of each; a longer message closes the connection with
 * 1009.
 */
export const MAX_MESSAGE_BYTES = 16_384

/** A job that a client wants to hear of. */
export interface WantedJob {
  readonly id: string
  /** The capability link of the job, if it is needed to read it. */
  readonly sig?: string | undefined
  /** The version that the client has: it hears only of newer ones. */
  readonly since?: number | undefined
}

export type SocketMessage =
  | { readonly type: 'subscribe', readonly jobs: readonly WantedJob[] }
  | { readonly type: 'unsubscribe', readonly ids: readonly string[] }
  | { readonly type: 'ping' }
  /** `problem`: a sentence that says what is wrong with the message. */
  | { readonly type: 'invalid', readonly problem: string }

/** As `POSSIBLE_ID` of the routes, but only in length: what has another form names no job. */
const MAX_ID = 128
const MAX_SIG = 1_024

/** Reads one message. Never throws. */
export function readMessage (text: string): SocketMessage {
  const message = parsed(text)
  if (!isRecord(message)) return invalid('A message must be a JSON object with a "type"')
  switch (message['type']) {
    case 'subscribe': return subscription(message)
    case 'unsubscribe': {
      const { ids } = message
      return isList(ids, isId) ? { type: 'unsubscribe', ids: unique(ids) } : invalid('"ids" must be a list of job ids')
    }
    case 'ping': return { type: 'ping' }
    default: return invalid('"type" must be "subscribe", "unsubscribe" or "ping"')
  }
}

function subscription ({ ids, jobs, sig }: Readonly<Record<string, unknown>>): SocketMessage {
  if ((ids === undefined) === (jobs === undefined)) return invalid('A subscription must have either "ids" or "jobs"')
  if (sig !== undefined && !isSig(sig)) return invalid('"sig" must be the signature of a link')
  if (ids !== undefined) {
    if (!isList(ids, isId)) return invalid('"ids" must be a list of job ids')
    return { type: 'subscribe', jobs: unique(ids).map((id) => ({ id, sig })) }
  }
  if (sig !== undefined) return invalid('With "jobs", each job has a "sig" of its own')
  if (!isList(jobs, isWanted)) return invalid('"jobs" must be a list of objects with "id" and perhaps "sig" and "since"')
  const wanted = new Map(jobs.map((job) => [job.id, { id: job.id, sig: job.sig, since: job.since }]))
  return { type: 'subscribe', jobs: [...wanted.values()] }
}

function parsed (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function invalid (problem: string): SocketMessage { return { type: 'invalid', problem } }

function unique (ids: readonly string[]): string[] { return [...new Set(ids)] }

function isWanted (value: unknown): value is WantedJob {
  if (!isRecord(value)) return false
  const { id, sig, since } = value
  return isId(id) && (sig === undefined || isSig(sig)) && (since === undefined || Number.isSafeInteger(since))
}

function isId (value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_ID
}

function isSig (value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_SIG
}

function isList<T> (value: unknown, is: (entry: unknown) => entry is T): value is readonly T[] {
  return Array.isArray(value) && value.length > 0 && value.every(is)
}

function isRecord (value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
