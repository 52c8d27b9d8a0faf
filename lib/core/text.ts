// Control characters (C0, C1 and Unicode's line separators) can forge lines in logs and fields in streams, or control
// a terminal. Characters that change the direction of writing make a text look like another one.
// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]+/g
const HALF_CHARACTER = /[\ud800-\udbff]$/

/**
 * Makes one line of at most `max` characters of a text from outside. A longer text ends in `…`.
 *
 * @param clean removes what must not be shown, before the line is cut
 */
export function singleLine (text: string, max: number, clean?: (text: string) => string): string {
  // Cut first, so that a text of many megabytes is not processed to its end. The cut may split a credential, so
  // `clean` must recognise one by its beginning.
  const window = text.length > 2 * max ? text.slice(0, 2 * max) : text
  const line = (clean === undefined ? window : clean(window)).replace(CONTROL, ' ')
  const whole = window === text && line.length <= max
  return whole ? line.toWellFormed() : `${cut(line, max - 1)}…`
}

/** At most `max` characters of a text. Never ends in half a surrogate pair, which JSON and UTF-8 cannot represent. */
export function cut (text: string, max: number): string {
  return (text.length > max ? text.slice(0, max).replace(HALF_CHARACTER, '') : text).toWellFormed()
}

/** A text of at most `max` characters. A longer text ends in `…`. */
export function shortened (text: string, max: number): string {
  return text.length > max ? `${cut(text, max - 1)}…` : text.toWellFormed()
}
