import ajvCompiler from '@fastify/ajv-compiler'
import serializerSelector from '@fastify/fast-json-stringify-compiler'
import type { FastifyInstance } from 'fastify'
import type { SchemaCompiler, SchemaCompilers } from '../jobs/schemas.ts'

/**
 * The compilers of a context, under those of a route, and above what Fastify itself uses for an application that has set none: the
 * same schemas mean the same for a route and for a job without one. They are read when they are needed, as an application may set
 * them after the definition.
 */
export function compilersOf (context: Pick<FastifyInstance, 'validatorCompiler' | 'serializerCompiler' | 'getSchemas'>, own: SchemaCompilers = {}): SchemaCompilers {
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
