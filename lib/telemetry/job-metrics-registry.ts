import type { InstrumentDefinition, InstrumentKind } from './instruments.ts'
import type { ExemplarSource, MetricFamily, MetricsSnapshot } from './snapshot.ts'

/** One series of a counter. Keep it: finding it by its labels costs more than recording into it. */
export interface MetricCounter {
  readonly value: number
  /** Adds a positive number (1 without one); anything else is ignored. */
  add (amount?: number, exemplar?: ExemplarSource): void
}

/** One series of a gauge. */
export interface MetricGauge {
  readonly value: number
  set (value: number): void
}

/** One series of a histogram. */
export interface MetricHistogram {
  readonly count: number
  readonly sum: number
  /** Records a value; `NaN` is ignored. */
  observe (value: number, exemplar?: ExemplarSource): void
}

/** What `bind` of an instrument gives, by the kind of the instrument. */
export type MetricSeries<K extends InstrumentKind> = K extends 'counter' ? MetricCounter : K extends 'gauge' ? MetricGauge : MetricHistogram

/** One metric. */
export interface MetricInstrument<K extends InstrumentKind = InstrumentKind, L extends string = string> {
  readonly definition: InstrumentDefinition
  /**
   * The series with these labels, made when it is first asked for. Beyond `maxSeriesPerMetric` all further ones share
   * one series.
   */
  bind (labels: Readonly<Record<L, string>>): MetricSeries<K>
  /** Removes a series, for example of something that no longer exists. @returns whether there was one */
  remove (labels: Readonly<Record<L, string>>): boolean
}

/** `app.jobMetricsRegistry`: the metrics that `/metrics` shows, and instruments of your own. */
export interface JobMetricsRegistry {
  /** When it was made, milliseconds since the epoch: since then its counters count. */
  readonly startedAt: number
  /**
   * The instrument of this definition; the same one when it is asked for again.
   *
   * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for a definition that is not valid, and for a name that
   * another kind or other labels have
   */
  instrument<const D extends InstrumentDefinition> (definition: D): MetricInstrument<D['kind'], D['labels'][number]>
  /**
   * Calls the function before every reading, so that it can set gauges. It must be quick, and nobody waits for what
   * it returns.
   *
   * @returns stops it
   */
  onCollect (collector: () => void): () => void
  /** Every metric with its series as they are now: to be read at once, because the numbers go on changing. */
  families (): MetricFamily[]
  /** A copy of every metric that does not change. */
  snapshot (): MetricsSnapshot
}
