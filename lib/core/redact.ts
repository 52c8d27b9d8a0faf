import type { Logger } from './context.ts'
import { readOptions, type OptionsSchema } from './options.ts'
import { fieldRedactor } from './redact-fields.ts'
import { loggerRedactor } from './redact-logger.ts'
import { nameMatcher } from './redact-names.ts'
import { textRedactor } from './redact-text.ts'

export interface RedactOptions {
  /**
   * More names of fields, headers and attributes whose values are never shown. Case, `-` and `_` make no difference,
   * and a name also matches after a dot: `e-mail` matches `Email` and `customer.email`, but not `customer_email`.
   *
   * @defaultValue none; the usual names of credentials and payment data are always hidden, see `docs/observability.md`
   */
  keys?: readonly string[] | undefined
  /** The text that replaces a hidden value. @defaultValue '[FILTERED]' */
  mask?: string | undefined
}

/** The schema of the option `redact`, for schemas that include it. */
export const redactProperty: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: { keys: { type: 'array', items: { type: 'string', minLength: 1, maxLength: 200 } }, mask: { type: 'string', maxLength: 100 } }
}

/**
 * The compiled list of what must not be shown. None of its functions throws, and none changes its argument. All of
 * them can be used without the object (no `this`).
 */
export interface Redaction {
  readonly mask: string
  /** Whether the value of a name must not be shown. */
  readonly hides: (name: string) => boolean
  /**
   * Removes everything from a text that looks like a credential: values of hidden names (`password=…`, `"apiKey":
   * "…"`), `Bearer …`, `Basic …`, `redis://user:…@host`, private keys. The time is proportional to the length of the
   * text.
   */
  readonly text: (text: string) => string
  /**
   * Removes the values of hidden names and the credentials in texts from an object, nested ones too. Returns the same
   * object if there are none. Copies are bounded: values that are nested too deeply, or come after too many others,
   * are replaced by a text that says so.
   */
  readonly fields: <T extends object>(value: T) => T
  /** A logger that redacts everything it gets with `fields`; its children do the same. */
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
