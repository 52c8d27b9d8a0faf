import { readOptions, type OptionsSchema } from './options.ts'

export interface RedactOptions {
  /** Names of fields, headers and attributes whose values are never shown, besides ours. Case, `-` and `_` make no difference. */
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

/** The one list of what must not be shown, compiled. */
export interface Redaction {
  readonly mask: string
  /** True for a name whose value must not be shown. */
  hides (name: string): boolean
  /** The text without what looks like credentials: `password=…`, `Bearer …`, `redis://user:…@host`. */
  text (text: string): string
}

const REDACT_DEFAULTS = Object.freeze({ keys: Object.freeze([]) as readonly string[], mask: '[FILTERED]' })

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readRedactOptions (given?: RedactOptions): Redaction {
  const { keys, mask } = readOptions<RedactOptions, Required<RedactOptions>>('redact', redactProperty, REDACT_DEFAULTS, given)
  const hidden = new Set(keys.map((key) => key.toLowerCase()))
  return { mask, hides: (name) => hidden.has(name.toLowerCase()), text: (text) => text }
}
