/** Types of the metrics SDK, and the exporters that the environment asks for, which are loaded only then. */
import type { PushMetricExporter } from '@opentelemetry/sdk-metrics'
import type { Logger } from '../../core/context.ts'
import type { MetricsEnvironment, OtlpProtocol } from '../environment.ts'
import { load } from './parts.ts'

export type {
  CollectionResult, DataPoint, Histogram, HistogramMetricData, IMetricReader as MetricReader, MetricData, MetricProducer,
  PushMetricExporter, ResourceMetrics
} from '@opentelemetry/sdk-metrics'

/**
 * Makes the exporters that the variables name. They read endpoint, headers and temporality from the environment
 * themselves.
 */
export async function environmentMetricExporters (
  { exporters, protocol }: MetricsEnvironment, logger: Logger
): Promise<PushMetricExporter[]> {
  const loaded: PushMetricExporter[] = []
  for (const name of exporters) {
    const exporter = await (name === 'console' ? consoleExporter(logger) : otlpExporter(protocol, logger))
    if (exporter !== undefined) loaded.push(exporter)
  }
  return loaded
}

function consoleExporter (logger: Logger): Promise<PushMetricExporter | undefined> {
  return load('@opentelemetry/sdk-metrics', async () => {
    const { ConsoleMetricExporter } = await import('@opentelemetry/sdk-metrics')
    return new ConsoleMetricExporter()
  }, logger, 'metrics')
}

function otlpExporter (protocol: OtlpProtocol, logger: Logger): Promise<PushMetricExporter | undefined> {
  if (protocol === 'http/json') {
    return load('@opentelemetry/exporter-metrics-otlp-http', async () => {
      const { OTLPMetricExporter } = await import('@opentelemetry/exporter-metrics-otlp-http')
      return new OTLPMetricExporter()
    }, logger, 'metrics')
  }
  return load('@opentelemetry/exporter-metrics-otlp-proto', async () => {
    const { OTLPMetricExporter } = await import('@opentelemetry/exporter-metrics-otlp-proto')
    return new OTLPMetricExporter()
  }, logger, 'metrics')
}
