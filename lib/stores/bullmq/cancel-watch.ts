/** Stops running attempts whose jobs were cancelled by another process. */
import type { Backend } from './internals.ts'
import type { Running } from './running.ts'

/**
 * How many jobs that are to run again are remembered, for a cancel that comes a moment after their attempt has ended.
 */
const REMEMBERED = 200

export interface CancelWatchParts {
  readonly running: (id: string) => Running | undefined
  /** Asks the server which of these jobs somebody has asked to stop. */
  readonly asked: (ids: readonly string[]) => Promise<unknown>
  readonly backend: () => Backend
  /** Runs what may throw. */
  readonly guard: (act: () => unknown) => void
}

/**
 * Stops attempts of this process whose jobs were cancelled. What a channel says is a hint and no command: anybody who
 * may publish can say it, and messages can be missed. The server knows, so it is asked.
 */
export class CancelWatch {
  readonly #parts: CancelWatchParts
  readonly #recent = new Set<string>()

  constructor (parts: CancelWatchParts) {
    this.#parts = parts
  }

  /** A message says that a job was cancelled. */
  hinted (id: string): void {
    if (this.#recent.has(id) || this.#parts.running(id)?.cancelAsked === false) this.check([id])
  }

  /** Stops those attempts whose jobs somebody has asked to stop. */
  check (ids: readonly string[]): void {
    this.#parts.asked(ids).then((asked) => {
      if (Array.isArray(asked)) for (const id of asked) this.#cancelled(String(id))
    }, () => { /* the next renewal of the leases asks again */ })
  }

  /**
   * An attempt ended, and its job is to be run again: a cancel may have found it running, and the attempt not have
   * heard of it.
   */
  toBeRunAgain ({ id, cancelAsked, undo }: Running): void {
    // It waits between two tries to undo something, or the script of the cancel wakes it.
    if (undo) return
    if (cancelAsked) return this.#hasten(id)
    this.#recent.add(id)
    if (this.#recent.size <= REMEMBERED) return
    const [oldest] = this.#recent
    if (oldest !== undefined) this.#recent.delete(oldest)
  }

  #cancelled (id: string): void {
    const running = this.#parts.running(id)
    if (running !== undefined) this.#parts.guard(() => running.abort('cancelled'))
    else if (this.#recent.delete(id)) this.#hasten(id)
  }

  /**
   * The job was cancelled during its backoff. Promote it, so that a worker claims it at once and ends it as
   * cancelled.
   */
  #hasten (id: string): void {
    this.#parts.backend().promote(id).catch(() => { /* it is not scheduled, and so claimed soon */ })
  }
}
