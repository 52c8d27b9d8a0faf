/** What a submission and a redrive do for the webhook of a job. */
import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobRuntime } from '../events/runtime.ts'
import type { JobRecord, JobWebhook, NewJob } from '../jobs/job.ts'
import { storeNow } from '../jobs/store-clock.ts'
import type { Created, JobStore } from '../jobs/store.ts'
import { deliveryId, NOTHING_SENT, roundOf, type WebhookJobs } from '../jobs/webhook.ts'

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
  store: JobStore, webhooks: WebhookJobs, job: NewJob, webhook: JobWebhook, now: number
): Promise<Created> {
  // Not as old as the job: that may have waited for the store, and its delivery would find no job and end.
  const delivery = webhooks.delivery(job, webhook, 0, now)
  await store.create(delivery)
  const created = await store.create(job)
  // The job of an idempotency key has a delivery of its own.
  if (!created.created) await store.remove(delivery.id).catch(() => undefined)
  return created
}

/**
 * Before a redrive: its end is delivered, too.
 *
 * @returns what must follow when the redrive is stored; `undefined`: nothing
 */
export async function prepareRedrive (
  { context, store, webhooks }: JobRuntime, id: string
): Promise<((redriven: JobRecord) => Promise<void>) | undefined> {
  if (webhooks === undefined) return undefined
  const webhook = (await store.input(id))?.webhook
  const job = webhook === undefined ? undefined : await store.get(id)
  if (webhook === undefined || job?.state !== 'failed') return undefined
  const add = async (round: number): Promise<void> => {
    const made = (): NewJob => webhooks.delivery(job, webhook, round, storeNow(store, context.clock))
    await store.create(made())
    // Left by a redrive that was refused, or whose process died: it has ended because its round did not come. A store
    // may answer `created` for it too: the same job with the same key is the same submission.
    const delivery = deliveryId(id, round)
    if (!await sentNothing(store, delivery)) return
    await store.remove(delivery)
    await store.create(made())
  }
  await add(roundOf(job) + 1)
  // Until the redrive was stored, an old delivery could still end with nothing; or another redrive came first, failed
  // again, and this one begins a later round. A refused redrive removes nothing: the one that came first may need it.
  return async (redriven) => { await add(roundOf(redriven)).catch(() => undefined) }
}

async function sentNothing (store: JobStore, id: string): Promise<boolean> {
  return (await store.get(id))?.state === 'completed' && await store.result(id) === NOTHING_SENT
}
