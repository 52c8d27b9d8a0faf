import { AsyncEndpointsError, isAsyncEndpointsError } from '../core/errors.ts'
import type { ParentJob, SubmitChild } from '../jobs/seams.ts'
import type { ChildSubmitted, SubmitMeta, Submitted } from '../jobs/submit.ts'
import type { Jobs } from './jobs.ts'

/** As long as a failed job is kept by default, so that its redrive finds the children that are there: 7 days. */
const CHILD_KEY_TTL_MS = 604_800_000

/**
 * What `job.submit()` is. The child gets correlation id, owner and trace of its parent, and an idempotency key made of the
 * parent's id, the child's name and its number among the children of that name in this attempt. A later attempt, or a
 * redrive, that submits the same children in the same order is given those that are there.
 */
export function childSubmitter (jobs: Pick<Jobs, 'submit'>): SubmitChild {
  return async (parent, job, body, meta) => {
    const name = typeof job === 'string' ? job : job.name
    const own = meta?.idempotencyKey
    const ordinal = own === undefined ? nextOrdinal(parent, name) : 0
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
      if (isAsyncEndpointsError(error, 'FAE_JOB_EXPIRED')) return { id: String(error.details?.['id']), created: false, job: undefined }
      if (own === undefined && isAsyncEndpointsError(error, 'FAE_IDEMPOTENCY_KEY_REUSED')) throw otherChild(name, ordinal)
      throw error
    })
  }
}

/** Taken before anything is awaited: children that are submitted at the same time are numbered in the order of the calls. */
function nextOrdinal ({ ordinals }: ParentJob, name: string): number {
  const ordinal = (ordinals.get(name) ?? 0) + 1
  ordinals.set(name, ordinal)
  return ordinal
}

function otherChild (name: string, ordinal: number): AsyncEndpointsError {
  return new AsyncEndpointsError(
    'FAE_IDEMPOTENCY_KEY_REUSED',
    `An earlier attempt of this job submitted child ${ordinal} of "${name}" with other content. Attempts must submit the same children in the same order; ` +
    'where they cannot, give each child an idempotencyKey of its own'
  )
}
