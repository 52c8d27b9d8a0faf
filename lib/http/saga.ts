/** `app.saga()`: a job made of steps, and the route that submits it. */
import type { FastifyInstance, FastifyTypeProvider } from 'fastify'
import { AsyncEndpointsError } from '../core/errors.ts'
import { invalidOptions, OptionProblems, readOptions, type OptionsSchema } from '../core/options.ts'
import { runtimeOf } from '../events/runtime.ts'
import { DEFAULT_JOB_OPTIONS, type SagaPart } from '../jobs/compile-definition.ts'
import type { JobDefinition, JobTypes } from '../jobs/definition.ts'
import { CompiledSchemas, type SchemaCompilers } from '../jobs/schemas.ts'
import { compileSaga, sagaPlanProperties, YEAR_MS, type SagaPlanOptions } from '../saga/compile.ts'
import { stepsOf } from '../saga/journal.ts'
import { makeSagaRunner } from '../saga/runner.ts'
import type { NoResults, SagaEnd, SagaSteps } from '../saga/types.ts'
import { headerListProblems } from './captured-headers.ts'
import { definerOf } from './define-job.ts'
import { addEndpoint, type AnyEndpointOptions } from './endpoint.ts'
import type { HttpRuntime } from './http-runtime.ts'
import { endpointSchema, type BaseEndpointOptions } from './options.ts'
import { compilersOf } from './schema-compilers.ts'
import type { EndpointSchema, HandlerTypes, ResultBound } from './types.ts'

/** The options of `app.saga()`: those of an endpoint, and its steps in the place of a handler. */
export interface SagaOptions<
  Provider extends FastifyTypeProvider, Types extends JobTypes, Schema extends EndpointSchema, Header extends string,
  Result = ResultBound<Provider, Schema, Types>
> extends Omit<BaseEndpointOptions, 'url' | 'timeoutMs' | 'retry'>, SagaPlanOptions {
  /** The path that submits the saga. Without it, it is submitted from code only. */
  url?: string | undefined
  schema?: Schema | undefined
  /** More request headers to keep with the job. Never credentials. */
  headers?: readonly Header[] | undefined
  /**
   * The longest time of the whole saga, in milliseconds, from its first start; waits and retries count. After that it
   * undoes its steps and fails with `FAE_SAGA_TIMEOUT`; undoing has no limit but those of the compensations. 0: no
   * limit.
   *
   * @defaultValue 3600000 (1 h)
   */
  timeoutMs?: number | undefined
  /**
   * How many workers may die while one step runs, and the pause after each. Errors belong to the steps: see their
   * `attempts`.
   *
   * @defaultValue 3 attempts; backoff exponential, from 1 s to at most 1 h, jitter 0.2
   */
  retry?: BaseEndpointOptions['retry']
  /** Declares the steps. It is called once, when the saga is defined. */
  steps: (s: SagaSteps<HandlerTypes<Provider, Types, Schema, Header>, NoResults, Provider>) => SagaEnd<unknown, Result>
}

/** The options of a saga, its types forgotten. */
export interface AnySagaOptions extends Omit<AnyEndpointOptions, 'url' | 'handler'>, SagaPlanOptions {
  readonly url?: string | undefined
  readonly steps?: unknown
}

const DEFAULT_TIMEOUT_MS = 3_600_000

const { handler: _, ...endpointProperties } = endpointSchema['properties'] as Record<string, OptionsSchema>
const sagaSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['name'],
  properties: {
    ...endpointProperties,
    ...sagaPlanProperties,
    timeoutMs: { type: 'number', minimum: 0, maximum: YEAR_MS },
    // Checked when it is called.
    steps: {}
  }
}

/**
 * Defines a saga and, when it has a `url` and this process has routes, the route that submits it. Either all of it is
 * registered or nothing.
 *
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` with everything that is wrong with the options and the steps,
 * `FAE_DUPLICATE_JOB`, `FAE_STORE_UNSUPPORTED` for a store that keeps no steps; and Fastify's own errors for a route it
 * cannot take
 */
export function defineSaga (app: FastifyInstance, http: HttpRuntime | undefined, given: AnySagaOptions): JobDefinition {
  const runtime = runtimeOf(app)
  const { name, url }: { readonly name?: unknown, readonly url?: unknown } = given ?? {}
  const where = `saga "${String(name ?? url)}"`
  if (typeof given !== 'object' || given === null) throw invalidOptions(where, ['options must be an object'])
  stepsOf(runtime)
  const { routeOptions } = given
  const compilers = compilersOf(app, {
    validatorCompiler: routeOptions?.validatorCompiler, serializerCompiler: routeOptions?.serializerCompiler
  } as SchemaCompilers)
  const problems = new OptionProblems()
  const options = problems.collect(
    '', () => readOptions<AnySagaOptions, Partial<AnySagaOptions>>(where, sagaSchema, {}, given)
  )
  problems.add(...headerListProblems('headers', Array.isArray(given.headers) ? given.headers : []))
  problems.add(...withoutRoute(given))
  const part = problems.collect('', () => sagaPart(app, given, compilers))
  problems.throwIfAny(where)
  if (options === undefined || part === undefined) {
    throw new Error('reading the options gave neither a result nor a problem')
  }

  const { steps, version, versionWaitMs, upgrade, maxStepResultBytes, maxResultsBytes, ...endpoint } = options
  const define = (input: Parameters<ReturnType<typeof definerOf>['define']>[1], own: SchemaCompilers): JobDefinition =>
    definerOf(app).define(app, input, own, part)
  // The plan has the deadline of the saga; an attempt has none of its own.
  const settings = {
    ...endpoint, timeoutMs: 0, retry: { attempts: part.plan.maxCrashes, ...options.retry }, handler: neverCalled
  }
  if (settings.url === undefined) return addEndpoint(app, undefined, define, { ...settings, url: '' })
  return addEndpoint(app, http, define, { ...settings, url: settings.url })
}

/** Options of the route that submits the saga, for one that has none. */
function withoutRoute ({ url, method, bodyLimit, webhook }: AnySagaOptions): string[] {
  if (url !== undefined) return []
  return Object.entries({ method, bodyLimit, webhook }).flatMap(
    ([key, value]) => value === undefined ? [] : [`${key} has no effect without a url`]
  )
}

function sagaPart (app: FastifyInstance, given: AnySagaOptions, compilers: SchemaCompilers): SagaPart {
  const runtime = runtimeOf(app)
  const {
    name, timeoutMs = DEFAULT_TIMEOUT_MS, graceMs = runtime.jobDefaults?.graceMs ?? DEFAULT_JOB_OPTIONS.graceMs, retry
  } = given
  const signalSchemas: CompiledSchemas[] = []
  const plan = compileSaga({
    ...given,
    name,
    steps: given.steps,
    timeoutMs,
    graceMs,
    retry: { attempts: retry?.attempts ?? 3, backoff: retry?.backoff },
    signalValidator: (signal, schema) => {
      const schemas = new CompiledSchemas(`${name}, signal ${signal}`, { body: schema }, compilers)
      signalSchemas.push(schemas)
      return async (value) => {
        const read = await schemas.readBody?.(value)
        if (read === undefined) return value
        if ('problem' in read) {
          const error = new AsyncEndpointsError(
            'FAE_INVALID_SUBMISSION', `The signal "${signal}" is not valid: ${read.problem}`
          )
          // As an error of Fastify's validation has them: the problem document then points to each wrong value.
          throw Object.assign(error, { validation: read.errors, validationContext: 'body' })
        }
        return read.value
      }
    }
  })
  return { plan, runner: makeSagaRunner(runtime, plan), signalSchemas }
}

/** The runner of a saga stands in its place. */
function neverCalled (): never {
  throw new Error('a saga has no handler')
}
