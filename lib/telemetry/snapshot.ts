/** The metrics as the registry shows them to what prints or exports them. */

/** The sampled span that an exemplar points to. */
export interface ExemplarSource {
  /** 32 lower-case hex digits. */
  readonly traceId: string
  /** 16 lower-case hex digits. */
  readonly spanId: string
}

export interface Exemplar extends ExemplarSource {
  readonly value: number
  /** Milliseconds since the epoch. */
  readonly timestampMs: number
}

export type Labels = Readonly<Record<string, string>>

/** One series of a counter or gauge. */
export interface NumberPoint {
  readonly labels: Labels
  readonly value: number
  /** When the series began, if later than the registry because it had been forgotten. Milliseconds since the epoch. */
  readonly startedAt?: number | undefined
  /** The newest exemplar; counters only. */
  readonly exemplar: Exemplar | undefined
}

/** One series of a histogram. */
export interface HistogramPoint {
  readonly labels: Labels
  readonly count: number
  /** As for counters. */
  readonly startedAt?: number | undefined
  readonly sum: number
  /** Counts per bucket, not cumulative. One more than the bounds: the last counts the values above all bounds. */
  readonly bucketCounts: readonly number[]
  /** The newest exemplar of each bucket, in the order of `bucketCounts`. */
  readonly exemplars: ReadonlyArray<Exemplar | undefined>
}

/** What all metrics have. */
export interface FamilyBase {
  /** Dotted name, without unit suffix. */
  readonly name: string
  readonly unit: string
  readonly description: string
}

export interface NumberFamily extends FamilyBase {
  readonly kind: 'counter' | 'gauge'
  readonly points: readonly NumberPoint[]
}

export interface HistogramFamily extends FamilyBase {
  readonly kind: 'histogram'
  readonly buckets: readonly number[]
  readonly points: readonly HistogramPoint[]
}

export type MetricFamily = NumberFamily | HistogramFamily

/** All series at one moment. Nothing in it changes later. */
export interface MetricsSnapshot {
  /** When the registry was made: the start of its cumulative sums. Milliseconds since the epoch. */
  readonly startedAt: number
  readonly takenAt: number
  readonly families: readonly MetricFamily[]
}
