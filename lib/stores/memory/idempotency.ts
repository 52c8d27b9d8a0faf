/** The idempotency keys that the memory store remembers. */
import type { IdempotencyClaim } from '../../jobs/job.ts'
import { LinkedList, type Listed } from '../../core/linked-list.ts'
import { JobHeap, type Heaped } from './heap.ts'

/** Jobs without an owner come from many clients: they share this many times what one owner has. */
const SHARED_TIMES = 10
/** Keys that one call forgets at most because their time is over. */
const STEPS = 100
/** About what one takes in the heap: its text, the entry, and its places in the map, the list and the heap. */
export const KEY_BYTES = 400

/** Keys take at most a quarter of all bytes that a store may take, so that there is room for jobs. */
export function maxKeysIn (maxBytes: number): number { return Math.max(1, Math.floor(maxBytes / 4 / KEY_BYTES)) }

/** An idempotency key. It does not point at its job, which may be forgotten before it. */
class Key implements Listed<Key>, Heaped {
  readonly key: string
  readonly fingerprint: string
  /** Of the job. */
  readonly id: string
  readonly owner: string | undefined
  /** Wall clock. */
  readonly expiresAt: number
  readonly turn: number
  list: LinkedList<Key> | undefined
  previous: Key | undefined
  next: Key | undefined
  heapPlace = -1

  constructor ({ key, fingerprint, ttlMs }: IdempotencyClaim, id: string, owner: string | undefined, now: number, turn: number) {
    this.key = key
    this.fingerprint = fingerprint
    this.id = id
    this.owner = owner
    this.expiresAt = now + ttlMs
    this.turn = turn
  }
}

/** The keys of one owner, in the order in which they came. */
class Owned implements Heaped {
  readonly keys = new LinkedList<Key>()
  readonly turn: number
  heapPlace = -1

  constructor (turn: number) {
    this.turn = turn
  }
}

/**
 * The idempotency keys that are remembered, each for its own time, whatever becomes of its job. A client that makes
 * very many loses its own oldest; it cannot end the promise made to another. When all together are too many, the
 * owner who has the most loses its oldest.
 */
export class IdempotencyKeys {
  readonly #maxPerOwner: number
  readonly #max: number
  readonly #keys = new Map<string, Key>()
  readonly #owned = new Map<string | undefined, Owned>()
  readonly #byMost = new JobHeap<Owned>((a, b) => a.keys.size === b.keys.size ? a.turn < b.turn : a.keys.size > b.keys.size)
  readonly #byEnd = new JobHeap<Key>((a, b) => a.expiresAt === b.expiresAt ? a.turn < b.turn : a.expiresAt < b.expiresAt)
  #turns = 0

  constructor (maxPerOwner: number, max: number) {
    this.#maxPerOwner = maxPerOwner
    this.#max = max
  }

  get size (): number { return this.#keys.size }

  find (key: string, now: number): { readonly id: string, readonly fingerprint: string } | undefined {
    const found = this.#keys.get(key)
    return found === undefined || found.expiresAt <= now ? undefined : found
  }

  add (claim: IdempotencyClaim, id: string, owner: string | undefined, now: number): void {
    this.#sweep(now)
    const old = this.#keys.get(claim.key)
    if (old !== undefined) this.#drop(old)
    const key = new Key(claim, id, owner, now, this.#turns++)
    this.#keys.set(key.key, key)
    this.#byEnd.push(key)
    const owned = this.#owned.get(owner) ?? new Owned(this.#turns++)
    this.#owned.set(owner, owned)
    owned.keys.push(key)
    this.#rank(owned)
    const most = owner === undefined ? this.#maxPerOwner * SHARED_TIMES : this.#maxPerOwner
    const over = owned.keys.size > most ? owned : this.#keys.size > this.#max ? this.#byMost.top : undefined
    if (over?.keys.head !== undefined) this.#drop(over.keys.head)
  }

  /** The key is free again, if it is still this job's. */
  free (key: string, id: string): void {
    const found = this.#keys.get(key)
    if (found?.id === id) this.#drop(found)
  }

  clear (): void {
    this.#keys.clear()
    this.#owned.clear()
    for (let owned = this.#byMost.pop(); owned !== undefined; owned = this.#byMost.pop()) { /* none is left */ }
    for (let key = this.#byEnd.pop(); key !== undefined; key = this.#byEnd.pop()) { /* none is left */ }
  }

  #sweep (now: number): void {
    for (let step = 0; step < STEPS; step++) {
      const first = this.#byEnd.top
      if (first === undefined || first.expiresAt > now) return
      this.#drop(first)
    }
  }

  #drop (key: Key): void {
    this.#keys.delete(key.key)
    this.#byEnd.remove(key)
    const owned = this.#owned.get(key.owner)
    if (owned === undefined) return
    owned.keys.remove(key)
    this.#rank(owned)
    if (owned.keys.size === 0) this.#owned.delete(key.owner)
  }

  #rank (owned: Owned): void {
    this.#byMost.remove(owned)
    if (owned.keys.size > 0) this.#byMost.push(owned)
  }
}
