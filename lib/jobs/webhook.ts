/** What a submission says about its webhook, and the seam by which submissions and workers reach what delivers it. */
import { createHash } from 'node:crypto'
import type { JobInput, JobRecord, JobWebhook, NewJob } from './job.ts'
import { isTerminal } from './states.ts'
import type { JobStore } from './store.ts'

/** What makes and wakes deliveries. */
export interface WebhookJobs {
  /**
   * Refuses a URL that must not be called.
   *
   * @throws {AsyncEndpointsError} `FAE_WEBHOOK_REFUSED`
   */
  check (url: string, jobName: string): void
  /**
   * Makes the delivery of one end of a job: a job of its own, with an id that follows from the job and the round.
   *
   * @param round how often the job was redriven before that end
   * @param now on the store's clock
   */
  delivery (job: DeliveredJob, webhook: JobWebhook, round: number, now: number): NewJob
  /**
   * Reports that a delivery which had not ended is not sent.
   *
   * @param input as it was before: it is not kept
   */
  dropped (delivery: JobRecord, input: JobInput | undefined, reason: 'cancelled' | 'removed'): void
  /** Whether the job is a delivery. */
  delivers (job: Pick<JobRecord, 'name'>): boolean
}

/** What a delivery needs to know of its job. */
export type DeliveredJob = Pick<NewJob, 'id' | 'name' | 'queue' | 'owner' | 'correlationId' | 'trace'>

/** The result of a delivery that had nothing to deliver: its job, or its round, did not come. */
export const NOTHING_TO_DELIVER = Object.freeze({ outcome: 'nothing-to-deliver' })
/** The same as it is stored. */
export const NOTHING_SENT = JSON.stringify(NOTHING_TO_DELIVER)

/** The signal that wakes a delivery: its job has ended. By its colon stores know that no saga waits for it. */
export const ENDED_SIGNAL = ':ended'

/**
 * The id of the delivery of one end of a job, which is its `webhook-id`, too. It follows from the job, so that
 * everybody who knows the job can wake its delivery, and two processes cannot make two of them. A UUID of version 8
 * (RFC 9562 §5.8).
 *
 * @param round how often the job was redriven before that end
 */
export function deliveryId (jobId: string, round: number): string {
  const bytes = createHash('sha256').update(`webhook ${jobId} ${round}`).digest().subarray(0, 16)
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  const hex = bytes.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

/** Whether the id may be that of a delivery. Those of jobs are UUIDs of another version. */
export function mayDeliver (id: string): boolean { return id.length === 36 && id[14] === '8' }

/** The webhook of a job, if its submission asked for one. */
export function webhookOf (input: Partial<JobInput> | undefined): JobWebhook | undefined { return input?.webhook }

/**
 * Wakes the delivery of a job that has just ended. It never rejects, and may fail: a delivery also looks by itself now
 * and then.
 */
export async function wakeDelivery (store: JobStore, { id, redrives }: Pick<JobRecord, 'id' | 'redrives'>): Promise<void> {
  try {
    let round = redrives
    if (round === undefined) {
      const job = await store.get(id)
      // Somebody has redriven it in the meantime: its delivery finds that out by itself.
      if (job === undefined || !isTerminal(job.state)) return
      round = job.redrives ?? 0
    }
    await store.steps?.signal(deliveryId(id, round), ENDED_SIGNAL, 'null')
  } catch { /* the delivery looks by itself */ }
}

/** How often a job was redriven. */
export function roundOf ({ redrives }: Pick<JobRecord, 'redrives'>): number { return redrives ?? 0 }
