import type { FastifyReply } from 'fastify'
import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobRecord } from '../jobs/job.ts'
import { JSON_MEDIA_TYPE } from './responses.ts'
import type { Endpoint } from './room.ts'
import type { ShownError } from './shown-error.ts'

/**
 * The body of a result: written by the endpoint's `schema.result` if it has one, else the JSON text as it was stored. A
 * job without a result is a 204.
 *
 * @param text the stored JSON; `undefined` when the handler returned nothing
 */
export function resultBody (endpoint: Endpoint | undefined, text: string | undefined, reply: FastifyReply): unknown {
  // What a job computed for one client is nothing for a cache.
  reply.header('cache-control', 'private, no-store')
  if (text === undefined) return reply.code(204).send()
  reply.code(200).header('content-type', JSON_MEDIA_TYPE)
  return endpoint?.serializeResult === undefined ? text : endpoint.serializeResult(JSON.parse(text))
}

/**
 * Why there is no result to send.
 *
 * @param error what the client may know of the job's error
 */
export function noResult (job: JobRecord, error: ShownError | undefined, retryAfterSeconds: number): AsyncEndpointsError {
  const details = { jobStatus: job.state }
  switch (job.state) {
    case 'completed': return new AsyncEndpointsError('FAE_RESULT_EXPIRED', 'The job was completed, but its result is no longer kept', { details })
    case 'failed': return new AsyncEndpointsError('FAE_JOB_FAILED', error?.message ?? 'The job failed', { details: { ...details, error } })
    case 'cancelled': return new AsyncEndpointsError('FAE_JOB_CANCELLED', 'The job was cancelled; there will be no result', { details })
    default: return new AsyncEndpointsError('FAE_JOB_NOT_FINISHED', `The job is ${job.state}; ask for the result when it is completed`, { details, retryAfterSeconds })
  }
}
