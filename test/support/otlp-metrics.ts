/** Reads what arrived at `POST /v1/metrics` in OTLP's JSON encoding. */
import { plain, type Attributes, type OtlpKeyValue, type OtlpReceiver } from './otlp-receiver.ts'

export interface ReceivedMetric {
  readonly name: string
  readonly unit: string
  readonly kind: 'sum' | 'gauge' | 'histogram'
  /** As in the protocol: 1 delta, 2 cumulative. */
  readonly temporality: number | undefined
  readonly monotonic: boolean | undefined
  readonly resource: Attributes
  readonly scope: string
  readonly points: readonly ReceivedPoint[]
}

export interface ReceivedPoint {
  readonly attributes: Attributes
  /** Of a histogram: the number of observations. */
  readonly value: number
  readonly sum: number | undefined
  readonly bucketCounts: readonly number[]
  readonly bounds: readonly number[]
  readonly startedAt: bigint
}

interface OtlpPoint {
  readonly attributes?: readonly OtlpKeyValue[]
  readonly asDouble?: number
  readonly asInt?: number | string
  readonly count?: number | string
  readonly sum?: number
  readonly bucketCounts?: ReadonlyArray<number | string>
  readonly explicitBounds?: readonly number[]
  readonly startTimeUnixNano: string
}
interface OtlpData { readonly dataPoints: readonly OtlpPoint[], readonly aggregationTemporality?: number, readonly isMonotonic?: boolean }
interface OtlpMetric { readonly name: string, readonly unit?: string, readonly sum?: OtlpData, readonly gauge?: OtlpData, readonly histogram?: OtlpData }
interface OtlpMetrics {
  readonly resourceMetrics?: ReadonlyArray<{
    readonly resource?: { readonly attributes?: readonly OtlpKeyValue[] }
    readonly scopeMetrics?: ReadonlyArray<{ readonly scope?: { readonly name?: string, readonly version?: string }, readonly metrics?: readonly OtlpMetric[] }>
  }>
}

/** One list per request, in order of arrival. */
export function receivedMetrics (receiver: Pick<OtlpReceiver, 'metrics'>): ReceivedMetric[][] {
  return receiver.metrics().map((body) => ((body as OtlpMetrics).resourceMetrics ?? []).flatMap(({ resource, scopeMetrics = [] }) =>
    scopeMetrics.flatMap(({ scope, metrics = [] }) => metrics.map((metric) => readMetric(metric, plain(resource?.attributes), `${scope?.name ?? ''} ${scope?.version ?? ''}`)))))
}

/** The newest point of the metric with these attributes. */
export function newestPoint (receiver: Pick<OtlpReceiver, 'metrics'>, name: string, attributes: Attributes = {}): ReceivedPoint | undefined {
  return receivedMetrics(receiver).flat().filter((metric) => metric.name === name)
    .flatMap(({ points }) => points).findLast((point) => Object.entries(attributes).every(([key, value]) => point.attributes[key] === value))
}

function readMetric ({ name, unit = '', sum, gauge, histogram }: OtlpMetric, resource: Attributes, scope: string): ReceivedMetric {
  const [kind, data] = sum !== undefined ? ['sum', sum] as const : gauge !== undefined ? ['gauge', gauge] as const : ['histogram', histogram ?? { dataPoints: [] }] as const
  return { name, unit, kind, temporality: data.aggregationTemporality, monotonic: data.isMonotonic, resource, scope, points: data.dataPoints.map(readPoint) }
}

function readPoint (point: OtlpPoint): ReceivedPoint {
  return {
    attributes: plain(point.attributes),
    value: Number(point.asDouble ?? point.asInt ?? point.count),
    sum: point.sum,
    bucketCounts: (point.bucketCounts ?? []).map(Number),
    bounds: point.explicitBounds ?? [],
    startedAt: BigInt(point.startTimeUnixNano)
  }
}
