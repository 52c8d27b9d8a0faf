/** How changes of jobs reach those in this process who wait for them. */
import type { Clock, TimerHandle } from '../core/context.ts'
import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobPlace, JobProgress, JobRecord, JobUpdate } from '../jobs/job.ts'
import { isTerminal } from '../jobs/states.ts'
import { MAX_MANY, type JobFeed, type JobStore } from '../jobs/store.ts'

/** The decorator that holds the backbone. A symbol, so that it cannot collide with a decorator of the application. */
export const BACKBONE: unique symbol = Symbol.for('fastify-async-endpoints.backbone')

/** Between the beginnings of two reads: what changes in this time is read together. */
const PACE_MS = 10
/** A store that did not answer is asked again after this. */
const RETRY_MS = 1_000
/** Messages can be lost without a sign: every watched job is read this often, sooner or later by a fifth. */
const SWEEP_MS = 30_000

/** What a watcher hears of its job, always newer than what it has heard before. */
export type JobNews =
  /** The job as the store has it now. */
  | { readonly kind: 'job', readonly job: JobRecord }
  /** Nothing but the progress has changed; the job is in progress. */
  | { readonly kind: 'progress', readonly id: string, readonly version: number, readonly progress: JobProgress }
  /** The job is not stored any more: it was removed, or has expired. The watcher hears nothing after that. */
  | { readonly kind: 'gone', readonly id: string }

export interface WatchOptions {
  /** The `version` of the job as the watcher knows it: it hears only what is newer. Absent: it knows nothing. */
  readonly since?: number | undefined
  /** `'end'`: only the end of the job is of interest, and that it is gone. @defaultValue 'all' */
  readonly interest?: 'all' | 'end' | undefined
}

interface Watcher {
  readonly hear: (news: JobNews) => void
  readonly interest: 'all' | 'end'
  /** Of the newest record that it has heard. */
  record: number
  /** Of the newest news of any kind. */
  version: number
  /** What that was when the present read began; `undefined`: it was not watching then. */
  before: number | undefined
}

interface Watched extends Due {
  readonly watchers: Set<Watcher>
  /** Changes are heard from now on, so that a read after this misses nothing. */
  followed: boolean
  /** It is known to be in progress, and so may be shown with a new progress without a read. */
  running: boolean
}

/** A job that is to be read. */
interface Due {
  readonly place: JobPlace
  /** The read begins. */
  asked? (): void
  /** It was read; `undefined`: it is not stored. */
  shown (job: JobRecord | undefined): void
  /** It could not be read. */
  failed (error: unknown): void
}

export interface BackboneParts {
  readonly store: Pick<JobStore, 'listen' | 'getMany'>
  readonly clock: Clock
  /** @defaultValue Math.random */
  readonly random?: () => number
}

/**
 * Shares one feed of the store among everybody in this process who watches a job. A message of the feed is only a
 * sign that a job has changed: the jobs are then read, many at once, so that ten thousand watchers cost one
 * connection and few reads, and nobody sees an older state after a newer one.
 *
 * A job is read when it is followed, when a message says that it has changed, when messages may have been missed, and
 * on a slow sweep.
 */
export class Backbone {
  readonly #store: BackboneParts['store']
  readonly #clock: Clock
  readonly #random: () => number
  readonly #watched = new Map<string, Watched>()
  /** To be read. */
  readonly #due = new Set<Due>()
  #feed: JobFeed | undefined
  #timer: TimerHandle | undefined
  #sweep: TimerHandle | undefined
  #reading = false
  #nextRead = -Infinity
  #closed = false

  constructor ({ store, clock, random = Math.random }: BackboneParts) {
    this.#store = store
    this.#clock = clock
    this.#random = random
  }

  /** The number of jobs that are watched. */
  get size (): number { return this.#watched.size }

  /**
   * Watches a job. The listener hears the job as it is now, unless that is known (`since`), and every change from then
   * on, except those that a newer one overtakes; never during this call. It must not throw. While the store is away it
   * hears nothing, and everything of importance when the store is back.
   *
   * @returns a function that stops watching
   */
  watch (
    place: JobPlace, hear: (news: JobNews) => void, { since = -1, interest = 'all' }: WatchOptions = {}
  ): () => void {
    if (this.#closed) return () => {}
    const watcher: Watcher = { hear, interest, record: since, version: since, before: undefined }
    let watched = this.#watched.get(place.id)
    if (watched === undefined) {
      watched = this.#begin(place)
    } else if (watched.followed) this.#read(watched)
    watched.watchers.add(watcher)
    const entry = watched
    return () => {
      entry.watchers.delete(watcher)
      if (entry.watchers.size === 0 && this.#watches(entry)) this.#forget(entry)
    }
  }

  /**
   * Reads a job once, together with what else is to be read.
   *
   * @returns `undefined`: it is not stored
   * @throws {AsyncEndpointsError} `FAE_STORE_UNAVAILABLE`, `FAE_CLOSED`
   */
  async read (place: JobPlace): Promise<JobRecord | undefined> {
    return await new Promise((resolve, reject) => {
      if (this.#closed) reject(new AsyncEndpointsError('FAE_CLOSED', 'The application is closing'))
      else this.#read({ place, shown: resolve, failed: reject })
    })
  }

  /** Nobody hears anything from now on. */
  close (): void {
    this.#closed = true
    this.#watched.clear()
    for (const due of this.#due) due.failed(new AsyncEndpointsError('FAE_CLOSED', 'The application is closing'))
    this.#due.clear()
    this.#idle()
    this.#feed?.close()
    this.#feed = undefined
  }

  #begin (place: JobPlace): Watched {
    const watched: Watched = {
      place: { id: place.id, queue: place.queue },
      watchers: new Set(),
      followed: false,
      running: false,
      shown: (job) => { if (this.#watches(watched)) this.#show(watched, job) },
      asked: () => { for (const watcher of watched.watchers) watcher.before = watcher.version },
      // Nothing was heard of it: it is still to be read.
      failed: () => { if (this.#watches(watched)) this.#due.add(watched) }
    }
    this.#watched.set(place.id, watched)
    this.#follow(watched)
    return watched
  }

  #watches (watched: Watched): boolean { return this.#watched.get(watched.place.id) === watched }

  #follow (watched: Watched): void {
    this.#feed ??= this.#store.listen({
      changed: (update) => this.#changed(update),
      missed: () => this.#readAll()
    })
    this.#sweep ??= this.#clock.setTimeout(this.#onSweep, this.#sweepMs())
    this.#feed.follow(watched.place).then(() => {
      if (!this.#watches(watched)) return
      watched.followed = true
      this.#read(watched)
    }, () => { /* the feed says that changes were missed when it hears again, and the sweep reads in any case */ })
  }

  #forget (watched: Watched): void {
    this.#watched.delete(watched.place.id)
    this.#due.delete(watched)
    this.#feed?.unfollow(watched.place)
    if (this.#watched.size === 0) this.#idle()
  }

  /** With nobody to hear and nothing to read there is no timer. */
  #idle (): void {
    if (this.#sweep !== undefined) this.#clock.clearTimeout(this.#sweep)
    this.#sweep = undefined
    if (this.#due.size > 0) return
    if (this.#timer !== undefined) this.#clock.clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #changed ({ id, state, version, progress }: JobUpdate): void {
    const watched = this.#watched.get(id)
    if (watched === undefined) return
    if (progress !== undefined && version !== undefined) {
      this.#showProgress(watched, { kind: 'progress', id, version, progress })
      if (watched.running) return
    }
    const over = state === undefined || isTerminal(state)
    if (over || [...watched.watchers].some(({ interest }) => interest === 'all')) this.#read(watched)
  }

  #showProgress ({ watchers }: Watched, news: JobNews & { kind: 'progress' }): void {
    for (const watcher of [...watchers]) {
      if (watcher.interest === 'end' || news.version <= watcher.version) continue
      watcher.version = news.version
      watcher.hear(news)
    }
  }

  #readAll (): void {
    for (const watched of this.#watched.values()) {
      watched.followed = true
      this.#due.add(watched)
    }
    this.#wake()
  }

  readonly #onSweep = (): void => {
    this.#sweep = this.#clock.setTimeout(this.#onSweep, this.#sweepMs())
    for (const watched of this.#watched.values()) this.#due.add(watched)
    this.#wake()
  }

  #sweepMs (): number { return SWEEP_MS * (0.8 + this.#random() * 0.4) }

  #read (due: Due): void {
    this.#due.add(due)
    this.#wake()
  }

  #wake (): void {
    if (this.#reading || this.#timer !== undefined || this.#due.size === 0) return
    const waitMs = this.#nextRead - this.#clock.monotonic()
    if (waitMs > 0) {
      this.#timer = this.#clock.setTimeout(this.#onTimer, waitMs)
      return
    }
    this.#reading = true
    // Not at once: the caller is not to hear anything before its call has returned.
    queueMicrotask(this.#onTimer)
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined
    this.#reading = true
    this.#nextRead = this.#clock.monotonic() + PACE_MS
    const batch = this.#takeDue()
    this.#store.getMany(batch.map(({ place }) => place)).then((jobs) => {
      batch.forEach((due, at) => due.shown(jobs[at]))
    }, (error: unknown) => {
      this.#nextRead = this.#clock.monotonic() + RETRY_MS
      for (const due of batch) due.failed(error)
    }).finally(() => {
      this.#reading = false
      this.#wake()
    })
  }

  #takeDue (): Due[] {
    const batch: Due[] = []
    for (const due of this.#due) {
      if (batch.push(due) === MAX_MANY) break
    }
    for (const due of batch) {
      this.#due.delete(due)
      due.asked?.()
    }
    return batch
  }

  #show (watched: Watched, job: JobRecord | undefined): void {
    watched.running = job?.state === 'in-progress'
    let overtaken = false
    for (const watcher of [...watched.watchers]) {
      if (job === undefined) {
        watched.watchers.delete(watcher)
        watcher.hear({ kind: 'gone', id: watched.place.id })
        continue
      }
      const version = job.version ?? watcher.version + 1
      // What it knows was there before the read: the store has lost changes (a failover), and counts from there again.
      if (watcher.before !== undefined && version < watcher.before) watcher.record = watcher.version = version - 1
      if (version < watcher.version) overtaken = true
      else if (version > watcher.record && (watcher.interest === 'all' || isTerminal(job.state))) {
        watcher.record = watcher.version = version
        watcher.hear({ kind: 'job', job })
      }
    }
    // A progress that is newer than this read was shown meanwhile.
    if (overtaken) this.#read(watched)
    if (watched.watchers.size === 0 && this.#watches(watched)) this.#forget(watched)
  }
}

/** @throws `FST_ERR_DEC_UNDECLARED` of Fastify when the plugin of the job store is not registered in this context */
export function backboneOf (app: { getDecorator<T> (name: symbol): T }): Backbone {
  return app.getDecorator<Backbone>(BACKBONE)
}
