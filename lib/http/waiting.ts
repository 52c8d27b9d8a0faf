import type { FastifyReply } from 'fastify'
import type { Backbone, JobNews } from '../channels/backbone.ts'
import type { Clock } from '../core/context.ts'
import type { JobRecord } from '../jobs/job.ts'
import { Places } from '../core/places.ts'

export interface WaitRequest {
  /** Identifies the client, see `clientKey`. */
  readonly client: string
  /** The job as it was just read or created. */
  readonly job: JobRecord
  /** Whether the wait can end with this job. */
  readonly isEnough: (job: JobRecord) => boolean | Promise<boolean>
  /** `'end'`: the wait can end only with the end of the job. @defaultValue 'all' */
  readonly interest?: 'all' | 'end' | undefined
  readonly waitMs: number
  /** The reply of the waiting request. The wait ends when its connection closes. */
  readonly reply: FastifyReply
}

/**
 * Requests that wait for a job (`Prefer: wait`): bounded in number and time, shared fairly among clients, and ended
 * by a shutdown.
 */
export class Waiting {
  readonly #backbone: Backbone
  readonly #clock: Clock
  readonly #places: Places<Waiter>
  #closed = false

  constructor (backbone: Backbone, clock: Clock, maxWaiters: number) {
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
   * client, or the application closes. Without a place it does not wait at all. While it waits it asks the store for
   * nothing: it hears of the job from the backbone, as all the others do. When the time is up, it looks once more.
   *
   * @returns the job as last seen, or `undefined` if it disappeared meanwhile
   */
  async until (request: WaitRequest): Promise<JobRecord | undefined> {
    const { job, reply, client, interest } = request
    // If the client has already disconnected, its `close` event is over, and it would keep a place that others need.
    if (isGone(reply) || !this.mayWait(client)) return job
    const waiter = new Waiter(this.#clock, request.waitMs, job)
    const onClose = (): void => waiter.end()
    this.#places.take(client, waiter)
    reply.raw.once('close', onClose)
    const stop = this.#backbone.watch(job, (news) => waiter.hear(news), { since: job.version, interest })
    try {
      while (await waiter.news()) {
        if (waiter.job === undefined || await request.isEnough(waiter.job)) break
      }
      return waiter.timedOut ? await this.#lastLook(waiter) : waiter.job
    } finally {
      waiter.end()
      stop()
      this.#places.give(client, waiter)
      reply.raw.removeListener('close', onClose)
    }
  }

  /** Of a job whose end is waited for, nothing else was heard. */
  async #lastLook ({ job, cut }: Waiter): Promise<JobRecord | undefined> {
    if (job === undefined) return undefined
    return await Promise.race([this.#backbone.read(job).catch(() => job), cut.then(() => job)])
  }
}

/** Whether the client has closed its connection or, with HTTP/2, its stream. */
export function isGone ({ raw }: FastifyReply): boolean {
  const stream: unknown = Reflect.get(raw, 'stream')
  return raw.destroyed || (typeof stream === 'object' && stream !== null && Reflect.get(stream, 'destroyed') === true)
}

/** One wait. It ends once, by the clock or by `end()`. */
class Waiter {
  readonly #clock: Clock
  readonly #timer: unknown
  #resolveCut: () => void = () => {}
  /** Resolves when `end()` is called: there is no time for anything. */
  readonly cut = new Promise<void>((resolve) => { this.#resolveCut = resolve })
  timedOut = false
  #over = false
  #heard = false
  #wake: () => void = () => {}
  /** As last heard; `undefined`: it is not stored any more. */
  job: JobRecord | undefined

  constructor (clock: Clock, waitMs: number, job: JobRecord) {
    this.#clock = clock
    this.job = job
    this.#timer = clock.setTimeout(() => {
      this.timedOut = true
      this.#over = true
      this.#wake()
    }, waitMs)
  }

  hear (news: JobNews): void {
    if (news.kind === 'job') this.job = news.job
    else if (news.kind === 'gone') this.job = undefined
    else if (this.job !== undefined) this.job = { ...this.job, progress: news.progress, version: news.version }
    this.#heard = true
    this.#wake()
  }

  /** Waits for news since the last call. @returns `false` when the wait is over */
  async news (): Promise<boolean> {
    if (!this.#heard && !this.#over) await new Promise<void>((resolve) => { this.#wake = resolve })
    const heard = this.#heard
    this.#heard = false
    return heard && !this.#over
  }

  end (): void {
    this.#over = true
    this.#clock.clearTimeout(this.#timer)
    this.#resolveCut()
    this.#wake()
  }
}
