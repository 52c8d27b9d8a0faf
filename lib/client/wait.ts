import type { Backbone } from '../channels/backbone.ts'
import type { Clock } from '../core/context.ts'
import { AsyncEndpointsError } from '../core/errors.ts'
import { invalidOptions } from '../core/options.ts'
import type { JobRecord } from '../jobs/job.ts'
import { isTerminal } from '../jobs/states.ts'
import type { JobStore } from '../jobs/store.ts'
import type { WaitOptions } from './jobs.ts'

/** What ends a wait. */
type Ending = JobRecord | 'gone' | 'late' | 'aborted'

/**
 * Reads the job, and then hears of its end from the backbone, which reads it again after it has begun to listen: no
 * order of events can make it miss the end. A store that is away in the middle of the wait is waited for like the job.
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
  const job = await store.get(id)
  if (job === undefined) throw notFound('There is no such job')
  if (isTerminal(job.state)) return job
  signal.throwIfAborted()
  const ending = await untilEnded(clock, backbone, job, deadline, signal)
  if (typeof ending === 'object') return ending
  if (ending === 'gone') throw notFound('The job was removed while it was waited for')
  signal.throwIfAborted()
  throw new AsyncEndpointsError('FAE_WAIT_TIMEOUT', `The job was not over after ${timeoutMs} ms`)
}

async function untilEnded (
  clock: Clock, backbone: Backbone, job: JobRecord, deadline: number, signal: AbortSignal
): Promise<Ending> {
  let end: (ending: Ending) => void = () => {}
  const ended = new Promise<Ending>((resolve) => { end = resolve })
  const stop = backbone.watch(job, (news) => { end(news.kind === 'job' ? news.job : 'gone') }, { since: job.version, interest: 'end' })
  // Later than 2^31 ms, a timer of Node would ring at once.
  const timer = clock.setTimeout(() => end('late'), Math.min(Math.max(0, deadline - clock.monotonic()), 2 ** 31 - 1))
  const onAbort = (): void => end('aborted')
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await ended
  } finally {
    signal.removeEventListener('abort', onAbort)
    clock.clearTimeout(timer)
    stop()
  }
}

function notFound (message: string): AsyncEndpointsError { return new AsyncEndpointsError('FAE_JOB_NOT_FOUND', message) }
