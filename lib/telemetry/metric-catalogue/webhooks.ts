import { JOB_BUCKETS } from './buckets.ts'
import type { MetricTable } from './row.ts'

/** Seconds, from an end that is delivered at once to one whose receiver was away for a day. */
const SINCE_END_BUCKETS = Object.freeze([0.05, 0.1, 0.25, 0.5, 1, 5, 30, 60, 600, 3_600, 21_600, 43_200, 86_400] as const)

/** Webhooks, recorded through `AsyncEndpointsMetrics`: each key is the method that records the row. */
export const WEBHOOK_METRICS = {
  /** A message was taken, or is not sent again. */
  webhookEnded: {
    name: 'asyncendpoints.webhooks.deliveries.total',
    kind: 'counter',
    unit: '{delivery}',
    description: 'Total number of webhook deliveries, by how they ended: `delivered`, `failed` when no attempt is left, or `cancelled`',
    labels: ['job_name', 'outcome'],
    exemplar: true,
    panel: 'Webhooks',
    alert: {
      name: 'AsyncEndpointsWebhooksFail',
      grows: { moreThan: 0, withinMinutes: 60, by: ['job_name'], where: 'outcome="failed"' },
      forMinutes: 0,
      severity: 'warning',
      summary: 'A webhook could not be delivered.',
      description: '{{ $value | printf "%.0f" }} webhooks of jobs {{ $labels.job_name }} of {{ $labels.app }} were given ' +
        'up in the last hour: their receivers do not know that the jobs have ended. The log lines 11103 name the receiver ' +
        'and the delivery; when the receiver works again, redrive the deliveries.'
    }
  },
  /** One attempt to send a message ended. */
  webhookAttemptDuration: {
    name: 'asyncendpoints.webhooks.attempt.duration',
    kind: 'histogram',
    unit: 's',
    description: 'How long attempts to send a webhook took, by outcome: `delivered` or `failed`',
    labels: ['outcome'],
    buckets: JOB_BUCKETS,
    exemplar: true,
    panel: 'Webhooks'
  },
  /** A message was taken. */
  webhookDelay: {
    name: 'asyncendpoints.webhooks.delay',
    kind: 'histogram',
    unit: 's',
    description: 'Time from the end of a job until its webhook was taken, with all pauses between attempts',
    labels: ['job_name'],
    buckets: SINCE_END_BUCKETS,
    exemplar: true,
    panel: 'Webhooks'
  },
  /** A submission was refused because of its webhook. */
  webhookRefused: {
    name: 'asyncendpoints.webhooks.refused.total',
    kind: 'counter',
    unit: '{submission}',
    description: 'Total number of submissions that were refused because their webhook must not be called, by reason',
    labels: ['job_name', 'reason'],
    panel: 'Webhooks'
  }
} as const satisfies MetricTable
