/** What a `Prefer` header (RFC 7240) asks of us. */
export interface Preference {
  /** `wait`: answer with the result if it is there within this many seconds. `undefined`: not asked, or not a number. */
  readonly waitSeconds: number | undefined
  /** `respond-async`: answer at once. Together with `wait` it only says what to do when the time is up. */
  readonly respondAsync: boolean
}

const NOTHING_PREFERRED: Preference = Object.freeze({ waitSeconds: undefined, respondAsync: false })

/**
 * Reads the two preferences we honour. Names are case-insensitive, the first occurrence of a name counts, and whatever
 * cannot be read is ignored: a preference is never a reason to refuse a request (RFC 7240 §2).
 */
export function parsePrefer (header: string | readonly string[] | undefined): Preference {
  if (header === undefined || header.length === 0) return NOTHING_PREFERRED
  const text = typeof header === 'string' ? header : header.join(',')
  const seen = new Map<string, string>()
  for (const member of splitUnquoted(text, ',')) {
    // Parameters after `;` refine a preference; none is defined for ours.
    const preference = splitUnquoted(member, ';')[0] ?? ''
    const equals = preference.indexOf('=')
    const name = (equals === -1 ? preference : preference.slice(0, equals)).trim().toLowerCase()
    if (name !== '' && !seen.has(name)) seen.set(name, equals === -1 ? '' : unquote(preference.slice(equals + 1).trim()))
  }
  const wait = seen.get('wait')
  return {
    waitSeconds: wait !== undefined && /^\d{1,9}$/.test(wait) ? Number(wait) : undefined,
    respondAsync: seen.has('respond-async')
  }
}

/** Milliseconds to wait, 0 for not at all: what was asked for, but never more than `maxWaitMs`. */
export function waitTime (preference: Preference, maxWaitMs: number): number {
  return preference.waitSeconds === undefined ? 0 : Math.min(preference.waitSeconds * 1_000, maxWaitMs)
}

/** What is left of the time that Fastify gives a handler is needed to answer: a tenth of it, and no more than half a second. */
const ANSWER_SHARE = 0.1
const MAX_ANSWER_MS = 500

/**
 * Milliseconds that a request may wait at all. Fastify's `handlerTimeout` would answer a request that waits longer with a 503,
 * although its job is well.
 *
 * @param handlerTimeoutMs of the route or the server; 0 for none, `undefined` in releases of Fastify that have no such limit
 * @param elapsedMs since the request came
 */
export function waitLimit (maxWaitMs: number, handlerTimeoutMs: number | undefined, elapsedMs: number): number {
  if (handlerTimeoutMs === undefined || handlerTimeoutMs <= 0) return maxWaitMs
  const answerMs = Math.min(handlerTimeoutMs * ANSWER_SHARE, MAX_ANSWER_MS)
  return Math.max(0, Math.min(maxWaitMs, Math.floor(handlerTimeoutMs - answerMs - elapsedMs)))
}

/** The `Preference-Applied` value for a wait: the seconds that were granted, so that a client sees the cap. */
export function appliedWait (waitMs: number): string {
  return `wait=${Math.ceil(waitMs / 1_000)}`
}

function splitUnquoted (text: string, separator: string): string[] {
  const parts: string[] = []
  let quoted = false
  let start = 0
  for (let index = 0; index < text.length; index++) {
    const character = text[index]
    if (quoted && character === '\\') index++
    else if (character === '"') quoted = !quoted
    else if (character === separator && !quoted) {
      parts.push(text.slice(start, index))
      start = index + 1
    }
  }
  parts.push(text.slice(start))
  return parts
}

function unquote (value: string): string {
  return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1).replace(/\\(.)/g, '$1') : value
}
