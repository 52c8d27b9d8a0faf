import type { Exemplar, ExemplarSource, HistogramPoint, Labels, NumberPoint } from './snapshot.ts'

/** The wall clock for exemplars, milliseconds since the epoch; `undefined` switches exemplars off. */
export type ExemplarClock = (() => number) | undefined

/** One series of a counter, resolved once: recording into it costs nanoseconds and allocates nothing. */
export class CounterCell implements NumberPoint {
  readonly labels: Labels
  value = 0
  exemplar: Exemplar | undefined
  readonly #now: ExemplarClock

  constructor (labels: Labels, now: ExemplarClock) {
    this.labels = labels
    this.#now = now
  }

  /** Anything but a positive number is ignored: a counter only grows. */
  add (amount = 1, source?: ExemplarSource): void {
    if (!(amount > 0)) return
    this.value += amount
    if (source !== undefined && this.#now !== undefined) {
      this.exemplar = { traceId: source.traceId, spanId: source.spanId, value: amount, timestampMs: this.#now() }
    }
  }
}

/** One series of a gauge. */
export class GaugeCell implements NumberPoint {
  readonly labels: Labels
  value = 0
  readonly exemplar: undefined = undefined

  constructor (labels: Labels) {
    this.labels = labels
  }

  set (value: number): void { this.value = value }
}

/** One series of a histogram. */
export class HistogramCell implements HistogramPoint {
  readonly labels: Labels
  count = 0
  sum = 0
  readonly bucketCounts: number[]
  readonly exemplars: Array<Exemplar | undefined>
  readonly #bounds: readonly number[]
  readonly #now: ExemplarClock

  constructor (labels: Labels, bounds: readonly number[], now: ExemplarClock) {
    this.labels = labels
    this.#bounds = bounds
    this.#now = now
    this.bucketCounts = new Array<number>(bounds.length + 1).fill(0)
    this.exemplars = []
  }

  /** `NaN` is ignored: it would spoil the sum for good. */
  observe (value: number, source?: ExemplarSource): void {
    if (value !== value) return // eslint-disable-line no-self-compare
    const bounds = this.#bounds
    let index = 0
    while (index < bounds.length && value > (bounds[index] as number)) index++
    this.bucketCounts[index] = (this.bucketCounts[index] as number) + 1
    this.count++
    this.sum += value
    if (source !== undefined && this.#now !== undefined) {
      this.exemplars[index] = { traceId: source.traceId, spanId: source.spanId, value, timestampMs: this.#now() }
    }
  }
}
