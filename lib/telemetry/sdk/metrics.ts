/** Private metrics: loads the metrics SDK, and only when readers or exporters are given. */
export type { IMetricReader as MetricReader, PushMetricExporter } from '@opentelemetry/sdk-metrics'
