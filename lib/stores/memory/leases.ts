/** All leases of one memory store: which are renewed, which have run out. */
import { LinkedList } from '../../core/linked-list.ts'
import type { Lease } from './record.ts'

/** Renewed when this share of a lease is gone; two renewals may fail to happen before it runs out. */
const RENEW_AT = 1 / 3

export class Leases {
  readonly durationMs: number
  /** Not a Set: with entries that come and go by the million, V8 keeps the dead ones until a full collection. */
  readonly #all = new LinkedList<Lease>()

  constructor (durationMs: number) {
    this.durationMs = durationMs
  }

  /** How soon after a claim its lease is to be looked at. */
  get renewAfterMs (): number { return this.durationMs * RENEW_AT }

  add (lease: Lease): void { this.#all.push(lease) }
  remove (lease: Lease): void { this.#all.remove(lease) }
  shift (): Lease | undefined { return this.#all.shift() }

  /** The ids of the jobs of a queue whose leases have run out. @param now monotonic, as all moments here */
  runOut (queue: string, now: number): string[] {
    const ids: string[] = []
    for (let lease = this.#all.head; lease !== undefined; lease = lease.next) {
      if (lease.job.queue === queue && lease.until <= now) ids.push(lease.job.id)
    }
    return ids
  }

  /** Renews the leases of consumers that are there, gives those that ran out to `lose`. Returns when to look again. */
  tend (from: number, lose: (lease: Lease) => void): number {
    const restMs = this.durationMs - this.renewAfterMs
    let nextMs = Infinity
    let after: Lease | undefined
    for (let lease = this.#all.head; lease !== undefined; lease = after) {
      after = lease.next
      // A consumer that is there and did not renew was kept from it by a blocked event loop, which it shares with
      // this store.
      if (!lease.abandoned && !lease.holder.closed) {
        if (lease.until - from <= restMs) lease.until = from + this.durationMs
        nextMs = Math.min(nextMs, lease.until - from - restMs)
      } else if (lease.until <= from) lose(lease)
      else nextMs = Math.min(nextMs, lease.until - from)
    }
    return nextMs
  }
}
