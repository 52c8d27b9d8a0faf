/**
 * A map whose entries come and go by the thousand, such as the running jobs. When a Map is full, V8 gives it a new
 * table, and the old table keeps its entries and a pointer to the new one. Once an old table has moved to the old
 * generation of the heap, it keeps all later tables alive, with everything that was in them, until the next full
 * collection: garbage collection pauses get four times as long. In this map the tables hold boxes, and the box of a
 * deleted entry is emptied.
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

  /** A copy of the current values, so that the map may change while a caller walks through them. */
  values (): V[] {
    return [...this.#boxes.values()].flatMap(({ value }) => value === undefined ? [] : [value])
  }
}

interface Box<V> { value: V | undefined }
