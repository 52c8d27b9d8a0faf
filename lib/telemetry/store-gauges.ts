import type { Context } from '../core/context.ts'
import { withDeadline } from '../core/deadline.ts'
import { Periodic } from '../core/periodic.ts'
import { BaseService } from '../core/service.ts'
import type { CountsReading, StoreCounts } from '../jobs/store-counts.ts'
import type { JobStore } from '../jobs/store.ts'
import type { AsyncEndpointsMetrics } from './metrics.ts'

/** How busy the worker of this process is; `undefined` where there is none. */
export type Workload = () => { readonly active: number, readonly concurrency: number, readonly abandoned: number } | undefined

export interface StoreGaugesParts {
  readonly context: Context
  readonly store: Pick<JobStore, 'type' | 'now' | 'unattended'>
  readonly counts: Pick<StoreCounts, 'read'>
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
 * Keeps the gauges fresh whose values only the store knows: one loop per process reads them in the background, so that a
 * scrape never waits for a store and its cost does not grow with the number of jobs. A reading that fails leaves the
 * last values and lets their age grow, which is a gauge itself. The loop does not wait for a late reading, but still shows it.
 *
 * ```
 * waiting ──timer──▶ reading ──(answer | deadline | error)──▶ waiting          stop ends both
 * ```
 */
export class StoreGauges extends BaseService {
  readonly #parts: StoreGaugesParts
  readonly #timeoutMs: number
  readonly #periodic: Periodic
  readonly #quietly: <R>(work: () => R) => R
  /** A reading that outlived its deadline: no second one is sent after it. */
  #pending: Promise<unknown> | undefined
  /** Queues that nobody worked on, once seen: their gauges are to go down again. */
  readonly #unattended = new Set<string>()
  #freshAt: number

  constructor (parts: StoreGaugesParts) {
    super()
    this.#parts = parts
    this.#periodic = new Periodic({ clock: parts.context.clock, intervalMs: parts.intervalMs ?? 10_000, turn: () => this.refresh() })
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
      // Shown also when it comes late: otherwise the counts of a store that is always slow would never be seen.
      const reading = this.#pending = this.#quietly(() => this.#read()).then((readings) => { if (this.phase !== 'stopped') this.#show(readings) })
      const settled = (): void => { this.#pending = undefined }
      reading.then(settled, settled)
      try {
        await withDeadline(clock, this.#timeoutMs, reading)
      } catch { /* the store's wrapper emits store.operation_failed */ }
    }
    this.refreshLocal()
  }

  protected async onStart (): Promise<void> {
    // The first reading is not waited for: a store that is away must not keep the server from listening.
    this.#quietly(() => { this.#periodic.hurry() })
  }

  protected async onStop (): Promise<void> { this.#periodic.cancel() }

  async #read (): Promise<CountsReading[]> {
    const { queues, store, counts } = this.#parts
    for (const { queue } of store.unattended?.() ?? []) if (this.#unattended.size < MAX_UNATTENDED) this.#unattended.add(queue)
    return await Promise.all([...new Set([...queues(), ...this.#unattended])].map((queue) => counts.read(queue)))
  }

  #show (readings: readonly CountsReading[]): void {
    const { metrics, store, context } = this.#parts
    const storeType = store.type
    const now = store.now?.() ?? context.clock.now()
    const totals = new Map<string, number>()
    for (const { counts: { queue, states, oldestQueuedAt, stuck } } of readings) {
      for (const [state, count] of Object.entries(states)) totals.set(state, (totals.get(state) ?? 0) + count)
      metrics.jobsOldestAge(oldestQueuedAt === undefined ? 0 : Math.max(0, now - oldestQueuedAt) / 1_000, { queue, storeType })
      metrics.jobsStuck(stuck, { queue, storeType })
    }
    for (const [jobStatus, count] of totals) metrics.jobCurrentCount(count, { jobStatus, storeType })
    this.#freshAt = Math.min(context.clock.monotonic(), ...readings.map(({ askedAt }) => askedAt))
  }
}
