import type { EventName } from './catalogue.ts'

/** Decides about one event. */
export type Sampled = (event: object) => boolean

/**
 * Keeps a share of the events. Events of one job are kept or left out together: the decision is made from its id alone, so that it is
 * the same for every event, in every process, and a smaller share is a part of a larger one. Events without a job are drawn one by one.
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

/** A number from 0 to 1 for a text, the same each time: FNV-1a, its bits mixed so that ids which differ in one character lie far apart. */
function shareOf (text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return ((hash ^ (hash >>> 16)) >>> 0) / 0x1_0000_0000
}

/** What went wrong, or may soon: a common sample rate leaves these alone, because each of them may be the one that is looked for. */
export const TROUBLE: ReadonlySet<EventName> = new Set<EventName>([
  'job.submit_failed', 'job.attempt_failed', 'job.failed', 'job.timed_out', 'job.stalled', 'job.lease_lost', 'job.settle_failed', 'job.unhandled',
  'handler.failed', 'handler.abandoned', 'worker.failed', 'worker.restarted', 'worker.exhausted',
  'store.disconnected', 'store.failed', 'store.warned', 'store.operation_failed', 'health.changed', 'health.check_changed',
  'performance.slow_operation', 'performance.memory_spike', 'performance.slow_query', 'performance.event_loop_lagged', 'performance.bottleneck_found',
  'telemetry.export_failed', 'telemetry.listener_failed', 'alert.raised', 'alert.reminded', 'alert.send_failed',
  'access.jobs_left_open', 'access.metrics_left_open'
])
