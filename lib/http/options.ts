import type { FastifyContextConfig, FastifySerializerCompiler, RouteOptions } from 'fastify'
import { openApiProperty, type OpenApiOptions } from '../core/openapi.ts'
import { invalidOptions, OptionProblems, pathProperty, readOptions, type OptionsSchema } from '../core/options.ts'
import { jobNameProperty, jobOptionProperties, jobTracingProperty, propagationProperty, requiresProperty, spanAttributesProperty } from '../jobs/compile-definition.ts'
import type { JobOptions, JobRequirements, JobTracingOptions, Propagation } from '../jobs/definition.ts'
import { linkProblems, linksSchema, type CapabilityLinkOptions } from './capability.ts'
import type { AuthorizeFunction } from './authorize.ts'
import { headerListProblems } from './captured-headers.ts'
import { correlationHeaderProblems, DEFAULT_CORRELATION_HEADER } from './correlation.ts'
import type { IdempotencyMode } from './idempotency.ts'
import type { HttpAccess, OwnerFunction } from './owner.ts'
import type { ResponseFactories } from './responses.ts'
import type { ExposeErrors } from './shown-error.ts'
import { endpointWebhookSchema, type EndpointWebhook } from './webhook-choice.ts'

/** Options of the job routes, and defaults for all endpoints. */
export interface HttpOptions {
  /**
   * The path of the job routes (status, result, cancel, redrive), under the prefix of the context that the plugin is
   * registered in. Endpoints have a `url` of their own.
   *
   * @defaultValue '/jobs'
   */
  path?: string | undefined
  /**
   * The URL by which clients reach the root of this server, for example `https://api.example.com`. Without it, links
   * are paths. Set it if a proxy removes a part of the path, or if clients need absolute URLs.
   */
  publicUrl?: string | undefined
  /**
   * Returns the owner of a request, for example the id of the authenticated user. The owner is stored with a job and
   * compared on every read, cancel and redrive. Without it, anybody who knows the id of a job that has no owner can
   * read and cancel it.
   */
  owner?: OwnerFunction | undefined
  /**
   * Decides, in addition to `owner`, what a request may do with a job. With it, `GET /jobs` lists jobs.
   *
   * @defaultValue undefined: `owner` alone decides, and jobs are not listed over HTTP
   */
  authorize?: AuthorizeFunction | undefined
  /**
   * Signs the links to jobs, so that anybody who has the link of a job can read it, without being known to the application.
   * The links in responses then have a parameter `sig`.
   *
   * @defaultValue undefined: links give access to nothing
   */
  links?: CapabilityLinkOptions | undefined
  /**
   * Who may use the job routes.
   *
   * - `'owner'`: every endpoint must have an owner function, its own or the plugin's. An endpoint without one is
   *   refused, and a job for which there is no owner function is shown to nobody.
   * - `'link'`: a job is read with its link (see `links`), or by its owner, or if `authorize` allows it. A job without an
   *   owner is read by its link only.
   * - `'open'`: anybody who knows an id may read, cancel and redrive the job, and this is intended, so the warning in
   *   production is not logged. A job that was stored with an owner stays hidden if there is no owner function for it.
   *
   * @defaultValue `'link'` if there are `links`; otherwise like `'open'`, with a warning in production if an endpoint has
   * no owner function
   */
  access?: HttpAccess | undefined
  /**
   * More request headers to keep with every job, in addition to `accept-language`, `user-agent` and `x-request-id`.
   * Headers with credentials are refused.
   */
  headers?: readonly string[] | undefined
  /**
   * The request header in which a client may send its correlation id, and the header of every response that has it.
   * An id of up to 128 letters, digits, `.`, `_`, `-` is accepted; otherwise a new one is made.
   *
   * @defaultValue 'X-Correlation-ID'
   */
  correlationHeader?: string | undefined
  /**
   * The longest `Prefer: wait`, in milliseconds. A client that asks for more waits this long. 0: no request waits.
   *
   * @defaultValue 30000
   */
  maxWaitMs?: number | undefined
  /**
   * How many requests may wait at the same time. Each needs a connection and little else. When all places are taken,
   * the client (its owner, or else its address) with the most waiting requests loses its oldest one to a client that
   * has fewer: that request is answered as if its time were up. A client that already has its share is answered at
   * once. 0: no request waits.
   *
   * @defaultValue 1000
   */
  maxWaiters?: number | undefined
  /**
   * How often a failed job can be redriven over HTTP, counted over all processes. After that the answer is 409,
   * `FAE_REDRIVE_LIMIT`. There is no limit for redrives from code. 0: jobs cannot be redriven over HTTP.
   *
   * @defaultValue 10
   */
  maxRedrives?: number | undefined
  /**
   * The most submissions of one client (its owner, or else its address) in a minute, over all endpoints. A client that
   * was quiet may send them all at once; after that it gets one more for each part of a minute that has passed. More are
   * refused with 429 (`FAE_TOO_MANY_SUBMISSIONS`) and `Retry-After`. Every process counts for itself, and remembers the
   * 10,000 clients that were active last.
   *
   * @defaultValue undefined: no limit
   */
  maxSubmissionsPerMinute?: number | undefined
  /**
   * How long an `Idempotency-Key` is remembered, in milliseconds, even if its job is deleted before that.
   *
   * @defaultValue 86400000 (24 h)
   */
  idempotencyTtlMs?: number | undefined
  /**
   * Which messages of errors that ended an attempt are shown to clients.
   *
   * - `'marked'`: those that were written for clients: the reasons of `discard()` and `cancel()`, and of errors with
   *   `expose: true`. For any other error, clients see its code and a fixed text.
   * - `'all'`: every message. Messages of drivers can reveal hosts, paths and values.
   * - A function `(error, job) => boolean` decides for each error. If it throws, the message is not shown.
   *
   * @defaultValue 'marked'
   */
  exposeErrors?: ExposeErrors | undefined
  /** Functions that make response bodies of your own. */
  responses?: ResponseFactories | undefined
  /**
   * How the routes appear in the OpenAPI document. `tags` and `security` also apply to endpoints whose `schema` does
   * not have its own; `hide` applies to the job routes only.
   *
   * @defaultValue under the tag `jobs`
   */
  openapi?: OpenApiOptions | undefined
}

/** The options of Fastify's routes that an endpoint accepts: hooks, constraints, config, compilers, log level. */
export type EndpointRouteOptions = Pick<RouteOptions,
  'onRequest' | 'preParsing' | 'preValidation' | 'preHandler' | 'preSerialization' | 'onSend' | 'onResponse' | 'onTimeout' | 'onError' | 'onRequestAbort' |
  'constraints' | 'logLevel' | 'logSerializers' | 'childLoggerFactory' | 'validatorCompiler' | 'schemaErrorFormatter' | 'handlerTimeout' | 'prefixTrailingSlash'>
  & { config?: FastifyContextConfig & Record<string, unknown>, serializerCompiler?: FastifySerializerCompiler<unknown> }

/** The options of an endpoint, except those with type parameters. */
export interface BaseEndpointOptions extends JobOptions {
  /** @defaultValue 'POST' */
  method?: 'POST' | 'PUT' | 'PATCH' | 'DELETE' | undefined
  /** The path that submits the job, under the prefix of the context. */
  url: string
  /**
   * The job's name. Keep it stable: stored jobs refer to it, and it is the metric label `job_name`. At most 100
   * letters, digits, `_`, `-`, `.`, `:`.
   */
  name: string
  /** Replaces `http.owner` for this endpoint. */
  owner?: OwnerFunction | undefined
  /**
   * `'required'`: a submission without an `Idempotency-Key` is refused. `false`: the header is ignored.
   *
   * @defaultValue 'optional'
   */
  idempotency?: IdempotencyMode | undefined
  /** Replaces `http.maxRedrives` for this endpoint. */
  maxRedrives?: number | undefined
  /**
   * If at least this many jobs are waiting in the queue, a submission or a redrive over HTTP is refused with 429. The
   * count is at most a quarter of a second old.
   *
   * @defaultValue no limit
   */
  maxQueued?: number | undefined
  /** The largest request body, in bytes. @defaultValue Fastify's own, 1 MiB */
  bodyLimit?: number | undefined
  /** The job runs this many milliseconds after its submission at the earliest. @defaultValue 0 */
  delayMs?: number | undefined
  /** Replaces `http.maxWaitMs` for this endpoint. */
  maxWaitMs?: number | undefined
  /** Replaces `http.exposeErrors` for this endpoint. */
  exposeErrors?: ExposeErrors | undefined
  /** Each function replaces the one of `http.responses` for this endpoint. */
  responses?: ResponseFactories | undefined
  /**
   * How the span of an attempt is connected to the span of the request.
   *
   * @defaultValue that of `observability.tracing`
   */
  propagation?: Propagation | undefined
  tracing?: JobTracingOptions | undefined
  requires?: JobRequirements | undefined
  /** Calls a URL when a job of this endpoint has ended. The plugin needs its option `webhooks`. @defaultValue none */
  webhook?: EndpointWebhook | undefined
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
    authorize: { isFunction: true },
    links: linksSchema,
    access: { enum: ['owner', 'link', 'open'] satisfies HttpAccess[] },
    headers: names,
    correlationHeader: { type: 'string', maxLength: 100 },
    maxWaitMs: { type: 'number', minimum: 0, maximum: 3_600_000 },
    maxWaiters: { type: 'integer', minimum: 0 },
    maxRedrives: { type: 'integer', minimum: 0 },
    maxSubmissionsPerMinute: { type: 'integer', minimum: 1, maximum: 1_000_000 },
    idempotencyTtlMs: { type: 'number', minimum: 1, maximum: 3_153_600_000_000 },
    exposeErrors,
    responses: factories,
    openapi: openApiProperty
  }
}

/** The tags of routes without tags of their own. */
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

/** The options of an endpoint, for schemas that include them. */
export const endpointSchema: OptionsSchema = {
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
    webhook: endpointWebhookSchema,
    // Fastify validates the values.
    routeOptions: { type: 'object', additionalProperties: false, properties: Object.fromEntries(ROUTE_OPTIONS.map((name) => [name, {}])) }
  }
}

export type ResolvedHttpOptions = Readonly<HttpOptions & typeof HTTP_DEFAULTS>

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readHttpOptions (given: HttpOptions | undefined): ResolvedHttpOptions {
  const problems = new OptionProblems()
  const options = problems.collect('', () => readOptions('http', httpSchema, HTTP_DEFAULTS, given))
  if (Array.isArray(given?.headers)) problems.add(...headerListProblems('headers', given.headers))
  if (given?.access === 'open' && given.owner !== undefined) {
    problems.add('access "open" contradicts owner: with an owner function the job routes are not open; remove one of the two')
  }
  if (given?.access === 'open' && given.authorize !== undefined) {
    problems.add('access "open" contradicts authorize: with it the job routes are not open; remove one of the two')
  }
  if (given?.access === 'link' && given.links === undefined) {
    problems.add('access "link" needs links: { keys: [{ id, secret }] }, because nobody could read a job without a key that signs its link')
  }
  problems.add(...linkProblems(given?.links))
  if (typeof given?.correlationHeader === 'string') problems.add(...correlationHeaderProblems('correlationHeader', given.correlationHeader))
  problems.throwIfAny('http')
  if (options === undefined) throw new Error('reading the options gave neither a result nor a problem')
  return options.access === undefined && options.links !== undefined ? Object.freeze({ ...options, access: 'link' }) : options
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readEndpointOptions<T extends BaseEndpointOptions & { headers?: readonly string[] }> (
  given: T
): Readonly<T> {
  const { name, url }: { readonly name?: unknown, readonly url?: unknown } = given ?? {}
  const where = `asyncEndpoint "${String(name ?? url)}"`
  if (typeof given !== 'object' || given === null) throw invalidOptions(where, ['options must be an object'])
  const options = readOptions(where, endpointSchema, {}, given)
  refuse(where, headerListProblems('headers', options.headers ?? []))
  return options
}

function refuse (where: string, problems: readonly string[]): void {
  if (problems.length > 0) throw invalidOptions(where, problems)
}
