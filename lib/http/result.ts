import type { FastifyReply } from 'fastify'
import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobDefinition } from '../jobs/definition.ts'
import type { JobRecord } from '../jobs/job.ts'
import { JSON_MEDIA_TYPE } from './responses.ts'
import type { ShownError } from './shown-error.ts'

/**
 * The text of a result for a client: serialised with the job's `schema.result` if it has one, otherwise as it was
 * stored.
 *
 * @param definition `undefined` if the job is not defined in this process
 * @param text the stored JSON; `undefined` if the handler returned nothing
 * @throws {AsyncEndpointsError} `FAE_RESULT_INVALID`: it matched the schema of the worker, so this process has
 * another schema
 */
export function resultText (definition: JobDefinition | undefined, text: string | undefined): string | undefined {
  const write = definition?.schemas.writeResult
  if (text === undefined || write === undefined) return text
  try {
    return write(JSON.parse(text))
  } catch (cause) {
    throw new AsyncEndpointsError('FAE_RESULT_INVALID',
      'The result does not match schema.result of the process that answers: deploy the same schema.result to the processes that serve ' +
      'requests and to the workers', { cause })
  }
}

/** Answers with a result; with 204 if the job has none. */
export function sendResult (text: string | undefined, reply: FastifyReply): unknown {
  // A result is computed for one client, so caches must not store it.
  reply.header('cache-control', 'private, no-store')
  if (text === undefined) return reply.code(204).send()
  reply.code(200).header('content-type', JSON_MEDIA_TYPE)
  return text
}

/**
 * The error that says why there is no result to send.
 *
 * @param error the job's error as the client may see it
 */
export function noResult (
  job: JobRecord, error: ShownError | undefined, retryAfterSeconds: number
): AsyncEndpointsError {
  const details = { jobStatus: job.state }
  switch (job.state) {
    case 'completed': return new AsyncEndpointsError('FAE_RESULT_EXPIRED', 'The job was completed, but its result is no longer stored', { details })
    case 'failed': return new AsyncEndpointsError('FAE_JOB_FAILED', error?.message ?? 'The job failed', { details: { ...details, error } })
    case 'cancelled': return new AsyncEndpointsError('FAE_JOB_CANCELLED', 'The job was cancelled, so it has no result', { details })
    default: return new AsyncEndpointsError('FAE_JOB_NOT_FINISHED', `The job is ${job.state}; try again when it is completed`, { details, retryAfterSeconds })
  }
}
