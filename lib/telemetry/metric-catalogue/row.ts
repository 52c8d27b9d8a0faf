import type { LabelName } from './labels.ts'

export type InstrumentKind = 'counter' | 'gauge' | 'histogram'

/** What a registry needs to know of a metric; an application's own metrics are made from this too. */
export interface InstrumentDefinition {
  /** Dotted OpenTelemetry name, without the unit. */
  readonly name: string
  readonly kind: InstrumentKind
  /** UCUM: `s`, `By`, `%`, `1`, or an annotation such as `{job}`. */
  readonly unit: string
  readonly description: string
  readonly labels: readonly string[]
  /** Upper bounds of a histogram's buckets, ascending; `+Inf` is added. */
  readonly buckets?: readonly number[]
}

/** The rows of the Grafana dashboard, from top to bottom. The last one is folded at first. */
export const PANEL_ROWS = [
  'At a glance', 'Jobs', 'Latency', 'Sagas', 'Listening', 'Webhooks', 'Workers', 'Submissions', 'Store', 'Alerts of the application', 'Telemetry itself',
  'Everything else'
] as const
export type PanelRow = typeof PANEL_ROWS[number]

/** What a series that starts at 0 belongs to. It is made when that is known: a job by its definition, and so on. */
export type ZeroScope = 'process' | 'queue' | 'job' | 'job with slaMs' | 'saga' | 'step of a saga' | 'step with a compensation'

/**
 * Series that exist at 0 before anything is recorded. Without that the first event is not an increase for Prometheus,
 * and an alert misses it.
 */
export interface StartsAtZero {
  readonly per: ZeroScope
  /** The values of the labels that the scope does not give; each combination becomes a series. */
  readonly values?: Readonly<Partial<Record<LabelName, readonly string[]>>>
}

interface AlertText {
  readonly name: `AsyncEndpoints${string}`
  /** For how long the condition must hold before the alert fires. */
  readonly forMinutes: number
  readonly severity: 'critical' | 'warning' | 'info'
  /** A sentence: what is wrong. */
  readonly summary: string
  /** A Prometheus template: the numbers, and what to do. */
  readonly description: string
}

/** Fires when the counter grew by more than so many. A series that begins above 0 counts with what it begins with. */
export interface CounterAlert extends AlertText {
  readonly grows: {
    readonly moreThan: number
    readonly withinMinutes: number
    /** One alert per value of these labels, beside one per application. */
    readonly by?: readonly LabelName[]
    /** A further matcher, such as `outcome="failed"`. */
    readonly where?: string
  }
}

/** Fires when the gauge is above a value. */
export interface GaugeAlert extends AlertText {
  readonly above: {
    readonly value: number
    /** `max` for what all processes read from one store, `sum` for what each process has of its own. */
    readonly aggregate: 'max' | 'sum'
    /** `instance` is the process. */
    readonly by?: ReadonlyArray<LabelName | 'instance'>
    /** The smallest value of so many minutes must be above. */
    readonly lowestOfMinutes?: number
    /** The largest value of so many minutes counts: a failed scrape does not end the alert. */
    readonly highestOfMinutes?: number
  }
}

/** Fires when a quantile of the histogram is above a value. */
export interface HistogramAlert extends AlertText {
  readonly slow: {
    readonly quantile: number
    readonly aboveSeconds: number
    readonly withinMinutes: number
    readonly by?: readonly LabelName[]
  }
}

interface Row extends InstrumentDefinition {
  readonly name: `asyncendpoints.${string}`
  readonly labels: readonly LabelName[]
  /** The row of the dashboard that shows it, or why none does. */
  readonly panel: PanelRow | { readonly none: string }
}

export interface CounterRow extends Row {
  readonly kind: 'counter'
  readonly buckets?: never
  /** The method that records it takes the trace of a sampled job. */
  readonly exemplar?: true
  readonly startsAtZero?: StartsAtZero
  readonly alert?: CounterAlert
}

export interface GaugeRow extends Row {
  readonly kind: 'gauge'
  readonly buckets?: never
  /**
   * How the values of several processes become one in a shared export: `newest` for what all read from one store, `sum`
   * for what each has a share of, `max` for what the worst process shows.
   */
  readonly acrossProcesses: 'newest' | 'sum' | 'max'
  readonly alert?: GaugeAlert
}

export interface HistogramRow extends Row {
  readonly kind: 'histogram'
  readonly buckets: readonly number[]
  /** The method that records it takes the trace of a sampled job. */
  readonly exemplar?: true
  readonly alert?: HistogramAlert
}

/** One metric. The rest is made from this: instrument, recorder method, docs, dashboard panel, alert rule. */
export type MetricRow = CounterRow | GaugeRow | HistogramRow
export type MetricTable = Readonly<Record<string, MetricRow>>
