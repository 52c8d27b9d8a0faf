import type {
  FastifyInstance, FastifyReply, FastifyRequest, FastifySchema, RawReplyDefaultExpression,
  RawRequestDefaultExpression, RawServerDefault, RouteOptions
} from 'fastify'
import type { RedriveAdmission } from '../client/jobs.ts'
import { isAsyncEndpointsError } from '../core/errors.ts'
import { openApiMembers } from '../core/openapi.ts'
import type { JobRecord } from '../jobs/job.ts'
import { isTerminal } from '../jobs/states.ts'
import { storeNow } from '../jobs/store-clock.ts'
import { anyBody } from './any-body.ts'
import { matchesETag, retryAfterSeconds, statusDocument, weakETag } from './document.ts'
import { findJob, NEVER_SHED, notFound, type JobRequest } from './find-job.ts'
import { OPENAPI_TAGS } from './options.ts'
import { RequestOrigin } from './request-origin.ts'
import { ownCompilers } from './own-compilers.ts'
import { appliedWait, parsePrefer, waitLimit, waitTime } from './prefer.ts'
import { problemSlug } from './problem.ts'
import { asJson, bodyFor } from './responses.ts'
import { noResult, resultText, sendResult } from './result.ts'
import {
  clientOf, correlationHook, exposureOf, problemHandler, vary, type AsyncEndpointsRouteConfig, type HttpRuntime
} from './http-runtime.ts'
import {
  correlationHeader, emptyResponse, idParams, ifNoneMatchHeader, jsonResponse, preferHeader, problemResponse,
  statusSchema, withCorrelation
} from './schemas.ts'
import { addSignalRoute } from './signal-route.ts'
import { shownError } from './shown-error.ts'

/** The status document as it is sent. */
interface Shown {
  readonly job: JobRecord
  readonly body: unknown
  readonly etag: string
}

/** Adds the routes of existing jobs: status, result, cancel, redrive. */
export function addJobRoutes (app: FastifyInstance, http: HttpRuntime): void {
  const path = `${http.options.path}/:id`
  const gone = problemResponse('The job does not exist, is no longer stored, or belongs to another owner')
  const away = problemResponse('The job store cannot be reached')
  const status = jsonResponse('The status of the job', statusSchema)

  const add = (kind: AsyncEndpointsRouteConfig['kind'], method: 'GET' | 'POST' | 'DELETE', url: string, operation: string, schema: Described, handler: (request: JobRequest, reply: FastifyReply) => Promise<unknown>): void => {
    const route: RouteOptions<RawServerDefault, RawRequestDefaultExpression, RawReplyDefaultExpression, { Params: { id: string } }> = {
      method,
      url,
      exposeHeadRoute: false,
      schema: described(http, operationId(operation, app.prefix + http.options.path), schema),
      ...ownCompilers,
      // Read by @fastify/otel: polling is not worth a trace.
      config: { asyncEndpoints: { kind }, ...(kind === 'redrive' ? undefined : NEVER_SHED), ...(kind === 'status' ? { otel: false } : undefined) },
      onRequest: correlationHook(http),
      ...(method === 'GET' ? undefined : { preParsing: anyBody }),
      errorHandler: problemHandler(http, http.options.responses, undefined),
      handler
    }
    app.route(route)
    // Fastify's own HEAD route would send a Content-Length of 0 with a 304.
    if (method === 'GET') app.route({ ...route, method: 'HEAD' })
  }

  add('status', 'GET', path, 'getJob', {
    summary: 'The status of a job',
    headers: { ...preferHeader, ...ifNoneMatchHeader },
    response: { 200: status, 304: emptyResponse('Not changed since the given ETag'), 404: gone, 503: away }
  }, (request, reply) => sendStatus(http, request, reply))

  add('result', 'GET', `${path}/result`, 'getJobResult', {
    summary: 'The result of a completed job',
    response: {
      200: jsonResponse('The result', {}),
      204: emptyResponse('The job was completed without a result'),
      404: gone,
      409: problemResponse('The job is not completed; `jobStatus` says which state it is in'),
      410: problemResponse('The result is no longer stored'),
      503: away
    }
  }, (request, reply) => sendJobResult(http, request, reply))

  const cancelResponses = {
    200: jsonResponse('The job is cancelled', statusSchema),
    202: jsonResponse('The job is running and was asked to stop', statusSchema),
    404: gone,
    409: problemResponse('The job has already ended'),
    503: away
  }
  add('cancel', 'DELETE', path, 'deleteJob', { summary: 'Cancel a job', response: cancelResponses }, (request, reply) => cancelJob(http, request, reply))
  add('cancel', 'POST', `${path}/cancel`, 'cancelJob', { summary: 'Cancel a job', response: cancelResponses }, (request, reply) => cancelJob(http, request, reply))

  const redrive: Described = {
    summary: 'Redrive a failed job: run it again with a new budget of attempts',
    response: {
      202: jsonResponse('The job is queued again', statusSchema),
      404: gone,
      409: problemResponse('The job has not failed, or was redriven too often'),
      429: problemResponse('The queue is full'),
      503: away
    }
  }
  add('redrive', 'POST', `${path}/redrive`, 'redriveJob', redrive, (request, reply) => redriveJob(http, request, reply))
  // An alias: other systems call it retry. It is not in the OpenAPI document, so that the operation appears once.
  addSignalRoute(app, http, operationId('signalJob', app.prefix + http.options.path))
  add('redrive', 'POST', `${path}/retry`, 'retryJob', { ...redrive, hide: true }, (request, reply) => redriveJob(http, request, reply))
}

/** What the OpenAPI document shows of a job route. */
interface Described {
  readonly summary: string
  /** `true`: the route is not in the OpenAPI document. */
  readonly hide?: boolean
  /** Headers by name. */
  readonly headers?: Readonly<Record<string, unknown>>
  /** Responses by status code. */
  readonly response: Readonly<Record<number, Readonly<Record<string, unknown>>>>
}

function described (
  http: HttpRuntime, operationId: string, schema: Described
): FastifySchema & Record<string, unknown> {
  const { header } = http.correlation
  const { headers, response, summary, hide } = schema
  return {
    ...openApiMembers(http.options.openapi, OPENAPI_TAGS),
    operationId,
    summary,
    ...(hide === true ? { hide } : undefined),
    params: idParams,
    headers: { type: 'object', properties: { ...headers, ...correlationHeader(header) } },
    response: withCorrelation(header, response)
  }
}

/** Operation ids, which must differ if one document has two sets of job routes. */
function operationId (operation: string, path: string): string {
  return path === '/jobs' ? operation : `${operation}${path.replaceAll(/[^A-Za-z0-9]+/g, '_')}`
}

async function sendStatus (http: HttpRuntime, request: JobRequest, reply: FastifyReply): Promise<unknown> {
  const ifNoneMatch = request.headers['if-none-match']
  let shown = await show(http, await findJob(http, request), request, reply)
  const { maxWaitMs } = http.options
  if (request.headers.prefer !== undefined) {
    const waitMs = waitTime(parsePrefer(request.headers.prefer), waitLimit(maxWaitMs, request.routeOptions.handlerTimeout, reply.elapsedTime))
    if (waitMs > 0 && http.waiting.mayWait(clientOf(http, shown.job, request))) {
      shown = await waitForChange(http, shown, ifNoneMatch, waitMs, request, reply)
      reply.header('preference-applied', appliedWait(waitMs))
    }
  }
  if (reply.sent) return undefined
  const { job, body, etag } = shown
  reply.header('etag', etag).header('cache-control', 'private, no-cache')
  if (maxWaitMs > 0) vary(reply, 'Prefer')
  if (!isTerminal(job.state)) reply.header('retry-after', String(retryAfterSeconds(job, storeNow(http.runtime.store, http.runtime.context.clock))))
  return matchesETag(ifNoneMatch, etag) ? reply.code(304).removeHeader('content-type').send() : asJson(reply, body)
}

/**
 * Waits until the document differs from the one that the client has (`If-None-Match`), or the job has ended. Without
 * `If-None-Match` it waits for the end.
 */
async function waitForChange (http: HttpRuntime, first: Shown, ifNoneMatch: string | undefined, waitMs: number, request: JobRequest, reply: FastifyReply): Promise<Shown> {
  let shown = first
  const isEnough = async (job: JobRecord): Promise<boolean> => {
    if (job !== shown.job) shown = await show(http, job, request, reply)
    return isTerminal(job.state) || (ifNoneMatch !== undefined && !matchesETag(ifNoneMatch, shown.etag))
  }
  if (await isEnough(first.job)) return first
  const seen = await http.waiting.until({
    client: clientOf(http, first.job, request),
    job: first.job,
    isEnough,
    isNews: ({ state }) => ifNoneMatch !== undefined || isTerminal(state),
    waitMs,
    reply
  })
  if (seen === undefined) throw notFound()
  return seen === shown.job ? shown : await show(http, seen, request, reply)
}

async function show (http: HttpRuntime, job: JobRecord, request: FastifyRequest, reply: FastifyReply): Promise<Shown> {
  const document = statusDocument(job, http.links, exposureOf(http, job), admissionOf(http, job).maxRedrives, http.runtime.registry.get(job.name)?.saga)
  const factory = (http.endpoints.get(job.name)?.responses ?? http.options.responses).status
  const body = await bodyFor(factory, { job, document }, document, request, reply)
  return { job, body, etag: weakETag(typeof body === 'string' ? body : JSON.stringify(body) ?? '') }
}

async function sendJobResult (http: HttpRuntime, request: JobRequest, reply: FastifyReply): Promise<unknown> {
  const job = await findJob(http, request)
  const text = job.state === 'completed' ? await http.jobs.resultText(job.id) : undefined
  if (job.state !== 'completed' || (text === undefined && job.resultBytes !== undefined)) {
    throw noResult(job, shownError(job, exposureOf(http, job)), retryAfterSeconds(job, storeNow(http.runtime.store, http.runtime.context.clock)))
  }
  return sendResult(resultText(http.runtime.registry.get(job.name), text), reply)
}

async function cancelJob (http: HttpRuntime, request: JobRequest, reply: FastifyReply): Promise<unknown> {
  const { id } = await findJob(http, request)
  const { state, job } = await http.jobs.cancel(id, 'cancelled by the client')
  return await answer(http, job, state === 'cancelled' ? 200 : 202, request, reply)
}

async function redriveJob (http: HttpRuntime, request: JobRequest, reply: FastifyReply): Promise<unknown> {
  const job = await findJob(http, request)
  const redriven = await http.jobs.redriveJob(job, admissionOf(http, job)).catch((error: unknown) => {
    // A refused redrive is counted like a refused submission.
    if (isAsyncEndpointsError(error) && (error.statusCode === 429 || error.statusCode === 503)) {
      const { name: jobName, queue, correlationId } = job
      http.runtime.bus.emit('job.rejected', { jobName, queue, correlationId, reason: problemSlug(error.code), submitMs: reply.elapsedTime, origin: new RequestOrigin(request, undefined) })
    }
    throw error
  })
  return await answer(http, redriven, 202, request, reply)
}

/** The limit of the job's queue; none if its endpoint is not defined in this process. */
function admissionOf (http: HttpRuntime, { name }: JobRecord): RedriveAdmission {
  return http.endpoints.get(name)?.redrives ?? { maxRedrives: http.options.maxRedrives }
}

/** Answers with the status document after the job was changed. */
async function answer (
  http: HttpRuntime, job: JobRecord, code: 200 | 202, request: FastifyRequest, reply: FastifyReply
): Promise<unknown> {
  reply.code(code).header('cache-control', 'no-store')
  if (code === 202) reply.header('location', http.links.self(job.id)).header('retry-after', String(retryAfterSeconds(job, storeNow(http.runtime.store, http.runtime.context.clock))))
  const { body } = await show(http, job, request, reply)
  return reply.sent ? undefined : asJson(reply, body)
}
