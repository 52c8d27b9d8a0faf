import type { Context } from '../core/context.ts'
import { BaseService } from '../core/service.ts'
import type { EventBus } from '../events/bus.ts'
import type { MetricsRegistry } from '../telemetry/registry.ts'
import type { ReadPerformanceOptions } from './options.ts'

/** Measures pieces of an application's own work; what `app.performanceMonitor` is. */
export interface PerformanceMonitor {
  /**
   * Runs the work and measures it: its duration as a metric, and as an event when it is slow or leaves the heap much larger.
   * Returns what the work returns, throws what it throws.
   *
   * @param operation low-cardinality: it becomes a metric label
   */
  monitor<R> (operation: string, work: () => R): R
}

export interface MonitorParts {
  readonly context: Context
  readonly bus: EventBus
  readonly registry: MetricsRegistry
  readonly options: ReadPerformanceOptions
  /** Runs what is started inside where it leaves no spans. */
  readonly quietly: <R>(work: () => R) => R
}

export class Monitor extends BaseService implements PerformanceMonitor {
  readonly #parts: MonitorParts

  constructor (parts: MonitorParts) {
    super()
    this.#parts = parts
  }

  monitor<R> (_operation: string, work: () => R): R { return work() }

  /** What limits the throughput now. */
  report (): unknown { return this.#parts.options }

  protected async onStart (): Promise<void> {}
  protected async onStop (): Promise<void> {}
}

/** In the place of a monitor that is switched off. */
export const UNMONITORED: PerformanceMonitor = Object.freeze({ monitor: <R>(_operation: string, work: () => R): R => work() })
