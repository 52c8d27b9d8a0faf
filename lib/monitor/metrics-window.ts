import type { LoopSample } from '../core/event-loop.ts'
import type { CounterCell, HistogramCell } from '../telemetry/metric-cells.ts'
import type { Instrument } from '../telemetry/instrument.ts'
import type { Labels } from '../telemetry/snapshot.ts'
import { grown, type Distribution } from './distribution.ts'

export type Histogram = Instrument<'histogram'>
export type Counter = Instrument<'counter'>

/** How busy this process is with one queue. */
export interface QueueLoad { readonly queue: string, readonly active: number, readonly concurrency: number }

/** What no instrument remembers. */
export interface Moment {
  readonly loop: LoopSample | undefined
  readonly loads: readonly QueueLoad[]
}

interface Point extends Moment {
  readonly at: number
  /** How many moments it stands for. */
  readonly moments: number
  readonly histograms: ReadonlyMap<HistogramCell, Distribution>
  /** The largest value of each series between the point before and this one. */
  readonly peaks: ReadonlyMap<HistogramCell, number>
  readonly counters: ReadonlyMap<CounterCell, number>
}

/** More points make the answer no better. */
const MAX_POINTS = 60

/**
 * What was recorded lately, as the difference between now and a point in the past: a ring of the sums of a few
 * instruments, taken now and then. It knows series, and no jobs: however many of those there were, it costs the same.
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

  /** Takes a point, unless the last one is quite new: 60 of them are kept, whatever the interval. */
  take (moment: Moment): void {
    const at = this.#now()
    const last = this.#points.at(-1)
    this.#latest = moment
    // A timer may be a little early; what the loop told meanwhile is not lost.
    if (last !== undefined && at - last.at < 0.9 * this.#windowMs / MAX_POINTS) {
      this.#points[this.#points.length - 1] = { ...last, loop: folded(last, moment.loop), moments: last.moments + 1 }
      return
    }
    const histograms = new Map<HistogramCell, Distribution>()
    const peaks = new Map<HistogramCell, number>()
    for (const instrument of this.#histograms) {
      for (const cell of instrument.cells()) {
        // A series that stood still is not copied again.
        const before = last?.histograms.get(cell)
        if (cell.peak > 0) peaks.set(cell, cell.peak)
        cell.peak = 0
        histograms.set(cell, before?.count === cell.count ? before : { count: cell.count, sum: cell.sum, buckets: [...cell.bucketCounts] })
      }
    }
    const counters = new Map(this.#counters.flatMap((instrument) => instrument.cells().map((cell) => [cell, cell.value] as const)))
    this.#points.push({ ...moment, at, moments: 1, histograms, peaks, counters })
    // The last one that is older than the window is where it begins.
    while ((this.#points[1]?.at ?? at) <= at - this.#windowMs) this.#points.shift()
  }

  get latest (): Moment | undefined { return this.#latest }

  /** How far back it reaches by now. */
  get coveredMs (): number {
    const first = this.#start()
    return first === undefined ? 0 : this.#now() - first.at
  }

  /** The moments in it, the oldest first. */
  moments (): readonly Moment[] {
    const from = this.#now() - this.#windowMs
    return this.#points.filter(({ at }) => at >= from)
  }

  /** What was recorded into each series. */
  histogram (instrument: Histogram): Array<readonly [labels: Labels, recorded: Distribution]> {
    const start = this.#start()
    const later = start === undefined ? [] : this.#points.slice(this.#points.indexOf(start) + 1)
    return instrument.cells().map((cell) => [cell.labels, { ...grown(cell, start?.histograms.get(cell)), max: peakOf(cell, later) }] as const).filter(([, { count }]) => count > 0)
  }

  /** By how much each series grew. */
  counter (instrument: Counter): Array<readonly [labels: Labels, grown: number]> {
    const start = this.#start()
    return instrument.cells().map((cell) => [cell.labels, cell.value - (start?.counters.get(cell) ?? 0)] as const).filter(([, n]) => n > 0)
  }

  #start (): Point | undefined {
    const from = this.#now() - this.#windowMs
    return this.#points.findLast(({ at }) => at <= from) ?? this.#points[0]
  }
}

function peakOf (cell: HistogramCell, points: readonly Point[]): number {
  return points.reduce((peak, { peaks }) => Math.max(peak, peaks.get(cell) ?? 0), cell.peak)
}

/** The worst of the lags, and the means of what are means. */
function folded ({ loop: a, moments }: Point, b: LoopSample | undefined): LoopSample | undefined {
  if (a === undefined || b === undefined) return a ?? b
  const mean = (of: 'meanMs' | 'utilization'): number => (a[of] * moments + b[of]) / (moments + 1)
  return { meanMs: mean('meanMs'), lagMs: Math.max(a.lagMs, b.lagMs), worstMs: Math.max(a.worstMs, b.worstMs), utilization: mean('utilization') }
}
