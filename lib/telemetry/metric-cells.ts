import type { Exemplar, ExemplarSource, HistogramPoint, Labels, NumberPoint } from './snapshot.ts'

/** The wall clock for exemplars, milliseconds since the epoch; `undefined` switches exemplars off. */
export type ExemplarClock = (() => number) | undefined

/** The instrument of a cell. A cell that was silent asks it where the next recording belongs. */
export interface CellHome<C> {
  /** @returns the cell to record into: usually the same one */
  wake (cell: C): C
}

/**
 * What all cells share. `idle` counts the sweeps since the last recording; it is 0 for a cell in use, so that a
 * recording costs one comparison more. The next recording sets it back to 0. A forgotten cell keeps its number of
 * sweeps, so that a recording into it asks the instrument first.
 */
export abstract class Cell {
  readonly labels: Labels
  readonly startedAt: number | undefined
  /** @internal sweeps since the last recording */
  idle = 0
  /** @internal never forgotten */
  kept = false

  constructor (labels: Labels, startedAt: number | undefined) {
    this.labels = labels
    this.startedAt = startedAt
  }
}

/** One series of a counter. Recording into it costs nanoseconds and allocates nothing, except for an exemplar. */
export class CounterCell extends Cell implements NumberPoint {
  value = 0
  exemplar: Exemplar | undefined
  readonly #now: ExemplarClock
  readonly #home: CellHome<CounterCell>

  constructor (labels: Labels, home: CellHome<CounterCell>, now: ExemplarClock, startedAt?: number) {
    super(labels, startedAt)
    this.#home = home
    this.#now = now
  }

  /** Adds a positive number. Anything else is ignored, because a counter only grows. */
  add (amount = 1, source?: ExemplarSource): void {
    if (!(amount > 0)) return
    if (this.idle !== 0) {
      const live = this.#home.wake(this)
      if (live !== this) return live.add(amount, source)
    }
    this.value += amount
    if (source !== undefined && this.#now !== undefined) {
      this.exemplar = { traceId: source.traceId, spanId: source.spanId, value: amount, timestampMs: this.#now() }
    }
  }
}

/** One series of a gauge. */
export class GaugeCell extends Cell implements NumberPoint {
  value = 0
  readonly exemplar: undefined = undefined
  readonly #home: CellHome<GaugeCell>

  constructor (labels: Labels, home: CellHome<GaugeCell>, startedAt?: number) {
    super(labels, startedAt)
    this.#home = home
  }

  set (value: number): void {
    if (this.idle !== 0) {
      const live = this.#home.wake(this)
      if (live !== this) return live.set(value)
    }
    this.value = value
  }
}

/** One series of a histogram. */
export class HistogramCell extends Cell implements HistogramPoint {
  count = 0
  sum = 0
  /**
   * @internal the largest value since it was last set to 0: estimates from buckets alone could exceed every real
   * value
   */
  peak = 0
  readonly bucketCounts: number[]
  readonly exemplars: Array<Exemplar | undefined>
  /** @internal called with every value; must not throw */
  tap: ((value: number) => void) | undefined = undefined
  readonly #bounds: readonly number[]
  readonly #now: ExemplarClock
  readonly #home: CellHome<HistogramCell>

  constructor (
    labels: Labels, home: CellHome<HistogramCell>, bounds: readonly number[], now: ExemplarClock, startedAt?: number
  ) {
    super(labels, startedAt)
    this.#home = home
    this.#bounds = bounds
    this.#now = now
    this.bucketCounts = new Array<number>(bounds.length + 1).fill(0)
    this.exemplars = []
  }

  /** Records a value. `NaN` is ignored: it would make the sum `NaN` for ever. */
  observe (value: number, source?: ExemplarSource): void {
    if (value !== value) return // eslint-disable-line no-self-compare
    if (this.idle !== 0) {
      const live = this.#home.wake(this)
      if (live !== this) return live.observe(value, source)
    }
    const bounds = this.#bounds
    let index = 0
    while (index < bounds.length && value > (bounds[index] as number)) index++
    this.bucketCounts[index] = (this.bucketCounts[index] as number) + 1
    this.count++
    this.sum += value
    if (value > this.peak) this.peak = value
    if (this.tap !== undefined) this.tap(value)
    if (source !== undefined && this.#now !== undefined) {
      this.exemplars[index] = { traceId: source.traceId, spanId: source.spanId, value, timestampMs: this.#now() }
    }
  }
}
