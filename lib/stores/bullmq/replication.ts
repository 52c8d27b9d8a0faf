/** Waits until a replica has confirmed what was submitted. */
import { notReplicated } from './errors.ts'
import type { Client } from './internals.ts'

/**
 * Waits until a replica has what was written before. One WAIT is under way at a time, and holds for all who come
 * before it is sent: however many submissions there are, each waits for two round trips to the replica at most.
 *
 * The connection must never send a WAIT a second time: after a failover the new primary would confirm what it never
 * had.
 */
export class Replication {
  readonly #client: Client
  readonly #waitMs: number
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined

  constructor (client: Client, waitMs: number) {
    this.#client = client
    this.#waitMs = waitMs
  }

  /** @throws {AsyncEndpointsError} `FAE_STORE_UNAVAILABLE` when no replica confirmed in time */
  confirm (): Promise<void> {
    if (this.#running === undefined) return this.#start()
    this.#next ??= this.#running.then(() => this.#startNext(), () => this.#startNext())
    return this.#next
  }

  #startNext (): Promise<void> {
    this.#next = undefined
    return this.#start()
  }

  #start (): Promise<void> {
    const running = this.#wait().finally(() => { if (this.#running === running) this.#running = undefined })
    this.#running = running
    return running
  }

  async #wait (): Promise<void> {
    if (Number(await this.#client.wait(1, this.#waitMs)) < 1) throw notReplicated(this.#waitMs)
  }
}
