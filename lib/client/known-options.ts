import { invalidOptions } from '../core/options.ts'
import type { SubmitMeta } from '../jobs/submit.ts'
import type { ListOptions, WaitOptions } from './jobs.ts'

/** The members that an options argument may have. A record, so that the compiler finds one that is missing here. */
type Known<T> = Readonly<Record<keyof T, true>>

export const SUBMIT_KEYS: Known<SubmitMeta> = {
  delayMs: true,
  runAt: true,
  priority: true,
  owner: true,
  correlationId: true,
  trace: true,
  idempotencyKey: true,
  idempotencyTtlMs: true,
  validate: true,
  params: true,
  query: true,
  headers: true
}

export const LIST_KEYS: Known<ListOptions> = { queue: true, name: true, state: true, owner: true, cursor: true, limit: true }

export const WAIT_KEYS: Known<WaitOptions> = { timeoutMs: true, signal: true }

/** What people expect of a submission, and where it is found. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  signal: 'a submission cannot be aborted: it ends within submitTimeoutMs, and app.jobs.cancel(id) cancels the job',
  delay: 'say delayMs',
  jobId: 'say idempotencyKey'
}

/** What belongs to a job and not to one submission of it. */
const OF_THE_DEFINITION = new Set(['attempts', 'backoff', 'graceMs', 'maxResultBytes', 'queue', 'retry', 'slaMs', 'timeoutMs'])

/**
 * An option that has no effect (`delay`, `attempts` of other libraries) is a mistake that nobody would notice. This walks over the names
 * of what was given and makes nothing, because every submission with settings comes by.
 *
 * @param where for the message: `jobs.submit("mail")`
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, which lists the options that exist
 */
export function assertKnown (where: () => string, known: Readonly<Record<string, true>>, given: object): void {
  if (typeof given !== 'object' || given === null) throw invalidOptions(where(), ['the options must be an object'])
  for (const key in given) {
    if (!Object.hasOwn(known, key)) throw unknownOptions(where(), known, given)
  }
}

function unknownOptions (where: string, known: Readonly<Record<string, true>>, given: object): Error {
  const there = `there are ${Object.keys(known).join(', ')}`
  const problems = Object.keys(given).filter((key) => !Object.hasOwn(known, key)).map((key) => {
    const advice = known !== SUBMIT_KEYS ? undefined : OF_THE_DEFINITION.has(key) ? 'it belongs to the definition of the job' : ELSEWHERE[key]
    return `${key} is not an option${advice === undefined ? '' : ` (${advice})`}`
  })
  return invalidOptions(where, [...problems, there])
}
