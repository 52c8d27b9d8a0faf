import type { OptionsSchema } from './options.ts'

/** How routes of this package stand in the OpenAPI document that `@fastify/swagger` makes of the application. */
export interface OpenApiOptions {
  /** They are not in it. @defaultValue false */
  hide?: boolean
  /** The headings they stand under. */
  tags?: readonly string[]
  /**
   * What a client has to prove, as an operation of OpenAPI says it: names of security schemes of the document with their
   * scopes, for example `[{ bearer: [] }]`. It documents what the application's hooks ask for, and checks nothing.
   */
  security?: ReadonlyArray<Readonly<Record<string, readonly string[]>>>
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

/** The members of a route's schema that say this; copies, as those who read a schema may change it. */
export function openApiMembers (options: OpenApiOptions | undefined, tags: readonly string[]): Record<string, unknown> {
  return {
    tags: [...options?.tags ?? tags],
    ...(options?.hide === true ? { hide: true } : undefined),
    ...(options?.security === undefined ? undefined : { security: structuredClone(options.security) })
  }
}
