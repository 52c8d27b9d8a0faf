import type { EventBus } from '../events/bus.ts'

/** The exporters of one Fastify instance, by name and by format; what `app.metricsExporters` is. */
export class ExporterRegistry {
  readonly #bus: EventBus

  constructor (bus: EventBus) {
    this.#bus = bus
  }

  get bus (): EventBus { return this.#bus }
}
