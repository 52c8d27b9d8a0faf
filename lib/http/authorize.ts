import type { FastifyRequest } from 'fastify'
import type { JobRecord } from '../jobs/job.ts'

/** What a request wants to do with a job that exists. */
export type JobRight = 'read' | 'cancel' | 'redrive' | 'signal'

/** What `http.authorize` decides about. */
export interface AuthorizeContext {
  /** `list`: `GET /jobs`. `read` also stands for results and for listening to the job. */
  readonly action: JobRight | 'list'
  /**
   * The job. `undefined` for a list; and for an id that belongs to no job, so that the function takes as long for it
   * as for a job that it refuses.
   */
  readonly job?: JobRecord | undefined
}

/** For whom a request acts, in the place of what the owner function says. */
export interface ActsFor {
  /**
   * `undefined`: for nobody, so that the request sees only jobs without an owner, and its list is empty. With links, it
   * sees those only by their links.
   */
  readonly owner?: string | undefined
}

/**
 * Decides what a request may do with a job, on every job route and channel, and for every subscription; and which links
 * are in a document, also in the answer to a submission, in which case it gets the request that submits. Whether a job
 * may be submitted is not asked.
 *
 * - `false`: no. The answer is the same as for an unknown id: 404.
 * - `true`: yes, if the owner function agrees; in a list, the jobs of every owner. Where there is no owner function, this
 *   function alone decides.
 * - `{ owner }`: the request acts for this owner, whatever the owner function says: an administrator for `job?.owner`.
 *   A list has the jobs of this owner only.
 *
 * If it throws, the request is answered with a problem document that has the error's own `statusCode`. Throw only for
 * reasons that have nothing to do with the job (nobody is signed in): a refusal that only existing jobs get reveals
 * them.
 */
export type AuthorizeFunction = (
  request: FastifyRequest, context: AuthorizeContext
) => boolean | ActsFor | Promise<boolean | ActsFor>

/** What the function said. */
export type Verdict = boolean | { readonly owner: string | undefined }

/** @throws {TypeError} if the function returns anything else, and what it throws itself */
export async function askAuthorize (
  authorize: AuthorizeFunction, request: FastifyRequest, context: AuthorizeContext
): Promise<Verdict> {
  const verdict: unknown = await authorize(request, context)
  if (typeof verdict === 'boolean') return verdict
  if (typeof verdict !== 'object' || verdict === null) {
    throw new TypeError(`The authorize function returned a value of type ${typeof verdict}; it must return true, false or { owner }`)
  }
  const { owner }: { readonly owner?: unknown } = verdict
  if (owner === undefined || owner === null || owner === '') return { owner: undefined }
  if (typeof owner !== 'string') throw new TypeError(`The authorize function returned an owner of type ${typeof owner}; it must be a string`)
  return { owner }
}
