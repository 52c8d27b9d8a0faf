import type { Clock, Ids } from '../core/context.ts'
import { orReject } from '../core/deadline.ts'
import { AsyncEndpointsError, isAsyncEndpointsError } from '../core/errors.ts'
import type { HealthCheck, HealthVerdict } from '../core/health-check.ts'
import type { JobStore } from '../jobs/store.ts'
import { toStoredError } from '../jobs/stored-error.ts'
import type { StoreReadings } from './readings.ts'

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
  readonly maxStuckJobs: number
  readonly submitProbe: boolean
}

/**
 * The jobs as a client and an operator see them: can one be read, and how fast; would one
 * be taken; are any stuck. Nothing of it leaves a job or counts as one.
 */
export function asyncEndpointsCheck (parts: StoreCheckParts): HealthCheck {
  const { store, clock, ids, readings, latencyMs, maxStuckJobs } = parts
  return async () => {
    const begin = clock.monotonic()
    // A job that cannot be there: the way is the same, and nobody's record is moved.
    await orReject(clock, 2 * latencyMs, store.get(ids.job()), () => new AsyncEndpointsError('FAE_STORE_UNAVAILABLE', `The store did not answer within ${2 * latencyMs} ms`))
    const tookMs = round(clock.monotonic() - begin)
    const submit = parts.submitProbe ? trial(store) : undefined
    const [counts, refusal] = await Promise.all([readings.counts(), submit])
    if (refusal !== undefined) return refusal
    const facts = { store_type: store.type, store_latency_ms: tookMs, submit_probe: submit === undefined ? 'none' : 'passed' }
    const slow = tookMs > latencyMs
    const stuck = counts.stuck > maxStuckJobs
    const unattended = store.unattended?.() ?? []
    const left = unattended.length > 0
    if (!slow && !stuck && !left) {
      return { status: 'Healthy', description: `the ${store.type} store answers`, data: { ...facts, stuck_jobs: counts.stuck, max_retries: parts.maxRetries() } }
    }
    return {
      status: 'Degraded',
      description: [
        slow && `the ${store.type} store answers slowly`,
        stuck && `${counts.stuck} jobs are stuck: their leases were not renewed in time`,
        left && `jobs wait in queues that no worker works on: ${unattended.slice(0, MAX_NAMED).map(({ queue, waiting }) => `${queue} (${waiting})`).join(', ')}`
      ].filter(Boolean).join('; '),
      data: {
        ...facts,
        ...(slow && { threshold_ms: latencyMs }),
        ...(stuck && { stuck_jobs_count: counts.stuck, threshold: maxStuckJobs }),
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
    return {
      status: 'Unhealthy',
      description: `the ${type} store would take no job${isAsyncEndpointsError(error) ? `: ${message}` : ''}`,
      data: { store_type: type, error: code }
    }
  })
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
