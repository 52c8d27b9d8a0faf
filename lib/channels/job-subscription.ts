/** What a client that listens to a job hears of it, whatever the channel. */
import { MAX_TIMER_MS, type Clock, type TimerHandle } from '../core/context.ts'
import type { JobProgress, JobRecord } from '../jobs/job.ts'
import { isTerminal } from '../jobs/states.ts'
import type { Backbone, JobNews } from './backbone.ts'
import { stepChange, type StepChange } from './step-change.ts'

/** After a progress or a step, before the next: a handler may report its progress a thousand times a second. */
const PACE_MS = 250

/** What is said of a job. `gone`: it is not there (any more), or the client may not read it. */
export type JobMessage =
  /** The status document: at first, and whenever more than the progress or the steps has changed. */
  | { readonly type: 'status', readonly id: string, readonly version: number | undefined, readonly job: unknown }
  | { readonly type: 'progress', readonly id: string, readonly version: number, readonly progress: JobProgress }
  | ({ readonly type: 'step', readonly id: string, readonly version: number | undefined } & StepChange)
  /** The status document of a job that is over. Nothing follows. */
  | { readonly type: 'end', readonly id: string, readonly version: number | undefined, readonly job: unknown }
  | { readonly type: 'gone', readonly id: string }

export interface SubscriptionParts {
  /** As it was just read. */
  readonly job: JobRecord
  /** The client has seen this version: it hears nothing until there is another. */
  readonly since: number | undefined
  /** When the right to read the job ends, in milliseconds since the epoch. */
  readonly until?: number | undefined
  readonly backbone: Pick<Backbone, 'watch'>
  readonly clock: Clock
  readonly show: (job: JobRecord) => Promise<unknown>
  /** `false`: the client has not read what was sent before. `goOn()` is called when it has. */
  readonly mayWrite: () => boolean
  readonly write: (message: JobMessage) => void
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
 * Sends what changes of one job, until the job has ended. While the client does not read, and between two messages, it
 * keeps only the newest change. An end waits for nothing but the client.
 */
export class JobSubscription {
  readonly #parts: SubscriptionParts
  readonly #unwatch: () => void
  #expiry: TimerHandle | undefined
  #pace: TimerHandle | undefined
  #next: Next | undefined
  /** The state and the document that the client has seen. */
  #shown: { readonly state: string, readonly document: unknown } | undefined
  #busy = false
  #stopped = false

  constructor (parts: SubscriptionParts) {
    this.#parts = parts
    const { job, since, backbone } = parts
    // A client that is ahead has known the job in a store that was restored.
    const seen = since !== undefined && since === job.version
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
    const { clock } = this.#parts
    if (this.#expiry !== undefined) clock.clearTimeout(this.#expiry)
    if (this.#pace !== undefined) clock.clearTimeout(this.#pace)
    this.#expiry = this.#pace = undefined
  }

  #hear (news: JobNews): void {
    this.#offer(later(this.#next, news.kind === 'gone' ? { kind: 'gone' } : news))
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
        if (this.#pace !== undefined && this.#canWait(next)) return
        this.#next = undefined
        await this.#send(next)
      }
    } finally {
      this.#busy = false
    }
  }

  /** A change of the state is said at once. */
  #canWait (next: Next): boolean {
    if (next.kind !== 'job') return next.kind === 'progress'
    return next.job.state === this.#shown?.state && !isTerminal(next.job.state)
  }

  async #send (next: Next): Promise<void> {
    const { job: { id }, mayWrite, write, ended, show } = this.#parts
    if (next.kind === 'gone') {
      write({ type: 'gone', id })
      ended()
    } else if (next.kind === 'progress') {
      write({ type: 'progress', id, version: next.version, progress: next.progress })
      this.#rest()
    } else {
      const { job } = next
      const { version, state } = job
      const document = await show(job)
      // What has ended meanwhile, or is no longer wanted, is not sent.
      if (this.#stopped) return
      if (!mayWrite()) {
        this.#next = later(next, this.#next)
        return
      }
      if (isTerminal(state)) {
        write({ type: 'end', id, version, job: document })
        ended()
        return
      }
      const change = this.#shown?.state === state ? stepChange(this.#shown.document, document) : undefined
      if (change === undefined) write({ type: 'status', id, version, job: document })
      else write({ type: 'step', id, version, ...change })
      this.#shown = { state, document }
      if (change !== undefined) this.#rest()
    }
  }

  #rest (): void {
    if (this.#stopped) return
    if (this.#pace !== undefined) this.#parts.clock.clearTimeout(this.#pace)
    this.#pace = this.#parts.clock.setTimeout(() => {
      this.#pace = undefined
      this.#pump()
    }, PACE_MS)
  }

  #expireLater (): void {
    const { until, clock, job: { id }, write, ended } = this.#parts
    if (until === undefined) return
    this.#expiry = clock.setTimeout(() => {
      if (clock.now() < until) return this.#expireLater()
      write({ type: 'gone', id })
      ended()
    }, Math.min(Math.max(0, until - clock.now()), MAX_TIMER_MS))
  }
}

/** What is still to be said when both were heard: a progress does not replace the state that came before it. */
function later (first: Next | undefined, second: Next): Next
function later (first: Next, second: Next | undefined): Next
function later (first: Next | undefined, second: Next | undefined): Next | undefined {
  if (first?.kind !== 'job' || second?.kind !== 'progress') return second ?? first
  const { progress, version } = second
  return { kind: 'job', job: { ...first.job, progress, version } }
}
