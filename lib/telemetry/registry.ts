import { invalidOptions } from '../core/options.ts'
import { CounterCell, GaugeCell, HistogramCell, type Cell, type CellHome, type ExemplarClock } from './cells.ts'
import { INSTRUMENTS, JOB_BUCKETS, type InstrumentDefinition, type InstrumentKind } from './instruments.ts'
import type { Exemplar, HistogramFamily, HistogramPoint, Labels, MetricFamily, MetricsSnapshot, NumberPoint } from './snapshot.ts'
import { takeRejection } from '../core/rejections.ts'
import { cut } from '../core/text.ts'

export interface RegistryOptions {
  /** Series per instrument; further label sets share one overflow series. @defaultValue 500 */
  maxSeriesPerMetric?: number
  /** Upper bounds in seconds for the histograms of jobs and handlers, instead of 5 ms to 1 h. */
  buckets?: readonly number[]
  /** Keep the trace of the newest sampled recording per bucket. @defaultValue true */
  exemplars?: boolean
  /** Wall clock, milliseconds since the epoch. @defaultValue Date.now */
  now?: () => number
}

export type CellOf<K extends InstrumentKind> = K extends 'counter' ? CounterCell : K extends 'gauge' ? GaugeCell : HistogramCell

/** The labels of the series that takes what is over the cap (the name is OpenTelemetry's). */
export const OVERFLOW_LABELS: Labels = Object.freeze({ otel_metric_overflow: 'true' })

export const DEFAULT_MAX_SERIES = 500
/** A longer label value is cut: it comes from an error code or a job name, and those are short. */
const MAX_LABEL_LENGTH = 200
const NAME = /^[a-zA-Z][a-zA-Z0-9_.\-/]{0,254}$/
const LABEL = /^[a-zA-Z_][a-zA-Z0-9_.]{0,99}$/

type MakeCell<K extends InstrumentKind> = (labels: Labels, home: CellHome<CellOf<K>>, startedAt: number | undefined) => CellOf<K>

/** @internal what a registry gives to its instruments */
interface InstrumentParts<K extends InstrumentKind> {
  readonly make: MakeCell<K>
  readonly maxSeries: number
  readonly now: () => number
  readonly dropped: (name: string) => void
}

/**
 * One metric: resolves label sets to cells. Keep the cell; `bind` is for the first time. A series that is silent for
 * longer than `metrics.retentionHours` is forgotten; a cell that is recorded into after that takes its place again.
 */
export class Instrument<K extends InstrumentKind = InstrumentKind, L extends string = string> implements CellHome<CellOf<K>> {
  readonly definition: InstrumentDefinition
  readonly buckets: readonly number[]
  readonly #cells = new Map<string, CellOf<K>>()
  readonly #parts: InstrumentParts<K>
  readonly #forgetters = new Set<() => void>()
  #overflow: CellOf<K> | undefined
  #forgot = false

  /** @internal made by {@link MetricsRegistry.instrument} */
  constructor (definition: InstrumentDefinition, buckets: readonly number[], parts: InstrumentParts<K>) {
    this.definition = definition
    this.buckets = buckets
    this.#parts = parts
  }

  /** Series, the overflow series not counted. */
  get size (): number { return this.#cells.size }

  /** The cell of these labels, made on first use; past the cap the overflow cell (see {@link isOverflow}). */
  bind (labels: Readonly<Record<L, string>>): CellOf<K> {
    const values = this.#values(labels)
    const key = values.join('\u0000')
    const known = this.#cells.get(key)
    if (known !== undefined) return known
    if (this.#cells.size >= this.#parts.maxSeries) return this.#overflowing()
    const cell = this.#make(Object.freeze(Object.fromEntries(this.definition.labels.map((label, index) => [label, values[index] as string]))))
    this.#cells.set(key, cell)
    return cell
  }

  /** As {@link bind}, for a series that stays however long nothing is recorded into it. */
  keep (labels: Readonly<Record<L, string>>): CellOf<K> {
    const cell = this.bind(labels)
    if (!this.isOverflow(cell)) (cell as Cell).kept = true
    return cell
  }

  /** True for the cell that stands for everything over the cap: it must not be cached under one label set. */
  isOverflow (cell: CellOf<K>): boolean { return cell === this.#overflow }

  /** Forgets a series, so that a gauge does not show for ever what no longer exists. */
  remove (labels: Readonly<Record<L, string>>): boolean {
    const key = this.#values(labels).join('\u0000')
    const cell: Cell | undefined = this.#cells.get(key)
    if (cell === undefined) return false
    cell.idle = 1
    this.#forget([key])
    return true
  }

  /** Where a recording into a silent cell belongs: itself, what has its labels by now, or the overflow. */
  wake (cell: CellOf<K>): CellOf<K> {
    const waking: Cell = cell
    const key = this.definition.labels.map((label) => waking.labels[label]).join('\u0000')
    const known = this.#cells.get(key)
    if (known !== undefined && known !== cell) return known
    if (known === undefined) {
      // Its number is still in it, so the series goes on where it was when it was forgotten.
      if (this.#cells.size >= this.#parts.maxSeries) return this.#overflowing()
      this.#cells.set(key, cell)
    }
    waking.idle = 0
    return cell
  }

  /**
   * @internal Counts one more sweep for every series, and forgets those that were silent for more than `limit` of them.
   * A metric without labels has one series, which is no burden.
   */
  sweep (limit: number): number {
    if (this.definition.labels.length === 0) return 0
    const silent: string[] = []
    for (const [key, cell] of this.#cells) {
      const swept: Cell = cell
      if (!swept.kept && ++swept.idle > limit) silent.push(key)
    }
    if (silent.length > 0) this.#forget(silent)
    return silent.length
  }

  /**
   * @internal Calls the function when series were forgotten: whoever keeps cells by their labels must let go of them.
   *
   * @returns stops it
   */
  onForget (listener: () => void): () => void {
    this.#forgetters.add(listener)
    return () => { this.#forgetters.delete(listener) }
  }

  /** The live series, in order of first use. */
  cells (): Array<CellOf<K>> {
    const cells = [...this.#cells.values()]
    if (this.#overflow !== undefined) cells.push(this.#overflow)
    return cells
  }

  #make (labels: Labels): CellOf<K> {
    // The number of a series that was forgotten may begin anew, and whoever adds up must be able to see that.
    return this.#parts.make(labels, this, this.#forgot ? this.#parts.now() : undefined)
  }

  #overflowing (): CellOf<K> {
    this.#parts.dropped(this.definition.name)
    this.#overflow ??= this.#make(OVERFLOW_LABELS)
    return this.#overflow
  }

  #forget (keys: readonly string[]): void {
    this.#forgot = true
    for (const key of keys) this.#cells.delete(key)
    for (const listener of this.#forgetters) listener()
  }

  #values (labels: Readonly<Record<L, string>>): string[] {
    const given = labels as Labels
    return this.definition.labels.map((label) => {
      const value = given[label]
      const text = cut(typeof value === 'string' ? value : String(value ?? ''), MAX_LABEL_LENGTH)
      // Zero bytes separate the values in the key; in a label they are nothing but trouble. Halves of characters are all
      // the same once they are UTF-8: if `cut` left them, two series would become one on the page, and the page invalid.
      return text.includes('\u0000') ? text.replaceAll('\u0000', '') : text
    })
  }
}

export type InstrumentWatcher = (definition: InstrumentDefinition, buckets: readonly number[]) => void
export type HistogramTap = (definition: InstrumentDefinition, labels: Labels) => (value: number) => void

type AnyInstrument = Instrument<'counter'> | Instrument<'gauge'> | Instrument<'histogram'>

/**
 * The metrics of one Fastify instance: counters, gauges and histograms with bound cells, a cap on the series of each,
 * and exemplars. It knows no exporter; whoever prints it reads {@link MetricsRegistry.families} or a snapshot.
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
  /** What a collector threw, told to whoever cares; never to the scrape. */
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
   * The instrument of this definition; asked again, the same one.
   *
   * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` when the definition is not valid, or the name is taken by
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
      throw invalidOptions(`metric ${definition.name}`, [`the name is taken by a ${kind} with the labels ${labels.join(', ')}`])
    }
    return known as unknown as Instrument<D['kind'], D['labels'][number]>
  }

  /**
   * Calls the function before every reading: for gauges that show a number this process has at hand. It must be quick
   * and must not wait; reading a store belongs into a background poller.
   *
   * @returns stops it
   */
  onCollect (collector: () => void): () => void {
    this.#collectors.add(collector)
    return () => { this.#collectors.delete(collector) }
  }

  /**
   * @internal Tells of every instrument, those to come included. The watcher must not throw.
   *
   * @returns stops it
   */
  watch (watcher: InstrumentWatcher): () => void {
    for (const { definition, buckets } of this.#instruments.values()) watcher(definition, buckets)
    this.#watchers.add(watcher)
    return () => { this.#watchers.delete(watcher) }
  }

  /**
   * @internal Hears every value of every histogram one by one, from now on; `undefined` ends it.
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
   * @internal One round of forgetting, see {@link Instrument.sweep}.
   *
   * @returns how many series were forgotten
   */
  sweep (limit: number): number {
    let forgotten = 0
    for (const instrument of this.#instruments.values()) forgotten += instrument.sweep(limit)
    return forgotten
  }

  /** All families over their live series: for printing at once. Families without series are left out. */
  families (): MetricFamily[] {
    for (const collector of this.#collectors) {
      try { takeRejection(collector(), this.onCollectorError) } catch (error) { this.onCollectorError(error) }
    }
    const families: MetricFamily[] = []
    for (const { definition, buckets, cells } of [...this.#instruments.values()].map(describe)) {
      if (cells.length === 0) continue
      const { name, unit, description } = definition
      if (definition.kind === 'histogram') families.push({ name, unit, description, kind: 'histogram', buckets, points: cells as HistogramCell[] })
      else families.push({ name, unit, description, kind: definition.kind, points: cells as Array<CounterCell | GaugeCell> })
    }
    return families
  }

  /** A copy that stays as it is: for exporters that take their time. */
  snapshot (): MetricsSnapshot {
    return { startedAt: this.startedAt, takenAt: this.#now(), families: this.families().map(freeze) }
  }

  #make (definition: InstrumentDefinition): AnyInstrument {
    const dropped = (name: string): void => {
      // The counter of dropped series has a cap itself, and must not count its own overflow.
      if (name !== INSTRUMENTS.seriesDropped.name) this.instrument(INSTRUMENTS.seriesDropped).bind({ metric: name }).add()
    }
    const now = this.#exemplarClock
    const parts = { maxSeries: this.#maxSeries, now: this.#now, dropped }
    if (definition.kind === 'counter') return new Instrument<'counter'>(definition, [], { ...parts, make: (labels, home, startedAt) => new CounterCell(labels, home, now, startedAt) })
    if (definition.kind === 'gauge') return new Instrument<'gauge'>(definition, [], { ...parts, make: (labels, home, startedAt) => new GaugeCell(labels, home, startedAt) })
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

function describe (instrument: AnyInstrument): { definition: InstrumentDefinition, buckets: readonly number[], cells: ReadonlyArray<CounterCell | GaugeCell | HistogramCell> } {
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

function checkDefinition (definition: InstrumentDefinition): void {
  const problems: string[] = []
  if (!NAME.test(definition.name)) problems.push('a name starts with a letter and has letters, digits, "_", ".", "-", "/", at most 255')
  for (const label of definition.labels) {
    if (!LABEL.test(label) || label === 'le') problems.push(`"${label}" cannot be a label`)
  }
  if (new Set(definition.labels).size !== definition.labels.length) problems.push('a label is named twice')
  if (problems.length > 0) throw invalidOptions(`metric "${definition.name}"`, problems)
  if (definition.buckets !== undefined) checkBuckets(`metric "${definition.name}"`, definition.buckets)
}

function checkBuckets (where: string, buckets: readonly number[]): void {
  const ascending = buckets.every((bound, index) => Number.isFinite(bound) && (index === 0 || bound > (buckets[index - 1] as number)))
  if (buckets.length === 0 || !ascending) throw invalidOptions(where, ['buckets must be one or more finite numbers in ascending order'])
}
