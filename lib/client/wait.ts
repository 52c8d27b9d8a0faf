import type { Backbone } from '../channels/backbone.ts'
import type { Clock } from '../core/context.ts'
import { sleep } from '../core/deadline.ts'
import { AsyncEndpointsError, isAsyncEndpointsError } from '../core/errors.ts'
import { invalidOptions } from '../core/options.ts'
import type { JobRecord } from '../jobs/job.ts'
import { isTerminal } from '../jobs/states.ts'
import type { JobStore } from '../jobs/store.ts'
import type { WaitOptions } from './jobs.ts'

/** A published change can be missed while a connection is away: read again this often although nothing was heard. */
const REREAD_MS = 5_000

/**
 * Subscribes, then reads, then waits, then reads again: no order of events can make it miss the end.
 * A store that is away in the middle of the waiting is waited for like the job.
 *
 * @param closing aborts when the application closes, with the error for those who still wait
 * @throws {AsyncEndpointsError} `FAE_WAIT_TIMEOUT`, `FAE_JOB_NOT_FOUND`, `FAE_STORE_UNAVAILABLE` (at the first reading)
 */
export async function waitForEnd (clock: Clock, backbone: Backbone, store: JobStore, closing: AbortSignal, id: string, options: WaitOptions): Promise<JobRecord> {
  const { timeoutMs = 30_000 } = options
  if (options.signal !== undefined && !(options.signal instanceof AbortSignal)) throw invalidOptions('jobs.waitFor', ['signal must be an AbortSignal'])
  if (!(timeoutMs >= 0)) throw new AsyncEndpointsError('FAE_INVALID_REQUEST', 'timeoutMs must be milliseconds, 0 or more')
  const signal = options.signal === undefined ? closing : AbortSignal.any([closing, options.signal])
  signal.throwIfAborted()
  const deadline = clock.monotonic() + timeoutMs
  let wake = new AbortController()
  const stop = await backbone.watch(id, (update) => { if (isTerminal(update.state)) wake.abort() })
  const onAbort = (): void => wake.abort()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    let first = true
    while (true) {
      wake = new AbortController()
      const job = await read(store, id, first)
      first = false
      if (job !== undefined && isTerminal(job.state)) return job
      signal.throwIfAborted()
      const left = deadline - clock.monotonic()
      if (left <= 0) throw new AsyncEndpointsError('FAE_WAIT_TIMEOUT', `The job was not over after ${timeoutMs} ms`)
      await sleep(clock, Math.min(left, REREAD_MS), wake.signal)
    }
  } finally {
    signal.removeEventListener('abort', onAbort)
    stop()
  }
}

async function read (store: JobStore, id: string, first: boolean): Promise<JobRecord | undefined> {
  let job: JobRecord | undefined
  try {
    job = await store.get(id)
  } catch (error) {
    if (first || isAsyncEndpointsError(error, 'FAE_CLOSED')) throw error
    return undefined
  }
  if (job === undefined) throw new AsyncEndpointsError('FAE_JOB_NOT_FOUND', first ? 'There is no such job' : 'The job was removed while it was waited for')
  return job
}
