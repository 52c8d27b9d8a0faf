/** The part of what `@fastify/swagger` passes to a transform that is used here. */
export interface TransformInput {
  readonly schema?: unknown
  readonly url: string
}

export interface TransformOutput {
  readonly schema: unknown
  readonly url: string
}

type Members = Readonly<Record<string, unknown>>

/** The members of a route's schema that describe request and response. All others are OpenAPI's own. */
const INPUTS = ['body', 'querystring', 'query', 'params', 'headers'] as const

/**
 * Wraps the `transform` of `@fastify/swagger` for an application whose schemas are not JSON Schema, for example Zod.
 * The transforms of such packages cannot handle JSON Schema, but the job routes have only JSON Schema, and endpoints
 * have both. Parts that are JSON Schema stay as they are; everything else goes through the given transform.
 *
 * ```ts
 * await app.register(swagger, { openapi: {}, transform: openApiTransform(jsonSchemaTransform) })
 * ```
 */
export function openApiTransform<Input extends TransformInput, Output extends TransformOutput> (
  transform: (input: Input) => Output
): (input: Input) => Output {
  return (input) => {
    const schema = membersOf(input.schema)
    if (schema === undefined || !isMixed(schema)) return transform(input)
    const translate = (parts: Members): Members => membersOf(transform({ ...input, schema: parts }).schema) ?? {}
    const inputs = INPUTS.filter((name) => schema[name] !== undefined && !isPlain(schema[name]))
    const rest = Object.fromEntries(Object.entries(schema).filter(([name]) => name !== 'response'))
    return {
      ...transform({ ...input, schema: {} }),
      schema: {
        ...rest,
        ...(inputs.length === 0 ? {} : translate(Object.fromEntries(inputs.map((name) => [name, schema[name]])))),
        response: Object.fromEntries(Object.entries(membersOf(schema.response) ?? {}).map(([status, response]) => [status, responseOf(response, translate)]))
      }
    }
  }
}

/** Whether a response is JSON Schema, as on this package's routes. */
function isMixed ({ response }: Members): boolean {
  return Object.values(membersOf(response) ?? {}).some(isPlain)
}

function responseOf (response: unknown, translate: (parts: Members) => Members): unknown {
  const translated = (schema: unknown): unknown => isPlain(schema) ? schema : membersOf(translate({ response: { 200: schema } }).response)?.[200]
  const content = isPlain(response) ? membersOf(Reflect.get(response, 'content')) : undefined
  if (content === undefined) return translated(response)
  const media = Object.entries(content).map(([type, described]) => {
    const { schema, ...more } = membersOf(described) ?? {}
    return [type, schema === undefined ? described : { ...more, schema: translated(schema) }]
  })
  return { ...membersOf(response), content: Object.fromEntries(media) }
}

function membersOf (value: unknown): Members | undefined {
  return typeof value === 'object' && value !== null ? value as Members : undefined
}

/** JSON Schema is made of plain objects. Schemas of other libraries are class instances. */
function isPlain (value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return (prototype === Object.prototype || prototype === null) && !('_zod' in value) && !('_def' in value)
}
