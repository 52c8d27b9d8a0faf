/**
 * A map for entries that come and go by the thousand, as jobs under way do. V8 gives a map that is full a new table, and
 * the old one keeps its entries and a pointer to the new one. Once an old table has reached the old generation of the
 * heap, dead or not, every later one survives through it, and so does all that was under way at each change of tables,
 * until the next full collection: pauses four times as long, for nothing. Here a table holds boxes, and the box of what
 * has gone is empty.
 */
export class ChurnMap<K, V extends object> {
  readonly #boxes = new Map<K, Box<V>>()

  get size (): number { return this.#boxes.size }

  get (key: K): V | undefined { return this.#boxes.get(key)?.value }

  has (key: K): boolean { return this.#boxes.has(key) }

  set (key: K, value: V): void {
    const box = this.#boxes.get(key)
    if (box === undefined) this.#boxes.set(key, { value })
    else box.value = value
  }

  delete (key: K): boolean {
    const box = this.#boxes.get(key)
    if (box === undefined) return false
    box.value = undefined
    return this.#boxes.delete(key)
  }

  /** What is in it now: it may change while one looks at them. */
  values (): V[] {
    return [...this.#boxes.values()].flatMap(({ value }) => value === undefined ? [] : [value])
  }
}

interface Box<V> { value: V | undefined }
