import type { FastifyReply, FastifyRequest } from 'fastify'
import type { EndpointSubmitMeta, Submitted } from '../client/jobs.ts'
import { AsyncEndpointsError, isAsyncEndpointsError } from '../core/errors.ts'
import { isoFormat } from '../core/iso-time.ts'
import type { JobDefinition } from '../jobs/definition.ts'
import type { JobRecord } from '../jobs/job.ts'
import { deliveryId, roundOf } from '../jobs/webhook.ts'
import { isTerminal } from '../jobs/states.ts'
import { clientKey } from './client-key.ts'
import { compileSubmitterLinks, type SubmitterLinks } from './client-links.ts'
import { compileCapture } from './captured-headers.ts'
import { storeNow } from '../jobs/store-clock.ts'
import {
  retryAfterSeconds, statusDocument, submittedDocument, writeSubmitted, type SubmittedDocument
} from './document.ts'
import { credentialScope, idempotencyKey } from './idempotency.ts'
import type { JobLinks } from './links.ts'
import { assertListening, listeningDocument, readListening, type Listening } from './listening.ts'
import type { BaseEndpointOptions } from './options.ts'
import { payloadBytes, RequestOrigin } from './request-origin.ts'
import { ownerOf } from './owner.ts'
import { appliedWait, parsePrefer, waitLimit, waitTime, type Preference } from './prefer.ts'
import { asJson, bodyFor, JSON_MEDIA_TYPE } from './responses.ts'
import { resultText, sendResult } from './result.ts'
import { tracedSubmission } from './trace-submissions.ts'
import { compileWebhook } from './webhook-choice.ts'
import { clientOf, vary, type Endpoint, type HttpRuntime } from './http-runtime.ts'

type Handler = (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>

/** Everything that a submission needs and that is the same for all submissions of an endpoint. */
export interface SubmitParts {
  readonly http: HttpRuntime
  readonly endpoint: Endpoint
  readonly definition: JobDefinition
  readonly settings: BaseEndpointOptions & { readonly headers?: readonly string[] }
  /** Method and full path of the route, so that two routes never share an idempotency key. */
  readonly scope: string
}

/**
 * Makes the handler of a submit route. Everything that does not depend on the request is prepared here, once per
 * endpoint.
 */
export function submitHandler (parts: SubmitParts): Handler {
  const { http, definition, settings, scope } = parts
  const { jobs, links, options, runtime, correlation } = http
  const { clock } = runtime.context
  const { owner } = parts.endpoint
  const { maxQueued, delayMs } = settings
  const mode = settings.idempotency ?? 'optional'
  const maxWaitMs = settings.maxWaitMs ?? options.maxWaitMs
  const capture = compileCapture([...options.headers, ...settings.headers ?? []], runtime.redaction)
  const format = isoFormat()
  const chooseWebhook = compileWebhook(settings.webhook, http.webhooks, runtime, definition.name)
  const linksOf = compileSubmitterLinks(http, owner)
  const accept = compileAccept(parts, linksOf, format)
  const answer = compilePrefer(parts, linksOf, maxWaitMs, accept)

  return async (request, reply) => {
    const { headers } = request
    if (request.body === undefined && sentBody(headers)) throw unread(headers)
    const wish = readListening(request)
    const userId = owner === undefined ? undefined : await ownerOf(owner, request)
    http.submissions?.count(clientKey(request, userId))
    const key = mode === false ? undefined : idempotencyKey(headers, mode)
    const meta: EndpointSubmitMeta = {
      owner: userId,
      correlationId: correlation.of(request, reply),
      delayMs,
      maxQueued,
      params: request.params as EndpointSubmitMeta['params'],
      query: request.query as EndpointSubmitMeta['query'],
      headers: capture(headers),
      webhook: await chooseWebhook?.(request),
      requestTrace: tracedSubmission(request),
      idempotencyKey: key,
      idempotencyScope: key === undefined || userId !== undefined ? scope : scopeOf(scope, headers),
      idempotencyTtlMs: options.idempotencyTtlMs,
      origin: new RequestOrigin(request, userId),
      payloadBytes: payloadBytes(request)
    }
    assertListening(wish, http.listening, meta.webhook !== undefined)
    request.log.debug({ job_name: definition.name, payload_bytes: meta.payloadBytes }, 'processing job creation')
    const submitted = await jobs.submitJob(definition, request.body, meta).catch((error: unknown) => { throw forgotten(error, reply) })

    // From here on the job exists. If something fails below, the headers of the response still name it.
    reply.header('x-async-job-id', submitted.id)
    reply.header('cache-control', 'no-store')
    reply.header('location', links.self(submitted.id))
    reply.header('x-processing-time', format(clock.now()))
    if (!submitted.created) reply.header('idempotency-replayed', 'true')
    if (maxWaitMs > 0) vary(reply, 'Prefer')
    const { prefer } = headers
    const webhook = chooseWebhook === undefined ? undefined : await hasWebhook(http, submitted, meta.webhook)
    const asked: Asked = { userId, wish, webhook }
    return prefer === undefined
      ? accept(submitted, submitted.job, request, reply, asked)
      : answer(submitted, parsePrefer(prefer), request, reply, asked)
  }
}

function sentBody (headers: FastifyRequest['headers']): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] !== undefined && headers['content-length'] !== '0')
}

/**
 * By default, `@fastify/multipart` leaves the body to the route's handler. A job's handler runs later, so it could
 * not read the body.
 */
function unread (headers: FastifyRequest['headers']): AsyncEndpointsError {
  const hint = headers['content-type']?.startsWith('multipart/') === true ? ': register @fastify/multipart with attachFieldsToBody: "keyValues", and put files somewhere else, as a job can carry nothing but JSON' : ''
  return new AsyncEndpointsError('FAE_INVALID_REQUEST', `The request has a body that no parser has read${hint}`)
}

/**
 * The scope of a client's idempotency keys. For a client without an owner it has a hash of its credentials, after a
 * space, which no path has.
 */
function scopeOf (scope: string, headers: FastifyRequest['headers']): string {
  const credentials = credentialScope(headers)
  return credentials === undefined ? scope : `${scope} ${credentials}`
}

/** What an answer depends on beside the job. */
interface Asked {
  readonly userId: string | undefined
  /** What it asked for. */
  readonly wish: Listening | undefined
  /** Whether a webhook will be called; `undefined`: jobs of this endpoint never have one. */
  readonly webhook: boolean | undefined
}

/** A repeated request gets the job of the first one, with the webhook that it had, whatever the new request says. */
async function hasWebhook (
  { jobs }: HttpRuntime, { id, created, job }: Submitted, asked: EndpointSubmitMeta['webhook']
): Promise<boolean> {
  if (created) return asked !== undefined
  return await jobs.get(deliveryId(id, roundOf(job))).catch(() => undefined) !== undefined
}

/** What the answer to a submission has beside the document of the job. */
function additions (
  { wish, webhook }: Asked, { id }: JobRecord, links: JobLinks
): Pick<SubmittedDocument, 'webhook' | 'listening'> | undefined {
  if (wish === undefined && webhook === undefined) return undefined
  const unheard = wish === undefined || (wish === 'webhook' && webhook === false)
  return {
    ...(webhook === undefined ? undefined : { webhook }),
    ...(unheard ? undefined : { listening: listeningDocument(wish, id, links) })
  }
}

/** Answers with a 202. `job` may be newer than the submission. */
type Accept = (
  submitted: Submitted, job: JobRecord, request: FastifyRequest, reply: FastifyReply, asked: Asked
) => unknown

function compileAccept (
  { http, endpoint }: SubmitParts, linksOf: SubmitterLinks, format: (time: number) => string
): Accept {
  const { runtime: { store, context: { clock } } } = http
  const factory = endpoint.responses.submitted
  const send = (
    { created }: Submitted, job: JobRecord, links: JobLinks, request: FastifyRequest, reply: FastifyReply, asked: Asked
  ): unknown => {
    const plain = submittedDocument(job, links, format)
    const more = additions(asked, job, links)
    const document = more === undefined ? plain : { ...plain, ...more }
    reply.code(202).header('retry-after', String(retryAfterSeconds(job, storeNow(store, clock))))
    if (factory === undefined) {
      reply.header('content-type', JSON_MEDIA_TYPE).serializer(writeSubmitted)
      return document
    }
    return bodyFor(factory, { job, replayed: !created, document }, document, request, reply).then((body) => asJson(reply, body))
  }
  return (submitted, job, request, reply, asked) => {
    const links = linksOf(request, job, asked.userId)
    if (!(links instanceof Promise)) return send(submitted, job, links, request, reply, asked)
    return links.then((found) => send(submitted, job, found, request, reply, asked))
  }
}

/** Makes the function that answers as the `Prefer` header asks, within `maxWaitMs`. */
type Prefer = (
  submitted: Submitted, preference: Preference, request: FastifyRequest, reply: FastifyReply, asked: Asked
) => Promise<unknown>

/**
 * A 200 always has the result as its body. A job that failed or was cancelled within the waiting time is answered
 * with a 202 whose body is the full status document.
 */
function compilePrefer (
  { http, endpoint, definition: { saga } }: SubmitParts, linksOf: SubmitterLinks, maxWaitMs: number, accept: Accept
): Prefer {
  return async (submitted, preference, request, reply, asked) => {
    const waitMs = waitTime(preference, waitLimit(maxWaitMs, request.routeOptions.handlerTimeout, reply.elapsedTime))
    const job = waitMs === 0 ? submitted.job : await waitForEnd(http, submitted.job, waitMs, clientOf(http, submitted.job, request), reply)
    if (waitMs === 0 || !isTerminal(job.state)) {
      if (preference.respondAsync) reply.header('preference-applied', 'respond-async')
      return accept(submitted, job, request, reply, asked)
    }
    reply.header('preference-applied', appliedWait(waitMs))
    if (job.state === 'completed') {
      const result = await readResult(http, job)
      if (result === undefined) return accept(submitted, job, request, reply, asked)
      reply.header('content-location', http.links.result(job.id))
      return sendResult(result.text, reply)
    }
    reply.code(202).header('retry-after', '0')
    const links = await linksOf(request, job, asked.userId)
    const status = statusDocument(job, links, endpoint.exposeErrors, endpoint.redrives.maxRedrives, saga)
    const document = { ...status, ...additions(asked, job, links) }
    return asJson(reply, await bodyFor(endpoint.responses.status, { job, document }, document, request, reply))
  }
}

/**
 * Waits for the end of the job or of the waiting time. Returns the job as it was accepted if it disappeared meanwhile.
 */
export async function waitForEnd (
  http: HttpRuntime, job: JobRecord, waitMs: number, client: string, reply: FastifyReply
): Promise<JobRecord> {
  const over = ({ state }: { readonly state: JobRecord['state'] }): boolean => isTerminal(state)
  if (over(job)) return job
  return await http.waiting.until({ client, job, isEnough: over, interest: 'end', waitMs, reply }) ?? job
}

/**
 * The result; `undefined` if it cannot be read now or by this process. The client then gets a 202 and asks again later.
 */
export async function readResult (
  http: HttpRuntime, job: JobRecord
): Promise<{ readonly text: string | undefined } | undefined> {
  try {
    const text = await http.jobs.resultText(job.id)
    return text === undefined && job.resultBytes !== undefined ? undefined : { text: resultText(http.runtime.registry.get(job.name), text) }
  } catch {
    return undefined
  }
}

/** For a repeated request whose job is no longer stored, sets the headers of a repeated request. */
function forgotten (error: unknown, reply: FastifyReply): unknown {
  if (isAsyncEndpointsError(error, 'FAE_JOB_EXPIRED')) reply.headers({ 'x-async-job-id': String(error.details?.['id']), 'idempotency-replayed': 'true' })
  return error
}
