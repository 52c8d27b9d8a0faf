import type { FastifyReply } from 'fastify'
import type { Backbone } from '../channels/backbone.ts'
import type { JobsClient } from '../client/jobs.ts'
import type { Clock } from '../core/context.ts'
import type { JobRecord, JobUpdate } from '../jobs/job.ts'
import { Places } from './places.ts'

/** A published change can be missed while a connection is away: look again this often although nothing was heard. */
const LOOK_AGAIN_MS = 5_000

export interface WaitRequest {
  /** Who waits, see `clientKey`. */
  readonly client: string
  /** The job as it was read or created just now. */
  readonly job: JobRecord
  /** Is this what was waited for? */
  readonly isEnough: (job: JobRecord) => boolean | Promise<boolean>
  /** Which updates are worth reading the job again for. */
  readonly isNews: (update: JobUpdate) => boolean
  readonly waitMs: number
  /** Its connection: when it closes, nobody waits any more. */
  readonly reply: FastifyReply
}

/** Requests that wait for a job (`Prefer: wait`). Bounded in number and time, shared among clients, and never in the way of a shutdown. */
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

  /** Requests that wait at this moment. */
  get size (): number { return this.#places.size }

  /** `false`: too many wait, and this client has its share of the places; or the application is closing. */
  mayWait (client: string): boolean { return !this.#closed && this.#places.has(client) }

  /** Every waiting request is answered with what is known, now and from now on. */
  close (): void {
    this.#closed = true
    for (const waiter of this.#places.all()) waiter.end()
  }

  /**
   * Waits until the job is what was asked for, the time is up, the client is gone, its place is needed for another client or
   * the application closes; without a place it does not wait at all. A store that fails meanwhile ends nothing: the wait goes on without it.
   *
   * @returns the job as last seen, or `undefined` when it disappeared meanwhile
   */
  async until (request: WaitRequest): Promise<JobRecord | undefined> {
    // A client that has hung up by now has emitted its `close`, and would keep a place that others need.
    if (isGone(request.reply) || !this.mayWait(request.client)) return request.job
    const waiter = new Waiter(this.#clock, request.waitMs)
    const onClose = (): void => waiter.end()
    this.#places.take(request.client, waiter)
    request.reply.raw.once('close', onClose)
    // Reads come after the subscription is in force; without one (the store is away) looking again has to do.
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
      // Ended by shutdown or disconnection: what is known has to do. Ended by the clock: one last look.
      if (last && !waiter.timedOut) return job
      const seen = await Promise.race([this.#jobs.get(job.id).catch(() => job), waiter.cut.then(() => job)])
      if (seen === undefined) return undefined
      job = seen
      if (last || await request.isEnough(job)) return job
      await waiter.sleep(LOOK_AGAIN_MS)
    }
  }
}

/** Whether the client has closed its connection or, over HTTP/2, its stream: there only the stream knows. */
function isGone ({ raw }: FastifyReply): boolean {
  const stream: unknown = Reflect.get(raw, 'stream')
  return raw.destroyed || (typeof stream === 'object' && stream !== null && Reflect.get(stream, 'destroyed') === true)
}

/** One wait. Ends once: by time, or from outside. Between looks it sleeps until woken. */
class Waiter {
  readonly #clock: Clock
  readonly #timer: unknown
  #news = false
  #wake: () => void = () => {}
  #resolveEnded: () => void = () => {}
  #resolveCut: () => void = () => {}
  /** Resolves at the end, whatever ends it. */
  readonly ended = new Promise<void>((resolve) => { this.#resolveEnded = resolve })
  /** Resolves when it is ended from outside: nobody has time for another look. */
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

  /** Returns at once when there was news since the last sleep. */
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
