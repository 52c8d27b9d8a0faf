import type { Context } from '../core/context.ts'
import { withDeadline } from '../core/deadline.ts'
import { Periodic } from '../core/periodic.ts'
import { BaseService } from '../core/service.ts'
import { storeNow } from '../jobs/store-clock.ts'
import type { CountsReading, StoreCounts } from '../jobs/store-counts.ts'
import type { SagaCounts } from '../jobs/steps.ts'
import type { JobStore } from '../jobs/store.ts'
import type { AsyncEndpointsMetrics } from './metrics.ts'

/** How busy the worker of this process is; `undefined` without a worker. */
export type Workload = () => WorkerLoad | undefined

interface WorkerLoad { readonly active: number, readonly concurrency: number, readonly abandoned: number }

export interface StoreGaugesParts {
  readonly context: Context
  readonly store: Pick<JobStore, 'type' | 'now' | 'unattended'>
  readonly counts: Pick<StoreCounts, 'read'>
  /** The queues to read, asked before each reading. */
  readonly queues: () => readonly string[]
  readonly metrics: AsyncEndpointsMetrics
  readonly workload: Workload
  /** @defaultValue 10000 */
  readonly intervalMs?: number
  /** One reading may take this long. @defaultValue 1000 */
  readonly timeoutMs?: number
  /** Runs the reading outside of any trace, so that it leaves no spans. */
  readonly quietly?: <R>(work: () => R) => R
}

/** At most so many queues without a worker are shown: former deploys may have left any number behind. */
const MAX_UNATTENDED = 50

/** The value of the label `channel_type`. */
export const WORKER_CHANNEL = 'worker'

/**
 * Reads the gauges that come from the store, in one background loop per process, so that a scrape never waits for a
 * store and its cost does not grow with the number of jobs. A reading that fails leaves the last values, and the gauge
 * of their age grows. A reading that exceeds its deadline is no longer waited for, but its values are still shown when
 * they arrive.
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
  /** A reading that has not ended. No second one is started beside it. */
  #pending: Promise<unknown> | undefined
  /** Queues without a worker that were seen once. They are still read, so that their gauges go down again. */
  readonly #unattended = new Set<string>()
  #freshAt: number

  constructor (parts: StoreGaugesParts) {
    super()
    this.#parts = parts
    const { context: { clock }, intervalMs = 10_000 } = parts
    this.#periodic = new Periodic({ clock, intervalMs, turn: () => this.refresh() })
    this.#timeoutMs = parts.timeoutMs ?? 1_000
    this.#quietly = parts.quietly ?? ((work) => work())
    this.#freshAt = clock.monotonic()
  }

  /** Sets the gauges that need no reading: cheap enough for every scrape. */
  refreshLocal (): void {
    const { metrics, store, context, workload } = this.#parts
    metrics.storeCountsAge(Math.max(0, context.clock.monotonic() - this.#freshAt) / 1_000, { storeType: store.type })
    const load = workload()
    if (load === undefined) return
    metrics.jobsActive(load.active, { storeType: store.type })
    metrics.handlersAbandoned(load.abandoned, { storeType: store.type })
    const percent = load.concurrency > 0 ? 100 * load.active / load.concurrency : 0
    metrics.channelUtilization(percent, { channelType: WORKER_CHANNEL })
  }

  /** Makes one reading. Resolves when it has ended or exceeded its deadline. Never rejects. */
  async refresh (): Promise<void> {
    if (this.#pending === undefined) {
      const { clock } = this.#parts.context
      // Values that come late are shown too: a store that is always slow would otherwise never have any.
      const reading = this.#pending = this.#quietly(() => this.#read()).then((readings) => {
        if (this.phase !== 'stopped') this.#show(readings)
      })
      const settled = (): void => { this.#pending = undefined }
      reading.then(settled, settled)
      try {
        await withDeadline(clock, this.#timeoutMs, reading)
      } catch { /* the wrapper of the store emits store.operation_failed */ }
    }
    this.refreshLocal()
  }

  protected async onStart (): Promise<void> {
    // The first reading is not waited for: a store that cannot be reached must not keep the server from listening.
    this.#quietly(() => { this.#periodic.hurry() })
  }

  protected async onStop (): Promise<void> { this.#periodic.cancel() }

  async #read (): Promise<CountsReading[]> {
    const { queues, store, counts } = this.#parts
    for (const { queue } of store.unattended?.() ?? []) {
      if (this.#unattended.size < MAX_UNATTENDED) this.#unattended.add(queue)
    }
    const all = new Set([...queues(), ...this.#unattended])
    return await Promise.all([...all].map((queue) => counts.read(queue)))
  }

  #show (readings: readonly CountsReading[]): void {
    const { metrics, store, context } = this.#parts
    const storeType = store.type
    const now = storeNow(store, context.clock)
    const totals = new Map<string, number>()
    for (const { counts: { queue, states, oldestQueuedAt, stuck, sagas } } of readings) {
      for (const [state, count] of Object.entries(states)) totals.set(state, (totals.get(state) ?? 0) + count)
      const oldestMs = oldestQueuedAt === undefined ? 0 : Math.max(0, now - oldestQueuedAt)
      metrics.jobsOldestAge(oldestMs / 1_000, { queue, storeType })
      metrics.jobsStuck(stuck, { queue, storeType })
      if (sagas !== undefined) this.#showSagas(sagas, { queue, storeType }, now)
    }
    for (const [jobStatus, count] of totals) metrics.jobCurrentCount(count, { jobStatus, storeType })
    this.#freshAt = Math.min(context.clock.monotonic(), ...readings.map(({ askedAt }) => askedAt))
  }

  #showSagas (sagas: SagaCounts, labels: { queue: string, storeType: string }, now: number): void {
    const { metrics } = this.#parts
    const { compensating, compensatingSince, awaitingSignal, notUndone } = sagas
    metrics.sagasCompensating(compensating, labels)
    metrics.sagasCompensationAge(compensatingSince === undefined ? 0 : Math.max(0, now - compensatingSince) / 1_000, labels)
    metrics.sagasAwaitingSignal(awaitingSignal, labels)
    metrics.sagasNotUndone(notUndone, labels)
  }
}
