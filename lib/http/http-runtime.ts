import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import type { Backbone } from '../channels/backbone.ts'
import { OpenChannels } from '../channels/open-channels.ts'
import type { ResolvedListeningOptions } from '../channels/options.ts'
import type { ResolvedWebhooksOptions } from '../channels/webhook-options.ts'
import type { JobsClient, RedriveAdmission } from '../client/jobs.ts'
import { isAsyncEndpointsError } from '../core/errors.ts'
import { invalidOptions } from '../core/options.ts'
import type { RouteAccess } from '../core/route-access.ts'
import type { JobRuntime } from '../events/runtime.ts'
import type { JobDefinition } from '../jobs/definition.ts'
import type { JobRecord } from '../jobs/job.ts'
import { clientKey } from './client-key.ts'
import { grantOf, LinkSigner } from './capability.ts'
import { Correlation } from './correlation.ts'
import { copyErrorHeaders, noSniff } from './error-headers.ts'
import { hideSigInSpan } from './hidden-sig.ts'
import { JobLinks } from './links.ts'
import type { ResolvedHttpOptions } from './options.ts'
import { ownerOf, Ownership, type OwnerFunction } from './owner.ts'
import { RequestOrigin } from './request-origin.ts'
import { describeError, PROBLEM_MEDIA_TYPE, problemSlug, unexpectedProblem } from './problem.ts'
import { asJson, bodyFor, type ResponseFactories } from './responses.ts'
import { RoutePaths } from './route-paths.ts'
import type { ExposeErrors } from './shown-error.ts'
import { SubmissionLimit } from './submission-limit.ts'
import { Waiting } from './waiting.ts'

/** The part of an endpoint that the job routes need: how its jobs are shown, wherever they were submitted. */
export interface Endpoint {
  readonly name: string
  readonly owner: OwnerFunction | undefined
  readonly responses: ResponseFactories
  readonly exposeErrors: ExposeErrors
  /** The limits of a redrive over HTTP. */
  readonly redrives: RedriveAdmission
}

/** What the endpoints and job routes of one Fastify instance share. */
export interface HttpRuntime {
  readonly runtime: JobRuntime
  readonly jobs: JobsClient
  readonly options: ResolvedHttpOptions
  /** The links of jobs for a client that may do everything with them. For those in an answer to a request: {@link linksFor}. */
  readonly links: JobLinks
  /** Signs and verifies links. `undefined`: links give access to nothing. */
  readonly signer: LinkSigner | undefined
  /** `undefined`: there is no such limit. */
  readonly submissions: SubmissionLimit | undefined
  readonly waiting: Waiting
  /** How the channels hear of changes of jobs. */
  readonly backbone: Backbone
  /** The open streams and sockets. */
  readonly channels: OpenChannels
  readonly listening: ResolvedListeningOptions
  readonly correlation: Correlation
  /** Endpoints by job name. */
  readonly endpoints: Map<string, Endpoint>
  readonly ownership: Ownership
  readonly paths: RoutePaths
  /** The option `webhooks`; `undefined`: this application has no webhooks. */
  readonly webhooks: ResolvedWebhooksOptions | undefined
}

export interface HttpRuntimeParts {
  readonly runtime: JobRuntime
  readonly jobs: JobsClient
  readonly backbone: Backbone
  readonly options: ResolvedHttpOptions
  readonly listening: ResolvedListeningOptions
  /** The prefix of the context in which the job routes are registered. */
  readonly prefix: string
  readonly webhooks?: ResolvedWebhooksOptions | undefined
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function createHttpRuntime ({ runtime, jobs, backbone, options, listening, prefix, webhooks }: HttpRuntimeParts): HttpRuntime {
  // In Fastify, `::` stands for a colon in the path itself.
  if (/[:*(]/.test(prefix.replaceAll('::', ''))) {
    throw invalidOptions('http', [
      `the prefix "${prefix}" has a parameter, a wildcard or a regular expression, so no link to a job can be made; ` +
      'register the plugin in a context without such a prefix: endpoints may still have any prefix'
    ])
  }
  const endpoints = new Map<string, Endpoint>()
  const { clock } = runtime.context
  const signer = options.links === undefined ? undefined : new LinkSigner(options.links, () => clock.now())
  const { maxSubmissionsPerMinute } = options
  return Object.freeze({
    runtime,
    jobs,
    options,
    backbone,
    links: new JobLinks(prefix, options.path, options.publicUrl, {
      sign: signer && ((id, scope) => signer.sign(id, scope)),
      streams: listening.sse,
      sockets: listening.webSocket !== false
    }),
    signer,
    submissions: maxSubmissionsPerMinute === undefined ? undefined : new SubmissionLimit(maxSubmissionsPerMinute, () => clock.monotonic()),
    channels: new OpenChannels({ ...listening, clock, bus: runtime.bus, max: listening.maxConnections }),
    listening,
    waiting: new Waiting(backbone, clock, options.maxWaiters),
    correlation: new Correlation(options.correlationHeader, () => runtime.context.ids.correlation()),
    endpoints,
    ownership: new Ownership(options.owner, endpoints, options.access),
    paths: new RoutePaths(),
    webhooks
  })
}

/**
 * The links of a job in the answer to a request. One that got access by a link gets that link again, so that it lives no
 * longer, and allows no more, than what the client was given.
 */
export function linksFor ({ links }: Pick<HttpRuntime, 'links'>, request: FastifyRequest, jobId: string): JobLinks {
  const grant = grantOf(request, jobId)
  return grant === undefined ? links : links.limitedTo(grant)
}

/**
 * Whether something protects the job routes: an owner function, `http.authorize`, or links that have to be known. Call it when the application is ready and every endpoint is
 * defined.
 */
export function jobRoutesAccess ({ options, endpoints }: Pick<HttpRuntime, 'options' | 'endpoints'>): RouteAccess {
  const guarded = options.owner !== undefined || options.authorize !== undefined || options.access === 'owner' || options.access === 'link'
  const owned = guarded || (endpoints.size > 0 && [...endpoints.values()].every(({ owner }) => owner !== undefined))
  return owned ? 'guarded' : options.access ?? 'left-open'
}

/**
 * Identifies the client of a request for a job: by the job's owner if an owner function let the request see the job.
 */
export function clientOf (http: HttpRuntime, job: JobRecord | undefined, request: FastifyRequest): string {
  if (job === undefined || grantOf(request, job.id) !== undefined) return clientKey(request, undefined)
  const owner = http.endpoints.get(job.name)?.owner ?? http.options.owner
  return clientKey(request, owner === undefined ? undefined : job.owner)
}

/**
 * Identifies the client of a request that is about no job yet: by its owner, if the plugin's owner function returns one.
 */
export async function clientOfRequest ({ options: { owner } }: HttpRuntime, request: FastifyRequest): Promise<string> {
  return clientKey(request, owner === undefined ? undefined : await ownerOf(owner, request).catch(() => undefined))
}

/**
 * Which error messages of a job clients see: as its endpoint says, or as the plugin says if the endpoint is not in
 * this process.
 */
export function exposureOf (http: HttpRuntime, job: JobRecord): ExposeErrors {
  return http.endpoints.get(job.name)?.exposeErrors ?? http.options.exposeErrors
}

/** The `config.asyncEndpoints` of this package's routes, by which other plugins recognise them. */
export interface AsyncEndpointsRouteConfig {
  readonly kind: 'submit' | 'list' | 'status' | 'result' | 'cancel' | 'redrive' | 'signal' | 'events' | 'socket' | 'refusal'
  /** The job's name, on a submit route. */
  readonly name?: string
}

/** Adds a name to `Vary`, next to those that other plugins (CORS, compression) have added. */
export function vary (reply: FastifyReply, name: string): void {
  const present = reply.getHeader('vary')
  if (present === undefined) reply.header('vary', name)
  else if (typeof present === 'string' && present !== '*' && !present.toLowerCase().split(/,\s*/).includes(name.toLowerCase())) reply.header('vary', `${present}, ${name}`)
}

/** The first hook of this package's routes. It sets the correlation id and headers of every answer. */
export function correlationHook (
  http: HttpRuntime
): (request: FastifyRequest, reply: FastifyReply, done: () => void) => void {
  const { correlation, signer } = http
  return (request, reply, done) => {
    correlation.begin(request, reply)
    noSniff(reply)
    // The address of the request, or a link in the answer, may be a signed one.
    if (signer !== undefined) {
      reply.header('referrer-policy', 'no-referrer')
      hideSigInSpan(request)
    }
    done()
  }
}

/**
 * The error handler of this package's routes, and of no others. It answers every error on them with a problem
 * document: errors of this package, of Fastify (validation, parsing, limits) and of the application's hooks.
 *
 * @param submits the definition whose submissions arrive here; `undefined` on the job routes
 */
export function problemHandler (
  http: HttpRuntime, factories: ResponseFactories, submits: JobDefinition | undefined
): NonNullable<RouteOptions['errorHandler']> {
  const { bus, redaction } = http.runtime
  return async (error: unknown, request, reply) => {
    const correlationId = http.correlation.of(request, reply)
    const { problem, code, retryAfterSeconds } = describeError(error, request, reply)
    reply.code(problem.status)
    noSniff(reply)
    copyErrorHeaders(error, reply)
    if (retryAfterSeconds !== undefined && !reply.hasHeader('retry-after')) reply.header('retry-after', String(retryAfterSeconds))
    reply.header('cache-control', 'no-store')
    const emitted = submits !== undefined && emittedByClient(error)
    log(request, redaction.fields({ err: error }), emitted && code === 'FAE_STORE_FULL' ? 'debug' : levelOf(problem.status, code !== undefined))
    if (submits !== undefined && code !== undefined && !emitted) {
      bus.emit('job.rejected', { jobName: submits.name, queue: submits.queue, correlationId, reason: problemSlug(code), submitMs: reply.elapsedTime, origin: new RequestOrigin(request, undefined) })
    }
    const unexpected = code === undefined && problem.status >= 500
    const factory = submits !== undefined && !unexpected ? factories.submitError : factories.exception
    try {
      return asJson(reply, await bodyFor(factory, { error, problem }, problem, request, reply), PROBLEM_MEDIA_TYPE)
    } catch (thrown) {
      request.log.error(redaction.fields({ err: thrown }), 'a response factory threw')
      reply.code(500).removeHeader('content-type')
      return asJson(reply, unexpectedProblem(request), PROBLEM_MEDIA_TYPE)
    }
  }
}

/** Errors that the client of the store has already emitted an event for. */
function emittedByClient (error: unknown): boolean {
  if (!isAsyncEndpointsError(error)) return false
  return error.code === 'FAE_IDEMPOTENCY_KEY_REUSED' || error.code === 'FAE_JOB_EXPIRED' || error.code === 'FAE_STORE_UNAVAILABLE' || error.code === 'FAE_STORE_FULL' || error.code === 'FAE_JOB_TOO_LARGE'
}

function levelOf (status: number, expected: boolean): 'info' | 'warn' | 'error' {
  return status < 500 ? 'info' : expected ? 'warn' : 'error'
}

/** Level `debug` is for errors whose event already has a log line: a full store refuses very many submissions. */
function log (request: FastifyRequest, fields: object, level: 'debug' | 'info' | 'warn' | 'error'): void {
  request.log[level](fields, level === 'error' ? 'request failed' : 'request refused')
}
