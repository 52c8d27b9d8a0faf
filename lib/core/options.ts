import { Ajv, type ValidateFunction } from 'ajv'
import { AsyncEndpointsError, isAsyncEndpointsError } from './errors.ts'
import { sentencesOf } from './option-sentences.ts'

/**
 * A JSON Schema for options, plus keywords for values that JSON does not have: `isFunction: true`, `isRegExp: true`,
 * and `isObject: true` for an instance with methods (a store, a logger) whose members are not validated. A
 * `description` says what a value must be, in words that fit after "must be" in a message. Without one, a message
 * shows the pattern itself.
 */
export type OptionsSchema = Readonly<Record<string, unknown>>

const ajv = new Ajv({ allErrors: true, strict: true, allowUnionTypes: true, useDefaults: false, verbose: true })
ajv.addKeyword({ keyword: 'isFunction', schemaType: 'boolean', validate: (_: boolean, value: unknown) => typeof value === 'function' })
ajv.addKeyword({ keyword: 'isObject', schemaType: 'boolean', validate: (_: boolean, value: unknown) => typeof value === 'object' && value !== null })
ajv.addKeyword({ keyword: 'isRegExp', schemaType: 'boolean', validate: (_: boolean, value: unknown) => value instanceof RegExp })

/**
 * The path of a group of routes, without a slash at its end. No segment is `.` or `..`: clients resolve those before they
 * send a request, so that no request would reach the routes.
 */
const SEGMENTS = '(/(?!\\.{1,2}(/|$))[A-Za-z0-9._~-]+)+'

/**
 * The schema of the option `path` of a group of routes (`http`, `health`, `observability.metrics`): where the group
 * begins, under the prefix of the context that the plugin is registered in.
 *
 * @param more `root`: `/` is allowed too. `off`: `false` is allowed too, and registers no routes
 */
export function pathProperty (more: { readonly root?: boolean, readonly off?: boolean } = {}): OptionsSchema {
  const path = {
    type: 'string',
    pattern: more.root === true ? `^(/|${SEGMENTS})$` : `^${SEGMENTS}$`,
    description: `a path like "/jobs", of letters, digits, ".", "_", "~" and "-"${more.root === true ? ', or "/"' : ''}`
  }
  return more.off === true ? { anyOf: [path, { const: false }] } : path
}

/** The path of a route in a group of routes. @param name for example `jobs` */
export function pathBelow (group: string, name: string): string { return `${group === '/' ? '' : group}/${name}` }

const compiled = new WeakMap<OptionsSchema, ValidateFunction>()

/**
 * Validates options and fills in defaults. The caller's object is not changed.
 *
 * @param where names the options in the message, for example `worker` or `asyncEndpoint "generate-report"`
 * @returns a frozen object: the given options over the defaults. A key whose value is
 * `undefined` counts as not given, inside of groups too.
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, one message that lists every bad key
 */
export function readOptions<T extends object, D extends Partial<T>> (
  where: string, schema: OptionsSchema, defaults: D, given: T | undefined
): Readonly<T & D> {
  if (Array.isArray(given)) throw invalidOptions(where, ['options must be an object, not an array'])
  const present = withoutUndefined(given ?? {}, schema)
  let validate = compiled.get(schema)
  if (validate === undefined) {
    validate = ajv.compile(schema)
    compiled.set(schema, validate)
  }
  if (!validate(present)) throw invalidOptions(where, sentencesOf(validate.errors ?? []))
  return Object.freeze({ ...defaults, ...present }) as Readonly<T & D>
}

/** Makes the error for bad options. `problems` are complete sentences, one per bad key. */
export function invalidOptions (where: string, problems: readonly string[]): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_INVALID_OPTIONS', `Invalid options for ${where}: ${problems.join('; ')}`, { details: { problems: [...problems] } })
}

/** Collects the problems that several readers of options find, so that one message lists them all. */
export class OptionProblems {
  readonly #problems: string[] = []

  add (...problems: readonly string[]): void { this.#problems.push(...problems) }

  /**
   * Runs a reader and keeps the problems that it finds, each with the prefix in front.
   *
   * @returns what the reader returned, or `undefined` if it found a problem
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

  /** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` if there is any problem */
  throwIfAny (where: string): void {
    if (this.#problems.length > 0) throw invalidOptions(where, this.#problems)
  }
}

/**
 * The options without the members that are `undefined`, also inside of their groups: spread over defaults, they would
 * hide them. Goes down only where the schema describes what is inside, so that a store or a schema of the application
 * is never copied; a group without such members stays the object that it is.
 */
function withoutUndefined (value: object, schema: OptionsSchema): Record<string, unknown> {
  const given = Object.entries(value).filter(([, entry]) => entry !== undefined)
  return Object.fromEntries(given.map(([key, entry]) => [key, cleaned(entry, memberOf(schema, key))]))
}

function cleaned (value: unknown, schema: unknown): unknown {
  const inside = groupOf(schema)
  if (inside === undefined || typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value
  const present = withoutUndefined(value, inside)
  const entries = Object.entries(value)
  const same = entries.length === Object.keys(present).length && entries.every(([key, entry]) => present[key] === entry)
  return same ? value : present
}

/** The part of a schema that describes an object, or that branch of a union. */
function groupOf (schema: unknown): OptionsSchema | undefined {
  if (!isSchema(schema)) return undefined
  if (schema['type'] === 'object') return schema
  const { anyOf } = schema
  return Array.isArray(anyOf) ? anyOf.find((branch: unknown): branch is OptionsSchema => isSchema(branch) && branch['type'] === 'object') : undefined
}

function memberOf ({ properties, additionalProperties }: OptionsSchema, key: string): unknown {
  return isSchema(properties) && Object.hasOwn(properties, key) ? properties[key] : additionalProperties
}

function isSchema (value: unknown): value is OptionsSchema { return typeof value === 'object' && value !== null }
