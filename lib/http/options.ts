import type { FastifyContextConfig, FastifySerializerCompiler, RouteOptions } from 'fastify'
import { openApiProperty, type OpenApiOptions } from '../core/openapi.ts'
import { invalidOptions, OptionProblems, pathProperty, readOptions, type OptionsSchema } from '../core/options.ts'
import { jobNameProperty, jobOptionProperties, jobTracingProperty, propagationProperty, requiresProperty, spanAttributesProperty, type JobOptions, type JobRequirements, type JobTracingOptions, type Propagation } from '../jobs/definition.ts'
import { headerListProblems } from './captured-headers.ts'
import { correlationHeaderProblems, DEFAULT_CORRELATION_HEADER } from './correlation.ts'
import type { IdempotencyMode } from './idempotency.ts'
import type { OwnerFunction } from './owner.ts'
import type { ResponseFactories } from './responses.ts'
import type { ExposeErrors } from './shown-error.ts'

/** How the job routes are meant to be. */
export type HttpAccess = 'owner' | 'open'

/** What all endpoints and the job routes share. */
export interface HttpOptions {
  /**
   * The path of the job routes (status, result, cancel, redrive), under the prefix of the context that the plugin is registered
   * in. Endpoints have a `url` of their own. @defaultValue '/jobs'
   */
  path?: string | undefined
  /**
   * The URL that clients know the root of this server by, for example `https://api.example.com`. Links are paths
   * without it; give it where a proxy takes a part of the path away or clients need absolute URLs.
   */
  publicUrl?: string | undefined
  /** Who sends a request. Without it, knowing an id is enough to read and cancel a job that has no owner. */
  owner?: OwnerFunction | undefined
  /**
   * Says how the job routes are meant to be. `'owner'`: every endpoint must have an owner function, its own or the plugin's;
   * one that has none is refused, and a job that no owner function speaks for is shown to nobody. `'open'`: whoever knows an id may
   * read, cancel and redrive the job, and this is on purpose: the warning about it in production is not written. A job with a recorded
   * owner stays hidden all the same where no owner function speaks for it.
   *
   * @defaultValue neither: as `'open'`, with a warning in production where endpoints have no owner function
   */
  access?: HttpAccess | undefined
  /** More request headers to keep with every job, besides `accept-language`, `user-agent` and `x-request-id`. Never credentials. */
  headers?: readonly string[] | undefined
  /**
   * The request header that a client may send its correlation id in, and the response header that every answer of our
   * routes has it in. An id of up to 128 letters, digits, `.`, `_`, `-` is taken over; in the place of any other, or of none,
   * a new one is made.
   *
   * @defaultValue 'X-Correlation-ID'
   */
  correlationHeader?: string | undefined
  /** The longest `Prefer: wait`, in milliseconds; a client that asks for more waits this long. 0: nobody waits. @defaultValue 30000 */
  maxWaitMs?: number | undefined
  /**
   * Requests that may wait at one time. Each holds a connection and little else. When so many wait, the client (its owner, or else its
   * address) with the most loses its oldest wait to one that has fewer: that one is answered as if its time were up. A client that
   * has its share is answered at once. 0: nobody waits.
   *
   * @defaultValue 1000
   */
  maxWaiters?: number | undefined
  /**
   * A failed job can be run again so often over HTTP, whatever process is asked; after that it is a 409, `FAE_REDRIVE_LIMIT`. From code there is no limit.
   * 0: not at all.
   *
   * @defaultValue 10
   */
  maxRedrives?: number | undefined
  /** How long an `Idempotency-Key` is remembered, also when its job is forgotten before that. @defaultValue 86400000 (24 h) */
  idempotencyTtlMs?: number | undefined
  /**
   * Whose message clients see, of errors that ended an attempt. `'marked'`: what was written for them, which is the reason of
   * `discard()` and `cancel()` and errors with `expose: true`; of any other they see the code and a fixed text. `'all'`: of every error: messages of
   * drivers tell hosts, paths and values. A function `(error, job) => boolean` decides each; one that throws says no.
   *
   * @defaultValue 'marked'
   */
  exposeErrors?: ExposeErrors | undefined
  /** Bodies of your own. */
  responses?: ResponseFactories | undefined
  /**
   * How the job routes stand in the OpenAPI document. `tags` and `security` hold for endpoints too whose `schema` does not name
   * its own; `hide` is for the job routes alone. @defaultValue under the tag `jobs`
   */
  openapi?: OpenApiOptions | undefined
}

/** Fastify's own route options that make sense on an endpoint: hooks, constraints, config, compilers, log level. */
export type EndpointRouteOptions = Pick<RouteOptions,
  'onRequest' | 'preParsing' | 'preValidation' | 'preHandler' | 'preSerialization' | 'onSend' | 'onResponse' | 'onTimeout' | 'onError' | 'onRequestAbort' |
  'constraints' | 'logLevel' | 'logSerializers' | 'childLoggerFactory' | 'validatorCompiler' | 'schemaErrorFormatter' | 'handlerTimeout' | 'prefixTrailingSlash'>
  & { config?: FastifyContextConfig & Record<string, unknown>, serializerCompiler?: FastifySerializerCompiler<unknown> }

/** Everything about an endpoint that has no type parameters. */
export interface BaseEndpointOptions extends JobOptions {
  /** @defaultValue 'POST' */
  method?: 'POST' | 'PUT' | 'PATCH' | 'DELETE' | undefined
  url: string
  /** The job's name: stable, low-cardinality, the metric label `job_name`. Letters, digits, `_`, `-`, `.`, `:`; at most 100. */
  name: string
  /** Instead of the plugin's. */
  owner?: OwnerFunction | undefined
  /** `'required'`: refuse a submission without an `Idempotency-Key`. `false`: take no notice of one. @defaultValue 'optional' */
  idempotency?: IdempotencyMode | undefined
  /** Instead of the plugin's. */
  maxRedrives?: number | undefined
  /** With this many jobs waiting in the queue, a submission or a redrive over HTTP is refused with 429. Counts are up to a quarter of a second old. @defaultValue no limit */
  maxQueued?: number | undefined
  /** Bytes. @defaultValue Fastify's own, 1 MiB */
  bodyLimit?: number | undefined
  /** Run the job no sooner than this long after its submission. @defaultValue 0 */
  delayMs?: number | undefined
  /** Instead of the plugin's. */
  maxWaitMs?: number | undefined
  /** Instead of the plugin's. */
  exposeErrors?: ExposeErrors | undefined
  /** Each instead of the plugin's. */
  responses?: ResponseFactories | undefined
  /** How the span of an attempt is tied to the request's. @defaultValue the one of `observability.tracing` */
  propagation?: Propagation | undefined
  tracing?: JobTracingOptions | undefined
  requires?: JobRequirements | undefined
  routeOptions?: EndpointRouteOptions | undefined
}

const factories: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: { submitted: { isFunction: true }, status: { isFunction: true }, submitError: { isFunction: true }, exception: { isFunction: true } }
}

const exposeErrors: OptionsSchema = { anyOf: [{ enum: ['marked', 'all'] }, { isFunction: true }] }
const names: OptionsSchema = { type: 'array', items: { type: 'string' } }

const httpSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    path: pathProperty(),
    publicUrl: {
      type: 'string', pattern: '^https?://[^\\s/?#"<>\\\\]+(/[^\\s?#"<>\\\\]*)?$', description: 'a URL that begins with http:// or https://, without query and fragment'
    },
    owner: { isFunction: true },
    access: { enum: ['owner', 'open'] satisfies HttpAccess[] },
    headers: names,
    correlationHeader: { type: 'string', maxLength: 100 },
    maxWaitMs: { type: 'number', minimum: 0, maximum: 3_600_000 },
    maxWaiters: { type: 'integer', minimum: 0 },
    maxRedrives: { type: 'integer', minimum: 0 },
    idempotencyTtlMs: { type: 'number', minimum: 1, maximum: 3_153_600_000_000 },
    exposeErrors,
    responses: factories,
    openapi: openApiProperty
  }
}

/** Where nothing else is said. */
export const OPENAPI_TAGS: readonly string[] = Object.freeze(['jobs'])

const HTTP_DEFAULTS = Object.freeze({
  path: '/jobs',
  correlationHeader: DEFAULT_CORRELATION_HEADER,
  headers: Object.freeze([]) as readonly string[],
  maxWaitMs: 30_000,
  maxWaiters: 1_000,
  maxRedrives: 10,
  idempotencyTtlMs: 86_400_000,
  exposeErrors: 'marked' as ExposeErrors,
  responses: Object.freeze({}) as ResponseFactories
})

const ROUTE_OPTIONS = [
  'onRequest', 'preParsing', 'preValidation', 'preHandler', 'preSerialization', 'onSend', 'onResponse', 'onTimeout', 'onError', 'onRequestAbort',
  'constraints', 'logLevel', 'logSerializers', 'childLoggerFactory', 'validatorCompiler', 'serializerCompiler', 'schemaErrorFormatter', 'handlerTimeout', 'prefixTrailingSlash', 'config'
]

const endpointSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['url', 'name'],
  properties: {
    ...jobOptionProperties,
    method: { type: 'string', enum: ['POST', 'PUT', 'PATCH', 'DELETE'] },
    url: { type: 'string' },
    name: jobNameProperty,
    handler: { isFunction: true },
    schema: { isObject: true },
    owner: { isFunction: true },
    headers: names,
    idempotency: { enum: ['optional', 'required', false] },
    maxRedrives: { type: 'integer', minimum: 0 },
    maxQueued: { type: 'integer', minimum: 0 },
    bodyLimit: { type: 'integer', minimum: 1 },
    delayMs: { type: 'number', minimum: 0 },
    maxWaitMs: { type: 'number', minimum: 0, maximum: 3_600_000 },
    exposeErrors,
    responses: factories,
    propagation: propagationProperty,
    tracing: jobTracingProperty,
    spanAttributes: spanAttributesProperty,
    requires: requiresProperty,
    // Values are Fastify's to judge.
    routeOptions: { type: 'object', additionalProperties: false, properties: Object.fromEntries(ROUTE_OPTIONS.map((name) => [name, {}])) }
  }
}

export type ResolvedHttpOptions = Readonly<HttpOptions & typeof HTTP_DEFAULTS>

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readHttpOptions (given: HttpOptions | undefined): ResolvedHttpOptions {
  const problems = new OptionProblems()
  const options = problems.collect('', () => readOptions('http', httpSchema, HTTP_DEFAULTS, given))
  if (Array.isArray(given?.headers)) problems.add(...headerListProblems('headers', given.headers))
  if (given?.access === 'open' && given.owner !== undefined) problems.add('access "open" contradicts owner: with an owner function the job routes are not open; leave one of them out')
  if (typeof given?.correlationHeader === 'string') problems.add(...correlationHeaderProblems('correlationHeader', given.correlationHeader))
  problems.throwIfAny('http')
  if (options === undefined) throw new Error('the reader of options returned nothing and found nothing wrong')
  return options
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readEndpointOptions<T extends BaseEndpointOptions & { headers?: readonly string[] }> (given: T): Readonly<T> {
  const where = `asyncEndpoint "${String((given as Partial<T> | undefined)?.name)}"`
  if (typeof given !== 'object' || given === null) throw invalidOptions(where, ['options must be an object'])
  const options = readOptions(where, endpointSchema, {}, given)
  refuse(where, headerListProblems('headers', options.headers ?? []))
  return options
}

function refuse (where: string, problems: readonly string[]): void {
  if (problems.length > 0) throw invalidOptions(where, problems)
}
