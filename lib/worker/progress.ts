import type { Clock, TimerHandle } from '../core/context.ts'
import { singleLine } from '../core/text.ts'
import type { JobProgress } from '../jobs/job.ts'

const INTERVAL_MS = 250
const MAX_MESSAGE = 500

/**
 * Writes a handler's progress to the store, at most four times a second. The last report is never lost, because the
 * attempt flushes before it is settled.
 */
export class ProgressReporter {
  readonly #clock: Clock
  readonly #store: (progress: JobProgress) => Promise<void>
  readonly #clean: (text: string) => string
  #pending: JobProgress | undefined
  #timer: TimerHandle | undefined
  #writing: Promise<void> | undefined
  #lastAt = Number.NEGATIVE_INFINITY
  #closed = false

  /**
   * @param store writes a report; must not reject: a lost report is no reason to fail a job
   * @param clean removes from a message what must not be stored, because clients read it
   */
  constructor (clock: Clock, store: (progress: JobProgress) => Promise<void>, clean: (text: string) => string) {
    this.#clock = clock
    this.#store = store
    this.#clean = clean
  }

  report (progress: JobProgress | number): void {
    if (this.#closed) return
    this.#pending = normalize(progress)
    if (this.#timer !== undefined || this.#writing !== undefined) return
    const wait = this.#lastAt + INTERVAL_MS - this.#clock.monotonic()
    if (wait <= 0) this.#write()
    else this.#timer = this.#clock.setTimeout(() => { this.#timer = undefined; this.#write() }, wait)
  }

  /** Writes the last report; later ones are ignored. */
  async flush (): Promise<void> {
    this.#closed = true
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
    await this.#writing
    if (this.#pending !== undefined) this.#write()
    await this.#writing
  }

  /** Drops the last report, and ignores later ones: the lease is lost, or the attempt is over. */
  discard (): void {
    this.#closed = true
    this.#pending = undefined
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #write (): void {
    const progress = this.#pending
    if (progress === undefined) return
    this.#pending = undefined
    this.#lastAt = this.#clock.monotonic()
    // Here and not in `report`: most reports are never written.
    if (progress.message !== undefined) progress.message = singleLine(progress.message, MAX_MESSAGE, this.#clean)
    this.#writing = this.#store(progress).finally(() => {
      this.#writing = undefined
      if (this.#pending !== undefined && !this.#closed) this.report(this.#pending)
    })
  }
}

/**
 * A number alone is a percentage. Members of a wrong type are left out and not refused: no job is to fail because of
 * its progress.
 */
function normalize (progress: JobProgress | number): JobProgress {
  if (typeof progress === 'number') return { done: finite(progress), total: 100 }
  if (typeof progress !== 'object' || progress === null) return {}
  const clean: JobProgress = {}
  if (finite(progress.done) !== undefined) clean.done = progress.done
  if (finite(progress.total) !== undefined) clean.total = progress.total
  if (typeof progress.message === 'string') clean.message = progress.message
  return clean
}

function finite (value: number | undefined): number | undefined {
  return Number.isFinite(value) ? value : undefined
}
