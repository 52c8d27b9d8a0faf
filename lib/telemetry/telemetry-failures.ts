import type { Logger } from '../core/context.ts'
import type { EventBus } from '../events/bus.ts'
import { cut } from '../core/text.ts'

const MAX_MESSAGE = 200

/**
 * Where trouble inside telemetry ends: counted every time, logged and told as `telemetry.listener_failed` once per
 * source. Never throws: telemetry may fail, a job must not notice.
 */
export class TelemetryFailures {
  readonly #bus: EventBus
  readonly #logger: Logger
  readonly #told = new Set<string>()
  /** Counts one failure; set by the metrics, if they are on. */
  count: (source: string) => void = () => {}

  constructor (bus: EventBus, logger: Logger) {
    this.#bus = bus
    this.#logger = logger
  }

  /** @param source one of few names, never text from outside: it becomes a metric label. @param sentence the line of the first one */
  report (source: string, error: unknown, sentence = 'a part of telemetry threw; jobs are not affected, and further throws of it are counted, not logged'): void {
    this.count(source)
    if (this.#told.has(source)) return
    this.#told.add(source)
    const message = cut(error instanceof Error ? error.message : 'not an Error', MAX_MESSAGE)
    try {
      this.#logger.warn({ source, err: error }, sentence)
    } catch { /* a logger that throws has nobody left to tell */ }
    this.#bus.emit('telemetry.listener_failed', { source, message })
  }

  /** True for a source that was reported here, so that its event is not counted a second time. */
  owns (source: string): boolean { return this.#told.has(source) }
}
