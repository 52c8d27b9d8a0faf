/** Types of the metrics SDK, and the exporters that only the environment asks for: nothing is loaded before. */
import type { PushMetricExporter } from '@opentelemetry/sdk-metrics'
import type { Logger } from '../../core/context.ts'
import type { MetricsEnvironment } from '../environment.ts'
import { load } from './parts.ts'

export type {
  CollectionResult, DataPoint, Histogram, HistogramMetricData, IMetricReader as MetricReader, MetricData, MetricProducer, PushMetricExporter, ResourceMetrics
} from '@opentelemetry/sdk-metrics'

/** The exporters that the variables name; endpoint, headers and temporality they read from the environment themselves. */
export async function environmentMetricExporters ({ exporters, protocol }: MetricsEnvironment, logger: Logger): Promise<PushMetricExporter[]> {
  const loaded: PushMetricExporter[] = []
  for (const name of exporters) {
    const exporter = name === 'console'
      ? await load('@opentelemetry/sdk-metrics', async () => new (await import('@opentelemetry/sdk-metrics')).ConsoleMetricExporter(), logger, 'metrics')
      : protocol === 'http/json'
        ? await load('@opentelemetry/exporter-metrics-otlp-http', async () => new (await import('@opentelemetry/exporter-metrics-otlp-http')).OTLPMetricExporter(), logger, 'metrics')
        : await load('@opentelemetry/exporter-metrics-otlp-proto', async () => new (await import('@opentelemetry/exporter-metrics-otlp-proto')).OTLPMetricExporter(), logger, 'metrics')
    if (exporter !== undefined) loaded.push(exporter)
  }
  return loaded
}
