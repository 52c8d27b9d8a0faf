import type { Sink } from '../events/router.ts'
import { exemplarOf, type SagaSinkParts } from './saga-metrics.ts'

/** Records what happens to webhooks. */
export function webhookSink ({ metrics, excluded }: SagaSinkParts): Sink {
  return {
    'webhook.delivered': (event) => {
      const { jobName, durationMs, sinceEndMs } = event
      if (excluded(jobName)) return
      const exemplar = exemplarOf(event)
      metrics.webhookEnded({ jobName, outcome: 'delivered' }, exemplar)
      metrics.webhookAttemptDuration(durationMs / 1_000, { outcome: 'delivered' }, exemplar)
      metrics.webhookDelay(sinceEndMs / 1_000, { jobName }, exemplar)
    },
    'webhook.attempt_failed': (event) => {
      if (excluded(event.jobName)) return
      metrics.webhookAttemptDuration(event.durationMs / 1_000, { outcome: 'failed' }, exemplarOf(event))
    },
    'webhook.failed': (event) => {
      if (!excluded(event.jobName)) metrics.webhookEnded({ jobName: event.jobName, outcome: 'failed' }, exemplarOf(event))
    },
    'webhook.cancelled': (event) => {
      const { jobName } = event
      if (!excluded(jobName)) metrics.webhookEnded({ jobName, outcome: 'cancelled' }, exemplarOf(event))
    },
    'webhook.refused': ({ jobName, reason }) => {
      if (!excluded(jobName)) metrics.webhookRefused({ jobName, reason })
    }
  }
}
