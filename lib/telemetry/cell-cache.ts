import type { InstrumentKind } from './metric-catalogue/row.ts'
import type { CellOf, Instrument } from './instrument.ts'

/**
 * Cells by their label values, in nested maps: finding one costs about 10 ns per label, where building and hashing a
 * key costs about 300. The cache holds no more cells than the instrument: the overflow cell is never kept under a
 * label set.
 */
export class CellCache<K extends InstrumentKind> {
  readonly #instrument: Instrument<K, string>
  readonly #keys: readonly string[]
  readonly #one = new Map<string, CellOf<K>>()
  readonly #two = new Map<string, Map<string, CellOf<K>>>()
  readonly #three = new Map<string, Map<string, Map<string, CellOf<K>>>>()

  /** Does not yet hear of series that are forgotten; see {@link CellCache.of}. */
  constructor (instrument: Instrument<K, string>) {
    this.#instrument = instrument
    this.#keys = instrument.definition.labels
  }

  /** Makes a cache that lets go of the cells that its instrument forgets. */
  static of<K extends InstrumentKind> (instrument: Instrument<K, string>): CellCache<K> {
    const cache = new CellCache(instrument)
    instrument.onForget(() => { cache.clear() })
    return cache
  }

  /** Drops every cell, not only the forgotten ones: that is rare, and the others are back with their next recording. */
  clear (): void {
    this.#one.clear()
    this.#two.clear()
    this.#three.clear()
  }

  at (a: string): CellOf<K> {
    const known = this.#one.get(a)
    if (known !== undefined) return known
    const cell = this.#bind([a])
    if (this.#keeps(cell, [a])) this.#one.set(a, cell)
    return cell
  }

  at2 (a: string, b: string): CellOf<K> {
    const known = this.#two.get(a)?.get(b)
    if (known !== undefined) return known
    const cell = this.#bind([a, b])
    if (this.#keeps(cell, [a, b])) child(this.#two, a).set(b, cell)
    return cell
  }

  at3 (a: string, b: string, c: string): CellOf<K> {
    const known = this.#three.get(a)?.get(b)?.get(c)
    if (known !== undefined) return known
    const cell = this.#bind([a, b, c])
    if (this.#keeps(cell, [a, b, c])) child(child(this.#three, a), b).set(c, cell)
    return cell
  }

  /** Not the overflow cell, nor one whose values were cut or cleaned: any number of label sets lead to those. */
  #keeps (cell: CellOf<K>, values: readonly string[]): boolean {
    return !this.#instrument.isOverflow(cell) && this.#keys.every((key, index) => cell.labels[key] === values[index])
  }

  #bind (values: readonly string[]): CellOf<K> {
    return this.#instrument.bind(Object.fromEntries(this.#keys.map((key, index) => [key, values[index] ?? ''])))
  }
}

function child<V> (map: Map<string, Map<string, V>>, key: string): Map<string, V> {
  let inner = map.get(key)
  if (inner === undefined) map.set(key, inner = new Map())
  return inner
}
