/** `POST /jobs/:id/signals/:name`: what a saga waits for. */
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Signalled } from '../client/jobs.ts'
import type { JobRecord } from '../jobs/job.ts'
import { isTerminal } from '../jobs/states.ts'
import { linksOfReader } from './client-links.ts'
import { described } from './described-route.ts'
import { clientOf, correlationHook, linksFor, problemHandler, type HttpRuntime } from './http-runtime.ts'
import { findJob, NEVER_SHED, type JobRequest } from './find-job.ts'
import { hiddenSig } from './hidden-sig.ts'
import { ownCompilers } from './own-compilers.ts'
import { appliedWait, parsePrefer, waitLimit, waitTime } from './prefer.ts'
import { assertSpelling } from './query-names.ts'
import { asJson } from './responses.ts'
import { sendResult } from './result.ts'
import { emptyResponse, jsonResponse, preferHeader, problemResponse, signalledSchema } from './schemas.ts'
import { answer } from './shown-job.ts'
import { readResult, waitForEnd } from './submit.ts'

interface SignalParams { readonly id: string, readonly name: string }
type SignalRequest = JobRequest<SignalParams>

const params = {
  type: 'object',
  required: ['id', 'name'],
  properties: {
    id: { type: 'string', description: 'The id of the job' },
    name: { type: 'string', description: 'The name of the signal' }
  }
}

/** Adds the route to those of existing jobs. */
export function addSignalRoute (app: FastifyInstance, http: HttpRuntime): void {
  app.route<{ Params: SignalParams }>({
    method: 'POST',
    url: `${http.options.path}/:id/signals/:name`,
    schema: described(app, http, 'signalJob', {
      summary: 'Send a signal that a saga waits for, or will wait for',
      params,
      headers: preferHeader,
      response: {
        200: jsonResponse(
          'The same signal was sent before; with `Prefer: wait=N`: the result of the completed job', {}
        ),
        202: jsonResponse('The signal is stored, and the saga goes on', signalledSchema),
        204: emptyResponse('With `Prefer: wait=N`: the job was completed in time, without a result'),
        400: problemResponse('The signal does not fit its schema, or the query has a misspelt parameter'),
        404: problemResponse('The job does not exist, is no longer stored, is of another owner, or has no such signal'),
        409: problemResponse('Another signal of this name was sent before, or the job has ended'),
        413: problemResponse('The signal is too large'),
        415: problemResponse('The media type is not supported'),
        503: problemResponse('The job store cannot be reached')
      }
    }),
    ...ownCompilers,
    ...hiddenSig(app, http),
    // Even under load: a saga that waits can only go on, and be done, by its signal.
    config: { asyncEndpoints: { kind: 'signal' }, ...NEVER_SHED },
    onRequest: correlationHook(http),
    errorHandler: problemHandler(http, http.options.responses, undefined),
    handler: (request, reply) => receiveSignal(http, request, reply)
  })
}

async function receiveSignal (http: HttpRuntime, request: SignalRequest, reply: FastifyReply): Promise<unknown> {
  const { id, name } = request.params
  assertSpelling(request, ['sig'])
  await findJob(http, request, 'signal')
  const signalled = await http.jobs.signal(id, name, request.body)
  reply.header('cache-control', 'no-store')
  const waitMs = waitAsked(http, request, reply)
  if (waitMs === 0) {
    const code = signalled.state === 'stored' ? 202 : 200
    return await accept(http, name, signalled, signalled.job, code, request, reply)
  }
  return await answerInTime(http, name, signalled, waitMs, request, reply)
}

function waitAsked (
  http: HttpRuntime, { headers: { prefer }, routeOptions }: SignalRequest, reply: FastifyReply
): number {
  if (prefer === undefined) return 0
  return waitTime(
    parsePrefer(prefer), waitLimit(http.options.maxWaitMs, routeOptions.handlerTimeout, reply.elapsedTime)
  )
}

/**
 * As at a submission that waits: a 200 has the result as its body. A saga that fails or is cancelled within the waiting
 * time is answered with a 202 whose body is the status document.
 */
async function answerInTime (
  http: HttpRuntime, name: string, signalled: Signalled, waitMs: number, request: SignalRequest, reply: FastifyReply
): Promise<unknown> {
  const job = await waitForEnd(http, signalled.job, waitMs, clientOf(http, signalled.job, request), reply)
  if (reply.sent) return undefined
  if (!isTerminal(job.state)) return await accept(http, name, signalled, job, 202, request, reply)
  if (job.state === 'completed') {
    const result = await readResult(http, job)
    if (result === undefined) return await accept(http, name, signalled, job, 202, request, reply)
    reply.header('preference-applied', appliedWait(waitMs)).header('content-location', linksFor(http, request, job.id).result(job.id))
    return sendResult(result.text, reply)
  }
  reply.header('preference-applied', appliedWait(waitMs))
  return await answer(http, job, 202, request, reply)
}

/** @param job as it was last seen: with the signal, or before it */
async function accept (
  http: HttpRuntime, signal: string, signalled: Signalled, job: JobRecord, code: 200 | 202, request: SignalRequest,
  reply: FastifyReply
): Promise<unknown> {
  const links = await linksOfReader(http, request, job)
  // The record may still say for how long the saga would have waited without its signal.
  reply.code(code).header('location', links.self(job.id)).header('retry-after', isTerminal(job.state) ? '0' : '1')
  return asJson(reply, { id: job.id, signal, status: signalled.state, links: links.of(job.id, job.state) })
}
