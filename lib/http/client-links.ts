/** The links in a document: each of them works for the client that gets the document. */
import type { FastifyRequest } from 'fastify'
import type { JobRecord } from '../jobs/job.ts'
import { openSignals } from '../jobs/saga-document.ts'
import { isTerminal } from '../jobs/states.ts'
import { askAuthorize, type JobRight } from './authorize.ts'
import { grantOf } from './capability.ts'
import type { HttpRuntime } from './http-runtime.ts'
import { NO_RIGHTS, type JobLinks, type LinkRights } from './links.ts'
import { viewerOf, type OwnerFunction, type Viewer } from './owner.ts'

/**
 * The links in a document that answers a request which may read the job. `http.authorize` is asked what else the client
 * may do: no link in a document is answered 404, or has a signature that allows more than the client may do.
 */
export function linksOfReader (
  http: HttpRuntime, request: FastifyRequest, job: JobRecord
): JobLinks | Promise<JobLinks> {
  const { links, options: { authorize } } = http
  const grant = grantOf(request, job.id)
  if (grant !== undefined) return links.limitedTo(grant)
  const viewer = viewerOf(request)
  if (authorize === undefined || viewer === undefined) return links
  return rightsOf(http, viewer, request, job, true).then((rights) => links.within(rights))
}

/** The links of one job in a list, for a client that may not even read it alone. They are not signed. */
export async function linksOfLister (
  http: HttpRuntime, viewer: Viewer, request: FastifyRequest, job: JobRecord
): Promise<JobLinks> {
  return http.links.unsigned().within(await rightsOf(http, viewer, request, job))
}

/** Makes the links in the answer to a submission. */
export type SubmitterLinks = (
  request: FastifyRequest, job: JobRecord, userId: string | undefined
) => JobLinks | Promise<JobLinks>

/**
 * Who submits a job without being known gets what the signatures of its links allow. Everybody else gets the links that
 * their owner, or `http.authorize`, allows them, and these signatures.
 *
 * @param owner the owner function of the endpoint
 */
export function compileSubmitterLinks (http: HttpRuntime, owner: OwnerFunction | undefined): SubmitterLinks {
  const { links, ownership, options: { access, authorize } } = http
  if (authorize !== undefined) {
    return async (request, job, userId) => {
      const rights = await rightsOf(http, ownership.viewerAs(owner, userId), request, job)
      return links.within(rights, true)
    }
  }
  const unknown = links.within(NO_RIGHTS, true)
  return (_request, _job, userId) => userId === undefined && access === 'link' ? unknown : links
}

/** What the client may do without a signature. Asks only about what the job's state allows at all. */
async function rightsOf (
  http: HttpRuntime, viewer: Viewer, request: FastifyRequest, job: JobRecord, mayRead = false
): Promise<LinkRights> {
  const { options: { authorize }, runtime: { registry } } = http
  const over = isTerminal(job.state)
  const may = async (action: JobRight, asked = true): Promise<boolean> => {
    if (!asked) return false
    if (authorize === undefined) return viewer.maySee(job)
    try {
      return viewer.maySee(job, await askAuthorize(authorize, request, { action, job }))
    } catch {
      // The route that the link leads to answers with this error.
      return false
    }
  }
  const plan = over ? undefined : registry.get(job.name)?.saga
  const [read, cancel, redrive, signal] = await Promise.all([
    mayRead || may('read'),
    may('cancel', !over),
    may('redrive', job.state === 'failed'),
    may('signal', plan !== undefined && openSignals(job.facts, plan).length > 0)
  ])
  return { read, cancel, redrive, signal }
}
