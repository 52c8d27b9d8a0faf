import { monitorEventLoopDelay, performance, type EventLoopUtilization, type IntervalHistogram } from 'node:perf_hooks'

/** How busy and how late the event loop was since the last sample. */
export interface LoopSample {
  /** The delay of a timer, on average over all its intervals. */
  readonly meanMs: number
  /** The delay that 99 % of all moments did not exceed; see {@link lateness}. */
  readonly lagMs: number
  readonly worstMs: number
  /** The share of the time in which the event loop was busy, 0 to 1. */
  readonly utilization: number
}

export interface LoopWatch {
  start (): void
  /** The sample since the last call; `undefined` if nothing was measured. */
  sample (): LoopSample | undefined
  stop (): void
}

/** One wake-up per interval: fine enough for delays that matter, at a fraction of a thousandth of a core. */
const RESOLUTION_MS = 20
const TAIL = 0.01
const NS = 1_000_000

/**
 * Measures with Node's own histogram. Each watch has a histogram of its own, so that two applications do not reset
 * each other's.
 *
 * @param resolutionMs the interval of the measuring timer; {@link LoopSample.meanMs} weighs a long interval by the
 * number of short ones
 */
export function watchEventLoop (resolutionMs = RESOLUTION_MS): LoopWatch {
  let histogram: IntervalHistogram | undefined
  let before: EventLoopUtilization | undefined
  return {
    start () {
      // The histogram's timer does not keep the process alive.
      histogram ??= monitorEventLoopDelay({ resolution: resolutionMs })
      histogram.enable()
      before = performance.eventLoopUtilization()
    },
    sample () {
      if (histogram === undefined || before === undefined) return undefined
      const now = performance.eventLoopUtilization()
      const { utilization } = performance.eventLoopUtilization(now, before)
      before = now
      if (histogram.count === 0) return undefined
      const lateBy = (interval: number): number => Math.max(0, interval / NS - resolutionMs)
      const lagMs = lateness([...histogram.percentiles], histogram.count, resolutionMs * NS) / NS
      const sample = { meanMs: lateBy(histogram.mean), lagMs, worstMs: lateBy(histogram.max), utilization }
      histogram.reset()
      return sample
    },
    stop () {
      histogram?.disable()
      histogram = undefined
    }
  }
}

/**
 * The delay of a callback that is due at a random moment: with a probability of 99 % it is at most this. The 99th
 * percentile of the intervals themselves would hide the worst: a loop that is blocked for five of ten seconds shows
 * one long interval among 250 short ones, although every second callback is late.
 *
 * @param percentiles of the measured intervals, ascending, as [percentile, value]
 * @param count the number of intervals
 * @param resolution the length of an interval without delay, in the unit of the values
 */
export function lateness (
  percentiles: ReadonlyArray<readonly [percentile: number, value: number]>, count: number, resolution: number
): number {
  const groups = percentiles.map(([percentile, value], index) => {
    const below = percentiles[index - 1]?.[0] ?? 0
    return { n: count * (index === 0 ? 0 : percentile - below) / 100, late: Math.max(0, value - resolution) }
  }).reverse()
  const time = groups.reduce((sum, { n, late }) => sum + n * (resolution + late), 0)
  // In an interval that was late by l, the moments that wait longer than x last l - x. Find the x that 1 % of the
  // time exceeds.
  let [n, late] = [0, 0]
  for (const [index, group] of groups.entries()) {
    n += group.n
    late += group.n * group.late
    const x = n === 0 ? 0 : (late - TAIL * time) / n
    if (n > 0 && x >= (groups[index + 1]?.late ?? 0)) return Math.max(0, Math.min(x, group.late))
  }
  return 0
}
