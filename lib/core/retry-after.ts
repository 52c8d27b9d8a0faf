/** The longest wait by default. A server that asks for more gets this. */
const LONGEST_MS = 600_000

/**
 * Reads a `Retry-After` header, which holds seconds or a date (RFC 9110 §10.2.3).
 *
 * @param now the wall clock, to which a date is compared
 * @param longestMs a server that asks for more milliseconds gets this
 * @returns milliseconds to wait; 0 for a date in the past; `undefined` if the header is absent or not valid
 */
export function readRetryAfter (value: string | null, now: number, longestMs = LONGEST_MS): number | undefined {
  if (value === null) return undefined
  const text = value.trim()
  const ms = /^\d+$/.test(text) ? Number(text) * 1_000 : dateIn(text) - now
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(0, ms), longestMs)
}

/**
 * All three date formats of RFC 9110 §5.6.7 begin with the name of a day and are in GMT, which the `asctime` format
 * does not state. Without the first test, `Date.parse` would read `-5` and `1.5` as years.
 */
function dateIn (text: string): number {
  if (!/^[A-Za-z]{3,9},? /.test(text)) return Number.NaN
  return Date.parse(/\d{4}$/.test(text) ? `${text} GMT` : text)
}
