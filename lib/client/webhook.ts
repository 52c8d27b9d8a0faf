/** What a submission and a redrive do for the webhook of a job. */
import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobRuntime } from '../events/runtime.ts'
import type { JobWebhook, NewJob } from '../jobs/job.ts'
import { storeNow } from '../jobs/store-clock.ts'
import type { Created, JobStore } from '../jobs/store.ts'
import type { WebhookJobs } from '../jobs/webhook.ts'

/** @throws {AsyncEndpointsError} `FAE_INVALID_SUBMISSION` without the option `webhooks`, `FAE_WEBHOOK_REFUSED` */
export function checkWebhook ({ webhooks }: JobRuntime, jobName: string, { url }: JobWebhook): void {
  if (webhooks === undefined) {
    throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION',
      `The submission of "${jobName}" is not valid: webhook has no effect without the option webhooks of the plugin; give it at least webhooks: { secret }`)
  }
  webhooks.check(url, jobName)
}

/**
 * Creates a job, and before it the job that delivers its webhook. In this order there is never a job without its
 * delivery, wherever a process dies: no end of a job, in whichever process, has to create anything. A delivery whose
 * job was not created finds that out, and ends.
 */
export async function createWithDelivery (
  store: JobStore, webhooks: WebhookJobs, job: NewJob, webhook: JobWebhook
): Promise<Created> {
  const delivery = webhooks.delivery(job, webhook, 0, job.createdAt)
  await store.create(delivery)
  const created = await store.create(job)
  // The job of an idempotency key has a delivery of its own.
  if (!created.created) await store.remove(delivery.id).catch(() => undefined)
  return created
}

/** Before a redrive: its end is delivered, too. */
export async function prepareRedrive ({ context, store, webhooks }: JobRuntime, id: string): Promise<void> {
  if (webhooks === undefined) return
  const webhook = (await store.input(id))?.webhook
  const job = webhook === undefined ? undefined : await store.get(id)
  if (webhook === undefined || job?.state !== 'failed') return
  await store.create(webhooks.delivery(job, webhook, (job.redrives ?? 0) + 1, storeNow(store, context.clock)))
}
