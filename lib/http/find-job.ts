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

/** What a request wants with a job. */
export type JobRight = 'read' | 'cancel' | 'redrive' | 'signal'

/**
 * The job, if it exists and the client may do this with it. An unknown job, an expired one and one of another owner give
 * the same answer after the same time: the owner functions are asked first, whatever the id is.
 *
 * @throws {AsyncEndpointsError} `FAE_JOB_NOT_FOUND`, `FAE_STORE_UNAVAILABLE`, and what the owner functions throw
 */
export async function findJob (http: HttpRuntime, request: JobRequest, right: JobRight): Promise<JobRecord> {
  const { id } = request.params
  void right
  const viewer = await http.ownership.ask(request)
  const job = POSSIBLE_ID.test(id) ? await http.jobs.get(id) : undefined
  if (job !== undefined && viewer.maySee(job)) return job
  // For an unknown id the store needs one more round trip. A hidden job makes one too, so that the time does not
  // reveal it.
  if (job !== undefined) await http.runtime.store.ping()
  viewer.throwIfRefused()
  throw notFound()
}

/**
 * The jobs that this client may read, in the order of the ids; `undefined` for all others.
 *
 * @throws {AsyncEndpointsError} `FAE_STORE_UNAVAILABLE`, and what the owner functions throw
 */
export async function findReadable (
  http: HttpRuntime, request: FastifyRequest, ids: readonly string[]
): Promise<ReadonlyArray<JobRecord | undefined>> {
  const viewer = await http.ownership.ask(request)
  const found = await Promise.all(ids.map((id) => POSSIBLE_ID.test(id) ? http.jobs.get(id) : undefined))
  const readable = found.map((job) => job !== undefined && viewer.maySee(job) ? job : undefined)
  if (readable.every((job) => job === undefined)) viewer.throwIfRefused()
  return readable
}

/**
 * When the right of this request to read jobs ends, in milliseconds since the epoch. `undefined`: it does not.
 */
export function accessEndsAt (_request: FastifyRequest): number | undefined { return undefined }

export function notFound (): AsyncEndpointsError {
  return new AsyncEndpointsError(
    'FAE_JOB_NOT_FOUND', 'There is no job with this id: it never existed, or it is no longer stored'
  )
}
