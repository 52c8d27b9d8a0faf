import type { Clock, Ids } from '../core/context.ts'
import { EXPIRED, withDeadline } from '../core/deadline.ts'
import { AsyncEndpointsError, isAsyncEndpointsError } from '../core/errors.ts'
import type { HealthCheck, HealthVerdict } from '../core/health-check.ts'
import type { JobStore } from '../jobs/store.ts'
import { toStoredError } from '../jobs/stored-error.ts'
import { withoutServer } from './check-failure.ts'
import type { StoreReadings } from './store-readings.ts'

/** How many of the queues without a worker are named. */
const MAX_NAMED = 5

export interface StoreCheckParts {
  readonly store: Pick<JobStore, 'type' | 'get' | 'probe' | 'unattended'>
  readonly clock: Clock
  readonly ids: Pick<Ids, 'job'>
  readonly readings: Pick<StoreReadings, 'counts'>
  /** The largest number of retries that a job defined here has. */
  readonly maxRetries: () => number
  readonly latencyMs: number
  /** The check answers within this time, even if the store does not. */
  readonly answerMs: number
  readonly maxStuckJobs: number
  readonly submitProbe: boolean
}

/**
 * Checks the store from the side of its users: how fast a job can be read, whether a new job would be accepted, and how many jobs
 * are in progress without a lease. It leaves no job behind, and counts as none.
 *
 * The three questions are asked at the same time. One after the other, a server that is far away would take longer to answer than a
 * probe waits.
 */
export function asyncEndpointsCheck (parts: StoreCheckParts): HealthCheck {
  const { store, clock, ids, readings, latencyMs, maxStuckJobs } = parts
  const limitMs = Math.min(2 * latencyMs, parts.answerMs)
  return async () => {
    const begin = clock.monotonic()
    const within = <T>(answer: Promise<T>): Promise<T | typeof EXPIRED> => withDeadline(clock, limitMs, answer)
    const submit = parts.submitProbe ? trial(store) : undefined
    const [tookMs, counts, refusal] = await Promise.all([
      // The id is a new one, so that no job has it: a read takes the same way, and carries no record.
      within(store.get(ids.job()).then(() => round(clock.monotonic() - begin))),
      within(readings.counts()),
      submit === undefined ? undefined : within(submit)
    ])
    const unanswered = refusal === EXPIRED
    // A read may take two round trips, and the others one. An answer to any of them shows that the store is there.
    if (tookMs === EXPIRED && counts === EXPIRED && (submit === undefined || unanswered)) {
      throw new AsyncEndpointsError('FAE_STORE_UNAVAILABLE', `The store did not answer within ${limitMs} ms`)
    }
    // A server that does not know the script yet needs a second round trip. There was time for one, so the submission is refused.
    if (unanswered && tookMs !== EXPIRED && 2 * tookMs < limitMs) return refused(store.type, 'FAE_STORE_UNAVAILABLE', `it did not answer within ${limitMs} ms`)
    if (refusal !== undefined && !unanswered) return refusal
    const facts = { store_type: store.type, store_latency_ms: tookMs === EXPIRED ? limitMs : tookMs, submit_probe: submit === undefined ? 'none' : unanswered ? 'no-answer' : 'passed' }
    const known = counts === EXPIRED ? undefined : counts.stuck
    const slow = tookMs === EXPIRED || tookMs > latencyMs || unanswered || known === undefined
    const stuck = known !== undefined && known > maxStuckJobs
    const unattended = store.unattended?.() ?? []
    const left = unattended.length > 0
    if (!slow && !stuck && !left) {
      return { status: 'Healthy', description: `the ${store.type} store answers`, data: { ...facts, stuck_jobs: known, max_retries: parts.maxRetries() } }
    }
    return {
      status: 'Degraded',
      description: [
        slow && `the ${store.type} store answers slowly`,
        stuck && `${known} jobs are in progress without a lease, because it was not renewed in time; no worker has claimed them again yet`,
        left && `jobs wait in queues that no worker works on: ${unattended.slice(0, MAX_NAMED).map(({ queue, waiting }) => `${queue} (${waiting})`).join(', ')}`
      ].filter(Boolean).join('; '),
      data: {
        ...facts,
        ...(slow && { threshold_ms: latencyMs }),
        ...(stuck && { stuck_jobs_count: known, threshold: maxStuckJobs }),
        ...(left && { unattended_queues: unattended.length, unattended_jobs: unattended.reduce((sum, { waiting }) => sum + waiting, 0) })
      }
    }
  }
}

/** Starts a trial submission, if the store offers one; it stores no job. */
function trial (store: Pick<JobStore, 'type' | 'probe'>): Promise<HealthVerdict> | undefined {
  const { type } = store
  return store.probe?.().then(() => undefined, (error: unknown) => {
    const { code, message } = toStoredError(error)
    return refused(type, code, isAsyncEndpointsError(error) ? withoutServer(error, message) : undefined)
  })
}

function refused (storeType: string, code: string, reason: string | undefined): HealthVerdict {
  const description = `the ${storeType} store would take no job${reason === undefined ? '' : `: ${reason}`}`
  return { status: 'Unhealthy', description, data: { store_type: storeType, error: code } }
}

/** Never worse than Degraded: that many jobs wait does not mean that this process cannot work. */
export function queueDepthCheck (readings: Pick<StoreReadings, 'counts'>, maxDepth: number): HealthCheck {
  return async () => {
    const { queued } = await readings.counts()
    const long = queued >= maxDepth
    return { status: long ? 'Degraded' : 'Healthy', description: long ? 'many jobs wait' : 'few jobs wait', data: { queue_depth: queued, threshold: maxDepth } }
  }
}

/** One PING. */
export function redisCheck (store: Pick<JobStore, 'ping'>, clock: Clock): HealthCheck {
  return async () => {
    const begin = clock.monotonic()
    await store.ping()
    return { status: 'Healthy', description: 'Redis answers', data: { ping_ms: round(clock.monotonic() - begin) } }
  }
}

function round (ms: number): number { return Math.round(Math.max(0, ms) * 1_000) / 1_000 }
