import { ERROR_TABLE } from '../core/errors.ts'
import type { JobRecord, StoredError } from '../jobs/job.ts'
import type { StepState } from '../jobs/saga-facts.ts'
import { takeRejection } from '../core/rejections.ts'

/**
 * Which messages of errors that ended an attempt a client may read. `marked`: those that the application wrote for
 * clients, which are the reasons of `discard()` and `cancel()`, and errors with `expose: true`, as `http-errors` sets
 * it. `all`: every message. A function decides for each error; if it throws, the message is not shown.
 */
export type ExposeErrors = 'marked' | 'all' | ((error: StoredError, job: JobRecord) => boolean)

/** An error as clients see it. */
export interface ShownError {
  readonly code: string
  readonly message: string
}

/** The texts for errors whose messages are not shown, by what threw them. */
const HANDLER_FAILED = 'The handler threw an error'
const STEP_FAILED = 'The step threw an error'
const COMPENSATION_FAILED = 'The compensation threw an error'
/** Codes that are shown. Any other value of an error's `code` may be a text with private content. */
const CODE = /^[\w.:-]{1,100}$/
const NO_CODE = 'Error'

/**
 * What a client sees of a job's error, in a status document, a problem or a stream. Only this function decides it. A
 * message that is not meant for clients is replaced by the title of its code or by a fixed sentence; the full message
 * is in logs, spans and `app.jobs.get(id)`.
 */
export function shownError (job: JobRecord, expose: ExposeErrors): ShownError | undefined {
  const { error } = job
  if (error === undefined) return undefined
  // The reason of a cancellation is written for the readers of the job.
  return shown(error, job.state === 'cancelled' || mayShow(error, job, expose))
}

/** The same for the error of one of the job's steps, which is no reason of a cancellation, whatever became of the job. */
export function shownStepError (
  error: StoredError, state: StepState, job: JobRecord, expose: ExposeErrors
): ShownError {
  const thrown = state === 'compensation-failed' ? COMPENSATION_FAILED : STEP_FAILED
  return shown(error, mayShow(error, job, expose), thrown)
}

function shown ({ code: stored, message }: StoredError, whole: boolean, thrown = HANDLER_FAILED): ShownError {
  const code = CODE.test(stored) ? stored : NO_CODE
  return { code, message: whole ? message : titleOf(code) ?? thrown }
}

function mayShow (error: StoredError, job: JobRecord, expose: ExposeErrors): boolean {
  if (expose === 'all' || error.expose === true) return true
  if (expose === 'marked') return false
  try {
    const answer: unknown = expose(error, job)
    takeRejection(answer)
    return answer === true
  } catch {
    return false
  }
}

function titleOf (code: string): string | undefined {
  return Object.hasOwn(ERROR_TABLE, code) ? ERROR_TABLE[code as keyof typeof ERROR_TABLE].title : undefined
}
