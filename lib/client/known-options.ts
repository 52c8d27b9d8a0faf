import { assertKnown } from '../core/known-options.ts'
import type { SubmitMeta } from '../jobs/submit.ts'
import type { ListOptions, WaitOptions } from './jobs.ts'

/** The members that an options argument may have. A record, so that the compiler finds one that is missing here. */
type Known<T> = Readonly<Record<keyof T, true>>

const SUBMIT_KEYS: Known<SubmitMeta> = {
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
  headers: true,
  webhook: true
}

export const LIST_KEYS: Known<ListOptions> = {
  queue: true, name: true, exceptName: true, state: true, owner: true, cursor: true, limit: true
}

export const WAIT_KEYS: Known<WaitOptions> = { timeoutMs: true, signal: true }

/** Options that people expect of a submission, and what to use instead. A map, because the name asked for may be `constructor`. */
const ELSEWHERE: ReadonlyMap<string, string> = new Map([
  ['signal', 'a submission cannot be aborted: it ends within submitTimeoutMs, and app.jobs.cancel(id) cancels the job'],
  ['delay', 'say delayMs'],
  ['jobId', 'say idempotencyKey']
])

/** Options that belong to the definition of a job, and not to one submission. */
const OF_THE_DEFINITION = new Set(['attempts', 'backoff', 'graceMs', 'maxResultBytes', 'queue', 'retry', 'slaMs', 'timeoutMs'])

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function assertSubmitKeys (name: string, meta: SubmitMeta): void {
  assertKnown(() => `jobs.submit("${name}")`, SUBMIT_KEYS, meta, adviceOn)
}

function adviceOn (key: string): string | undefined {
  return OF_THE_DEFINITION.has(key) ? 'it belongs to the definition of the job' : ELSEWHERE.get(key)
}
