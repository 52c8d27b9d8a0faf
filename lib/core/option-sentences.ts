import type { ErrorObject } from 'ajv'
import { cut } from './text.ts'

/** A part of a JSON Schema, as a validation error contains it. */
type Schema = Readonly<Record<string, unknown>>

/**
 * Turns validation errors into sentences that say what would be right: `slowMs must be a number of at least 0`. The
 * sentences are made from the schema and never show the value, which may be a secret in the wrong place.
 *
 * A schema's `description` is used as it is: write one where a sentence would otherwise show a regular expression.
 *
 * @param errors from a validator with `allErrors` and `verbose`
 */
export function sentencesOf (errors: readonly ErrorObject[]): string[] {
  const kept = withoutBranches(errors)
  return [...new Set(kept.flatMap((error, index) => isUnknownKey(error) ? unknownKey(error, kept.slice(index + 1)) : sentenceOf(error)))]
}

function isUnknownKey ({ keyword }: ErrorObject): boolean { return keyword === 'additionalProperties' }

/**
 * Only the last unknown key of an object is followed by the known keys, so that a list of several mistakes stays
 * readable.
 */
function unknownKey (error: ErrorObject, later: readonly ErrorObject[]): string[] {
  const sentence = `${within(error, String(error.params['additionalProperty']))} is not an option`
  if (later.some((other) => isUnknownKey(other) && other.instancePath === error.instancePath)) return [sentence]
  const known = Object.keys(isSchema(error.parentSchema) && isSchema(error.parentSchema['properties']) ? error.parentSchema['properties'] : {})
  return [known.length === 0 ? sentence : `${sentence} (known: ${known.join(', ')})`]
}

function pathOf ({ instancePath }: ErrorObject): string { return instancePath.slice(1).replaceAll('/', '.') }

function within (error: ErrorObject, name: string): string { return [pathOf(error), name].filter(Boolean).join('.') }

/**
 * A union (`anyOf`) reports the errors of all its branches. If the value has the type of one branch, and that branch
 * reports something inside the value, only these errors are kept. Otherwise only the error of the union is kept,
 * which says what is allowed.
 */
function withoutBranches (errors: readonly ErrorObject[]): ErrorObject[] {
  let kept = [...errors]
  // Outer unions first: errors that are dropped with them need no further work.
  const unions = errors.filter(({ keyword }) => keyword === 'anyOf' || keyword === 'oneOf').toSorted((a, b) => a.schemaPath.length - b.schemaPath.length)
  for (const union of unions) {
    if (!kept.includes(union)) continue
    const meant = branchOf(union)
    const inside = errors.filter((error) => isInside(error, union, meant))
    const keepsBranch = meant !== undefined && inside.some(({ keyword, instancePath }) =>
      instancePath !== union.instancePath || keyword === 'additionalProperties' || keyword === 'required')
    kept = kept.filter((error) => isInside(error, union) ? keepsBranch && inside.includes(error) : error !== union || !keepsBranch)
  }
  return kept
}

function isInside ({ schemaPath, instancePath }: ErrorObject, union: ErrorObject, branch?: number): boolean {
  const path = `${union.schemaPath}/${branch ?? ''}`
  return schemaPath.startsWith(branch === undefined ? path : `${path}/`) && instancePath.startsWith(union.instancePath)
}

/** The index of the branch that accepts values of this type, if there is exactly one. */
function branchOf (union: ErrorObject): number | undefined {
  const branches = schemasOf(union.schema)
  const fitting = branches.flatMap((branch, index) => branch['type'] === typeOf(union.data) ? [index] : [])
  return fitting.length === 1 ? fitting[0] : undefined
}

function typeOf (value: unknown): string {
  if (Array.isArray(value)) return 'array'
  return value === null ? 'null' : typeof value
}

function sentenceOf (error: ErrorObject): string[] {
  const path = pathOf(error)
  const schema = isSchema(error.parentSchema) ? error.parentSchema : {}
  switch (error.keyword) {
    case 'required': return [`${within(error, String(error.params['missingProperty']))} is missing`]
    case 'uniqueItems': return [`${path} must not contain duplicates`]
    // The error of the name itself says it.
    case 'propertyNames': return []
  }
  if (error.propertyName !== undefined) return [`${path}: the name ${JSON.stringify(cut(error.propertyName, 60))} must be ${wordsFor(schema)}`]
  // The value has none of the allowed types, so the limits of each branch would only be noise.
  const brief = error.keyword === 'anyOf' && !schemasOf(error.schema).some(({ type }) => sameType(type, error.data))
  return [`${path === '' ? 'options' : path} must be ${wordsFor(schema, brief)}`]
}

function sameType (type: unknown, data: unknown): boolean {
  return type === typeOf(data) || (type === 'integer' && typeof data === 'number')
}

/** Describes the values of a schema, in words that fit after "must be". */
function wordsFor (schema: Schema, brief = false): string {
  const words = [...new Set(alternatives(schema, brief))]
  // "a number or false" reads better than "false or a number".
  const inOrder = words.includes('false') && !words.includes('true') ? [...words.filter((word) => word !== 'false'), 'false'] : words
  const last = inOrder.at(-1) ?? 'something else'
  return inOrder.length < 2 ? last : `${inOrder.slice(0, -1).join(', ')} or ${last}`
}

function alternatives (schema: Schema, brief: boolean): string[] {
  const { description, anyOf, oneOf, type } = schema
  if (typeof description === 'string') return [description]
  if ('const' in schema) return [literal(schema['const'])]
  if (Array.isArray(schema['enum'])) return schema['enum'].map(literal)
  const branches = [...schemasOf(anyOf), ...schemasOf(oneOf)]
  if (branches.length > 0) return branches.flatMap((branch) => alternatives(branch, brief))
  if (schema['isFunction'] === true) return ['a function']
  if (schema['isRegExp'] === true) return ['a regular expression']
  if (schema['isObject'] === true) return ['an object']
  const types: unknown[] = [type].flat()
  return types.flatMap((each) => ofType(each, schema, brief))
}

function ofType (type: unknown, schema: Schema, brief: boolean): string[] {
  switch (type) {
    case 'boolean': return ['true', 'false']
    case 'number': return [`a number${brief ? '' : range(schema)}`]
    case 'integer': return [`a whole number${brief ? '' : range(schema)}`]
    case 'string': return [brief ? 'a string' : text(schema)]
    case 'array': return [`a list${brief ? '' : counted(schema['minItems'], schema['maxItems'], 'entries')}`]
    case 'object': return [`an object${brief ? '' : counted(undefined, schema['maxProperties'], 'keys')}`]
    default: return ['something else']
  }
}

function range ({ minimum, maximum, exclusiveMinimum }: Schema): string {
  if (exclusiveMinimum !== undefined) return ` greater than ${String(exclusiveMinimum)}${maximum === undefined ? '' : ` and at most ${String(maximum)}`}`
  if (minimum !== undefined && maximum !== undefined) return ` from ${String(minimum)} to ${String(maximum)}`
  if (minimum !== undefined) return ` of at least ${String(minimum)}`
  return maximum === undefined ? '' : ` of at most ${String(maximum)}`
}

function text ({ pattern, minLength, maxLength }: Schema): string {
  if (pattern !== undefined) return `a string that matches ${String(pattern)}`
  if (minLength === 1 && maxLength === undefined) return 'a string that is not empty'
  return `a string${counted(minLength, maxLength, 'characters')}`
}

function counted (least: unknown, most: unknown, what: string): string {
  if (least !== undefined && most !== undefined) return ` of ${String(least)} to ${String(most)} ${what}`
  if (least !== undefined) return ` of at least ${String(least)} ${what}`
  return most === undefined ? '' : ` of at most ${String(most)} ${what}`
}

function literal (value: unknown): string { return JSON.stringify(value) ?? 'undefined' }

function schemasOf (value: unknown): Schema[] { return Array.isArray(value) ? value.filter(isSchema) : [] }

function isSchema (value: unknown): value is Schema { return typeof value === 'object' && value !== null && !Array.isArray(value) }
