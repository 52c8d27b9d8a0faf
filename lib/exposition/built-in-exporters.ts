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
 * The four formats that are always there. All read live series: each series is printed in one go, so its numbers belong
 * together.
 *
 * @param resource of this process: pages about it share the texts of series that never change
 * @param memory of pages about this process
 * @param onHidden told once of each metric that Prometheus could not tell from another one
 */
export function builtInExporters (resource: Labels, scope: Labels | undefined, memory?: PageMemory, onHidden?: (hidden: string, exposedName: string) => void): readonly MetricsExporter[] {
  const own = new PrometheusExposition({ resource, scope, memory, onHidden })
  const prometheus = (name: 'prometheus' | 'openmetrics', format: ExpositionFormat): MetricsExporter => ({
    name,
    formats: [name],
    contentType: CONTENT_TYPES[name],
    live: true,
    export: ({ families }, request) => (request.resource === resource ? own : new PrometheusExposition({ resource: request.resource, scope })).render(families, format)
  })
  return [
    prometheus('prometheus', 'text'),
    prometheus('openmetrics', 'openmetrics'),
    { name: 'json', formats: ['json'], contentType: CONTENT_TYPES.json, live: true, export: (snapshot, request) => renderJson(snapshot, request.resource) },
    { name: 'csv', formats: ['csv'], contentType: CONTENT_TYPES.csv, live: true, export: (snapshot) => renderCsv(snapshot) }
  ]
}

export interface ExportersParts {
  readonly context: Context
  readonly bus: EventBus
  readonly registry: MetricsRegistry
  readonly resource: Labels
  readonly scope: Labels | undefined
  /** Where pages that were sent may be given back. @defaultValue nowhere */
  readonly memory?: PageMemory | undefined
}

/** The exporters of one registry of metrics. */
export function createExporters ({ context, bus, registry, resource, scope, memory }: ExportersParts): ExporterRegistry {
  return new ExporterRegistry({
    context,
    bus,
    builtIn: builtInExporters(resource, scope, memory, (metric, exposedName) => {
      context.logger.warn({ metric, exposedName }, 'a metric is not shown to Prometheus: there its name is that of another metric, or of a line of it; JSON and CSV have both')
    }),
    source: {
      resource,
      snapshot: (live) => live ? { startedAt: registry.startedAt, takenAt: context.clock.now(), families: registry.families() } : registry.snapshot()
    }
  })
}
