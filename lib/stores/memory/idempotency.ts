import type { IdempotencyClaim } from '../../jobs/job.ts'
import { LinkedList, type Listed } from '../../core/linked-list.ts'
import { JobHeap, type Heaped } from './heap.ts'

/** Jobs without an owner come from many clients: they share this many times what one owner has. */
const SHARED_TIMES = 10
/** Keys that one call forgets at most because their time is over. */
const STEPS = 100
/** About what one takes in the heap: its text, the entry, and its places in the map, the list and the heap. */
export const KEY_BYTES = 400

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

/**
 * The idempotency keys that are remembered, each for its own time, whatever becomes of its job. A client that makes very
 * many loses its own oldest; it cannot end the promise made to another.
 */
export class IdempotencyKeys {
  readonly #maxPerOwner: number
  readonly #keys = new Map<string, Key>()
  readonly #owned = new Map<string | undefined, LinkedList<Key>>()
  readonly #byEnd = new JobHeap<Key>((a, b) => a.expiresAt === b.expiresAt ? a.turn < b.turn : a.expiresAt < b.expiresAt)
  #turns = 0

  constructor (maxPerOwner: number) {
    this.#maxPerOwner = maxPerOwner
  }

  get size (): number { return this.#keys.size }

  find (key: string, now: number): { readonly id: string, readonly fingerprint: string } | undefined {
    this.#sweep(now)
    const found = this.#keys.get(key)
    return found === undefined || found.expiresAt <= now ? undefined : found
  }

  add (claim: IdempotencyClaim, id: string, owner: string | undefined, now: number): void {
    const old = this.#keys.get(claim.key)
    if (old !== undefined) this.#drop(old)
    const key = new Key(claim, id, owner, now, this.#turns++)
    this.#keys.set(key.key, key)
    this.#byEnd.push(key)
    let owned = this.#owned.get(owner)
    if (owned === undefined) {
      owned = new LinkedList()
      this.#owned.set(owner, owned)
    }
    owned.push(key)
    if (owned.size > (owner === undefined ? this.#maxPerOwner * SHARED_TIMES : this.#maxPerOwner) && owned.head !== undefined) this.#drop(owned.head)
  }

  /** The key is free again, if it is still this job's. */
  free (key: string, id: string): void {
    const found = this.#keys.get(key)
    if (found?.id === id) this.#drop(found)
  }

  clear (): void {
    this.#keys.clear()
    this.#owned.clear()
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
    const { list, owner } = key
    list?.remove(key)
    if (list?.size === 0) this.#owned.delete(owner)
  }
}
