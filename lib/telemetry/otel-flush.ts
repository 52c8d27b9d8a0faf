import type { BatchObservableResult, Counter, Histogram, Meter, MeterProvider, Observable } from '@opentelemetry/api'
import type { InstrumentDefinition } from './instruments.ts'
import { attributesOf } from './otel-producer.ts'
import type { MetricsRegistry } from './registry.ts'
import type { Labels, NumberFamily, NumberPoint } from './snapshot.ts'
import { SCOPE_NAME, SCOPE_VERSION } from './version.ts'

export interface MeterBridgeParts {
  readonly registry: MetricsRegistry
  readonly provider: MeterProvider
  /** Pass on durations too, each when it is recorded. */
  readonly histograms: boolean
  /** Must not throw. */
  readonly failed: (error: unknown) => void
}

/**
 * Passes the metrics on to a meter provider of the application. Recording a counter costs nothing more: when a reader
 * of the provider collects, one observable callback adds the growth of every counter since the last time, and the SDK
 * includes it in the same collection. The growth is remembered per counter, not per reader, so that two readers see
 * the same sums. Gauges are observed in that callback. A histogram cannot be passed on as buckets: its values are
 * recorded one by one.
 */
export class MeterBridge {
  readonly #parts: MeterBridgeParts
  readonly #counters = new Map<string, Counter>()
  readonly #histograms = new Map<string, Histogram>()
  readonly #gauges = new Map<string, Observable>()
  /**
   * What was added already, by cell: a series that was forgotten and begins again has a new cell, and is added again.
   */
  readonly #flushed = new WeakMap<NumberPoint, number>()
  /** The series of gauges that the last collection showed. */
  #shown = new Map<NumberPoint, Observable>()
  #meter: Meter | undefined
  #observed: Observable[] = []
  #observing = false
  #unwatch: () => void = () => {}

  constructor (parts: MeterBridgeParts) {
    this.#parts = parts
  }

  /** @param early values that histograms recorded before the provider was known */
  start (early?: EarlyValues): void {
    const { registry, provider, histograms } = this.#parts
    this.#try(() => { this.#meter = provider.getMeter(SCOPE_NAME, SCOPE_VERSION) })
    if (this.#meter === undefined) return
    this.#unwatch = registry.watch((definition, buckets) => { this.#try(() => { this.#add(definition, buckets) }) })
    this.#observe()
    if (!histograms) return
    registry.tapHistograms((definition, labels) => this.#tap(definition.name, labels))
    early?.replay((name, labels, value) => { this.#tap(name, labels)(value) })
  }

  /** Adds the growth of the counters now. The next collection of any reader includes it. */
  flush (): void {
    this.#flush(undefined)
  }

  /** Passes on the last numbers. The provider is not shut down: it belongs to the application. */
  stop (): void {
    if (this.#meter === undefined) return
    this.#unwatch()
    if (this.#parts.histograms) this.#parts.registry.tapHistograms(undefined)
    this.flush()
    this.#try(() => { this.#meter?.removeBatchObservableCallback(this.#collect, this.#observed) })
    this.#meter = undefined
  }

  readonly #collect = (result: BatchObservableResult): void => { this.#flush(result) }

  #add ({ name, kind, unit, description }: InstrumentDefinition, buckets: readonly number[]): void {
    const meter = this.#meter
    if (meter === undefined) return
    if (kind === 'counter') this.#counters.set(name, meter.createCounter(name, { unit, description }))
    else if (kind === 'histogram') {
      if (!this.#parts.histograms) return
      const advice = { explicitBucketBoundaries: [...buckets] }
      this.#histograms.set(name, meter.createHistogram(name, { unit, description, advice }))
    } else {
      this.#gauges.set(name, meter.createObservableGauge(name, { unit, description }))
      // `start` registers one callback for all gauges that exist by then.
      if (this.#observing) this.#observe()
    }
  }

  /** A callback may observe only the gauges it was registered with, so it is registered again for each new gauge. */
  #observe (): void {
    this.#observing = true
    this.#try(() => {
      if (this.#observed.length > 0) this.#meter?.removeBatchObservableCallback(this.#collect, this.#observed)
      this.#observed = [...this.#gauges.values()]
      if (this.#observed.length > 0) this.#meter?.addBatchObservableCallback(this.#collect, this.#observed)
    })
  }

  #flush (result: BatchObservableResult | undefined): void {
    this.#try(() => {
      const shown = new Map<NumberPoint, Observable>()
      const families = this.#parts.registry.families()
      for (const family of families) {
        if (family.kind === 'counter') this.#addGrowth(family)
        else if (family.kind === 'gauge') {
          const gauge = this.#gauges.get(family.name)
          if (gauge !== undefined) for (const point of family.points) shown.set(point, gauge)
        }
      }
      if (result !== undefined) this.#show(result, shown)
    })
  }

  #addGrowth ({ name, points }: NumberFamily): void {
    const counter = this.#counters.get(name)
    if (counter === undefined) return
    for (const point of points) {
      const { value } = point
      const growth = value - (this.#flushed.get(point) ?? 0)
      // A growth of 0 is added once, so that a series that starts at 0 does so in the provider too.
      if (growth === 0 && this.#flushed.has(point)) continue
      // Remembered before it is added: a counter that throws may have added it, and adding it twice would be worse.
      this.#flushed.set(point, value)
      this.#try(() => { counter.add(growth, attributesOf(point.labels)) })
    }
  }

  #show (result: BatchObservableResult, shown: Map<NumberPoint, Observable>): void {
    // An SDK repeats the last value of a gauge for ever when it is no longer observed. So a series that is gone is
    // set to 0 once. If another series has its labels by now, its value is observed afterwards and counts.
    for (const [point, gauge] of this.#shown) {
      if (!shown.has(point)) this.#try(() => { result.observe(gauge, 0, attributesOf(point.labels)) })
    }
    this.#shown = shown
    for (const [point, gauge] of shown) {
      this.#try(() => { result.observe(gauge, point.value, attributesOf(point.labels)) })
    }
  }

  #tap (name: string, labels: Labels): (value: number) => void {
    const attributes = attributesOf(labels)
    return (value) => { this.#try(() => { this.#histograms.get(name)?.record(value, attributes) }) }
  }

  #try (work: () => void): void {
    try { work() } catch (error) { this.#parts.failed(error) }
  }
}

/** An application that becomes ready records fewer values before that. */
const MAX_EARLY = 1_000

/**
 * Keeps the values of histograms until it is known whether there is a meter provider: it is looked up when the
 * application is ready, and jobs may be submitted before.
 */
export class EarlyValues {
  readonly #values: Array<readonly [name: string, labels: Labels, value: number]> = []

  readonly tap = ({ name }: InstrumentDefinition, labels: Labels) => (value: number): void => {
    if (this.#values.length < MAX_EARLY) this.#values.push([name, labels, value])
  }

  replay (record: (name: string, labels: Labels, value: number) => void): void {
    for (const [name, labels, value] of this.#values.splice(0)) record(name, labels, value)
  }
}
