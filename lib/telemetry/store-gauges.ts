import { withDeadline } from '../core/deadline.ts'
import { BaseService } from '../core/service.ts'
import type { Context, TimerHandle } from '../core/context.ts'
import { storeNow } from '../jobs/store-clock.ts'
import type { JobStore, QueueCounts } from '../jobs/store.ts'
import type { AsyncEndpointsMetrics } from './metrics.ts'

/** How busy the worker of this process is; `undefined` where there is none. */
export type Workload = () => { readonly active: number, readonly concurrency: number, readonly abandoned: number } | undefined

export interface StoreGaugesParts {
  readonly context: Context
  readonly store: Pick<JobStore, 'type' | 'counts' | 'now' | 'unattended'>
  /** The queues to ask for, at the moment of asking. */
  readonly queues: () => readonly string[]
  readonly metrics: AsyncEndpointsMetrics
  readonly workload: Workload
  /** @defaultValue 10000 */
  readonly intervalMs?: number
  /** One reading may take this long. @defaultValue 1000 */
  readonly timeoutMs?: number
  /** Runs the reading where it leaves no spans. */
  readonly quietly?: <R>(work: () => R) => R
}

/** More queues than this of former deploys are not shown. */
const MAX_UNATTENDED = 50

/** The label `channel_type`: what jobs pass through in this process. */
export const WORKER_CHANNEL = 'worker'

/**
 * Keeps the gauges fresh that only the store can tell: one loop per process that reads in the background, so that a
 * scrape never waits for a store and its cost does not grow with the number of jobs. A reading that fails leaves the
 * last values and lets their age grow, which is a gauge itself; one that is late is waited for no longer, but shown.
 *
 * ```
 * waiting ──timer──▶ reading ──(answer | deadline | error)──▶ waiting          stop ends both
 * ```
 */
export class StoreGauges extends BaseService {
  readonly #parts: StoreGaugesParts
  readonly #intervalMs: number
  readonly #timeoutMs: number
  readonly #quietly: <R>(work: () => R) => R
  #timer: TimerHandle | undefined
  /** A reading that outlived its deadline: no second one is sent after it. */
  #pending: Promise<unknown> | undefined
  /** Queues that nobody worked on, once seen: their gauges are to go down again. */
  readonly #unattended = new Set<string>()
  #freshAt: number

  constructor (parts: StoreGaugesParts) {
    super()
    this.#parts = parts
    this.#intervalMs = parts.intervalMs ?? 10_000
    this.#timeoutMs = parts.timeoutMs ?? 1_000
    this.#quietly = parts.quietly ?? ((work) => work())
    this.#freshAt = parts.context.clock.monotonic()
  }

  /** Sets what this process knows without asking: cheap enough for every scrape. */
  refreshLocal (): void {
    const { metrics, store, context, workload } = this.#parts
    metrics.storeCountsAge(Math.max(0, context.clock.monotonic() - this.#freshAt) / 1_000, { storeType: store.type })
    const load = workload()
    if (load === undefined) return
    metrics.jobsActive(load.active, { storeType: store.type })
    metrics.handlersAbandoned(load.abandoned, { storeType: store.type })
    metrics.channelUtilization(load.concurrency > 0 ? 100 * load.active / load.concurrency : 0, { channelType: WORKER_CHANNEL })
  }

  /** One reading; resolves when it is over, however it ended. Never rejects. */
  async refresh (): Promise<void> {
    if (this.#pending === undefined) {
      const { clock } = this.#parts.context
      const askedAt = clock.monotonic()
      // Shown also when it comes late: a store that is slow all the time would otherwise never be heard.
      const reading = this.#pending = this.#quietly(() => this.#read()).then((counts) => { if (this.phase !== 'stopped') this.#show(counts, askedAt) })
      const settled = (): void => { this.#pending = undefined }
      reading.then(settled, settled)
      try {
        await withDeadline(clock, this.#timeoutMs, reading)
      } catch { /* told as store.operation_failed by the store's wrapper */ }
    }
    this.refreshLocal()
  }

  protected async onStart (): Promise<void> {
    // The first reading is not waited for: a store that is away must not keep the server from listening.
    this.#quietly(() => { this.#loop() })
  }

  protected async onStop (): Promise<void> {
    if (this.#timer !== undefined) this.#parts.context.clock.clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #loop (): void {
    this.refresh().then(() => {
      if (this.phase === 'stopping' || this.phase === 'stopped') return
      this.#timer = this.#parts.context.clock.setTimeout(() => this.#loop(), this.#intervalMs)
    }, () => { /* refresh never rejects */ })
  }

  async #read (): Promise<QueueCounts[]> {
    const { queues, store } = this.#parts
    for (const { queue } of store.unattended?.() ?? []) if (this.#unattended.size < MAX_UNATTENDED) this.#unattended.add(queue)
    return await Promise.all([...new Set([...queues(), ...this.#unattended])].map((queue) => store.counts(queue)))
  }

  /** @param askedAt the numbers are as old as the question, at most */
  #show (counts: readonly QueueCounts[], askedAt: number): void {
    const { metrics, store, context } = this.#parts
    const storeType = store.type
    const now = storeNow(store, context.clock)
    const totals = new Map<string, number>()
    for (const { queue, states, oldestQueuedAt, stuck } of counts) {
      for (const [state, count] of Object.entries(states)) totals.set(state, (totals.get(state) ?? 0) + count)
      metrics.jobsOldestAge(oldestQueuedAt === undefined ? 0 : Math.max(0, now - oldestQueuedAt) / 1_000, { queue, storeType })
      metrics.jobsStuck(stuck, { queue, storeType })
    }
    for (const [jobStatus, count] of totals) metrics.jobCurrentCount(count, { jobStatus, storeType })
    this.#freshAt = askedAt
  }
}
