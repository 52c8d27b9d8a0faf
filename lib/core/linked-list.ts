/** What an entry of a {@link LinkedList} carries for it. */
export interface Listed<T extends Listed<T>> {
  list: LinkedList<T> | undefined
  previous: T | undefined
  next: T | undefined
}

/**
 * A doubly linked list through the entries themselves: adding, taking and removing from the middle cost the same with
 * three of them and with a million, and nothing is left behind. An entry is in one list at most.
 */
export class LinkedList<T extends Listed<T>> {
  #head: T | undefined
  #tail: T | undefined
  #size = 0

  get head (): T | undefined { return this.#head }
  get size (): number { return this.#size }

  push (entry: T): void {
    entry.list = this
    entry.previous = this.#tail
    if (this.#tail === undefined) this.#head = entry
    else this.#tail.next = entry
    this.#tail = entry
    this.#size++
  }

  remove (entry: T): void {
    if (entry.list !== this) return
    if (entry.previous === undefined) this.#head = entry.next
    else entry.previous.next = entry.next
    if (entry.next === undefined) this.#tail = entry.previous
    else entry.next.previous = entry.previous
    // An old entry that still pointed at its neighbour would keep it from being collected.
    entry.list = undefined
    entry.previous = undefined
    entry.next = undefined
    this.#size--
  }

  shift (): T | undefined {
    const entry = this.#head
    if (entry !== undefined) this.remove(entry)
    return entry
  }
}
