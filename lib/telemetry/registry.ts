import { invalidOptions } from '../core/options.ts'
import { takeRejection } from '../core/rejections.ts'
import { Instrument } from './instrument.ts'
import { checkBuckets, checkDefinition } from './instrument-checks.ts'
import { INSTRUMENTS, JOB_BUCKETS, type InstrumentDefinition } from './instruments.ts'
import { CounterCell, GaugeCell, HistogramCell, type ExemplarClock } from './metric-cells.ts'
import type {
  Exemplar, HistogramFamily, HistogramPoint, Labels, MetricFamily, MetricsSnapshot, NumberPoint
} from './snapshot.ts'

export const DEFAULT_MAX_SERIES = 500

export interface RegistryOptions {
  /** Series per metric; further label sets share one overflow series. @defaultValue 500 */
  maxSeriesPerMetric?: number
  /** Upper bounds in seconds for the histograms of jobs and handlers, instead of 5 ms to 1 h. */
  buckets?: readonly number[]
  /** Keep, per bucket, the trace of the newest recording that belongs to a sampled trace. @defaultValue true */
  exemplars?: boolean
  /** Wall clock, milliseconds since the epoch. @defaultValue Date.now */
  now?: () => number
}

export type InstrumentWatcher = (definition: InstrumentDefinition, buckets: readonly number[]) => void
export type HistogramTap = (definition: InstrumentDefinition, labels: Labels) => (value: number) => void

type AnyInstrument = Instrument<'counter'> | Instrument<'gauge'> | Instrument<'histogram'>

/**
 * The metrics of one Fastify instance: counters, gauges and histograms with bound cells, a limit on the series of
 * each, and exemplars. It knows no exporter: what prints or sends metrics reads {@link MetricsRegistry.families} or a
 * snapshot.
 */
export class MetricsRegistry {
  readonly startedAt: number
  readonly #instruments = new Map<string, AnyInstrument>()
  readonly #collectors = new Set<() => void>()
  readonly #watchers = new Set<InstrumentWatcher>()
  readonly #maxSeries: number
  readonly #buckets: readonly number[] | undefined
  readonly #now: () => number
  readonly #exemplarClock: ExemplarClock
  #tap: HistogramTap | undefined
  /** Called with what a collector threw. The scrape goes on without it. */
  onCollectorError: (error: unknown) => void = () => {}

  /** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` for buckets that are not ascending positive numbers */
  constructor (options: RegistryOptions = {}) {
    this.#maxSeries = options.maxSeriesPerMetric ?? DEFAULT_MAX_SERIES
    this.#now = options.now ?? Date.now
    this.#exemplarClock = options.exemplars === false ? undefined : this.#now
    this.#buckets = options.buckets
    if (options.buckets !== undefined) checkBuckets('metrics.buckets', options.buckets)
    this.startedAt = this.#now()
  }

  /**
   * The instrument of this definition, made at the first call.
   *
   * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` when the definition is not valid, or a metric of this name has
   * another kind or other labels
   */
  instrument<const D extends InstrumentDefinition> (definition: D): Instrument<D['kind'], D['labels'][number]> {
    const known = this.#instruments.get(definition.name)
    if (known === undefined) {
      checkDefinition(definition)
      const made = this.#make(definition)
      this.#instruments.set(definition.name, made)
      for (const watcher of this.#watchers) watcher(made.definition, made.buckets)
      return made as unknown as Instrument<D['kind'], D['labels'][number]>
    }
    const { kind, labels } = known.definition
    if (kind !== definition.kind || labels.join() !== definition.labels.join()) {
      const taken = `a ${kind} with the labels ${labels.join(', ')} has this name already; choose another name`
      throw invalidOptions(`metric ${definition.name}`, [taken])
    }
    return known as unknown as Instrument<D['kind'], D['labels'][number]>
  }

  /**
   * Calls the function before every reading: for gauges that show a number which this process has at hand. The function
   * must be quick and must not wait. Read a store from a background loop instead.
   *
   * @returns a function that ends this
   */
  onCollect (collector: () => void): () => void {
    this.#collectors.add(collector)
    return () => { this.#collectors.delete(collector) }
  }

  /**
   * @internal Calls the watcher for every instrument, and for each one that is made later. The watcher must not throw.
   *
   * @returns a function that ends this
   */
  watch (watcher: InstrumentWatcher): () => void {
    for (const { definition, buckets } of this.#instruments.values()) watcher(definition, buckets)
    this.#watchers.add(watcher)
    return () => { this.#watchers.delete(watcher) }
  }

  /**
   * @internal Calls a listener for every value that is recorded into a histogram from now on; `undefined` ends this.
   *
   * @param tap makes the listener of one series; neither may throw
   */
  tapHistograms (tap: HistogramTap | undefined): void {
    this.#tap = tap
    for (const instrument of this.#instruments.values()) {
      for (const cell of instrument.cells()) {
        if (cell instanceof HistogramCell) cell.tap = tap?.(instrument.definition, cell.labels)
      }
    }
  }

  /**
   * @internal Forgets series that were silent for more than `limit` calls of this method; see {@link Instrument.sweep}.
   *
   * @returns how many series were forgotten
   */
  sweep (limit: number): number {
    let forgotten = 0
    for (const instrument of this.#instruments.values()) forgotten += instrument.sweep(limit)
    return forgotten
  }

  /** All families with their live series, to be printed at once. Families without series are left out. */
  families (): MetricFamily[] {
    for (const collector of this.#collectors) {
      try { takeRejection(collector(), this.onCollectorError) } catch (error) { this.onCollectorError(error) }
    }
    const families: MetricFamily[] = []
    for (const { definition, buckets, cells } of [...this.#instruments.values()].map(describe)) {
      if (cells.length === 0) continue
      const { name, unit, description } = definition
      const { kind } = definition
      if (kind === 'histogram') {
        families.push({ name, unit, description, kind, buckets, points: cells as HistogramCell[] })
      } else families.push({ name, unit, description, kind, points: cells as Array<CounterCell | GaugeCell> })
    }
    return families
  }

  /** A copy that does not change later, for exporters that take their time. */
  snapshot (): MetricsSnapshot {
    return { startedAt: this.startedAt, takenAt: this.#now(), families: this.families().map(freeze) }
  }

  #make (definition: InstrumentDefinition): AnyInstrument {
    const dropped = (name: string): void => {
      // The counter of dropped series has a limit itself, and must not count its own overflow.
      const { seriesDropped } = INSTRUMENTS
      if (name !== seriesDropped.name) this.instrument(seriesDropped).bind({ metric: name }).add()
    }
    const now = this.#exemplarClock
    const parts = { maxSeries: this.#maxSeries, now: this.#now, dropped }
    if (definition.kind === 'counter') {
      return new Instrument<'counter'>(definition, [], {
        ...parts, make: (labels, home, startedAt) => new CounterCell(labels, home, now, startedAt)
      })
    }
    if (definition.kind === 'gauge') {
      return new Instrument<'gauge'>(definition, [], {
        ...parts, make: (labels, home, startedAt) => new GaugeCell(labels, home, startedAt)
      })
    }
    const buckets = this.#bucketsOf(definition)
    return new Instrument<'histogram'>(definition, buckets, {
      ...parts,
      make: (labels, home, startedAt) => {
        const cell = new HistogramCell(labels, home, buckets, now, startedAt)
        cell.tap = this.#tap?.(definition, labels)
        return cell
      }
    })
  }

  #bucketsOf (definition: InstrumentDefinition): readonly number[] {
    const own = definition.buckets ?? JOB_BUCKETS
    return own === JOB_BUCKETS && this.#buckets !== undefined ? Object.freeze([...this.#buckets]) : own
  }
}

interface Described {
  readonly definition: InstrumentDefinition
  readonly buckets: readonly number[]
  readonly cells: ReadonlyArray<CounterCell | GaugeCell | HistogramCell>
}

function describe (instrument: AnyInstrument): Described {
  return { definition: instrument.definition, buckets: instrument.buckets, cells: instrument.cells() }
}

function freeze (family: MetricFamily): MetricFamily {
  if (family.kind === 'histogram') {
    return Object.freeze<HistogramFamily>({ ...family, points: family.points.map(freezeHistogram) })
  }
  return Object.freeze({ ...family, points: family.points.map(freezeNumber) })
}

function freezeNumber ({ labels, value, exemplar, startedAt }: NumberPoint): NumberPoint {
  return Object.freeze(startedAt === undefined ? { labels, value, exemplar } : { labels, value, exemplar, startedAt })
}

function freezeHistogram ({ labels, count, sum, bucketCounts, exemplars, startedAt }: HistogramPoint): HistogramPoint {
  // `exemplars` of a cell may be shorter than its buckets, or have holes.
  const copied = bucketCounts.map((_, index): Exemplar | undefined => exemplars[index])
  const point = { labels, count, sum, bucketCounts: Object.freeze([...bucketCounts]), exemplars: Object.freeze(copied) }
  return Object.freeze(startedAt === undefined ? point : { ...point, startedAt })
}
