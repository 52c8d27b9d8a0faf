import type { BatchObservableResult, Counter, Histogram, Meter, MeterProvider, Observable } from '@opentelemetry/api'
import type { InstrumentDefinition } from './instruments.ts'
import { attributesOf } from './otel-producer.ts'
import type { MetricsRegistry } from './registry.ts'
import type { Labels, NumberFamily, NumberPoint } from './snapshot.ts'
import { SCOPE_NAME, SCOPE_VERSION } from './version.ts'

export interface MeterBridgeParts {
  readonly registry: MetricsRegistry
  readonly provider: MeterProvider
  /** Hand over durations as well, each at the moment it is recorded. */
  readonly histograms: boolean
  /** Must not throw. */
  readonly failed: (error: unknown) => void
}

/**
 * Feeds a meter provider of the application's. It costs the recording of a counter nothing: at the moment that a reader
 * of the provider collects, one observable callback adds what every counter has grown by since the last time, and the
 * SDK counts what is added in a callback in that same collection. What was added is remembered here and not per reader,
 * so two readers see the same sums. Gauges are observed. A histogram cannot be handed over as buckets: its values are
 * recorded one by one.
 */
export class MeterBridge {
  readonly #parts: MeterBridgeParts
  readonly #counters = new Map<string, Counter>()
  readonly #histograms = new Map<string, Histogram>()
  readonly #gauges = new Map<string, Observable>()
  /** By the cell itself, so that a series which was forgotten and begins anew is added anew. */
  readonly #flushed = new WeakMap<NumberPoint, number>()
  /** The gauges of the last collection. */
  #shown = new Map<NumberPoint, Observable>()
  #meter: Meter | undefined
  #observed: Observable[] = []
  #observing = false
  #unwatch: () => void = () => {}

  constructor (parts: MeterBridgeParts) {
    this.#parts = parts
  }

  /** @param early values of histograms from before there was a provider to tell */
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

  /** Adds what counters have grown by; what is added after the last collection is in the next one, whoever asks for it. */
  flush (): void {
    this.#flush(undefined)
  }

  /** The last numbers are handed over; the provider itself is the application's. */
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
      if (this.#parts.histograms) this.#histograms.set(name, meter.createHistogram(name, { unit, description, advice: { explicitBucketBoundaries: [...buckets] } }))
    } else {
      this.#gauges.set(name, meter.createObservableGauge(name, { unit, description }))
      // The first ones are put under one callback together, see `start`.
      if (this.#observing) this.#observe()
    }
  }

  /** A callback may observe only what it was registered with, so it is registered anew when there is one more. */
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
      // 0 is told once, so that a series which starts at 0 does so there too.
      if (growth === 0 && this.#flushed.has(point)) continue
      // Before it is added: a counter that throws may have added it, and twice is worse than never.
      this.#flushed.set(point, value)
      this.#try(() => { counter.add(growth, attributesOf(point.labels)) })
    }
  }

  #show (result: BatchObservableResult, shown: Map<NumberPoint, Observable>): void {
    // SDKs repeat the last value of a series for ever, however long nobody observes it. So 0 is the last that is heard of
    // one that is gone, unless another has its labels by now: the value that is observed last counts.
    for (const [point, gauge] of this.#shown) {
      if (!shown.has(point)) this.#try(() => { result.observe(gauge, 0, attributesOf(point.labels)) })
    }
    this.#shown = shown
    for (const [point, gauge] of shown) this.#try(() => { result.observe(gauge, point.value, attributesOf(point.labels)) })
  }

  #tap (name: string, labels: Labels): (value: number) => void {
    const attributes = attributesOf(labels)
    return (value) => { this.#try(() => { this.#histograms.get(name)?.record(value, attributes) }) }
  }

  #try (work: () => void): void {
    try { work() } catch (error) { this.#parts.failed(error) }
  }
}

/** More than this happens before an application is ready only if it is never ready. */
const MAX_EARLY = 1_000

/**
 * Keeps the values of histograms until it is known whether somebody wants them: a provider is looked for when the
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
