import type { FastifyInstance, FastifySerializerCompiler, RouteOptions } from 'fastify'
import { runtimeOf } from '../events/runtime.ts'
import { openApiMembers } from '../core/openapi.ts'
import { invalidOptions } from '../core/options.ts'
import { compileDefinition } from '../jobs/compile-definition.ts'
import type { JobDefinition, JobDefinitionInput, JobHandler, SpanAttributesOptions } from '../jobs/definition.ts'
import type { SchemaCompiler, SchemaCompilers } from '../jobs/schemas.ts'
import { OPENAPI_TAGS, readEndpointOptions, type BaseEndpointOptions } from './options.ts'
import { correlationHook, problemHandler, type Endpoint, type HttpRuntime } from './http-runtime.ts'
import { hiddenSig } from './hidden-sig.ts'
import { compilersOf } from './schema-compilers.ts'
import { emptyResponse, jsonResponse, problemResponse, submittedSchema, withCorrelation } from './schemas.ts'
import { submitHandler } from './submit.ts'
import { webhookProblem } from './webhook-choice.ts'
import type { EndpointSchema } from './types.ts'

/** The options of an endpoint, its types forgotten. */
export interface AnyEndpointOptions extends BaseEndpointOptions {
  readonly handler?: JobHandler | undefined
  readonly schema?: EndpointSchema | undefined
  readonly headers?: readonly string[] | undefined
  readonly spanAttributes?: SpanAttributesOptions | undefined
}

/** Registers a definition with the application's defaults under it; what `app.defineJob` is. */
export type DefineJob = (definition: JobDefinitionInput, compilers: SchemaCompilers) => JobDefinition

/**
 * Defines a job and, when this process has routes, the route that submits it, in the context it was called on: that
 * context's prefix, hooks and compilers apply. Either all of it is registered or nothing.
 *
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, `FAE_DUPLICATE_JOB`; and Fastify's own errors for a route it
 * cannot take
 */
export function defineEndpoint (
  app: FastifyInstance, http: HttpRuntime | undefined, define: DefineJob, given: AnyEndpointOptions
): JobDefinition {
  return addEndpoint(app, http, define, readEndpointOptions(given))
}

/** The same for options that have been read. @throws as {@link defineEndpoint} */
export function addEndpoint (
  app: FastifyInstance, http: HttpRuntime | undefined, define: DefineJob, settings: AnyEndpointOptions
): JobDefinition {
  const input = definitionInput(settings)
  // The last step below cannot fail any more after these two: a route cannot be taken back.
  runtimeOf(app).registry.assertFree(compileDefinition(input, runtimeOf(app).jobDefaults))
  const compilers = routeCompilers(settings)
  if (http === undefined) return define(input, compilers)
  if (http.options.access === 'owner' && (settings.owner ?? http.options.owner) === undefined) {
    throw invalidOptions(`asyncEndpoint "${input.name}"`, ['owner is missing: http.access is "owner", so that every endpoint needs an owner function, its own or http.owner'])
  }
  const problem = webhookProblem(settings.webhook, http.webhooks)
  if (problem !== undefined) throw invalidOptions(`asyncEndpoint "${input.name}"`, [problem])
  const endpoint: Endpoint = {
    name: settings.name,
    owner: settings.owner ?? http.options.owner,
    responses: { ...http.options.responses, ...settings.responses },
    exposeErrors: settings.exposeErrors ?? http.options.exposeErrors,
    redrives: { maxQueued: settings.maxQueued, maxRedrives: settings.maxRedrives ?? http.options.maxRedrives }
  }
  addSubmitRoute(app, http, endpoint, settings, () => runtimeOf(app).registry.require(input.name))
  http.endpoints.set(endpoint.name, endpoint)
  return define(input, compilers)
}

/**
 * The part of an endpoint's options that says how its job runs. Keys that were not given stay away: `undefined` is
 * not a default.
 */
function definitionInput (settings: AnyEndpointOptions): JobDefinitionInput {
  const { name, handler, queue, retry, timeoutMs, graceMs, priority, maxResultBytes, slaMs, propagation, tracing, spanAttributes, requires, schema: { body, result } = {} } = settings
  return { name, handler, queue, retry, timeoutMs, graceMs, priority, maxResultBytes, slaMs, propagation, tracing, spanAttributes, requires, schema: { body, result } }
}

function addSubmitRoute (app: FastifyInstance, http: HttpRuntime, endpoint: Endpoint, settings: AnyEndpointOptions, definitionOf: () => JobDefinition): void {
  const { method = 'POST', url, schema = {}, bodyLimit, routeOptions = {} } = settings
  const { result, ...parts } = schema
  const { onRequest, config, ...rest } = routeOptions
  let handle: ReturnType<typeof submitHandler> | undefined
  let refuse: ReturnType<typeof problemHandler> | undefined
  app.route({
    ...rest,
    ...hiddenSig(app, http, rest.logSerializers),
    method,
    url,
    ...(bodyLimit === undefined ? undefined : { bodyLimit }),
    schema: routeSchema(http, settings, parts, result),
    serializerCompiler: ownResponses(compilersOf(app, routeCompilers(settings)), schema.response ?? {}),
    config: { ...config, asyncEndpoints: { kind: 'submit', name: settings.name } },
    onRequest: [correlationHook(http), ...[onRequest ?? []].flat()],
    errorHandler: function (error, request, reply) {
      refuse ??= problemHandler(http, endpoint.responses, definitionOf())
      return refuse.call(this, error, request, reply)
    },
    // The definition is there before the first request can be.
    handler: (request, reply) => (handle ??= submitHandler({ http, endpoint, definition: definitionOf(), settings, scope: `${method} ${app.prefix}${url}` }))(request, reply)
  } satisfies RouteOptions)
  http.paths.add(method, app.prefix + url)
}

function routeCompilers ({ routeOptions }: AnyEndpointOptions): SchemaCompilers {
  return { validatorCompiler: routeOptions?.validatorCompiler as SchemaCompiler | undefined, serializerCompiler: routeOptions?.serializerCompiler as SchemaCompiler | undefined }
}

/**
 * The application's compilers may be made for another kind of schema than ours (Zod, …): they get the responses that
 * the endpoint describes itself. Our documents are built field by field.
 */
function ownResponses (compilers: SchemaCompilers, described: Readonly<Record<string, unknown>>): FastifySerializerCompiler<unknown> {
  return (route) => {
    const compile = Object.hasOwn(described, String(route.httpStatus)) ? compilers.serializerCompiler : undefined
    return compile === undefined ? JSON.stringify : compile({ ...route, httpStatus: String(route.httpStatus) }) as (data: unknown) => string
  }
}

/** What Fastify validates with, and what OpenAPI shows. */
function routeSchema (http: HttpRuntime, settings: AnyEndpointOptions, parts: EndpointSchema, result: unknown): Record<string, unknown> {
  const { response, ...given } = parts
  const keyed = settings.idempotency ?? 'optional'
  const described = [
    'Starts a job and answers at once with its status URL. Header `Prefer: wait=N`: answer with the result if it is there within N seconds.',
    keyed === false ? '' : `Header \`Idempotency-Key\` (${keyed}): a repeated request gives the same job.`,
    `Header \`${http.correlation.header}\`: your own correlation id, which all answers and log lines then have.`,
    'Header `Listening` (poll, sse, websocket or webhook): how you want to hear of the job; the answer names the place.',
    webhookSentence(http, settings)
  ]
  return {
    ...openApiMembers({ ...http.options.openapi, hide: false }, OPENAPI_TAGS),
    summary: `Submit a ${settings.name} job`,
    description: described.filter(Boolean).join(' '),
    operationId: `submit_${settings.name.replaceAll(/[^A-Za-z0-9_]+/g, '_')}`,
    ...withoutUndefined(given),
    response: {
      ...withCorrelation(http.correlation.header, {
        // A factory's body is of a shape that only the application knows.
        202: jsonResponse('The job was accepted', (settings.responses?.submitted ?? http.options.responses.submitted) === undefined ? submittedSchema : {}),
        200: jsonResponse('The result, when it was waited for', result ?? {}),
        204: emptyResponse('The job was waited for, and was completed without a result'),
        400: problemResponse('The request is not valid'),
        410: problemResponse('The job of this Idempotency-Key has ended and is no longer stored'),
        413: problemResponse('The request body, or the job, is too large'),
        415: problemResponse('The media type is not supported'),
        422: problemResponse('The Idempotency-Key was used for another request, or the webhook is not allowed'),
        429: problemResponse('The queue is full, or the client has submitted too many jobs'),
        503: problemResponse('The job cannot be taken at this moment')
      }),
      ...response
    }
  }
}

function webhookSentence ({ webhooks }: HttpRuntime, { webhook }: AnyEndpointOptions): string {
  if (webhooks === undefined || typeof webhook !== 'object' || 'url' in webhook) return ''
  const place = webhook.from === 'header' ? `Header \`${webhooks.header}\`` : `\`${webhook.field}\` of the body`
  return `${place}: a URL that is called when the job has ended.`
}

/** Fastify warns about a schema part that is present and undefined. */
function withoutUndefined (value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined))
}
