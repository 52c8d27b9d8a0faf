import type { Attributes } from '@opentelemetry/api'
import type { Redaction } from '../core/redact.ts'
import { ATTR } from './attributes.ts'
import { takeRejection } from '../core/rejections.ts'
import { cut } from '../core/text.ts'

/** Attributes that an application may add to one span. */
const MAX_ATTRIBUTES = 32
/** The longest value, in UTF-16 units; the rest is cut off. */
const MAX_TEXT = 256
/** How much of a text is searched for secrets: one that the cut would split must still be recognised. */
const SEARCHED_TEXT = 4 * MAX_TEXT
const KEY = /^[A-Za-z_][A-Za-z0-9_.:/-]{0,99}$/

/** Attributes of this library and of OpenTelemetry itself: an application cannot set them. */
const OWN_NAMES: ReadonlySet<string> = new Set(Object.values(ATTR))
const OWN_PREFIXES = ['job.', 'messaging.', 'error.', 'exception.', 'otel.'] as const

/**
 * Makes the attributes of an application fit for a span: texts, finite numbers and booleans under names that are free,
 * limited in number and length, with secrets masked. Everything else is left out.
 *
 * @param given what `spanAttributes` returned, of any type
 * @param complain called with a sentence for each attribute that was left out
 */
export function fitForSpan (
  given: unknown, redaction: Redaction, complain: (sentence: string) => void
): Attributes | undefined {
  if (given === undefined || given === null) return undefined
  if (typeof given !== 'object' || Array.isArray(given)) {
    complain(`it returned ${Array.isArray(given) ? 'an array' : `a ${typeof given}`}, not an object`)
    return undefined
  }
  if ('then' in given) {
    takeRejection(given)
    complain('it returned a promise; return the attributes themselves')
    return undefined
  }
  const attributes: Attributes = {}
  let count = 0
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined) continue
    const problem = problemOf(key, value)
    if (problem !== undefined) complain(problem)
    else if (++count > MAX_ATTRIBUTES) {
      complain(`more than ${MAX_ATTRIBUTES} attributes`)
      break
    } else if (redaction.hides(key)) attributes[key] = redaction.mask
    else attributes[key] = typeof value === 'string' ? shownText(value, redaction) : value
  }
  return count === 0 ? undefined : attributes
}

/** Why the attribute is left out, without its value, and without a key that could hold any text. */
function problemOf (key: string, value: unknown): string | undefined {
  if (!KEY.test(key)) return 'a key is not a valid attribute name: letters, digits, _ . : / -, at most 100 characters'
  const reserved = OWN_NAMES.has(key) || OWN_PREFIXES.some((prefix) => key.startsWith(prefix))
  if (reserved) return `the attribute ${key} is reserved; choose another name`
  if (typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)) return undefined
  return `the value of ${key} is not a text, a finite number or a boolean`
}

function shownText (text: string, redaction: Redaction): string {
  return cut(redaction.text(text.slice(0, SEARCHED_TEXT)), MAX_TEXT)
}
