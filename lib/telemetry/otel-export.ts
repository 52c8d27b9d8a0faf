import type { Clock } from '../core/context.ts'
import { EXPIRED, withDeadline } from '../core/deadline.ts'
import { Periodic } from '../core/periodic.ts'
import { takeRejection } from '../core/rejections.ts'
import { BaseService } from '../core/service.ts'
import type { MetricProducer, PushMetricExporter, ResourceMetrics } from './sdk/metrics.ts'

export interface PeriodicExportParts {
  readonly exporter: PushMetricExporter
  readonly producer: MetricProducer
  readonly intervalMs: number
  /** How long one export may take; never longer than the interval. */
  readonly timeoutMs: number
  readonly clock: Clock
  /** Runs the exports outside of any trace, so that they leave no spans. */
  readonly quietly: <R>(work: () => R) => R
  /** Must not throw. */
  readonly failed: (error: unknown) => void
}

/** An exporter that never answers keeps what it was given, so at most so many exports are left unanswered. */
const MAX_UNANSWERED = 3
const SUCCESS = 0

/**
 * Gives all metrics to an exporter at an interval, and once more at the end. The SDK has a periodic reader for that,
 * but it would have to be loaded, does not report failures, and keeps the process alive for half a minute when an
 * exporter hangs.
 *
 * ```
 * waiting ──timer──▶ exporting ──(answer | timeout | throw)──▶ waiting          stop: one more export, then shutdown
 * ```
 */
export class PeriodicExport extends BaseService {
  readonly #parts: PeriodicExportParts
  readonly #periodic: Periodic
  /** Stops waiting for the running export. */
  #giveUp: () => void = () => {}
  #unanswered = 0
  /** The deadline of `stop` has passed. */
  #over = false

  constructor (parts: PeriodicExportParts) {
    super()
    this.#parts = parts
    this.#periodic = new Periodic({ clock: parts.clock, intervalMs: parts.intervalMs, turn: () => this.#export() })
  }

  protected async onStart (): Promise<void> {
    this.#parts.quietly(() => { this.#periodic.start() })
  }

  protected async onStop (deadlineMs: number): Promise<void> {
    const { clock, exporter, quietly, failed } = this.#parts
    try {
      if (await withDeadline(clock, deadlineMs, quietly(() => this.#end())) !== EXPIRED) return
      failed(new Error(`metrics could not be exported within ${deadlineMs} ms of the shutdown; the last values are lost`))
      this.#over = true
      this.#giveUp()
      // The exporter is shut down all the same, but its answer is not waited for.
      exporter.shutdown().catch(failed)
    } catch (error) {
      failed(error)
    }
  }

  async #end (): Promise<void> {
    const { exporter, failed } = this.#parts
    await this.#periodic.stop()
    if (!this.#over) await this.#export()
    try {
      if (!this.#over) await exporter.forceFlush()
    } catch (error) {
      failed(error)
    }
    if (!this.#over) await exporter.shutdown()
  }

  /** Never rejects. */
  async #export (): Promise<void> {
    const { producer, failed } = this.#parts
    try {
      if (this.#unanswered >= MAX_UNANSWERED) {
        throw new Error(`the exporter has left ${this.#unanswered} exports unanswered`)
      }
      const { resourceMetrics } = await producer.collect()
      if (resourceMetrics.scopeMetrics.length > 0) await this.#send(resourceMetrics)
    } catch (error) {
      failed(error)
    }
  }

  #send (metrics: ResourceMetrics): Promise<void> {
    const { exporter, clock, intervalMs, failed } = this.#parts
    const timeoutMs = Math.min(this.#parts.timeoutMs, intervalMs)
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clock.clearTimeout(timer)
        resolve()
      }
      const timer = clock.setTimeout(() => {
        failed(new Error(`an export of metrics was not answered within ${timeoutMs} ms`))
        resolve()
      }, timeoutMs)
      this.#giveUp = end
      let answered = false
      this.#unanswered++
      const answer = (): boolean => {
        if (answered) return false
        answered = true
        this.#unanswered--
        return true
      }
      try {
        const call: unknown = exporter.export(metrics, (result) => {
          if (!answer()) return
          if (result.code !== SUCCESS) failed(result.error ?? new Error('an export of metrics failed'))
          end()
        })
        // The interface is synchronous, but `async` is easily written: a rejection would be lost otherwise.
        takeRejection(call, (error) => {
          if (!answer()) return
          failed(error instanceof Error ? error : new Error('an export of metrics failed'))
          end()
        })
      } catch (error) {
        answer()
        clock.clearTimeout(timer)
        reject(error)
      }
    })
  }
}
