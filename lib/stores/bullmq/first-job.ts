/**
 * Lets the first job of a queue that was empty begin sooner. After a claim that brought a job BullMQ's worker claims
 * again at once, to fill its slots, and begins the job only when it has that answer. Where the queue was empty
 * before, the second claim nearly always finds it empty again: the job would wait a whole round trip for nothing. So
 * the second claim is answered here, with "no job", and the worker begins the first job and then blocks. It does not
 * miss a job that way: the script that hands out a job puts the marker back that wakes a blocked worker, which claims
 * again.
 *
 * ```
 * filling ──empty answer──▶ idle ──job──▶ woken ──(second claim answered here | the job began)──▶ filling
 * ```
 */
export class FirstJob {
  #state: 'filling' | 'idle' | 'woken' = 'filling'

  /** The server answered a claim. */
  claimed (found: boolean): void {
    this.#state = !found ? 'idle' : this.#state === 'idle' ? 'woken' : 'filling'
  }

  /** The worker begins a job. */
  began (): void {
    if (this.#state === 'woken') this.#state = 'filling'
  }

  /** @returns whether a claim has to make way, which happens once for each time that the queue was empty */
  goesFirst (): boolean {
    if (this.#state !== 'woken') return false
    this.#state = 'filling'
    return true
  }
}
