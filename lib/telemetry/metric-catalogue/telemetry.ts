import { HEAP_BUCKETS, JOB_BUCKETS, STORE_BUCKETS } from './buckets.ts'
import type { MetricTable } from './row.ts'

/** Alerts of the application, recorded through `AsyncEndpointsMetrics`: each key is the method that records the row. */
export const ALERT_METRICS = {
  /** An alert was raised. Reminders do not count. */
  alertRaised: {
    name: 'asyncendpoints.alerts.total',
    kind: 'counter',
    unit: '{alert}',
    description: 'Alerts that were raised; reminders do not count',
    labels: ['rule', 'severity'],
    panel: 'Alerts of the application'
  },
  /** Alerts that fire now. Set by the process that evaluates the rules, to 0 as well. */
  alertsFiring: {
    name: 'asyncendpoints.alerts.firing',
    kind: 'gauge',
    unit: '{alert}',
    description: 'Alerts that fire now, set by the process that evaluates the rules',
    labels: ['rule', 'severity'],
    acrossProcesses: 'sum',
    panel: 'Alerts of the application'
  },
  /** A sender failed to pass on an alert; each try counts. */
  alertSendFailed: {
    name: 'asyncendpoints.alerts.send_failures.total',
    kind: 'counter',
    unit: '{failure}',
    description: 'Alerts that a sender failed to pass on; each try counts',
    labels: ['sender'],
    panel: 'Alerts of the application',
    alert: {
      name: 'AsyncEndpointsAlertsNotSent',
      // A notice is tried again at each evaluation (every five minutes) for an hour: one failure is not yet a lost
      // notice.
      grows: { moreThan: 2.5, withinMinutes: 30, by: ['sender'] },
      forMinutes: 1,
      severity: 'warning',
      summary: 'The application raises alerts, and its sender does not deliver them.',
      description: 'The sender {{ $labels.sender }} of {{ $labels.app }} failed {{ $value | printf "%.0f" }} times ' +
        'in 30 minutes. The log line 10804 says why. Until it works, look at asyncendpoints_alerts_firing to see ' +
        'what the application wants to report.'
    }
  }
} as const satisfies MetricTable

/**
 * Metrics that have no method in `AsyncEndpointsMetrics`: the performance monitor, the exports and the registry itself
 * record them straight into the registry, whatever recorder an application uses.
 */
export const DIRECT_METRICS = {
  /** Recorded by the performance monitor. */
  operationDuration: {
    name: 'asyncendpoints.operation.duration',
    kind: 'histogram',
    unit: 's',
    description: 'Duration of the operations that an application measures with the performance monitor',
    labels: ['operation'],
    buckets: JOB_BUCKETS,
    panel: 'Everything else'
  },
  /** Recorded by the performance monitor. */
  operationMemoryDelta: {
    name: 'asyncendpoints.operation.memory.delta',
    kind: 'histogram',
    unit: 'By',
    description: 'By how much the heap grew or shrank during a monitored operation; not recorded when it stayed the ' +
      'same',
    labels: ['operation'],
    buckets: HEAP_BUCKETS,
    panel: 'Everything else'
  },
  /** Recorded by the performance monitor from the spans of instrumented database clients. */
  databaseQueryDuration: {
    name: 'asyncendpoints.database.query.duration',
    kind: 'histogram',
    unit: 's',
    description: 'Duration of database queries, taken from the recorded spans of instrumented clients',
    labels: ['db_system_name', 'db_operation_name', 'db_collection_name'],
    buckets: STORE_BUCKETS,
    panel: 'Everything else'
  },
  /** Recorded by the performance monitor. */
  eventLoopLag: {
    name: 'asyncendpoints.process.event_loop.lag',
    kind: 'gauge',
    unit: 's',
    description: 'The 99th percentile of the delay of the event loop during the last performance.sampleIntervalMs',
    labels: [],
    acrossProcesses: 'max',
    panel: 'Workers'
  },
  /** Recorded by the performance monitor. */
  eventLoopUtilization: {
    name: 'asyncendpoints.process.event_loop.utilization',
    kind: 'gauge',
    unit: '%',
    description: 'Share of the last performance.sampleIntervalMs in which the event loop was busy',
    labels: [],
    acrossProcesses: 'max',
    panel: 'Everything else'
  },
  /** Recorded by the exports of `observability.export`. */
  exports: {
    name: 'asyncendpoints.exports.total',
    kind: 'counter',
    unit: '{page}',
    description: 'Exports of the metrics to the targets of observability.export, by how they ended',
    labels: ['target', 'outcome'],
    panel: 'Telemetry itself',
    alert: {
      name: 'AsyncEndpointsExportsFail',
      grows: { moreThan: 3, withinMinutes: 15, by: ['target'], where: 'outcome="failed"' },
      forMinutes: 5,
      severity: 'warning',
      summary: 'Metrics do not reach a target of observability.export.',
      description: '{{ $value | printf "%.0f" }} exports of {{ $labels.app }} to the target {{ $labels.target }} ' +
        'failed in 15 minutes. The log line 10712 says why.'
    }
  },
  /** Recorded by the exports of `observability.export`. */
  exportDuration: {
    name: 'asyncendpoints.export.duration',
    kind: 'histogram',
    unit: 's',
    description: 'Time until an export of the metrics reached its target or was given up',
    labels: ['target', 'outcome'],
    buckets: STORE_BUCKETS,
    panel: 'Everything else'
  },
  /** Recorded by the registry. */
  seriesDropped: {
    name: 'asyncendpoints.metrics.series.dropped.total',
    kind: 'counter',
    unit: '{series}',
    description: 'Recordings that went to the overflow series because their metric had reached maxSeriesPerMetric',
    labels: ['metric'],
    panel: 'Telemetry itself',
    alert: {
      name: 'AsyncEndpointsSeriesDropped',
      grows: { moreThan: 0, withinMinutes: 60, by: ['metric'] },
      forMinutes: 5,
      severity: 'info',
      summary: 'A metric has reached its limit of series.',
      description: 'The metric {{ $labels.metric }} of {{ $labels.app }} has maxSeriesPerMetric series, and new ' +
        'label sets share one overflow series. The usual cause is an error code that is different every time: throw ' +
        'errors with few codes.'
    }
  },
  /** Recorded wherever telemetry fails. */
  telemetryFailures: {
    name: 'asyncendpoints.telemetry.failures.total',
    kind: 'counter',
    unit: '{failure}',
    description: 'Failures of event listeners, metrics recorders, span processors, metric readers and exporters; no ' +
      'job was affected',
    labels: ['source'],
    panel: 'Telemetry itself',
    alert: {
      name: 'AsyncEndpointsTelemetryFails',
      grows: { moreThan: 0, withinMinutes: 15, by: ['source'] },
      forMinutes: 5,
      severity: 'info',
      summary: 'A part of the telemetry fails; jobs are not affected.',
      description: 'The source {{ $labels.source }} of {{ $labels.app }} failed {{ $value | printf "%.0f" }} times ' +
        'in 15 minutes. The log has the first error of each source.'
    }
  }
} as const satisfies MetricTable
