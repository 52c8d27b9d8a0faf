/** What the registry shows to whoever prints or exports it. */

/** Where an exemplar points: a sampled span. */
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
  /** When the series began, if that was later than the registry: it was forgotten once. Milliseconds since the epoch. */
  readonly startedAt?: number | undefined
  /** The newest; counters only. */
  readonly exemplar: Exemplar | undefined
}

/** One series of a histogram. */
export interface HistogramPoint {
  readonly labels: Labels
  readonly count: number
  /** As for counters. */
  readonly startedAt?: number | undefined
  readonly sum: number
  /** Per bucket, not cumulative; one longer than the bounds: the last is everything above them. */
  readonly bucketCounts: readonly number[]
  /** The newest of each bucket, like `bucketCounts`. */
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

/** All series at one moment; nothing in it changes later. */
export interface MetricsSnapshot {
  /** When the registry was made: the start of its cumulative sums. Milliseconds since the epoch. */
  readonly startedAt: number
  readonly takenAt: number
  readonly families: readonly MetricFamily[]
}
