import type { Attributes } from '@opentelemetry/api'
import { OVERFLOW_LABELS } from './instrument.ts'
import type { MetricsRegistry } from './registry.ts'
import type { CollectionResult, HistogramMetricData, MetricData, MetricProducer } from './sdk/metrics.ts'
import { plainResource, type Resource } from './sdk/parts.ts'
import type { HistogramFamily, HistogramPoint, Labels, MetricFamily, NumberFamily, NumberPoint } from './snapshot.ts'
import { SCOPE_NAME, SCOPE_VERSION } from './version.ts'

/** The SDK's enumerations as they stand in its data, so that nothing of it has to be loaded. Both lines agree on them. */
const DELTA = 0
const CUMULATIVE = 1
const [POINT_HISTOGRAM, POINT_GAUGE, POINT_SUM] = [0, 2, 3] as const
const DOUBLE = 1

type Temporality = typeof DELTA | typeof CUMULATIVE

/** Who is asked whether it wants sums since the start or since the last time; all readers and most exporters can tell. */
export interface TemporalityPreference { selectAggregationTemporality? (kind: string): number }

export interface ProducerParts {
  readonly registry: Pick<MetricsRegistry, 'families' | 'startedAt'>
  readonly resource: Attributes
  /** Wall clock, milliseconds since the epoch. */
  readonly now: () => number
  /** The reader or exporter this producer is for. @defaultValue sums since the start */
  readonly prefers?: TemporalityPreference
  /** Must not throw. */
  readonly failed: (error: unknown) => void
}

/**
 * The registry as the SDK's readers and exporters see metrics. One producer belongs to one of them: for who wants
 * deltas, it remembers what it told last.
 */
export class RegistryProducer implements MetricProducer {
  readonly #parts: ProducerParts
  readonly #resource: Resource
  /** By the cell itself, so that nothing is remembered of a series that was forgotten. */
  readonly #told = new WeakMap<object, Told>()
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
      metrics = registry.families().map((family) => this.#metric(family, times)).filter(({ dataPoints }) => dataPoints.length > 0)
      this.#lastAt = times.to
    } catch (error) {
      failed(error)
      errors.push(error)
    }
    const scope = { name: SCOPE_NAME, version: SCOPE_VERSION }
    return { resourceMetrics: { resource: this.#resource, scopeMetrics: metrics.length === 0 ? [] : [{ scope, metrics }] }, errors }
  }

  #metric (family: MetricFamily, times: Times): MetricData {
    return family.kind === 'histogram' ? this.#histogram(family, times) : this.#numbers(family, times)
  }

  #numbers (family: NumberFamily, { from, to }: Times): MetricData {
    const delta = family.kind === 'counter' && this.#sums === DELTA
    const dataPoints = family.points.flatMap((point) => {
      const value = delta ? this.#grown(point) : point.value
      // Of a counter that stood still there is nothing to add up.
      return delta && value === 0 ? [] : [{ ...this.#span(point, delta, from, to), value }]
    })
    const base = { descriptor: descriptor(family), aggregationTemporality: delta ? DELTA : CUMULATIVE, dataPoints } as const
    return family.kind === 'counter' ? { ...base, dataPointType: POINT_SUM, isMonotonic: true } : { ...base, dataPointType: POINT_GAUGE }
  }

  #histogram (family: HistogramFamily, { from, to }: Times): HistogramMetricData {
    const delta = this.#histograms === DELTA
    const dataPoints = family.points.flatMap((point) => {
      const { count, sum, bucketCounts } = delta ? this.#grownHistogram(point) : point
      if (delta && count === 0) return []
      return [{ ...this.#span(point, delta, from, to), value: { count, sum, buckets: { boundaries: [...family.buckets], counts: [...bucketCounts] } } }]
    })
    return { descriptor: descriptor(family), aggregationTemporality: this.#histograms, dataPointType: POINT_HISTOGRAM, dataPoints }
  }

  #span (point: NumberPoint | HistogramPoint, delta: boolean, from: number, to: number): { attributes: Attributes, startTime: [number, number], endTime: [number, number] } {
    return { attributes: attributesOf(point.labels), startTime: hrTime(delta ? from : point.startedAt ?? this.#parts.registry.startedAt), endTime: hrTime(to) }
  }

  #grown (point: NumberPoint): number {
    const before = this.#told.get(point)?.sum ?? 0
    this.#told.set(point, { sum: point.value, count: 0, bucketCounts: [] })
    return point.value - before
  }

  #grownHistogram (point: HistogramPoint): Told {
    const before = this.#told.get(point)
    const { count, sum } = point
    const bucketCounts = [...point.bucketCounts]
    this.#told.set(point, { count, sum, bucketCounts })
    if (before === undefined) return { count, sum, bucketCounts }
    return { count: count - before.count, sum: sum - before.sum, bucketCounts: bucketCounts.map((n, index) => n - (before.bucketCounts[index] ?? 0)) }
  }
}

interface Times { readonly from: number, readonly to: number }
interface Told { readonly sum: number, readonly count: number, readonly bucketCounts: readonly number[] }

/** The labels as OpenTelemetry writes them: the same, but for its own name of the overflow series. */
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

function descriptor ({ name, unit, description }: MetricFamily): { name: string, unit: string, description: string, valueType: typeof DOUBLE } {
  return { name, unit, description, valueType: DOUBLE }
}

/** Seconds and nanoseconds. */
function hrTime (ms: number): [number, number] {
  const whole = Math.floor(ms)
  return [Math.floor(whole / 1_000), (whole % 1_000) * 1_000_000]
}
