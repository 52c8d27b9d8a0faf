import { quantile } from '../core/quantile.ts'
import type { HistogramPoint } from '../telemetry/snapshot.ts'

/** What was recorded into a histogram between two moments; those of the same bounds can be added up. */
export interface Distribution {
  readonly count: number
  readonly sum: number
  readonly buckets: readonly number[]
  /** The largest value, where it is known. */
  readonly max?: number
}

/**
 * A distribution in milliseconds. A histogram knows only how many values lie between two bounds: percentiles are read
 * from where they would be if the values were spread evenly in between, but never above the largest value that was
 * measured. `p95FromMs` and `p95ToMs` are the bounds.
 */
export interface Durations {
  readonly count: number
  readonly meanMs: number
  readonly p50Ms: number
  readonly p95Ms: number
  readonly p95FromMs: number
  /** `null`: beyond the last bound; `p95Ms` is that bound then, and the truth is more. */
  readonly p95ToMs: number | null
}

export function grown (now: HistogramPoint, before: Distribution | undefined): Distribution {
  if (before === undefined) return { count: now.count, sum: now.sum, buckets: now.bucketCounts }
  return { count: now.count - before.count, sum: now.sum - before.sum, buckets: now.bucketCounts.map((n, index) => n - (before.buckets[index] ?? 0)) }
}

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

/** Milliseconds with two decimals: more would be made up. */
export function ms (seconds: number): number {
  return Math.round(seconds * 100_000) / 100
}
