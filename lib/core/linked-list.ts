/** The members that an entry of a {@link LinkedList} needs. */
export interface Listed<T extends Listed<T>> {
  list: LinkedList<T> | undefined
  previous: T | undefined
  next: T | undefined
}

/**
 * A doubly linked list whose links are members of the entries. Adding an entry, taking the first one and removing one
 * from the middle take constant time and allocate nothing. An entry can be in one list at a time.
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
    // A removed entry that still pointed to its neighbours would keep them in memory.
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
