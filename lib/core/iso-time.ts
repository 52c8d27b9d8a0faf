/** The largest time value of a Date, in both directions (ECMA-262 §21.4.1.1). */
export const LAST_MOMENT = 8.64e15

/**
 * Formats a time as ISO 8601. Never throws: a time out of range, which a store may deliver, becomes the nearest valid
 * one; NaN becomes 1970.
 */
export function iso (time: number): string {
  return new Date(Number.isNaN(time) ? 0 : Math.min(Math.max(time, -LAST_MOMENT), LAST_MOMENT)).toISOString()
}

/**
 * Makes a function that formats times as ISO 8601 and caches the newest second. A busy process formats the same
 * second thousands of times, and formatting a date is expensive compared with the rest of a submission. Only for
 * times in the range of a Date.
 */
export function isoFormat (): (time: number) => string {
  let second = Number.NaN
  let upToSecond = ''
  return (time) => {
    const asked = Math.floor(time / 1_000)
    if (asked !== second) {
      upToSecond = iso(time).slice(0, -4)
      second = asked
    }
    return `${upToSecond}${String(Math.trunc(time) - asked * 1_000).padStart(3, '0')}Z`
  }
}
