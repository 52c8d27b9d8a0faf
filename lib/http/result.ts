import type { FastifyReply } from 'fastify'
import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobDefinition } from '../jobs/definition.ts'
import type { JobRecord } from '../jobs/job.ts'
import { JSON_MEDIA_TYPE } from './responses.ts'
import type { ShownError } from './shown-error.ts'

/**
 * The text of a result for a client: written by the job's `schema.result` if it has one, else as it was stored.
 *
 * @param definition `undefined` where the job is not defined in this process
 * @param text the stored JSON; `undefined` when the handler returned nothing
 * @throws {AsyncEndpointsError} `FAE_RESULT_INVALID`: the worker has found that it fits, so this process has another schema
 */
export function resultText (definition: JobDefinition | undefined, text: string | undefined): string | undefined {
  const write = definition?.schemas.writeResult
  if (text === undefined || write === undefined) return text
  try {
    return write(JSON.parse(text))
  } catch (cause) {
    throw new AsyncEndpointsError('FAE_RESULT_INVALID', 'The result does not fit schema.result of the process that was asked: deploy the same schema.result to the processes that serve requests and to the workers', { cause })
  }
}

/** Answers with a result. A job without one is a 204. */
export function sendResult (text: string | undefined, reply: FastifyReply): unknown {
  // What a job computed for one client is nothing for a cache.
  reply.header('cache-control', 'private, no-store')
  if (text === undefined) return reply.code(204).send()
  reply.code(200).header('content-type', JSON_MEDIA_TYPE)
  return text
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
