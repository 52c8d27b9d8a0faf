import type { Logger } from '../core/context.ts'
import { FirstOnly } from '../core/first-only.ts'
import { cut } from '../core/text.ts'
import type { EventBus } from '../events/bus.ts'

const MAX_MESSAGE = 200
const FIRST_FAILURE = 'a part of telemetry failed; jobs are not affected. Further failures of this source are ' +
  'counted in asyncendpoints.telemetry.failures.total, not logged'

/**
 * Where failures inside telemetry end. Each is counted; the first of each source is also logged as a warning and
 * emitted as `telemetry.listener_failed`. Never throws, because a failure of telemetry must not reach a job.
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

  /**
   * @param source one of few names, never text from outside: it becomes a metric label
   * @param sentence the message of the log line
   */
  report (source: string, error: unknown, sentence = FIRST_FAILURE): void {
    this.count(source)
    if (!this.#reported.note(source)) return
    const message = cut(error instanceof Error ? error.message : 'not an Error', MAX_MESSAGE)
    try {
      this.#logger.warn({ source, err: error }, sentence)
    } catch { /* the logger itself is broken: nothing is left to report it with */ }
    this.#bus.emit('telemetry.listener_failed', { source, message })
  }

  /** True for a source that was reported here: its event must not be counted a second time. */
  owns (source: string): boolean { return this.#reported.has(source) }
}
