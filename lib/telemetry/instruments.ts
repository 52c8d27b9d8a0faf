/**
 * All metrics of the library, from the tables in `metric-catalogue/`. To add one, add a row there and the call that
 * records it: the recorder method, its no-op, the docs, the dashboard panel and the alert rule are made from the row.
 */
import { CHANNEL_METRICS } from './metric-catalogue/channels.ts'
import { JOB_METRICS } from './metric-catalogue/jobs.ts'
import type { GaugeRow, MetricRow } from './metric-catalogue/row.ts'
import { SAGA_METRICS } from './metric-catalogue/sagas.ts'
import { ALERT_METRICS, DIRECT_METRICS } from './metric-catalogue/telemetry.ts'
import { WEBHOOK_METRICS } from './metric-catalogue/webhooks.ts'
import { STORE_METRICS, WORKER_METRICS } from './metric-catalogue/workers.ts'

export { JOB_BUCKETS, STORE_BUCKETS } from './metric-catalogue/buckets.ts'
export type { InstrumentDefinition, InstrumentKind } from './metric-catalogue/row.ts'

/** The metrics that are recorded through `AsyncEndpointsMetrics`. Each key is the name of the method. */
export const RECORDED_METRICS = { ...JOB_METRICS, ...SAGA_METRICS, ...WEBHOOK_METRICS, ...CHANNEL_METRICS, ...WORKER_METRICS, ...STORE_METRICS, ...ALERT_METRICS } as const

/** Every metric. */
export const INSTRUMENTS = { ...RECORDED_METRICS, ...DIRECT_METRICS } as const

/** How the gauges of several processes become one in a shared export, by the name of the metric. */
export const ACROSS_PROCESSES: Readonly<Record<string, GaugeRow['acrossProcesses']>> = Object.freeze(Object.fromEntries(
  Object.values<MetricRow>(INSTRUMENTS).flatMap((row) => row.kind === 'gauge' ? [[row.name, row.acrossProcesses]] : [])
))

export type InstrumentKey = keyof typeof INSTRUMENTS
