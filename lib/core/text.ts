// Control characters (C0, C1 and the line separators of Unicode) forge lines in logs and fields in streams, or steer a
// terminal; those that turn the direction of writing make a text look like another one.
// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]+/g
const HALF_CHARACTER = /[\ud800-\udbff]$/

/**
 * A text from outside as one line of at most `max` characters; a longer one ends in `…`.
 *
 * @param clean takes away what must not be shown, before the line is cut
 */
export function singleLine (text: string, max: number, clean?: (text: string) => string): string {
  // Cut before anything else: a text of many megabytes must not be walked to its end. What is cut away here may have
  // completed a credential; whoever cleans has to know one by its beginning.
  const window = text.length > 2 * max ? text.slice(0, 2 * max) : text
  const line = (clean === undefined ? window : clean(window)).replace(CONTROL, ' ')
  const whole = window === text && line.length <= max
  return whole ? line.toWellFormed() : `${cut(line, max - 1)}…`
}

/** At most `max` characters of a text; none of them is half of one, for which JSON and UTF-8 have no writing. */
export function cut (text: string, max: number): string {
  return (text.length > max ? text.slice(0, max).replace(HALF_CHARACTER, '') : text).toWellFormed()
}

/** A text of at most `max` characters; a longer one ends in `…`. */
export function shortened (text: string, max: number): string {
  return text.length > max ? `${cut(text, max - 1)}…` : text.toWellFormed()
}
