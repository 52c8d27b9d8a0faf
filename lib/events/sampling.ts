import type { EventName } from './catalogue.ts'

/** Whether an event is kept. */
export type Sampled = (event: object) => boolean

/**
 * Keeps a share of the events. The events of one job are kept or dropped together: the decision depends on the job's
 * id only, so it is the same for all its events and in every process, and a job that is kept at a low rate is also
 * kept at a higher one. Events without a job are decided one by one.
 *
 * @param rate 0 to 1
 */
export function sampled (rate: number, random: () => number): Sampled {
  if (rate >= 1) return () => true
  return (event) => {
    const jobId: unknown = Reflect.get(event, 'jobId')
    return (typeof jobId === 'string' ? shareOf(jobId) : random()) < rate
  }
}

/**
 * Hashes a text to a number from 0 to 1: FNV-1a with its bits mixed, so that ids which differ in one character get
 * distant numbers.
 */
function shareOf (text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return ((hash ^ (hash >>> 16)) >>> 0) / 0x1_0000_0000
}

/**
 * Events that report trouble. A common sample rate does not apply to them, because each may be the one that somebody
 * looks for.
 */
export const TROUBLE: ReadonlySet<EventName> = new Set<EventName>([
  'job.submit_failed', 'job.attempt_failed', 'job.failed', 'job.timed_out', 'job.stalled', 'job.lease_lost', 'job.settle_failed', 'job.unhandled',
  'step.failed', 'step.timed_out', 'step.abandoned', 'step.refused', 'step.compensating', 'step.compensation_failed',
  'saga.failed', 'saga.compensating', 'saga.compensation_failed', 'saga.definition_changed',
  'webhook.attempt_failed', 'webhook.failed', 'webhook.refused',
  'handler.failed', 'handler.abandoned', 'worker.failed', 'worker.restarted', 'worker.exhausted',
  'store.disconnected', 'store.failed', 'store.warned', 'store.operation_failed', 'health.changed', 'health.check_changed',
  'performance.slow_operation', 'performance.memory_spike', 'performance.slow_query', 'performance.event_loop_lagged', 'performance.bottleneck_found',
  'telemetry.export_failed', 'telemetry.listener_failed', 'alert.raised', 'alert.reminded', 'alert.send_failed',
  'access.jobs_left_open', 'access.metrics_left_open'
])
