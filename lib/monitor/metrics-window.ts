import type { LoopSample } from '../core/event-loop.ts'
import type { CounterCell, HistogramCell } from '../telemetry/metric-cells.ts'
import type { Instrument } from '../telemetry/instrument.ts'
import type { Labels } from '../telemetry/snapshot.ts'
import { grown, type Distribution } from './distribution.ts'

export type Histogram = Instrument<'histogram'>
export type Counter = Instrument<'counter'>

/** How busy this process is with one queue. */
export interface QueueLoad { readonly queue: string, readonly active: number, readonly concurrency: number }

/** What no instrument keeps: the event loop and the slots of the queues at one moment. */
export interface Moment {
  readonly loop: LoopSample | undefined
  readonly loads: readonly QueueLoad[]
}

interface Point extends Moment {
  readonly at: number
  /** How many moments were merged into this point. */
  readonly moments: number
  readonly histograms: ReadonlyMap<HistogramCell, Distribution>
  /** The largest value of each series between the point before and this one. */
  readonly peaks: ReadonlyMap<HistogramCell, number>
  readonly counters: ReadonlyMap<CounterCell, number>
}

/** More points would not make the report better. */
const MAX_POINTS = 60

/**
 * What was recorded in the last minutes: the difference between the present values of a few instruments and copies
 * (points) of their earlier values. Its memory depends on the number of series, not on the number of jobs.
 */
export class MetricsWindow {
  readonly #histograms: readonly Histogram[]
  readonly #counters: readonly Counter[]
  readonly #now: () => number
  readonly #windowMs: number
  #points: Point[] = []
  #latest: Moment | undefined

  /** @param now monotonic milliseconds */
  constructor (histograms: readonly Histogram[], counters: readonly Counter[], windowMs: number, now: () => number) {
    this.#histograms = histograms
    this.#counters = counters
    this.#windowMs = windowMs
    this.#now = now
  }

  /**
   * Adds a point, or merges the moment into the last point if that is still new: at most 60 points are kept, whatever
   * the interval.
   */
  take (moment: Moment): void {
    const at = this.#now()
    const last = this.#points.at(-1)
    this.#latest = moment
    // The factor allows for timers that fire a little early. Merging keeps the sample of the event loop, which would be
    // lost otherwise.
    if (last !== undefined && at - last.at < 0.9 * this.#windowMs / MAX_POINTS) {
      this.#points[this.#points.length - 1] = { ...last, loop: merged(last, moment.loop), moments: last.moments + 1 }
      return
    }
    const histograms = new Map<HistogramCell, Distribution>()
    const peaks = new Map<HistogramCell, number>()
    for (const instrument of this.#histograms) {
      for (const cell of instrument.cells()) {
        if (cell.peak > 0) peaks.set(cell, cell.peak)
        cell.peak = 0
        // A series that has not changed shares the copy of the last point.
        const before = last?.histograms.get(cell)
        const { count, sum, bucketCounts } = cell
        histograms.set(cell, before?.count === count ? before : { count, sum, buckets: [...bucketCounts] })
      }
    }
    const counters = new Map(this.#counters.flatMap((instrument) => instrument.cells().map((cell) => [cell, cell.value] as const)))
    this.#points.push({ ...moment, at, moments: 1, histograms, peaks, counters })
    // Keep one point that is older than the window: the window begins there.
    while ((this.#points[1]?.at ?? at) <= at - this.#windowMs) this.#points.shift()
  }

  get latest (): Moment | undefined { return this.#latest }

  /** How far back the window reaches yet: less than `windowMs` in a process that has just started. */
  get coveredMs (): number {
    const first = this.#start()
    return first === undefined ? 0 : this.#now() - first.at
  }

  /** The moments in the window, the oldest first. */
  moments (): readonly Moment[] {
    const from = this.#now() - this.#windowMs
    return this.#points.filter(({ at }) => at >= from)
  }

  /** What was recorded into each series in the window; series without anything are left out. */
  histogram (instrument: Histogram): Array<readonly [labels: Labels, recorded: Distribution]> {
    const start = this.#start()
    const later = start === undefined ? [] : this.#points.slice(this.#points.indexOf(start) + 1)
    return instrument.cells()
      .map((cell) => [cell.labels, { ...grown(cell, start?.histograms.get(cell)), max: peakOf(cell, later) }] as const)
      .filter(([, { count }]) => count > 0)
  }

  /** By how much each series grew in the window; series that did not grow are left out. */
  counter (instrument: Counter): Array<readonly [labels: Labels, grown: number]> {
    const start = this.#start()
    return instrument.cells()
      .map((cell) => [cell.labels, cell.value - (start?.counters.get(cell) ?? 0)] as const)
      .filter(([, n]) => n > 0)
  }

  #start (): Point | undefined {
    const from = this.#now() - this.#windowMs
    return this.#points.findLast(({ at }) => at <= from) ?? this.#points[0]
  }
}

function peakOf (cell: HistogramCell, points: readonly Point[]): number {
  return points.reduce((peak, { peaks }) => Math.max(peak, peaks.get(cell) ?? 0), cell.peak)
}

/** Two samples of the event loop as one: the larger of the lags, the average of the averages. */
function merged ({ loop: a, moments }: Point, b: LoopSample | undefined): LoopSample | undefined {
  if (a === undefined || b === undefined) return a ?? b
  const mean = (of: 'meanMs' | 'utilization'): number => (a[of] * moments + b[of]) / (moments + 1)
  return {
    meanMs: mean('meanMs'),
    lagMs: Math.max(a.lagMs, b.lagMs),
    worstMs: Math.max(a.worstMs, b.worstMs),
    utilization: mean('utilization')
  }
}
