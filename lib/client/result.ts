import { AsyncEndpointsError } from '../core/errors.ts'
import { cut } from '../core/text.ts'
import type { JobRecord } from '../jobs/job.ts'
import type { JobStore } from '../jobs/store.ts'

/**
 * The result of a completed job, parsed; `undefined` when its handler returned nothing.
 *
 * @param name the job must have this name; `undefined`: any name
 * @throws {AsyncEndpointsError} `FAE_JOB_NOT_FOUND`, `FAE_JOB_NOT_FINISHED`, `FAE_JOB_FAILED`, `FAE_JOB_CANCELLED`, `FAE_RESULT_EXPIRED`
 */
export async function readResult (store: JobStore, id: string, name: string | undefined): Promise<unknown> {
  const job = await store.get(id)
  if (job === undefined) throw notFound(id)
  if (name !== undefined && job.name !== name) {
    throw new AsyncEndpointsError('FAE_JOB_NOT_FOUND', `The job ${shown(id)} is no "${name}" job: its name is "${job.name}"`)
  }
  if (job.state !== 'completed') throw withoutResult(job)
  const text = await store.result(id)
  if (text !== undefined) return JSON.parse(text)
  if (job.resultBytes === undefined) return undefined
  const details = { jobStatus: job.state }
  throw new AsyncEndpointsError('FAE_RESULT_EXPIRED', `The job ${shown(id)} was completed, but its result is no longer kept`, { details })
}

/** The error of a handler may hold anything: it goes along as the cause, and never into the message. */
function withoutResult ({ id, state, error }: JobRecord): AsyncEndpointsError {
  const details = { jobStatus: state }
  const options = { details, cause: error }
  const job = `The job ${shown(id)}`
  if (state === 'failed') {
    return new AsyncEndpointsError('FAE_JOB_FAILED', `${job} failed and has no result; the cause of this error is the error of the job`, options)
  }
  if (state === 'cancelled') return new AsyncEndpointsError('FAE_JOB_CANCELLED', `${job} was cancelled and has no result`, options)
  return new AsyncEndpointsError('FAE_JOB_NOT_FINISHED', `${job} is ${state}; await app.jobs.waitFor(id) before its result`, { details })
}

export function notFound (id: string): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_JOB_NOT_FOUND', `There is no job ${shown(id)}; it is unknown, has expired or was removed`)
}

/** Ids may come from outside. */
function shown (id: string): string { return JSON.stringify(cut(String(id), 64)) }
