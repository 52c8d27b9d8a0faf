import type { Logger } from '../core/context.ts'
import { FirstOnly } from '../core/first-only.ts'
import type { EventBus } from '../events/bus.ts'
import { cut } from '../core/text.ts'

const MAX_MESSAGE = 200

/**
 * Where failures inside telemetry end: each is counted; the first of each source is logged and emitted as
 * `telemetry.listener_failed`. Never throws: telemetry may fail, a job must not notice.
 */
export class TelemetryFailures {
  readonly #bus: EventBus
  readonly #logger: Logger
  readonly #reported = new FirstOnly()
  /** Counts one failure; set by the metrics, if they are on. */
  count: (source: string) => void = () => {}

  constructor (bus: EventBus, logger: Logger) {
    this.#bus = bus
    this.#logger = logger
  }

  /** @param source one of few names, never text from outside: it becomes a metric label. @param sentence the line of the first one */
  report (source: string, error: unknown, sentence = 'a part of telemetry failed; jobs are not affected, and further failures of this part are counted, not logged'): void {
    this.count(source)
    if (!this.#reported.note(source)) return
    const message = cut(error instanceof Error ? error.message : 'not an Error', MAX_MESSAGE)
    try {
      this.#logger.warn({ source, err: error }, sentence)
    } catch { /* there is nowhere else to log it */ }
    this.#bus.emit('telemetry.listener_failed', { source, message })
  }

  /** True for a source that was reported here, so that its event is not counted a second time. */
  owns (source: string): boolean { return this.#reported.has(source) }
}
