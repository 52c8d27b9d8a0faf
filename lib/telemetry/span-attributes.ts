import type { Attributes } from '@opentelemetry/api'
import type { Redaction } from '../core/redact.ts'
import { ATTR } from './attributes.ts'
import { takeRejection } from '../core/rejections.ts'
import { cut } from '../core/text.ts'

/** Attributes that an application may add to one span. */
const MAX_ATTRIBUTES = 32
/** UTF-16 units of a value; what is longer is cut. */
const MAX_TEXT = 256
/** As much of a text is searched for secrets: one that the cut goes through must still be recognised. */
const SEARCHED_TEXT = 4 * MAX_TEXT
const KEY = /^[A-Za-z_][A-Za-z0-9_.:/-]{0,99}$/

/** What our own spans say, and what OpenTelemetry says about every span, is not for an application to change. */
const OWN_NAMES: ReadonlySet<string> = new Set(Object.values(ATTR))
const OWN_PREFIXES = ['job.', 'messaging.', 'error.', 'exception.', 'otel.'] as const

/**
 * What an application's function gave, made fit for a span: only texts, finite numbers and booleans under names that
 * are free, bounded in number and length, with what must not be shown masked. The rest is left out.
 *
 * @param told what `spanAttributes` returned, of whatever type
 * @param complain called with one sentence when something was left out
 */
export function fitForSpan (told: unknown, redaction: Redaction, complain: (sentence: string) => void): Attributes | undefined {
  if (told === undefined || told === null) return undefined
  if (typeof told !== 'object' || Array.isArray(told)) {
    complain(`it returned ${Array.isArray(told) ? 'an array' : `a ${typeof told}`}, not an object`)
    return undefined
  }
  if ('then' in told) {
    takeRejection(told)
    complain('it returned a promise; attributes are needed at once')
    return undefined
  }
  const attributes: Attributes = {}
  let count = 0
  for (const [key, value] of Object.entries(told)) {
    if (value === undefined) continue
    const problem = problemOf(key, value)
    if (problem !== undefined) complain(problem)
    else if (++count > MAX_ATTRIBUTES) {
      complain(`more than ${MAX_ATTRIBUTES} attributes`)
      break
    } else attributes[key] = redaction.hides(key) ? redaction.mask : typeof value === 'string' ? shownText(value, redaction) : value
  }
  return count === 0 ? undefined : attributes
}

/** A sentence without the value, and without a key that may be anything. */
function problemOf (key: string, value: unknown): string | undefined {
  if (!KEY.test(key)) return 'a key is no attribute name: letters, digits, _ . : / -, at most 100'
  if (OWN_NAMES.has(key) || OWN_PREFIXES.some((prefix) => key.startsWith(prefix))) return `the attribute ${key} is not for applications`
  if (typeof value === 'string' || typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) return undefined
  return `the value of ${key} is no text, finite number or boolean`
}

function shownText (text: string, redaction: Redaction): string {
  return cut(redaction.text(text.slice(0, SEARCHED_TEXT)), MAX_TEXT)
}
