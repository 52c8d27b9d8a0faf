/** Reports every end of a delivery, also those that its runner does not see. */
import type { JobRuntime } from '../events/runtime.ts'
import { DELIVERY_JOB } from '../events/webhook-catalogue.ts'
import type { JobInput, JobRecord } from '../jobs/job.ts'
import { eventIds } from '../jobs/trace-ids.ts'
import type { DeliveryInput } from './delivery-input.ts'
import { hostOf } from './webhook-transport.ts'

/** What an event about the end of a job says of it. */
interface Ended {
  readonly jobId: string
  readonly queue: string
  readonly correlationId: string
  readonly traceId?: string | undefined
  readonly spanId?: string | undefined
}

/** Why a message is not sent, although nothing was wrong with its receiver. */
export type DropReason = 'cancelled' | 'removed'

/**
 * A delivery can end without its runner: its workers die one after the other (stalls), something around the runner
 * throws, it is cancelled while it waits. Each of these ends is a `job.failed` or a `job.cancelled` of the delivery. This
 * class adds what the runner adds to an end of its own: exactly one `webhook.failed` or `webhook.cancelled`.
 */
export class WebhookEnds {
  readonly #runtime: JobRuntime
  /** Deliveries whose runner has just reported their end; the event of the job follows at once. */
  readonly #reported = new Set<string>()

  constructor (runtime: JobRuntime) {
    this.#runtime = runtime
    runtime.bus.on('job.failed', async (event) => {
      if (event.jobName !== DELIVERY_JOB || this.#reported.delete(event.jobId)) return
      const { errorCode, attempt, maxAttempts } = event
      const about = aboutDelivery(event, await this.#input(event.jobId))
      const more = { statusCode: undefined, errorCode, sinceEndMs: 0 }
      runtime.bus.emit('webhook.failed', { ...about, attempt, maxAttempts, ...more })
    })
    runtime.bus.on('job.cancelled', (event) => {
      if (event.jobName !== DELIVERY_JOB || this.#reported.delete(event.jobId)) return
      // Its input is not kept.
      this.#emitDropped(aboutDelivery(event, undefined), undefined, 'cancelled')
    })
  }

  /** The runner has reported this end itself. */
  reported (deliveryId: string): void { this.#reported.add(deliveryId) }

  /** A delivery that had not ended was cancelled or removed. @param input read before that */
  dropped (job: JobRecord, input: JobInput | undefined, reason: DropReason): void {
    const { id: jobId, queue, correlationId, trace } = job
    if (reason === 'cancelled') this.reported(jobId)
    this.#emitDropped(aboutDelivery({ jobId, queue, correlationId, ...eventIds(undefined, trace) }, input), job, reason)
  }

  #emitDropped (about: ReturnType<typeof aboutDelivery>, job: JobRecord | undefined, reason: DropReason): void {
    const { attempts: attempt = 0, maxAttempts = 0 } = job ?? {}
    this.#runtime.bus.emit('webhook.cancelled', { ...about, attempt, maxAttempts, statusCode: undefined, reason })
  }

  async #input (id: string): Promise<JobInput | undefined> {
    return await this.#runtime.store.input(id).catch(() => undefined)
  }
}

/** For an event. What cannot be read is empty: that a message is not sent must be reported all the same. */
function aboutDelivery (
  { jobId: deliveryId, queue: itsQueue, correlationId, traceId, spanId }: Ended, input: JobInput | undefined
) {
  const { job = '', name = '', queue = itsQueue, url = '' } = (input?.body ?? {}) as Partial<DeliveryInput>
  return { jobId: job, jobName: name, queue, correlationId, traceId, spanId, deliveryId, host: hostOf(url) }
}
