/** What every benchmark does with its figures. */

/** @param share from 0 to 1 */
export function quantile (values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const [low, high] = [sorted[Math.floor(at)] ?? NaN, sorted[Math.ceil(at)] ?? NaN]
  return low + (high - low) * (at - Math.floor(at))
}

export function median (values: readonly number[]): number { return quantile(values, 0.5) }

/**
 * How two subjects compare that were measured in turns: the median of the ratios of each round. The machine is never the same for two
 * rounds; within one, what else it did weighs on both.
 */
export function ratio (of: readonly number[], to: readonly number[]): number {
  return median(of.map((value, round) => value / (to[round] ?? NaN)))
}

/** For `jobs/s` and the like: no decimals, a comma between the thousands. */
export function whole (value: number): string { return Math.round(value).toLocaleString('en-US') }

export function print (line: string): void { process.stdout.write(`${line}\n`) }
