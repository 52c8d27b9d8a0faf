import type { RouteOptions } from 'fastify'

/**
 * For routes of ours whose schemas are documentation: an application's own compilers (Zod, …) could make nothing of them.
 * Bodies are written by `JSON.stringify`, field by field.
 */
export const ownCompilers: Pick<RouteOptions, 'validatorCompiler' | 'serializerCompiler'> = {
  validatorCompiler: () => () => true,
  serializerCompiler: () => JSON.stringify
}
