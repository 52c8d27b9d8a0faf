/** A server that asks for more patience than this gets no more. */
const LONGEST_MS = 600_000

/**
 * Milliseconds that a `Retry-After` header asks for: it holds seconds or a date (RFC 9110 §10.2.3).
 *
 * @param now the wall clock, against which a date is measured
 * @returns 0 for a moment that is over; `undefined` when the header is absent or says nothing
 */
export function readRetryAfter (value: string | null, now: number): number | undefined {
  if (value === null) return undefined
  const text = value.trim()
  const ms = /^\d+$/.test(text) ? Number(text) * 1_000 : dateIn(text) - now
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), LONGEST_MS)
}

/**
 * All three forms of RFC 9110 §5.6.7 begin with the name of a day, and all are in GMT, which the form of `asctime` does not say.
 * Without the first look `Date.parse` would take `-5` and `1.5` for years.
 */
function dateIn (text: string): number {
  if (!/^[A-Za-z]{3,9},? /.test(text)) return Number.NaN
  return Date.parse(/\d{4}$/.test(text) ? `${text} GMT` : text)
}
