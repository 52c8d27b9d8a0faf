import { cut } from '../core/text.ts'
import type { InstrumentDefinition, InstrumentKind } from './metric-catalogue/row.ts'
import type { Cell, CellHome, CounterCell, GaugeCell, HistogramCell } from './metric-cells.ts'
import type { Labels } from './snapshot.ts'

export type CellOf<K extends InstrumentKind> =
  K extends 'counter' ? CounterCell : K extends 'gauge' ? GaugeCell : HistogramCell

/** The labels of the series that takes every label set over the limit. OpenTelemetry has chosen the name. */
export const OVERFLOW_LABELS: Labels = Object.freeze({ otel_metric_overflow: 'true' })

/** A longer label value is cut: values are error codes and names of jobs, and those are short. */
const MAX_LABEL_LENGTH = 200

type MakeCell<K extends InstrumentKind> =
  (labels: Labels, home: CellHome<CellOf<K>>, startedAt: number | undefined) => CellOf<K>

/** @internal what a registry gives to its instruments */
interface InstrumentParts<K extends InstrumentKind> {
  readonly make: MakeCell<K>
  readonly maxSeries: number
  readonly now: () => number
  /** Counts a recording that went to the overflow series. */
  readonly dropped: (name: string) => void
}

/**
 * One metric: finds the cell of a label set. Call `bind` once per label set and keep the cell. A series that nothing is
 * recorded into for `metrics.retentionHours` is forgotten; when something is recorded into its cell after that, the
 * series appears again.
 */
export class Instrument<K extends InstrumentKind = InstrumentKind, L extends string = string>
implements CellHome<CellOf<K>> {
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

  /** How many series there are, without the overflow series. */
  get size (): number { return this.#cells.size }

  /** The cell of these labels, made on first use; over the limit of series the overflow cell ({@link isOverflow}). */
  bind (labels: Readonly<Record<L, string>>): CellOf<K> {
    const values = this.#values(labels)
    const key = values.join('\u0000')
    const known = this.#cells.get(key)
    if (known !== undefined) return known
    if (this.#cells.size >= this.#parts.maxSeries) return this.#overflowing()
    const own = Object.fromEntries(this.definition.labels.map((label, index) => [label, values[index] ?? '']))
    const cell = this.#make(Object.freeze(own))
    this.#cells.set(key, cell)
    return cell
  }

  /** As {@link bind}, for a series that is never forgotten, even when nothing is recorded into it. */
  keep (labels: Readonly<Record<L, string>>): CellOf<K> {
    const cell = this.bind(labels)
    const bound: Cell = cell
    if (!this.isOverflow(cell)) bound.kept = true
    return cell
  }

  /** True for the cell that takes every label set over the limit: do not cache it under one of them. */
  isOverflow (cell: CellOf<K>): boolean { return cell === this.#overflow }

  /** Forgets a series, so that a gauge stops showing what no longer exists. */
  remove (labels: Readonly<Record<L, string>>): boolean {
    const key = this.#values(labels).join('\u0000')
    const cell: Cell | undefined = this.#cells.get(key)
    if (cell === undefined) return false
    cell.idle = 1
    this.#forget([key])
    return true
  }

  /**
   * Finds the cell that a recording into a silent cell belongs to: itself, the cell that has its labels
   * now, or the overflow cell.
   */
  wake (cell: CellOf<K>): CellOf<K> {
    const waking: Cell = cell
    const key = this.definition.labels.map((label) => waking.labels[label]).join('\u0000')
    const known = this.#cells.get(key)
    if (known !== undefined && known !== cell) return known
    if (known === undefined) {
      // The cell still has its number, so the series continues from where it was when it was forgotten.
      if (this.#cells.size >= this.#parts.maxSeries) return this.#overflowing()
      this.#cells.set(key, cell)
    }
    waking.idle = 0
    return cell
  }

  /**
   * @internal Counts one more sweep for every series, and forgets those that were silent for more than `limit` sweeps.
   * A metric without labels has a single series and keeps it.
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
   * @internal Calls the function after series were forgotten. A cache of cells must drop those cells then.
   *
   * @returns a function that ends this
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
    // The number of a forgotten series may start again at 0. The start time lets a consumer that adds up see that.
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
      // Zero bytes separate the values in the key, so none may stand in a value. `cut` leaves no half of a character:
      // as UTF-8 all halves are the same, so two series would become one on the page, and the page would be invalid.
      return text.includes('\u0000') ? text.replaceAll('\u0000', '') : text
    })
  }
}
