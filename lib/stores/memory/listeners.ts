/** Calls the listeners of the memory store for each change of a job. */
import type { Context } from '../../core/context.ts'
import type { JobProgress, JobUpdate } from '../../jobs/job.ts'
import type { StoredJob } from './record.ts'

/** The listeners that are called for each change. One that throws does no harm to the job. */
export class Listeners {
  readonly #context: Context
  readonly #listeners = new Set<{ readonly hear: (update: JobUpdate) => void }>()

  constructor (context: Context) {
    this.#context = context
  }

  /** @returns stops the listening */
  add (hear: (update: JobUpdate) => void): () => void {
    const listener = { hear }
    this.#listeners.add(listener)
    return () => { this.#listeners.delete(listener) }
  }

  publish ({ id, state }: StoredJob, progress?: JobProgress): void {
    if (this.#listeners.size === 0) return
    const update: JobUpdate = progress === undefined ? { id, state } : { id, state, progress }
    for (const { hear } of this.#listeners) {
      try { hear(update) } catch (error) { this.#context.logger.debug({ err: error }, 'a listener for job updates threw') }
    }
  }

  clear (): void { this.#listeners.clear() }
}
