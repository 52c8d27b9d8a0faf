import { AsyncEndpointsError, isAsyncEndpointsError } from '../core/errors.ts'
import type { ChildrenOfName, ParentJob, SubmitChild } from '../jobs/seams.ts'
import type { ChildSubmitted, SubmitMeta, Submitted } from '../jobs/submit.ts'
import type { Jobs } from './jobs.ts'

/** 7 days, as long as a failed job is kept by default: its redrive still finds the children that it had submitted. */
const CHILD_KEY_TTL_MS = 604_800_000

/**
 * Makes `job.submit()`. The child gets correlation id, owner and trace of its parent, and an idempotency key made of the
 * parent's id, the child's name and its number among the children of that name in this attempt. A later attempt, or a
 * redrive, that submits the same children in the same order gets the existing ones instead of second ones.
 */
export function childSubmitter (jobs: Pick<Jobs, 'submit'>): SubmitChild {
  return async (parent, job, body, meta) => {
    const name = typeof job === 'string' ? job : job.name
    const own = meta?.idempotencyKey
    const text = own === undefined ? textOf(body) : ''
    const ordinal = own === undefined ? ordinalOf(parent, name, text) : 0
    const full: SubmitMeta = {
      ...meta,
      owner: meta?.owner ?? parent.owner,
      correlationId: meta?.correlationId ?? parent.correlationId,
      trace: meta?.trace ?? parent.trace,
      idempotencyTtlMs: meta?.idempotencyTtlMs ?? CHILD_KEY_TTL_MS,
      idempotencyKey: own ?? `child of ${parent.id} ${ordinal}`
    }
    const submitted: Promise<Submitted> = jobs.submit(job, body, full)
    return await submitted.catch((error: unknown): ChildSubmitted => {
      if (isAsyncEndpointsError(error, 'FAE_JOB_EXPIRED')) {
        return { id: String(error.details?.['id']), created: false, job: undefined }
      }
      if (own === undefined && isAsyncEndpointsError(error, 'FAE_IDEMPOTENCY_KEY_REUSED')) throw otherChild(name, ordinal)
      // The child may have been stored. If the handler repeats the call, it gets the same number, and no second child
      // is made.
      if (own === undefined && isAsyncEndpointsError(error, 'FAE_STORE_UNAVAILABLE')) {
        childrenOf(parent, name).inDoubt.push({ ordinal, text })
      }
      throw error
    })
  }
}

/**
 * Called before anything is awaited, so that children that are submitted at the same time are numbered in the order of
 * the calls.
 */
function ordinalOf (parent: ParentJob, name: string, text: string | undefined): number {
  const children = childrenOf(parent, name)
  const again = children.inDoubt.findIndex((child) => child.text === text)
  const [repeated] = again === -1 ? [] : children.inDoubt.splice(again, 1)
  return repeated?.ordinal ?? ++children.count
}

function childrenOf ({ children }: ParentJob, name: string): ChildrenOfName {
  let own = children.get(name)
  if (own === undefined) children.set(name, own = { count: 0, inDoubt: [] })
  return own
}

/**
 * The body as JSON, to recognize a submission that is repeated. `undefined`: JSON cannot hold it; `submit` will refuse it, and it
 * matches no earlier one.
 */
function textOf (body: unknown): string | undefined {
  try {
    return JSON.stringify(body) ?? ''
  } catch {
    return undefined
  }
}

function otherChild (name: string, ordinal: number): AsyncEndpointsError {
  return new AsyncEndpointsError(
    'FAE_IDEMPOTENCY_KEY_REUSED',
    `An earlier attempt of this job submitted child ${ordinal} of "${name}" with other content. Attempts must submit the same ` +
    'children in the same order; where they cannot, give each child an idempotencyKey of its own'
  )
}
