import type { FastifyInstance } from 'fastify'
import type { JobRuntime } from '../events/runtime.ts'
import { compileDefinition, type SagaPart } from '../jobs/compile-definition.ts'
import type { JobDefinition, JobDefinitionInput, JobTypes } from '../jobs/definition.ts'
import type { SchemaCompilers } from '../jobs/schemas.ts'
import { compilersOf } from './schema-compilers.ts'

/**
 * Registers the jobs of one application; each in the context that it is defined in, whose compilers read its schemas.
 */
export class JobDefiner {
  readonly #runtime: JobRuntime
  #ready = false

  constructor (runtime: JobRuntime) {
    this.#runtime = runtime
  }

  /** The application is ready: schemas of definitions that come later are compiled at once. */
  ready (): void { this.#ready = true }

  /**
   * @param own compilers that come before those of the context
   * @param saga of a saga, its steps
   * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, `FAE_DUPLICATE_JOB`
   */
  define<T extends JobTypes> (context: FastifyInstance, input: JobDefinitionInput<T>, own: SchemaCompilers = {}, saga?: SagaPart): JobDefinition<T> {
    const { bus, jobDefaults, registry } = this.#runtime
    const definition = compileDefinition(input, jobDefaults, compilersOf(context, own), saga)
    const compile = (): void => { for (const schemas of [definition.schemas, ...saga?.signalSchemas ?? []]) schemas.compile() }
    if (this.#ready) compile()
    // Until then the application may still set its own compilers.
    else context.addHook('onReady', async () => { compile() })
    registry.add(definition)
    if (saga !== undefined) this.#runtime.runners?.set(definition.name, saga.runner)
    bus.emit('handler.registered', { jobName: definition.name, queue: definition.queue })
    return definition
  }
}

/** Where the plugins of one Fastify instance find its {@link JobDefiner}. */
export const DEFINER: unique symbol = Symbol.for('fastify-async-endpoints.definer')

export function definerOf (app: { getDecorator<T> (name: symbol): T }): JobDefiner {
  return app.getDecorator<JobDefiner>(DEFINER)
}
