import type { OptionsSchema } from './options.ts'

/** How this package's routes appear in the OpenAPI document that `@fastify/swagger` makes of the application. */
export interface OpenApiOptions {
  /** `true` leaves the routes out of the document. @defaultValue false */
  hide?: boolean | undefined
  /** The tags of the routes. */
  tags?: readonly string[] | undefined
  /**
   * The security requirements of the routes, as in an OpenAPI operation: names of the document's security schemes
   * with their scopes, for example `[{ bearer: [] }]`. This only documents what the application's hooks check; it
   * checks nothing itself.
   */
  security?: ReadonlyArray<Readonly<Record<string, readonly string[]>>> | undefined
}

const texts = { type: 'array', items: { type: 'string' } }

export const openApiProperty: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    hide: { type: 'boolean' },
    tags: texts,
    security: { type: 'array', items: { type: 'object', additionalProperties: texts } }
  }
}

/** The OpenAPI members of a route's schema. Copied, because other plugins may change the schema of a route. */
export function openApiMembers (options: OpenApiOptions | undefined, tags: readonly string[]): Record<string, unknown> {
  return {
    tags: [...options?.tags ?? tags],
    ...(options?.hide === true ? { hide: true } : undefined),
    ...(options?.security === undefined ? undefined : { security: structuredClone(options.security) })
  }
}
