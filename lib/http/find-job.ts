/** How a route or a channel finds the jobs that a request is about, and may use. */
import type { FastifyRequest } from 'fastify'
import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobRecord } from '../jobs/job.ts'
import { askAuthorize, type JobRight, type Verdict } from './authorize.ts'
import { noteGrant, sigsOf, type Grant } from './capability.ts'
import type { HttpRuntime } from './http-runtime.ts'
import type { Viewer } from './owner.ts'

export type { JobRight } from './authorize.ts'

/**
 * Read by @fastify/under-pressure: even under load a client must be able to read and cancel its job. Not for
 * redrives, which are new work.
 */
export const NEVER_SHED = { pressureHandler: () => {} }

/** A request that names a job in its path. */
export type JobRequest<Params extends object = object> = FastifyRequest<{ Params: Params & { readonly id: string } }>

/** A job that a request asks for. */
export interface AskedJob {
  readonly id: string
  /** Its capability link, where it is not in the request itself. */
  readonly sig?: string | undefined
}

/** A job that the request may use. */
export interface AllowedJob {
  readonly job: JobRecord
  /** When the link that was needed for it ends, in milliseconds since the epoch. Absent: no link was needed. */
  readonly until?: number | undefined
}

/** The form of job ids. The store is not asked for anything else. */
const POSSIBLE_ID = /^[A-Za-z0-9_-]{1,128}$/

/**
 * The job, if it exists and the client may do this with it. An unknown job, an expired one and one of another owner
 * give the same answer after the same time: the owner functions are asked first, whatever the id is.
 *
 * @throws {AsyncEndpointsError} `FAE_JOB_NOT_FOUND`, `FAE_STORE_UNAVAILABLE`, and what the owner functions and
 * `http.authorize` throw
 */
export async function findJob (http: HttpRuntime, request: JobRequest, right: JobRight): Promise<JobRecord> {
  const [found] = await findAllowed(http, request, right, [{ id: request.params.id }])
  if (found === undefined) throw notFound()
  return found.job
}

/**
 * The jobs that this request may use, in the order of `asked`; `undefined` for all others. One round trip. Where a job
 * comes without a `sig`, the request has one `sig` for all of them, or one for each, in the same order.
 *
 * @throws what the owner functions and `http.authorize` throw, if the request may read none of them; and
 * `FAE_STORE_UNAVAILABLE`
 */
export async function findAllowed (
  http: HttpRuntime, request: FastifyRequest, right: JobRight, asked: readonly AskedJob[]
): Promise<ReadonlyArray<AllowedJob | undefined>> {
  const viewer = await http.ownership.ask(request)
  const grants = grantsOf(http, request, right, asked)
  // Sent together, so that a store on a server has one round trip.
  const jobs = await Promise.all(asked.map(({ id }) => POSSIBLE_ID.test(id) ? http.jobs.get(id) : undefined))
  const allowed = await Promise.all(jobs.map((job, at) => allow(http, viewer, request, right, job, grants[at])))
  // For an unknown id a store on a server needs one more round trip. A hidden job makes one too, so that the time does
  // not reveal it.
  if (jobs.some((job, at) => job !== undefined && allowed[at] === undefined)) await http.runtime.store.ping()
  if (allowed.every((entry) => entry === undefined)) viewer.throwIfRefused()
  return allowed
}

/** For an id that no job can have: asks what would be asked for any other, and always throws. */
export async function refuseUnknown (http: HttpRuntime, request: FastifyRequest): Promise<never> {
  await findAllowed(http, request, 'read', [{ id: '' }])
  throw notFound()
}

async function allow (
  http: HttpRuntime, viewer: Viewer, request: FastifyRequest, right: JobRight, job: JobRecord | undefined,
  grant: Grant | undefined
): Promise<AllowedJob | undefined> {
  // A link is only needed where nothing else gives access: it ends, and the links in the answer are no better than it.
  const sees = async (): Promise<boolean> => {
    const verdict = await verdictOf(http, request, right, job)
    return job !== undefined && viewer.maySee(job, verdict)
  }
  const seen = grant === undefined ? await sees() : await sees().catch(() => false)
  if (job === undefined) return undefined
  if (seen) return { job }
  if (grant === undefined) return undefined
  noteGrant(request, grant)
  return { job, until: grant.until }
}

async function verdictOf (
  { options: { authorize } }: HttpRuntime, request: FastifyRequest, action: JobRight, job: JobRecord | undefined
): Promise<Verdict | undefined> {
  return authorize === undefined ? undefined : await askAuthorize(authorize, request, { action, job })
}

/** What the links of the request allow, for each job that it asks for. */
function grantsOf (
  { signer }: HttpRuntime, request: FastifyRequest, right: JobRight, asked: readonly AskedJob[]
): ReadonlyArray<Grant | undefined> {
  if (signer === undefined || right === 'redrive' || right === 'signal') return []
  const sent = sigsOf(request)
  return asked.map(({ id, sig }, at) => {
    const candidates = sig !== undefined ? [sig] : asked.length === 1 ? sent.slice(0, 2) : [sent.length === 1 ? sent[0] : sent[at]]
    for (const candidate of candidates) {
      const grant = candidate === undefined ? undefined : signer.verify(candidate, id)
      if (grant !== undefined && (right === 'read' || grant.scope === 'cancel')) return grant
    }
    return undefined
  })
}

export function notFound (): AsyncEndpointsError {
  return new AsyncEndpointsError(
    'FAE_JOB_NOT_FOUND', 'There is no job with this id: it never existed, or it is no longer stored'
  )
}
