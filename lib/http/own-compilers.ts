import type { RouteOptions } from 'fastify'

/**
 * Compilers for this package's routes, whose schemas are only documentation: the application's own compilers (Zod, …)
 * could not handle them. Bodies are built field by field and written with `JSON.stringify`.
 */
export const ownCompilers: Pick<RouteOptions, 'validatorCompiler' | 'serializerCompiler'> = {
  validatorCompiler: () => () => true,
  serializerCompiler: () => JSON.stringify
}
