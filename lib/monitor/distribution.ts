import { quantile } from '../core/quantile.ts'
import type { HistogramPoint } from '../telemetry/snapshot.ts'

/** What was recorded into a histogram between two moments. Distributions with the same bounds can be added up. */
export interface Distribution {
  readonly count: number
  readonly sum: number
  readonly buckets: readonly number[]
  /** The largest value, if it is known. */
  readonly max?: number
}

/**
 * A distribution in milliseconds. A histogram knows only how many values lie between two bounds, so a percentile is
 * estimated as if the values were spread evenly between them, but is never more than the largest value that was
 * measured. The true 95th percentile lies between `p95FromMs` and `p95ToMs`.
 */
export interface Durations {
  readonly count: number
  readonly meanMs: number
  readonly p50Ms: number
  readonly p95Ms: number
  readonly p95FromMs: number
  /** `null`: the percentile lies beyond the last bound. `p95Ms` is that bound then, and the true value is larger. */
  readonly p95ToMs: number | null
}

/** What was recorded since `before`. */
export function grown ({ count, sum, bucketCounts }: HistogramPoint, before: Distribution | undefined): Distribution {
  if (before === undefined) return { count, sum, buckets: bucketCounts }
  const buckets = bucketCounts.map((n, index) => n - (before.buckets[index] ?? 0))
  return { count: count - before.count, sum: sum - before.sum, buckets }
}

/** The sum of distributions with the same bounds. Its largest value is known only if that of every part is. */
export function together (parts: readonly Distribution[]): Distribution {
  const all = parts.reduce((all, { count, sum, buckets }) => ({
    count: all.count + count, sum: all.sum + sum, buckets: buckets.map((n, index) => n + (all.buckets[index] ?? 0))
  }), { count: 0, sum: 0, buckets: [] })
  const known = parts.flatMap(({ max }) => max ?? [])
  return known.length === parts.length && known.length > 0 ? { ...all, max: Math.max(...known) } : all
}

/** @param bounds upper bounds of the buckets, seconds. @returns `undefined` when nothing was recorded */
export function durations ({ count, sum, buckets, max = Infinity }: Distribution, bounds: readonly number[]): Durations | undefined {
  if (count <= 0) return undefined
  const [p50, p95] = [quantile(0.5, buckets, bounds), quantile(0.95, buckets, bounds)]
  return {
    count,
    meanMs: ms(sum / count),
    p50Ms: ms(Math.min(p50.value, max)),
    p95Ms: ms(Math.min(p95.value, max)),
    p95FromMs: ms(p95.from),
    p95ToMs: p95.to === undefined ? null : ms(p95.to)
  }
}

/** Milliseconds with two decimals; the measurements are not more exact than that. */
export function ms (seconds: number): number {
  return Math.round(seconds * 100_000) / 100
}
