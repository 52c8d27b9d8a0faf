import { ERROR_TABLE } from '../core/errors.ts'
import type { JobRecord, StoredError } from '../jobs/job.ts'
import { takeRejection } from '../core/rejections.ts'

/**
 * Whose message a client may read, of errors that ended an attempt. `marked`: of those that the application wrote for the client:
 * the reason of `discard()` and `cancel()`, and errors with `expose: true`, as `http-errors` sets it. `all`: of every error. A function says
 * it for each; one that throws says no.
 */
export type ExposeErrors = 'marked' | 'all' | ((error: StoredError, job: JobRecord) => boolean)

/** An error as a client sees it. */
export interface ShownError {
  readonly code: string
  readonly message: string
}

/** Says what went wrong with a handler and nothing of what it works with. */
const HANDLER_FAILED = 'The handler threw an error'
/** Anything else in the field `code` of an error may be a text with private content. */
const CODE = /^[\w.:-]{1,100}$/
const NO_CODE = 'Error'

/**
 * What a client is told of a job's error, wherever it reads it: in a status document, in a problem, on a stream. The one place
 * that decides it. A message that is not for the client is replaced by the title of its code or one fixed sentence; the full text is in
 * logs, spans and `app.jobs.get(id)`.
 */
export function shownError (job: JobRecord, expose: ExposeErrors): ShownError | undefined {
  const { error } = job
  if (error === undefined) return undefined
  const code = CODE.test(error.code) ? error.code : NO_CODE
  return { code, message: mayShow(error, job, expose) ? error.message : titleOf(code) }
}

function mayShow (error: StoredError, job: JobRecord, expose: ExposeErrors): boolean {
  // The reason of a cancel is written for whoever asks what became of the job.
  if (expose === 'all' || error.expose === true || job.state === 'cancelled') return true
  if (expose === 'marked') return false
  try {
    const answer: unknown = expose(error, job)
    takeRejection(answer)
    return answer === true
  } catch {
    return false
  }
}

function titleOf (code: string): string {
  return Object.hasOwn(ERROR_TABLE, code) ? ERROR_TABLE[code as keyof typeof ERROR_TABLE].title : HANDLER_FAILED
}
