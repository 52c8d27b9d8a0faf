import { Ajv, type ValidateFunction } from 'ajv'
import { AsyncEndpointsError, isAsyncEndpointsError } from './errors.ts'
import { sentencesOf } from './option-sentences.ts'

/**
 * A JSON Schema for options, plus two keywords for what JSON cannot say: `isFunction: true`, and `isObject: true` for
 * an instance with methods (a store, a logger) whose inside is not validated. A `description` is what a value has to be, as it
 * stands after "must be" in a message: without one a pattern is shown as it is.
 */
export type OptionsSchema = Readonly<Record<string, unknown>>

const ajv = new Ajv({ allErrors: true, strict: true, allowUnionTypes: true, useDefaults: false, verbose: true })
ajv.addKeyword({ keyword: 'isFunction', schemaType: 'boolean', validate: (_: boolean, value: unknown) => typeof value === 'function' })
ajv.addKeyword({ keyword: 'isObject', schemaType: 'boolean', validate: (_: boolean, value: unknown) => typeof value === 'object' && value !== null })
ajv.addKeyword({ keyword: 'isRegExp', schemaType: 'boolean', validate: (_: boolean, value: unknown) => value instanceof RegExp })

const compiled = new WeakMap<OptionsSchema, ValidateFunction>()

/**
 * Checks options against their schema and fills in defaults; the caller's object is left as it is.
 *
 * @param where names the options in the message, for example `worker` or `asyncEndpoint "generate-report"`
 * @returns a frozen object: the defaults under what was given. Keys whose value is `undefined` count as not given.
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, one message that lists every bad key
 */
export function readOptions<T extends object, D extends Partial<T>> (
  where: string, schema: OptionsSchema, defaults: D, given: T | undefined
): Readonly<T & D> {
  const present = withoutUndefined(given ?? {})
  let validate = compiled.get(schema)
  if (validate === undefined) {
    validate = ajv.compile(schema)
    compiled.set(schema, validate)
  }
  if (!validate(present)) throw invalidOptions(where, sentencesOf(validate.errors ?? []))
  return Object.freeze({ ...defaults, ...present }) as Readonly<T & D>
}

/** The one error for bad options; `problems` are finished sentences, one per bad key. */
export function invalidOptions (where: string, problems: readonly string[]): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_INVALID_OPTIONS', `Invalid options for ${where}: ${problems.join('; ')}`, { details: { problems: [...problems] } })
}

/** Gathers what several readers of options find, so that one message can list it all. */
export class OptionProblems {
  readonly #problems: string[] = []

  add (...problems: readonly string[]): void { this.#problems.push(...problems) }

  /**
   * Runs a reader; what it finds wrong is kept, with the prefix before every sentence.
   *
   * @returns what it read, or `undefined` when something was wrong
   */
  collect<R> (prefix: string, read: () => R): R | undefined {
    try {
      return read()
    } catch (error) {
      if (!isAsyncEndpointsError(error, 'FAE_INVALID_OPTIONS')) throw error
      const found = error.details?.problems
      for (const problem of Array.isArray(found) ? found : [error.message]) this.add(prefix + String(problem))
      return undefined
    }
  }

  /** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` when there is any */
  throwIfAny (where: string): void {
    if (this.#problems.length > 0) throw invalidOptions(where, this.#problems)
  }
}

function withoutUndefined (value: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined))
}
