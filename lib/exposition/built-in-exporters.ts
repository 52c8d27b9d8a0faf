import type { Context } from '../core/context.ts'
import type { EventBus } from '../events/bus.ts'
import type { MetricsRegistry } from '../telemetry/registry.ts'
import type { Labels } from '../telemetry/snapshot.ts'
import { CONTENT_TYPES, type ExpositionFormat } from './content-negotiation.ts'
import { renderCsv } from './csv.ts'
import type { MetricsExporter } from './exporter.ts'
import { ExporterRegistry } from './exporter-registry.ts'
import { renderJson } from './json.ts'
import type { PageMemory } from './page-writer.ts'
import { PrometheusExposition } from './prometheus.ts'

/**
 * The four formats that are always there. They read the live series instead of a copy. Each series is printed without a pause, so
 * its numbers belong together.
 *
 * @param resource attributes of this process: the pages that carry them share the texts of series that never change
 * @param memory for the pages about this process
 * @param onHidden called once for each metric that is left out because another metric has its name in Prometheus
 */
export function builtInExporters (
  resource: Labels, scope: Labels | undefined, memory?: PageMemory, onHidden?: (hidden: string, exposedName: string) => void
): readonly MetricsExporter[] {
  const own = new PrometheusExposition({ resource, scope, memory, onHidden })
  const prometheus = (name: 'prometheus' | 'openmetrics', format: ExpositionFormat): MetricsExporter => ({
    name,
    formats: [name],
    contentType: CONTENT_TYPES[name],
    live: true,
    export: ({ families }, request) => {
      const exposition = request.resource === resource ? own : new PrometheusExposition({ resource: request.resource, scope })
      return exposition.render(families, format)
    }
  })
  return [
    prometheus('prometheus', 'text'),
    prometheus('openmetrics', 'openmetrics'),
    {
      name: 'json',
      formats: ['json'],
      contentType: CONTENT_TYPES.json,
      live: true,
      export: (snapshot, request) => renderJson(snapshot, request.resource)
    },
    { name: 'csv', formats: ['csv'], contentType: CONTENT_TYPES.csv, live: true, export: (snapshot) => renderCsv(snapshot) }
  ]
}

export interface ExportersParts {
  readonly context: Context
  readonly bus: EventBus
  readonly registry: MetricsRegistry
  readonly resource: Labels
  readonly scope: Labels | undefined
  /** Takes the memory of pages that were sent, for the next ones. @defaultValue each page gets new memory */
  readonly memory?: PageMemory | undefined
}

/** The exporters of one registry of metrics. */
export function createExporters ({ context, bus, registry, resource, scope, memory }: ExportersParts): ExporterRegistry {
  return new ExporterRegistry({
    context,
    bus,
    builtIn: builtInExporters(resource, scope, memory, (metric, exposedName) => {
      const message = 'a metric is left out of the Prometheus formats, because another metric has its name there; JSON and CSV have both'
      context.logger.warn({ metric, exposedName }, message)
    }),
    source: {
      resource,
      snapshot: (live) => {
        if (!live) return registry.snapshot()
        return { startedAt: registry.startedAt, takenAt: context.clock.now(), families: registry.families() }
      }
    }
  })
}
