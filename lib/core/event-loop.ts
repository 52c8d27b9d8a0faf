import { monitorEventLoopDelay, performance, type EventLoopUtilization, type IntervalHistogram } from 'node:perf_hooks'

/** How the event loop did since the last sample. */
export interface LoopSample {
  /** By how much a timer was late, on average over all its intervals. */
  readonly meanMs: number
  /** What 99 % of the moments had to wait at most; see {@link lateness}. */
  readonly lagMs: number
  readonly worstMs: number
  /** Share of the time in which it was busy, 0 to 1. */
  readonly utilization: number
}

export interface LoopWatch {
  start (): void
  /** Since the last call; `undefined` when nothing was measured. */
  sample (): LoopSample | undefined
  stop (): void
}

/** One wake-up each: fine enough for lags that matter, and a fraction of a thousandth of a core. */
const RESOLUTION_MS = 20
const TAIL = 0.01
const NS = 1_000_000

/**
 * Node's own measurement. Each watch has a histogram to itself, so that two applications do not reset each other's.
 *
 * @param resolutionMs how often it looks; {@link LoopSample.meanMs} weighs a long interval by how many short ones there are
 */
export function watchEventLoop (resolutionMs = RESOLUTION_MS): LoopWatch {
  let histogram: IntervalHistogram | undefined
  let before: EventLoopUtilization | undefined
  return {
    start () {
      // Its timer does not keep the process alive.
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
 * What a callback that is due at any moment has to wait, at most, with a probability of 99 %. The 99th percentile of the
 * intervals themselves would hide the worst: a loop that is blocked for five of ten seconds shows one long interval
 * among 250 good ones, and yet every second callback is late.
 *
 * @param percentiles of the intervals between two looks, ascending, as [percentile, value]
 * @param count how many intervals there were
 * @param resolution what an interval is long when nothing is late, in the unit of the values
 */
export function lateness (percentiles: ReadonlyArray<readonly [percentile: number, value: number]>, count: number, resolution: number): number {
  const groups = percentiles.map(([percentile, value], index) => {
    const below = percentiles[index - 1]?.[0] ?? 0
    return { n: count * (index === 0 ? 0 : percentile - below) / 100, late: Math.max(0, value - resolution) }
  }).reverse()
  const time = groups.reduce((sum, { n, late }) => sum + n * (resolution + late), 0)
  // Of an interval that was late by l, the moments that wait longer than x are l - x. Find the x that a hundredth waits longer than.
  let [n, late] = [0, 0]
  for (const [index, group] of groups.entries()) {
    n += group.n
    late += group.n * group.late
    const x = n === 0 ? 0 : (late - TAIL * time) / n
    if (n > 0 && x >= (groups[index + 1]?.late ?? 0)) return Math.max(0, Math.min(x, group.late))
  }
  return 0
}
