/** How a route finds the job that a request is about. */
import type { FastifyRequest } from 'fastify'
import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobRecord } from '../jobs/job.ts'
import type { HttpRuntime } from './http-runtime.ts'

/**
 * Read by @fastify/under-pressure: even under load a client must be able to read and cancel its job. Not for
 * redrives, which are new work.
 */
export const NEVER_SHED = { pressureHandler: () => {} }

/** A request that names a job in its path. */
export type JobRequest<Params extends object = object> = FastifyRequest<{ Params: Params & { readonly id: string } }>

/** The form of job ids. The store is not asked for anything else. */
const POSSIBLE_ID = /^[A-Za-z0-9_-]{1,128}$/

/**
 * The job, if it exists and the client may see it. An unknown job, an expired one and one of another owner give the
 * same answer after the same time: the owner functions are asked first, whatever the id is.
 *
 * @throws {AsyncEndpointsError} `FAE_JOB_NOT_FOUND`, `FAE_STORE_UNAVAILABLE`, and what the owner functions throw
 */
export async function findJob (http: HttpRuntime, request: JobRequest): Promise<JobRecord> {
  const { id } = request.params
  const viewer = await http.ownership.ask(request)
  const job = POSSIBLE_ID.test(id) ? await http.jobs.get(id) : undefined
  if (job !== undefined && viewer.maySee(job)) return job
  // For an unknown id the store needs one more round trip. A hidden job makes one too, so that the time does not
  // reveal it.
  if (job !== undefined) await http.runtime.store.ping()
  viewer.throwIfRefused()
  throw notFound()
}

export function notFound (): AsyncEndpointsError {
  return new AsyncEndpointsError(
    'FAE_JOB_NOT_FOUND', 'There is no job with this id: it never existed, or it is no longer stored'
  )
}
