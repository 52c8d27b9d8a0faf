/** Streams of server-sent events about jobs. */
import type { ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { EventStream, sayBye, type ByeReason, type StreamedJob } from '../channels/event-stream.ts'
import { endMark, lastEventId, readSeen, SSE_MEDIA_TYPE, type Seen } from '../channels/sse-frame.ts'
import { AsyncEndpointsError, isAsyncEndpointsError } from '../core/errors.ts'
import type { JobRecord } from '../jobs/job.ts'
import { isTerminal } from '../jobs/states.ts'
import { described } from './described-route.ts'
import { sigParameters } from './capability.ts'
import { findAllowed, NEVER_SHED, notFound, type AllowedJob, type AskedJob, type JobRequest } from './find-job.ts'
import { hiddenSig } from './hidden-sig.ts'
import { clientOf, correlationHook, problemHandler, vary, type HttpRuntime } from './http-runtime.ts'
import { ownCompilers } from './own-compilers.ts'
import { describeError } from './problem.ts'
import { assertSpelling } from './query-names.ts'
import { prefersEvents } from './prefers-events.ts'
import { emptyResponse, eventsResponse, lastEventIdHeader, lastEventIdParameter, problemResponse } from './schemas.ts'
import { documentOnChannel } from './shown-job.ts'
import { isGone } from './waiting.ts'

/** How many jobs one stream can be about. */
export const MAX_STREAMED_JOBS = 50

/**
 * `connection`: a stream is the last answer on its connection. `x-accel-buffering`: nginx passes it on as it comes.
 * `referrer-policy`: the address of the stream may hold a capability link.
 */
const STREAM_HEADERS = {
  'content-type': SSE_MEDIA_TYPE,
  'cache-control': 'private, no-store, no-transform',
  'x-accel-buffering': 'no',
  'referrer-policy': 'no-referrer'
} as const

export const HEARD_ALL = 'The client has heard the end of every job: it need not come back'

/** One `sig` for each id, in the same order. */
const sigsParameter = {
  sig: {
    type: 'array',
    items: { type: 'string' },
    maxItems: MAX_STREAMED_JOBS,
    description: 'The signatures of the links of the jobs, in the order of the ids'
  }
}

/** Whether the client asks for events instead of the status document. */
export function wantsEvents (http: HttpRuntime, request: FastifyRequest): boolean {
  return http.listening.sse && prefersEvents(request.headers.accept)
}

/** Adds `GET /jobs/events?id=…&id=…`. */
export function addEventRoute (app: FastifyInstance, http: HttpRuntime): void {
  const schema = described(app, http, 'listenToJobs', {
    summary: 'Listen to several jobs on one stream of server-sent events',
    params: { type: 'object', properties: {} },
    headers: lastEventIdHeader,
    query: {
      id: { type: 'array', items: { type: 'string' }, maxItems: MAX_STREAMED_JOBS, description: 'The ids of the jobs' },
      ...lastEventIdParameter,
      ...(http.signer === undefined ? undefined : sigsParameter)
    },
    response: {
      200: eventsResponse('Events about the jobs'),
      204: emptyResponse(HEARD_ALL),
      400: problemResponse(`No id, more than ${MAX_STREAMED_JOBS}, or a misspelt parameter, which \`errors\` names`)
    }
  })
  const route = {
    url: `${http.options.path}/events`,
    exposeHeadRoute: false,
    schema,
    ...ownCompilers,
    ...hiddenSig(app, http),
    config: { asyncEndpoints: { kind: 'events' as const }, ...NEVER_SHED, otel: false },
    onRequest: correlationHook(http),
    errorHandler: problemHandler(http, http.options.responses, undefined),
    handler: async (request: FastifyRequest, reply: FastifyReply) => await streamJobs(http, request, reply)
  }
  app.route({ ...route, method: 'GET' })
  app.route({ ...route, method: 'HEAD' })
}

/** @throws {AsyncEndpointsError} `FAE_JOB_NOT_FOUND`, `FAE_INVALID_REQUEST`, and what the owner functions throw */
export async function streamJob (http: HttpRuntime, request: JobRequest, reply: FastifyReply): Promise<unknown> {
  vary(reply, 'Accept')
  const { id } = request.params
  return await stream(http, request, reply, [id], async () => {
    const found = await findAllowed(http, request, 'read', [{ id }])
    if (found[0] === undefined) throw notFound()
    return found
  })
}

async function streamJobs (http: HttpRuntime, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  assertSpelling(request, ['id', 'last_event_id', 'sig'])
  const asked = askedIn(request)
  return await stream(http, request, reply, asked.map(({ id }) => id), () => findAllowed(http, request, 'read', asked))
}

/**
 * The jobs of the request, each once. Where an id is given twice, or is empty, the request may have one `sig` for each
 * id as it stands there: then the place of an id says which is its own.
 *
 * @throws {AsyncEndpointsError} `FAE_INVALID_REQUEST`
 */
function askedIn (request: FastifyRequest): readonly AskedJob[] {
  const given: unknown = Reflect.get(Object(request.query), 'id')
  const ids: readonly unknown[] = Array.isArray(given) ? given : [given]
  const sigs = sigParameters(request)
  const own = new Map<string, string | undefined>()
  ids.forEach((id, at) => {
    if (typeof id !== 'string' || id === '') return
    const known = own.get(id)
    own.set(id, known === undefined || known === '' ? sigs[at] : known)
  })
  if (own.size === 0 || own.size > MAX_STREAMED_JOBS) {
    throw new AsyncEndpointsError('FAE_INVALID_REQUEST', `Name 1 to ${MAX_STREAMED_JOBS} jobs: ?id=…&id=…`)
  }
  const byPlace = ids.length !== own.size && sigs.length === ids.length
  return [...own].map(([id, sig]) => byPlace ? { id, sig } : { id })
}

async function stream (
  http: HttpRuntime, request: FastifyRequest, reply: FastifyReply, ids: readonly string[],
  find: () => Promise<ReadonlyArray<AllowedJob | undefined>>
): Promise<unknown> {
  const said = seenBy(request, ids.length)
  let found: ReadonlyArray<AllowedJob | undefined>
  try {
    found = await find()
  } catch (error) {
    if (!passes(http, error, request, reply)) throw error
    return refuse(http, request, reply, isAsyncEndpointsError(error) && error.code === 'FAE_CLOSED' ? 'closing' : 'unavailable')
  }
  const jobs = found.map((entry) => entry?.job)
  const seen = { ...said, over: ids.map((_, at) => isOver(jobs[at], said, at)) }
  if (seen.over.every((over) => over)) return await reply.code(204).header('cache-control', 'private, no-store').send()
  const client = clientOf(http, jobs.find((job) => job !== undefined), request)
  const refusal = http.channels.refusal(client)
  if (refusal !== undefined) return refuse(http, request, reply, refusal)
  afterwards(http, request, reply, () => {
    begin(http, request, reply, client, seen, ids.map((id, at) => ({ id, job: jobs[at], until: found[at]?.until })))
  })
  return reply
}

/** Whether this error passes by itself. It is logged, because the client is not to see it. */
function passes (http: HttpRuntime, error: unknown, request: FastifyRequest, reply: FastifyReply): boolean {
  const { problem: { status } } = describeError(error, request, reply)
  if (status < 500 && status !== 429) return false
  request.log.warn(http.runtime.redaction.fields({ err: error }), 'a stream of events could not begin')
  return true
}

/** The client has heard that the job is over, and it has not been redriven since, even if it has ended again. */
function isOver (job: JobRecord | undefined, { over, version, marks }: Seen, at: number): boolean {
  if (over[at] !== true || job === undefined) return over[at] === true
  if (!isTerminal(job.state)) return false
  const mark = marks[at]
  return mark === undefined ? (job.version ?? 0) <= (version ?? 0) : mark === endMark(job.version)
}

/** The header wins over the parameter, as in the Mercure protocol. */
function seenBy (request: FastifyRequest, jobs: number): Seen {
  const given: unknown = request.headers['last-event-id'] ?? Reflect.get(Object(request.query), 'last_event_id')
  return readSeen(lastEventId(given), jobs)
}

/** What is only temporary must not be an error: an EventSource would never come back. */
function refuse (http: HttpRuntime, request: FastifyRequest, reply: FastifyReply, reason: ByeReason): unknown {
  afterwards(http, request, reply, () => { sayBye(reply.raw, reason) })
  return reply
}

/**
 * Sends the head of the answer, and lets `write` write the rest, unless the client is gone, or has asked for the head
 * only. From here on Fastify has nothing to do with it: its hooks for answers would wait for the end of the stream, and
 * a compression would hold back the events. For the same reason no error may leave this function.
 */
function afterwards (http: HttpRuntime, request: FastifyRequest, reply: FastifyReply, write: () => void): void {
  reply.hijack()
  const { raw } = reply
  if (isGone(reply)) return
  try {
    const headers: Record<string, string | number | string[] | undefined> = { ...reply.getHeaders(), ...STREAM_HEADERS }
    // HTTP/2 knows no such header.
    if (request.raw.httpVersionMajor < 2) headers['connection'] = 'close'
    raw.writeHead(200, headers)
    if (request.method === 'HEAD') {
      raw.end()
    } else {
      raw.flushHeaders()
      if (isQueued(raw)) sayBye(raw, 'limit')
      else write()
    }
  } catch (error) {
    request.log.error(http.runtime.redaction.fields({ err: error }), 'a stream of events failed')
    raw.destroy()
  }
}

/**
 * Whether an answer before this one still occupies the connection (RFC 9112 §9.3.2, pipelining). Node never says that
 * such an answer is closed when the connection ends, and a stream would be open for ever.
 */
function isQueued ({ socket, req }: ServerResponse): boolean { return req.httpVersionMajor < 2 && socket === null }

function begin (
  http: HttpRuntime, request: FastifyRequest, reply: FastifyReply, client: string, seen: Seen, jobs: readonly StreamedJob[]
): void {
  const { clock } = http.runtime.context
  const events: EventStream = new EventStream({
    output: reply.raw,
    clock,
    backbone: http.backbone,
    jobs,
    seen,
    show: (job) => documentOnChannel(http, job, request, reply),
    maxAgeMs: http.listening.maxAgeMs * (0.8 + Math.random() * 0.4),
    failed: (error) => { request.log.error(http.runtime.redaction.fields({ err: error }), 'a stream of events failed') },
    closed: (end) => { http.channels.delete(events, end) }
  })
  http.channels.add(events, client)
  events.begin()
}
