import ajvCompiler from '@fastify/ajv-compiler'
import serializerSelector from '@fastify/fast-json-stringify-compiler'
import type { FastifyInstance } from 'fastify'
import type { SchemaCompiler, SchemaCompilers } from '../jobs/schemas.ts'

/**
 * The compilers for the schemas of a job: those of the route, else those of the context, else Fastify's own. So the
 * same schema means the same for a route and for a job without a route. The compilers are looked up when they are
 * first needed, because an application may set them after it has defined the job.
 */
export function compilersOf (
  context: Pick<FastifyInstance, 'validatorCompiler' | 'serializerCompiler' | 'getSchemas'>, own: SchemaCompilers = {}
): SchemaCompilers {
  return {
    get validatorCompiler () { return own.validatorCompiler ?? context.validatorCompiler as SchemaCompiler | undefined ?? validators(context.getSchemas()) },
    get serializerCompiler () { return own.serializerCompiler ?? context.serializerCompiler as SchemaCompiler | undefined ?? serializers(context.getSchemas()) }
  }
}

function validators (shared: Record<string, unknown>): SchemaCompiler {
  const factory = ajvCompiler()
  return factory(shared as Parameters<typeof factory>[0], { customOptions: {} }) as SchemaCompiler
}

function serializers (shared: Record<string, unknown>): SchemaCompiler {
  return serializerSelector()(shared, {}) as SchemaCompiler
}
