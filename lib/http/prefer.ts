/** The preferences of a `Prefer` header (RFC 7240) that are supported. */
export interface Preference {
  /**
   * `wait`: answer with the result if it is ready within this many seconds. `undefined`: not given, or not a number.
   */
  readonly waitSeconds: number | undefined
  /** `respond-async`: answer at once. Together with `wait` it only says what to do after the waiting time. */
  readonly respondAsync: boolean
}

const NOTHING_PREFERRED: Preference = Object.freeze({ waitSeconds: undefined, respondAsync: false })

/**
 * Reads the two supported preferences. Names are case-insensitive, and the first occurrence of a name counts.
 * Everything that cannot be read is ignored, because a preference is never a reason to refuse a request (RFC 7240
 * §2).
 */
export function parsePrefer (header: string | readonly string[] | undefined): Preference {
  if (header === undefined || header.length === 0) return NOTHING_PREFERRED
  const text = typeof header === 'string' ? header : header.join(',')
  const seen = new Map<string, string>()
  for (const member of splitUnquoted(text, ',')) {
    // Parameters after `;` refine a preference. None is defined for these two.
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

/** How many milliseconds to wait: as many as the client asks for, but at most `maxWaitMs`. 0: not at all. */
export function waitTime (preference: Preference, maxWaitMs: number): number {
  return preference.waitSeconds === undefined ? 0 : Math.min(preference.waitSeconds * 1_000, maxWaitMs)
}

/** The part of Fastify's handler timeout that is kept for answering: a tenth of it, but at most half a second. */
const ANSWER_SHARE = 0.1
const MAX_ANSWER_MS = 500

/**
 * The longest time in milliseconds that a request may wait. If it waited longer, Fastify's `handlerTimeout` would
 * answer it with a 503, although nothing is wrong with its job.
 *
 * @param handlerTimeoutMs the limit of the route or the server; 0 for none, `undefined` in releases of Fastify
 * without this limit
 * @param elapsedMs the time since the request arrived
 */
export function waitLimit (maxWaitMs: number, handlerTimeoutMs: number | undefined, elapsedMs: number): number {
  if (handlerTimeoutMs === undefined || handlerTimeoutMs <= 0) return maxWaitMs
  const answerMs = Math.min(handlerTimeoutMs * ANSWER_SHARE, MAX_ANSWER_MS)
  return Math.max(0, Math.min(maxWaitMs, Math.floor(handlerTimeoutMs - answerMs - elapsedMs)))
}

/** The `Preference-Applied` value for a wait: the seconds that were granted, so that a client notices a cap. */
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
