export interface Quantile {
  readonly value: number
  /**
   * The bounds of the bucket that the value lies in. `to` is `undefined` beyond the last bound, where `value` is that
   * bound.
   */
  readonly from: number
  readonly to: number | undefined
}

/**
 * A quantile of values that were counted in buckets. Inside a bucket the values count as spread evenly, so the result
 * is an estimate between `from` and `to`.
 *
 * @param q 0 to 1, for example 0.95
 * @param buckets one more than bounds: the last one counts what is over all bounds
 * @param bounds upper bounds, ascending
 */
export function quantile (q: number, buckets: Iterable<number>, bounds: readonly number[]): Quantile {
  const counts = [...buckets]
  const rank = q * counts.reduce((sum, n) => sum + n, 0)
  let below = 0
  for (const [index, to] of bounds.entries()) {
    const n = counts[index] ?? 0
    if (n > 0 && below + n >= rank) {
      const from = bounds[index - 1] ?? 0
      return { value: from + (to - from) * (rank - below) / n, from, to }
    }
    below += n
  }
  const last = bounds.at(-1) ?? 0
  return { value: last, from: last, to: undefined }
}
