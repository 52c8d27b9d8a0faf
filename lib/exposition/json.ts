import type { HistogramPoint, Labels, MetricFamily, MetricsSnapshot, NumberPoint } from '../telemetry/snapshot.ts'
import { formatNumber } from './prometheus-names.ts'
import { PageWriter, TimeSlices } from './page-writer.ts'

/** So many series are encoded at once; then the clock is looked at. */
export const SERIES_PER_LOOK = 50
/** The longest that one stretch of writing holds up other work. */
export const SLICE_MS = 2

/**
 * `{ startedAt, takenAt, resource, metrics: [{ name, kind, unit, description, series }] }`. JSON has no numbers for `NaN` and the
 * infinities: they are the strings `"NaN"`, `"+Inf"` and `"-Inf"`, also as the last `le`. Buckets are cumulative, as everywhere
 * in the world of Prometheus.
 */
export async function renderJson ({ startedAt, takenAt, families }: MetricsSnapshot, resource: Labels): Promise<Buffer> {
  const page = new PageWriter(0)
  const slices = new TimeSlices(SLICE_MS)
  const head = { startedAt: new Date(startedAt).toISOString(), takenAt: new Date(takenAt).toISOString(), resource }
  page.add(`${JSON.stringify(head).slice(0, -1)},"metrics":[`)
  for (const [index, family] of families.entries()) {
    const { name, kind, unit, description, points } = family
    page.add(`${index === 0 ? '' : ','}\n${JSON.stringify({ name, kind, unit, description }).slice(0, -1)},"series":[`)
    for (const [place, point] of points.entries()) {
      page.add(`${place === 0 ? '' : ','}\n${JSON.stringify(series(family, point))}`)
      if ((place + 1) % SERIES_PER_LOOK !== 0) continue
      page.flush()
      if (slices.over()) await slices.next()
    }
    page.add(']}')
  }
  page.add(']}\n')
  return await page.end(slices)
}

function series (family: MetricFamily, point: NumberPoint | HistogramPoint): object {
  const { labels } = point
  if (!isHistogram(point)) return { labels, value: jsonNumber(point.value) }
  const bounds = family.kind === 'histogram' ? [...family.buckets, Infinity] : [Infinity]
  let cumulative = 0
  const buckets = bounds.map((bound, index) => {
    cumulative += point.bucketCounts[index] ?? 0
    return { le: jsonNumber(bound), count: cumulative }
  })
  return { labels, count: point.count, sum: jsonNumber(point.sum), buckets }
}

export function isHistogram (point: NumberPoint | HistogramPoint): point is HistogramPoint {
  return 'bucketCounts' in point
}

function jsonNumber (value: number): number | string {
  return Number.isFinite(value) ? value : formatNumber(value)
}
