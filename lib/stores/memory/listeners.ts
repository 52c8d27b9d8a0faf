/** The feeds of the memory store: who hears of changes of which job. */
import type { Context } from '../../core/context.ts'
import type { JobPlace, JobProgress, JobUpdate } from '../../jobs/job.ts'
import type { FeedListener, JobFeed } from '../../jobs/store.ts'
import type { StoredJob } from './record.ts'

/** The feeds by the jobs that they follow. A listener that throws does no harm to the job. */
export class Listeners {
  readonly #context: Context
  readonly #followers = new Map<string, Set<FeedListener>>()

  constructor (context: Context) {
    this.#context = context
  }

  listen (listener: FeedListener): JobFeed {
    // An object of its own, so that one listener given twice is two feeds.
    const own: FeedListener = { changed: (update) => listener.changed(update), missed: () => listener.missed() }
    const followed = new Set<string>()
    let closed = false
    const unfollow = (id: string): void => {
      if (!followed.delete(id)) return
      const followers = this.#followers.get(id)
      followers?.delete(own)
      if (followers?.size === 0) this.#followers.delete(id)
    }
    return {
      follow: async ({ id }: JobPlace) => {
        if (closed) return
        followed.add(id)
        const followers = this.#followers.get(id)
        if (followers === undefined) this.#followers.set(id, new Set([own]))
        else followers.add(own)
      },
      unfollow: ({ id }) => unfollow(id),
      close: () => {
        closed = true
        for (const id of followed) unfollow(id)
      }
    }
  }

  /** Counts a stored change of a job, and publishes it. `progress`: nothing else has changed. */
  publish (job: StoredJob, progress?: JobProgress): void {
    job.version++
    if (this.#followers.size === 0) return
    const { id, state, version } = job
    this.#publish(progress === undefined ? { id, state, version } : { id, state, version, progress })
  }

  /** The job is not stored any more. */
  removed (id: string): void { if (this.#followers.size > 0) this.#publish({ id }) }

  #publish (update: JobUpdate): void {
    const followers = this.#followers.get(update.id)
    if (followers === undefined) return
    for (const follower of [...followers]) {
      try { follower.changed(update) } catch (error) { this.#context.logger.debug({ err: error }, 'a listener for job updates threw') }
    }
  }

  clear (): void { this.#followers.clear() }
}
