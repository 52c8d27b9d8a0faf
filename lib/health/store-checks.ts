import type { Clock, Ids } from '../core/context.ts'
import { EXPIRED, withDeadline } from '../core/deadline.ts'
import { AsyncEndpointsError, isAsyncEndpointsError } from '../core/errors.ts'
import type { HealthCheck, HealthVerdict } from '../core/health-check.ts'
import type { JobStore } from '../jobs/store.ts'
import { toStoredError } from '../jobs/stored-error.ts'
import { withoutServer } from './check-failure.ts'
import type { StoreReadings } from './store-readings.ts'

/** Of the queues that nobody works on, so many are named. */
const MAX_NAMED = 5

export interface StoreCheckParts {
  readonly store: Pick<JobStore, 'type' | 'get' | 'probe' | 'unattended'>
  readonly clock: Clock
  readonly ids: Pick<Ids, 'job'>
  readonly readings: Pick<StoreReadings, 'counts'>
  /** The most often that a job which is defined here is tried again. */
  readonly maxRetries: () => number
  readonly latencyMs: number
  /** The answer comes within this time, whatever the store does. */
  readonly answerMs: number
  readonly maxStuckJobs: number
  readonly submitProbe: boolean
}

/**
 * The jobs as a client and an operator see them: can one be read, and how fast; would one
 * be taken; are any stuck. Nothing of it leaves a job or counts as one.
 *
 * All three are asked at the same time: one after the other, a server that is far away would take longer to answer than a
 * probe is given.
 */
export function asyncEndpointsCheck (parts: StoreCheckParts): HealthCheck {
  const { store, clock, ids, readings, latencyMs, maxStuckJobs } = parts
  const limitMs = Math.min(2 * latencyMs, parts.answerMs)
  return async () => {
    const begin = clock.monotonic()
    const within = <T>(answer: Promise<T>): Promise<T | typeof EXPIRED> => withDeadline(clock, limitMs, answer)
    const submit = parts.submitProbe ? trial(store) : undefined
    const [tookMs, counts, refusal] = await Promise.all([
      // A job that cannot be there: the way is the same, and nobody's record is moved.
      within(store.get(ids.job()).then(() => round(clock.monotonic() - begin))),
      within(readings.counts()),
      submit === undefined ? undefined : within(submit)
    ])
    const unanswered = refusal === EXPIRED
    // A read may take two round trips, and the others one: an answer to any of them says that the store is there.
    if (tookMs === EXPIRED && counts === EXPIRED && (submit === undefined || unanswered)) {
      throw new AsyncEndpointsError('FAE_STORE_UNAVAILABLE', `The store did not answer within ${limitMs} ms`)
    }
    // There was time for a second round trip, which a server needs that has to be sent a script first.
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
        stuck && `${known} jobs are stuck: their leases were not renewed in time`,
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

/** Starts a submission on trial, where the store has one. */
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

/** Never worse than Degraded: a long line is work to do, not a process that cannot do it. */
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
