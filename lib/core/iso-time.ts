/** How far a Date reaches, both ways (ECMA-262 §21.4.1.1). */
export const LAST_MOMENT = 8.64e15

/** Never throws: a time that no Date can tell, from whatever store, is told as the nearest one; what is no number, as 1970. */
export function iso (time: number): string {
  return new Date(Number.isNaN(time) ? 0 : Math.min(Math.max(time, -LAST_MOMENT), LAST_MOMENT)).toISOString()
}

/**
 * The same, remembering the newest second: a busy process asks for the same one thousands of times, and formatting a date
 * is one of the dearer things on the way of a job. For times that a Date can tell.
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
