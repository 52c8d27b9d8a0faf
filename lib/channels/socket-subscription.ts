import { MAX_TIMER_MS, type Clock, type TimerHandle } from '../core/context.ts'
import type { JobProgress, JobRecord } from '../jobs/job.ts'
import { isTerminal } from '../jobs/states.ts'
import type { Backbone, JobNews } from './backbone.ts'

export interface SubscriptionParts {
  /** As it was just read. */
  readonly job: JobRecord
  /** The client has seen this version, and hears only of newer ones. */
  readonly since: number | undefined
  /** When the right to read the job ends, in milliseconds since the epoch. */
  readonly until?: number | undefined
  readonly backbone: Pick<Backbone, 'watch'>
  readonly clock: Clock
  readonly show: (job: JobRecord) => Promise<unknown>
  /** `false`: the client has not read what was sent before. `goOn()` is called when it has. */
  readonly mayWrite: () => boolean
  readonly write: (message: object) => void
  /** The client has heard the last of this job. */
  readonly ended: () => void
  readonly failed: (error: unknown) => void
}

/** What is to be sent next: never more than the newest. */
type Next =
  | { readonly kind: 'job', readonly job: JobRecord }
  | { readonly kind: 'progress', readonly version: number, readonly progress: JobProgress }
  | { readonly kind: 'gone' }

/**
 * Sends what changes of one job, until the job has ended. While the client does not read, it keeps only the newest
 * change.
 */
export class SocketSubscription {
  readonly #parts: SubscriptionParts
  readonly #unwatch: () => void
  #expiry: TimerHandle | undefined
  #next: Next | undefined
  #busy = false
  #stopped = false

  constructor (parts: SubscriptionParts) {
    this.#parts = parts
    const { job, since, backbone } = parts
    const seen = since !== undefined && job.version !== undefined && since >= job.version
    this.#unwatch = backbone.watch(job, (news) => { this.#hear(news) }, { since: job.version })
    this.#expireLater()
    // An end is said again: the client may have missed it, and does not subscribe to what it knows is over.
    if (!seen || isTerminal(job.state)) this.#offer({ kind: 'job', job })
  }

  /** The client reads again. */
  goOn (): void { this.#pump() }

  stop (): void {
    this.#stopped = true
    this.#unwatch()
    if (this.#expiry !== undefined) this.#parts.clock.clearTimeout(this.#expiry)
  }

  #hear (news: JobNews): void {
    const { kind } = news
    if (kind === 'progress' && this.#next?.kind === 'job') {
      const { progress, version } = news
      this.#offer({ kind: 'job', job: { ...this.#next.job, progress, version } })
    } else this.#offer(kind === 'gone' ? { kind } : news)
  }

  #offer (next: Next): void {
    this.#next = next
    this.#pump()
  }

  #pump (): void {
    if (this.#busy) return
    this.#sendAll().catch(this.#parts.failed)
  }

  async #sendAll (): Promise<void> {
    this.#busy = true
    try {
      while (this.#next !== undefined && !this.#stopped && this.#parts.mayWrite()) {
        const next = this.#next
        this.#next = undefined
        await this.#send(next)
      }
    } finally {
      this.#busy = false
    }
  }

  async #send (next: Next): Promise<void> {
    const { job: { id }, write, ended, show } = this.#parts
    if (next.kind === 'gone') {
      write({ type: 'gone', id })
      ended()
    } else if (next.kind === 'progress') write({ type: 'progress', id, version: next.version, progress: next.progress })
    else {
      const { job } = next
      const document = await show(job)
      // What has ended meanwhile, or is no longer wanted, is not sent.
      if (this.#stopped) return
      const over = isTerminal(job.state)
      write({ type: over ? 'end' : 'status', id, version: job.version, job: document })
      if (over) ended()
    }
  }

  #expireLater (): void {
    const { until, clock, job: { id }, write, ended } = this.#parts
    if (until === undefined) return
    this.#expiry = clock.setTimeout(() => {
      if (clock.now() < until) return this.#expireLater()
      write({ type: 'gone', id })
      ended()
    }, Math.min(until - clock.now(), MAX_TIMER_MS))
  }
}
