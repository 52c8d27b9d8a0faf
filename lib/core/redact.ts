import type { Logger } from './context.ts'
import { readOptions, type OptionsSchema } from './options.ts'
import { fieldRedactor } from './redact-fields.ts'
import { loggerRedactor } from './redact-logger.ts'
import { nameMatcher } from './redact-names.ts'
import { textRedactor } from './redact-text.ts'

export interface RedactOptions {
  /**
   * Names of fields, headers and attributes whose values are never shown, besides ours. Case, `-` and `_` make no
   * difference, and neither does what stands before a dot: `e-mail` is `Email` and `customer.email`, but not `customer_email`.
   *
   * @defaultValue none; always hidden are the usual names of credentials and payment data, see `docs/observability.md`
   */
  keys?: readonly string[]
  /** What stands in the place of such a value. @defaultValue '[FILTERED]' */
  mask?: string
}

/** For schemas that include it. */
export const redactProperty: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: { keys: { type: 'array', items: { type: 'string', minLength: 1, maxLength: 200 } }, mask: { type: 'string', maxLength: 100 } }
}

/**
 * The one list of what must not be shown, compiled. None of its functions throws, and none changes what it is given; all
 * of them work when they are taken off the object.
 */
export interface Redaction {
  readonly mask: string
  /** True for a name whose value must not be shown. */
  readonly hides: (name: string) => boolean
  /**
   * The text without what looks like credentials: values of hidden names (`password=…`, `"apiKey": "…"`), `Bearer …`,
   * `Basic …`, `redis://user:…@host`, private keys. Takes time in proportion to the length of the text.
   */
  readonly text: (text: string) => string
  /**
   * The object without the values of hidden names and without the credentials in its texts, nested ones too; the very
   * same object when there are none. Copies are bounded: what lies too deep and what follows too many others is left out, and
   * says so.
   */
  readonly fields: <T extends object>(value: T) => T
  /** A logger that passes whatever it is given through `fields`, and its children with it. */
  readonly logger: (logger: Logger) => Logger
}

const REDACT_DEFAULTS = Object.freeze({ keys: Object.freeze([]) as readonly string[], mask: '[FILTERED]' })

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readRedactOptions (given?: RedactOptions): Redaction {
  const { keys, mask } = readOptions<RedactOptions, Required<RedactOptions>>('redact', redactProperty, REDACT_DEFAULTS, given)
  const hides = nameMatcher(keys)
  const text = textRedactor(hides, mask)
  const redactor = fieldRedactor(hides, text, mask)
  return Object.freeze({ mask, hides, text, fields: redactor.fields, logger: loggerRedactor(redactor) })
}
