import type { Clock } from '../core/context.ts'
import { EXPIRED, withDeadline } from '../core/deadline.ts'
import { Periodic } from '../core/periodic.ts'
import { BaseService } from '../core/service.ts'
import type { MetricProducer, PushMetricExporter, ResourceMetrics } from './sdk/metrics.ts'
import { takeRejection } from '../core/rejections.ts'

export interface PeriodicExportParts {
  readonly exporter: PushMetricExporter
  readonly producer: MetricProducer
  readonly intervalMs: number
  /** One export may take this long; cut to the interval. */
  readonly timeoutMs: number
  readonly clock: Clock
  /** Runs the exports where they leave no spans. */
  readonly quietly: <R>(work: () => R) => R
  /** Must not throw. */
  readonly failed: (error: unknown) => void
}

/** An exporter that never answers keeps what it was given: more than so many of those are not made. */
const MAX_UNANSWERED = 3
const SUCCESS = 0

/**
 * Hands everything to an exporter, again and again, and a last time at the end: what the SDK calls a periodic reader.
 * Its own is not used, for it would have to be loaded, tells nobody about failures, and keeps the process alive for
 * half a minute after an exporter that hangs.
 *
 * ```
 * waiting ──timer──▶ exporting ──(answer | timeout | throw)──▶ waiting          stop: one more export, then shutdown
 * ```
 */
export class PeriodicExport extends BaseService {
  readonly #parts: PeriodicExportParts
  readonly #periodic: Periodic
  /** Ends the waiting for the export under way. */
  #giveUp: () => void = () => {}
  #unanswered = 0
  /** The time to end was up. */
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
      failed(new Error(`metrics could not be exported within ${deadlineMs} ms of the shutdown; the rest is given up`))
      this.#over = true
      this.#giveUp()
      // It is asked to end all the same; whatever comes of that, nobody waits for it.
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
      if (this.#unanswered >= MAX_UNANSWERED) throw new Error(`the exporter has left ${this.#unanswered} exports unanswered`)
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
        // Not agreed, but easily written as `async`.
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
