/** Makes the jobs that deliver webhooks. */
import { createHash } from 'node:crypto'
import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobRuntime } from '../events/runtime.ts'
import { DELIVERY_JOB } from '../events/webhook-catalogue.ts'
import type { JobInput, JobWebhook, NewJob } from '../jobs/job.ts'
import { deliveryId, type DeliveredJob, type WebhookJobs } from '../jobs/webhook.ts'
import type { WebhookEnds } from './webhook-ends.ts'
import type { DeliveryInput } from './delivery-input.ts'
import type { ResolvedWebhooksOptions } from './webhook-options.ts'
import { hostOf, type WebhookTransport } from './webhook-transport.ts'

/** How long a delivery is found instead of being made again. Longer than the schedule lasts. */
const KEY_TTL_MS = 604_800_000
const NOTHING: Readonly<Record<string, never>> = Object.freeze({})

export interface WebhookJobsParts {
  readonly runtime: JobRuntime
  readonly options: ResolvedWebhooksOptions
  readonly transport: WebhookTransport
  /** Where the job routes are; `undefined`: this process has none. */
  readonly linkBase: string | undefined
  readonly ends: WebhookEnds
}

/** Makes what `app.jobs` needs to submit and to redrive a job with a webhook. */
export function makeWebhookJobs ({ runtime, options, transport, linkBase, ends }: WebhookJobsParts): WebhookJobs {
  return {
    check: (url, jobName) => {
      const refusal = transport.refuses(url)
      if (refusal === undefined) return
      const { reason, sentence } = refusal
      runtime.bus.emit('webhook.refused', { jobName, host: hostOf(url), reason })
      throw webhookRefused(sentence, reason)
    },
    delivery: (job, webhook, round, now) => deliveryJob(job, webhook, round, now, options, linkBase),
    dropped: (job, input, reason) => { ends.dropped(job, input, reason) },
    delivers: ({ name }) => name === DELIVERY_JOB
  }
}

/** @param sentence without the URL */
export function webhookRefused (sentence: string, reason: string): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_WEBHOOK_REFUSED', `The URL of the webhook is refused: ${sentence}`, { details: { reason } })
}

/**
 * The delivery exists before the end of its job, and even before the job. Whichever process stores that end (a worker,
 * a cancel, the sweep of stalled jobs), and wherever it dies, the delivery is there; it needs only to notice the end.
 * Made at the end instead, it would be lost with a process that dies between storing the end and making it.
 */
function deliveryJob (
  { id, name, queue, owner, correlationId, trace }: DeliveredJob, { url, include }: JobWebhook, round: number, now: number,
  options: ResolvedWebhooksOptions, linkBase: string | undefined
): NewJob {
  const body: DeliveryInput = { job: id, name, queue, round, url, include, linkBase }
  const input: JobInput = { body, params: NOTHING, query: NOTHING, headers: NOTHING }
  const key = createHash('sha256').update(`webhook ${id} ${round}`).digest('hex')
  return {
    id: deliveryId(id, round),
    name: DELIVERY_JOB,
    queue: options.queue,
    input,
    owner,
    correlationId,
    trace,
    priority: 0,
    createdAt: now,
    runAt: now,
    maxAttempts: options.scheduleMs.length,
    idempotency: { key, fingerprint: key, ttlMs: KEY_TTL_MS }
  }
}
