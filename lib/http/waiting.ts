import type { FastifyReply } from 'fastify'
import type { Backbone } from '../channels/backbone.ts'
import type { JobsClient } from '../client/jobs.ts'
import type { Clock } from '../core/context.ts'
import type { JobRecord, JobUpdate } from '../jobs/job.ts'
import { Places } from './places.ts'

/**
 * An update can be missed while the connection to the store is down, so the job is read again after this time in any
 * case.
 */
const LOOK_AGAIN_MS = 5_000

export interface WaitRequest {
  /** Identifies the client, see `clientKey`. */
  readonly client: string
  /** The job as it was just read or created. */
  readonly job: JobRecord
  /** Whether the wait can end with this job. */
  readonly isEnough: (job: JobRecord) => boolean | Promise<boolean>
  /** Whether the job must be read again after this update. */
  readonly isNews: (update: JobUpdate) => boolean
  readonly waitMs: number
  /** The reply of the waiting request. The wait ends when its connection closes. */
  readonly reply: FastifyReply
}

/**
 * Requests that wait for a job (`Prefer: wait`): bounded in number and time, shared fairly among clients, and ended
 * by a shutdown.
 */
export class Waiting {
  readonly #jobs: JobsClient
  readonly #backbone: Backbone
  readonly #clock: Clock
  readonly #places: Places<Waiter>
  #closed = false

  constructor (jobs: JobsClient, backbone: Backbone, clock: Clock, maxWaiters: number) {
    this.#jobs = jobs
    this.#backbone = backbone
    this.#clock = clock
    this.#places = new Places(maxWaiters)
  }

  /** The number of requests that are waiting. */
  get size (): number { return this.#places.size }

  /** `false`: all places are taken and this client already has its share, or the application is closing. */
  mayWait (client: string): boolean { return !this.#closed && this.#places.has(client) }

  /** Ends all waits, now and from now on: the requests are answered with the job as last seen. */
  close (): void {
    this.#closed = true
    for (const waiter of this.#places.all()) waiter.end()
  }

  /**
   * Waits until `isEnough` accepts the job, the time is up, the client disconnects, its place is given to another
   * client, or the application closes. Without a place it does not wait at all. An error of the store does not end
   * the wait.
   *
   * @returns the job as last seen, or `undefined` if it disappeared meanwhile
   */
  async until (request: WaitRequest): Promise<JobRecord | undefined> {
    // If the client has already disconnected, its `close` event is over, and it would keep a place that others need.
    if (isGone(request.reply) || !this.mayWait(request.client)) return request.job
    const waiter = new Waiter(this.#clock, request.waitMs)
    const onClose = (): void => waiter.end()
    this.#places.take(request.client, waiter)
    request.reply.raw.once('close', onClose)
    // The job is read after the subscription is active. If the subscription fails, the regular reads must be enough.
    const watching = this.#backbone.watch(request.job.id, (update) => { if (request.isNews(update)) waiter.wake() })
    const subscribed = watching.then(() => undefined, () => undefined)
    try {
      await Promise.race([subscribed, waiter.ended])
      return await this.#follow(request, waiter)
    } finally {
      waiter.end()
      this.#places.give(request.client, waiter)
      request.reply.raw.removeListener('close', onClose)
      watching.then((stop) => stop(), () => { /* it never came into force */ })
    }
  }

  async #follow (request: WaitRequest, waiter: Waiter): Promise<JobRecord | undefined> {
    let job = request.job
    for (;;) {
      const last = waiter.over
      // Ended by a shutdown or a disconnection: return the job as last seen. Ended by the clock: read it once more.
      if (last && !waiter.timedOut) return job
      const seen = await Promise.race([this.#jobs.get(job.id).catch(() => job), waiter.cut.then(() => job)])
      if (seen === undefined) return undefined
      job = seen
      if (last || await request.isEnough(job)) return job
      await waiter.sleep(LOOK_AGAIN_MS)
    }
  }
}

/** Whether the client has closed its connection or, with HTTP/2, its stream. */
function isGone ({ raw }: FastifyReply): boolean {
  const stream: unknown = Reflect.get(raw, 'stream')
  return raw.destroyed || (typeof stream === 'object' && stream !== null && Reflect.get(stream, 'destroyed') === true)
}

/** One wait. It ends once, by the clock or by `end()`. Between two reads of the job it sleeps until it is woken. */
class Waiter {
  readonly #clock: Clock
  readonly #timer: unknown
  #news = false
  #wake: () => void = () => {}
  #resolveEnded: () => void = () => {}
  #resolveCut: () => void = () => {}
  /** Resolves when the wait ends, for whatever reason. */
  readonly ended = new Promise<void>((resolve) => { this.#resolveEnded = resolve })
  /** Resolves when `end()` is called: there is no time for another read. */
  readonly cut = new Promise<void>((resolve) => { this.#resolveCut = resolve })
  over = false
  timedOut = false

  constructor (clock: Clock, waitMs: number) {
    this.#clock = clock
    this.#timer = clock.setTimeout(() => {
      this.timedOut = true
      this.#finish()
    }, waitMs)
  }

  end (): void {
    this.#clock.clearTimeout(this.#timer)
    this.#resolveCut()
    this.#finish()
  }

  wake (): void {
    this.#news = true
    this.#wake()
  }

  /** Returns at once if there was an update since the last sleep. */
  async sleep (delayMs: number): Promise<void> {
    if (!this.over && !this.#news) {
      await new Promise<void>((resolve) => {
        const timer = this.#clock.setTimeout(resolve, delayMs)
        this.#wake = () => {
          this.#clock.clearTimeout(timer)
          resolve()
        }
      })
      this.#wake = () => {}
    }
    this.#news = false
  }

  #finish (): void {
    this.over = true
    this.#resolveEnded()
    this.#wake()
  }
}
