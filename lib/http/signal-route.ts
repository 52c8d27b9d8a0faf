/** `POST /jobs/:id/signals/:name`: what a saga waits for. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { openApiMembers } from '../core/openapi.ts'
import { isTerminal } from '../jobs/states.ts'
import { clientOf, correlationHook, problemHandler, type HttpRuntime } from './http-runtime.ts'
import { findJob, NEVER_SHED } from './find-job.ts'
import { OPENAPI_TAGS } from './options.ts'
import { ownCompilers } from './own-compilers.ts'
import { appliedWait, parsePrefer, waitLimit, waitTime } from './prefer.ts'
import { asJson } from './responses.ts'
import { sendResult } from './result.ts'
import { correlationHeader, jsonResponse, preferHeader, problemResponse, withCorrelation } from './schemas.ts'
import { readResult, waitForEnd } from './submit.ts'

interface SignalParams { readonly id: string, readonly name: string }

const signalledSchema = {
  type: 'object',
  required: ['id', 'signal', 'status', 'links'],
  properties: {
    id: { type: 'string' },
    signal: { type: 'string' },
    status: { type: 'string', enum: ['stored', 'repeated'] },
    links: { type: 'object', required: ['self'], properties: { self: { type: 'string' }, result: { type: 'string' }, cancel: { type: 'string' } } }
  }
}

/** Adds the route to those of existing jobs. */
export function addSignalRoute (app: FastifyInstance, http: HttpRuntime, operationId: string): void {
  const { header } = http.correlation
  app.route<{ Params: SignalParams }>({
    method: 'POST',
    url: `${http.options.path}/:id/signals/:name`,
    schema: {
      ...openApiMembers(http.options.openapi, OPENAPI_TAGS),
      operationId,
      summary: 'Send a signal that a saga waits for, or will wait for',
      params: {
        type: 'object',
        required: ['id', 'name'],
        properties: { id: { type: 'string', description: 'The id of the job' }, name: { type: 'string', description: 'The name of the signal' } }
      },
      headers: { type: 'object', properties: { ...preferHeader, ...correlationHeader(header) } },
      response: withCorrelation(header, {
        200: jsonResponse('The same signal was sent before; or, with `Prefer: wait=N`, the result of the job, when it was completed in time', {}),
        202: jsonResponse('The signal is stored, and the saga goes on', signalledSchema),
        400: problemResponse('The signal does not fit its schema'),
        404: problemResponse('The job does not exist, is no longer stored, belongs to another owner, or has no such signal'),
        409: problemResponse('Another signal of this name was sent before, or the job has ended'),
        503: problemResponse('The job store cannot be reached')
      })
    },
    ...ownCompilers,
    // Even under load: what waits holds resources until somebody says how it goes on.
    config: { asyncEndpoints: { kind: 'signal' }, ...NEVER_SHED },
    onRequest: correlationHook(http),
    errorHandler: problemHandler(http, http.options.responses, undefined),
    handler: (request, reply) => sendSignal(http, request, reply)
  })
}

async function sendSignal (http: HttpRuntime, request: FastifyRequest<{ Params: SignalParams }>, reply: FastifyReply): Promise<unknown> {
  const { id, name } = request.params
  await findJob(http, request)
  const { state, job } = await http.jobs.signal(id, name, request.body)
  reply.header('cache-control', 'no-store')
  const waitMs = request.headers.prefer === undefined
    ? 0
    : waitTime(parsePrefer(request.headers.prefer), waitLimit(http.options.maxWaitMs, request.routeOptions.handlerTimeout, reply.elapsedTime))
  if (waitMs > 0) {
    const ended = await waitForEnd(http, job, waitMs, clientOf(http, job, request), reply)
    if (reply.sent) return undefined
    reply.header('preference-applied', appliedWait(waitMs))
    const result = ended.state === 'completed' ? await readResult(http, ended) : undefined
    if (result !== undefined) return sendResult(result.text, reply.header('content-location', http.links.result(id)))
    return asJson(reply.code(isTerminal(ended.state) || state === 'repeated' ? 200 : 202), document(http, id, name, state, ended.state))
  }
  return asJson(reply.code(state === 'stored' ? 202 : 200), document(http, id, name, state, job.state))
}

function document (http: HttpRuntime, id: string, signal: string, status: string, state: Parameters<HttpRuntime['links']['of']>[1]): object {
  return { id, signal, status, links: http.links.of(id, state) }
}
