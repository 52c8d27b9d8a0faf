import type {
  FastifyInstance, FastifyReply, RawReplyDefaultExpression, RawRequestDefaultExpression, RawServerDefault, RouteOptions
} from 'fastify'
import { isAsyncEndpointsError } from '../core/errors.ts'
import type { JobRecord } from '../jobs/job.ts'
import { phaseOf } from '../jobs/saga-document.ts'
import { isTerminal } from '../jobs/states.ts'
import { storeNow } from '../jobs/store-clock.ts'
import { anyBody } from './any-body.ts'
import { described, type Described } from './described-route.ts'
import { matchesETag, retryAfterSeconds } from './document.ts'
import { addEventRoute, HEARD_ALL, streamJob, wantsEvents } from './event-routes.ts'
import { hiddenSig } from './hidden-sig.ts'
import { findJob, NEVER_SHED, notFound, type JobRequest } from './find-job.ts'
import { addListRoute } from './list-route.ts'
import { RequestOrigin } from './request-origin.ts'
import { ownCompilers } from './own-compilers.ts'
import { appliedWait, parsePrefer, waitLimit, waitTime } from './prefer.ts'
import { problemSlug } from './problem.ts'
import { assertSpelling } from './query-names.ts'
import { asJson } from './responses.ts'
import { noResult, resultText, sendResult } from './result.ts'
import {
  clientOf, correlationHook, exposureOf, problemHandler, vary, type AsyncEndpointsRouteConfig, type HttpRuntime
} from './http-runtime.ts'
import {
  emptyResponse, eventsResponse, ifNoneMatchHeader, jsonResponse, lastEventIdHeader, lastEventIdParameter, preferHeader,
  problemResponse, statusSchema
} from './schemas.ts'
import { addSignalRoute } from './signal-route.ts'
import { admissionOf, answer, showJob, type Shown } from './shown-job.ts'
import { shownError } from './shown-error.ts'

/** Adds the routes of existing jobs: status, result, cancel, redrive, signals, list. */
export function addJobRoutes (app: FastifyInstance, http: HttpRuntime): void {
  const path = `${http.options.path}/:id`
  const gone = problemResponse('The job does not exist, is no longer stored, or belongs to another owner')
  const away = problemResponse('The job store cannot be reached')
  const status = jsonResponse('The status of the job', statusSchema)
  const { sse } = http.listening
  const withEvents = 'The status of the job; with `Accept: text/event-stream`: events about it'
  const shown = sse ? eventsResponse(withEvents, status) : status
  const heard: Described['response'] = sse ? { 204: emptyResponse(HEARD_ALL) } : {}

  const misspelt = problemResponse('The query has a misspelt parameter, which `errors` names')
  const known = ['sig', ...(sse ? ['last_event_id'] : [])]

  const add = (kind: AsyncEndpointsRouteConfig['kind'], method: 'GET' | 'POST' | 'DELETE', url: string, operation: string, schema: Described, handler: (request: JobRequest, reply: FastifyReply) => Promise<unknown>): void => {
    const route: RouteOptions<RawServerDefault, RawRequestDefaultExpression, RawReplyDefaultExpression, { Params: { id: string } }> = {
      method,
      url,
      exposeHeadRoute: false,
      schema: described(app, http, operation, { ...schema, response: { ...schema.response, 400: misspelt } }),
      ...ownCompilers,
      ...hiddenSig(app, http),
      // Read by @fastify/otel: polling is not worth a trace.
      config: { asyncEndpoints: { kind }, ...(kind === 'redrive' ? undefined : NEVER_SHED), ...(kind === 'status' ? { otel: false } : undefined) },
      onRequest: correlationHook(http),
      ...(method === 'GET' ? undefined : { preParsing: anyBody }),
      errorHandler: problemHandler(http, http.options.responses, undefined),
      handler: (request, reply) => {
        assertSpelling(request, known)
        return handler(request, reply)
      }
    }
    app.route(route)
    // Fastify's own HEAD route would send a Content-Length of 0 with a 304.
    if (method === 'GET') app.route({ ...route, method: 'HEAD' })
  }

  add('status', 'GET', path, 'getJob', {
    summary: 'The status of a job',
    headers: { ...preferHeader, ...ifNoneMatchHeader, ...(sse ? lastEventIdHeader : undefined) },
    ...(sse ? { query: lastEventIdParameter } : undefined),
    linked: true,
    response: {
      200: shown,
      ...heard,
      304: emptyResponse('Not changed since the given ETag'),
      404: gone,
      503: away
    }
  }, (request, reply) => sendStatus(http, request, reply))

  add('result', 'GET', `${path}/result`, 'getJobResult', {
    summary: 'The result of a completed job',
    linked: true,
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
    200: jsonResponse('The job is cancelled, or is a saga that undoes its steps already', statusSchema),
    202: jsonResponse('The job is running and was asked to stop, or is a saga that now undoes its steps', statusSchema),
    404: gone,
    409: problemResponse('The job has already ended'),
    503: away
  }
  const cancel: Described = { summary: 'Cancel a job', linked: true, response: cancelResponses }
  add('cancel', 'DELETE', path, 'deleteJob', cancel, (request, reply) => cancelJob(http, request, reply))
  add('cancel', 'POST', `${path}/cancel`, 'cancelJob', cancel, (request, reply) => cancelJob(http, request, reply))

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
  add('redrive', 'POST', `${path}/retry`, 'retryJob', { ...redrive, hide: true }, (request, reply) => redriveJob(http, request, reply))
  addSignalRoute(app, http)
  addListRoute(app, http)
  if (http.listening.sse) addEventRoute(app, http)
}

async function sendStatus (http: HttpRuntime, request: JobRequest, reply: FastifyReply): Promise<unknown> {
  const ifNoneMatch = request.headers['if-none-match']
  if (wantsEvents(http, request)) return await streamJob(http, request, reply)
  let shown = await showJob(http, await findJob(http, request, 'read'), request, reply)
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
  if (http.listening.sse) vary(reply, 'Accept')
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
    if (job !== shown.job) shown = await showJob(http, job, request, reply)
    return isTerminal(job.state) || (ifNoneMatch !== undefined && !matchesETag(ifNoneMatch, shown.etag))
  }
  if (await isEnough(first.job)) return first
  const seen = await http.waiting.until({
    client: clientOf(http, first.job, request),
    job: first.job,
    isEnough,
    interest: ifNoneMatch === undefined ? 'end' : 'all',
    waitMs,
    reply
  })
  if (seen === undefined) throw notFound()
  return seen === shown.job ? shown : await showJob(http, seen, request, reply)
}

async function sendJobResult (http: HttpRuntime, request: JobRequest, reply: FastifyReply): Promise<unknown> {
  const job = await findJob(http, request, 'read')
  const text = job.state === 'completed' ? await http.jobs.resultText(job.id) : undefined
  if (job.state !== 'completed' || (text === undefined && job.resultBytes !== undefined)) {
    throw noResult(job, shownError(job, exposureOf(http, job)), retryAfterSeconds(job, storeNow(http.runtime.store, http.runtime.context.clock)))
  }
  return sendResult(resultText(http.runtime.registry.get(job.name), text), reply)
}

async function cancelJob (http: HttpRuntime, request: JobRequest, reply: FastifyReply): Promise<unknown> {
  const before = await findJob(http, request, 'cancel')
  const { state, job } = await http.jobs.cancel(before.id, 'cancelled by the client')
  // A saga that undoes its steps goes on doing so: there is nothing more to ask for.
  const phase = phaseOf(before.facts)
  const done = state === 'cancelled' || phase === 'compensating' || phase === 'compensation-failed'
  return await answer(http, withFacts(job, before), done ? 200 : 202, request, reply)
}

async function redriveJob (http: HttpRuntime, request: JobRequest, reply: FastifyReply): Promise<unknown> {
  const job = await findJob(http, request, 'redrive')
  const redriven = await http.jobs.redriveJob(job, admissionOf(http, job)).catch((error: unknown) => {
    // A refused redrive is counted like a refused submission.
    if (isAsyncEndpointsError(error) && (error.statusCode === 429 || error.statusCode === 503)) {
      const { name: jobName, queue, correlationId } = job
      http.runtime.bus.emit('job.rejected', { jobName, queue, correlationId, reason: problemSlug(error.code), submitMs: reply.elapsedTime, origin: new RequestOrigin(request, undefined) })
    }
    throw error
  })
  return await answer(http, withFacts(redriven, job), 202, request, reply)
}

/** What the steps have stored is no part of the answer to a change, which leaves it as it was. */
function withFacts (job: JobRecord, { facts }: JobRecord): JobRecord {
  return facts === undefined ? job : { ...job, facts }
}
