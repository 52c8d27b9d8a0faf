import type { Attributes } from '@opentelemetry/api'
import { OVERFLOW_LABELS } from './instrument.ts'
import type { MetricsRegistry } from './registry.ts'
import type { CollectionResult, HistogramMetricData, MetricData, MetricProducer } from './sdk/metrics.ts'
import { plainResource, type Resource } from './sdk/parts.ts'
import type { HistogramFamily, HistogramPoint, Labels, MetricFamily, NumberFamily, NumberPoint } from './snapshot.ts'
import { SCOPE_NAME, SCOPE_VERSION } from './version.ts'

/**
 * Values of the enumerations of the SDK, written out so that the SDK need not be loaded. Both SDK lines have the
 * same.
 */
const DELTA = 0
const CUMULATIVE = 1
const [POINT_HISTOGRAM, POINT_GAUGE, POINT_SUM] = [0, 2, 3] as const
const DOUBLE = 1

type Temporality = typeof DELTA | typeof CUMULATIVE

/** What says whether it wants sums since the start or since the last collection: all readers and most exporters do. */
export interface TemporalityPreference { selectAggregationTemporality? (kind: string): number }

export interface ProducerParts {
  readonly registry: Pick<MetricsRegistry, 'families' | 'startedAt'>
  readonly resource: Attributes
  /** Wall clock, milliseconds since the epoch. */
  readonly now: () => number
  /** The reader or exporter that this producer is for. @defaultValue sums since the start */
  readonly prefers?: TemporalityPreference
  /** Must not throw. */
  readonly failed: (error: unknown) => void
}

/**
 * Shows the registry in the form that readers and exporters of the SDK expect. Each of them has a producer of its
 * own, which remembers the last values for those that want deltas.
 */
export class RegistryProducer implements MetricProducer {
  readonly #parts: ProducerParts
  readonly #resource: Resource
  /** The last values by cell, so that nothing is remembered of a forgotten series. */
  readonly #last = new WeakMap<object, LastValues>()
  readonly #sums: Temporality
  readonly #histograms: Temporality
  #lastAt: number

  constructor (parts: ProducerParts) {
    this.#parts = parts
    this.#resource = plainResource(parts.resource)
    this.#sums = preference(parts, 'COUNTER')
    this.#histograms = preference(parts, 'HISTOGRAM')
    this.#lastAt = parts.registry.startedAt
  }

  /** Never rejects. */
  async collect (): Promise<CollectionResult> {
    const { registry, now, failed } = this.#parts
    const errors: unknown[] = []
    let metrics: MetricData[] = []
    try {
      const times = { from: this.#lastAt, to: now() }
      metrics = registry.families().map((family) => this.#metric(family, times))
        .filter(({ dataPoints }) => dataPoints.length > 0)
      this.#lastAt = times.to
    } catch (error) {
      failed(error)
      errors.push(error)
    }
    const scope = { name: SCOPE_NAME, version: SCOPE_VERSION }
    const scopeMetrics = metrics.length === 0 ? [] : [{ scope, metrics }]
    return { resourceMetrics: { resource: this.#resource, scopeMetrics }, errors }
  }

  #metric (family: MetricFamily, times: Times): MetricData {
    return family.kind === 'histogram' ? this.#histogram(family, times) : this.#numbers(family, times)
  }

  #numbers (family: NumberFamily, { from, to }: Times): MetricData {
    const delta = family.kind === 'counter' && this.#sums === DELTA
    const dataPoints = family.points.flatMap((point) => {
      const value = delta ? this.#grown(point) : point.value
      // A counter that did not grow has no delta.
      return delta && value === 0 ? [] : [{ ...this.#span(point, delta, from, to), value }]
    })
    const base = { descriptor: descriptor(family), aggregationTemporality: delta ? DELTA : CUMULATIVE, dataPoints } as const
    if (family.kind === 'counter') return { ...base, dataPointType: POINT_SUM, isMonotonic: true }
    return { ...base, dataPointType: POINT_GAUGE }
  }

  #histogram (family: HistogramFamily, { from, to }: Times): HistogramMetricData {
    const delta = this.#histograms === DELTA
    const dataPoints = family.points.flatMap((point) => {
      const { count, sum, bucketCounts } = delta ? this.#grownHistogram(point) : point
      if (delta && count === 0) return []
      const buckets = { boundaries: [...family.buckets], counts: [...bucketCounts] }
      return [{ ...this.#span(point, delta, from, to), value: { count, sum, buckets } }]
    })
    return {
      descriptor: descriptor(family),
      aggregationTemporality: this.#histograms,
      dataPointType: POINT_HISTOGRAM,
      dataPoints
    }
  }

  #span (point: NumberPoint | HistogramPoint, delta: boolean, from: number, to: number): TimeSpan {
    const startedAt = delta ? from : point.startedAt ?? this.#parts.registry.startedAt
    return { attributes: attributesOf(point.labels), startTime: hrTime(startedAt), endTime: hrTime(to) }
  }

  #grown (point: NumberPoint): number {
    const before = this.#last.get(point)?.sum ?? 0
    this.#last.set(point, { sum: point.value, count: 0, bucketCounts: [] })
    return point.value - before
  }

  #grownHistogram (point: HistogramPoint): LastValues {
    const before = this.#last.get(point)
    const { count, sum } = point
    const bucketCounts = [...point.bucketCounts]
    this.#last.set(point, { count, sum, bucketCounts })
    if (before === undefined) return { count, sum, bucketCounts }
    return {
      count: count - before.count,
      sum: sum - before.sum,
      bucketCounts: bucketCounts.map((n, index) => n - (before.bucketCounts[index] ?? 0))
    }
  }
}

interface Times { readonly from: number, readonly to: number }
interface TimeSpan { attributes: Attributes, startTime: [number, number], endTime: [number, number] }
interface LastValues { readonly sum: number, readonly count: number, readonly bucketCounts: readonly number[] }

/** The labels as OpenTelemetry writes them: only the label of the overflow series has another name. */
export function attributesOf (labels: Labels): Attributes {
  return labels === OVERFLOW_LABELS ? { 'otel.metric.overflow': true } : labels
}

function preference ({ prefers, failed }: ProducerParts, kind: string): Temporality {
  try {
    return prefers?.selectAggregationTemporality?.(kind) === DELTA ? DELTA : CUMULATIVE
  } catch (error) {
    failed(error)
    return CUMULATIVE
  }
}

interface Descriptor { name: string, unit: string, description: string, valueType: typeof DOUBLE }

function descriptor ({ name, unit, description }: MetricFamily): Descriptor {
  return { name, unit, description, valueType: DOUBLE }
}

/** Seconds and nanoseconds. */
function hrTime (ms: number): [number, number] {
  const whole = Math.floor(ms)
  return [Math.floor(whole / 1_000), (whole % 1_000) * 1_000_000]
}
