/** The wrapper that emits an event for every operation of every store, so that no store knows of telemetry. */
import type { Context } from '../core/context.ts'
import { isAsyncEndpointsError, ownMessage } from '../core/errors.ts'
import type { SharedState } from '../core/shared.ts'
import type { EventBus } from '../events/bus.ts'
import { TraceExits } from '../events/trace-exits.ts'
import type { JobInput, JobPlace, JobProgress, NewJob } from '../jobs/job.ts'
import type {
  CancelVerdict, Claim, ConsumeOptions, Consumer, Created, FeedListener, JobFeed, JobPage, JobStore, ListQuery, QueueCounts, RedriveVerdict, StoreHost, StoreReport
} from '../jobs/store.ts'
import type { StepStore } from '../jobs/store.ts'
import { errorCodeOf } from '../jobs/stored-error.ts'

/**
 * The one place where stores are watched: every operation of every store is timed and emitted the same way, so that the
 * stores themselves know nothing of telemetry. And watched by nobody else: what a store does inside is no part of any
 * trace.
 */
export class ObservedStore implements JobStore {
  readonly type: string
  readonly shared: SharedState | undefined
  readonly longestLookMs: number | undefined
  readonly now: (() => number) | undefined
  readonly probe: (() => Promise<void>) | undefined
  readonly unattended: JobStore['unattended']
  readonly steps: StepStore | undefined
  readonly #inner: JobStore
  readonly #context: Context
  readonly #bus: EventBus
  readonly #exits: TraceExits

  constructor (inner: JobStore, context: Context, bus: EventBus, exits = new TraceExits()) {
    this.type = inner.type
    this.longestLookMs = inner.longestLookMs
    this.#inner = inner
    this.#context = context
    this.#bus = bus
    this.#exits = exits
    this.unattended = inner.unattended === undefined ? undefined : () => inner.unattended?.() ?? []
    this.now = inner.now === undefined ? undefined : () => inner.now?.() ?? context.clock.now()
    // Emits nothing: a submission on trial is none, and must not look like one in any metric.
    this.probe = inner.probe === undefined ? undefined : () => exits.quietly(async () => { await inner.probe?.() })
    const { shared, steps } = inner
    this.steps = steps === undefined ? undefined : this.#observeSteps(steps)
    this.shared = shared === undefined ? undefined : this.#observeShared(shared)
  }

  open (host: StoreHost): Promise<void> { return this.#exits.quietly(() => this.#inner.open(host)) }
  create (job: NewJob): Promise<Created> { return this.#observe('create', () => this.#inner.create(job)) }
  get (id: string): ReturnType<JobStore['get']> { return this.#observe('get', () => this.#inner.get(id)) }
  getMany (jobs: readonly JobPlace[]): ReturnType<JobStore['getMany']> { return this.#observe('get-many', () => this.#inner.getMany(jobs)) }
  input (id: string): Promise<JobInput | undefined> { return this.#observe('input', () => this.#inner.input(id)) }
  result (id: string): Promise<string | undefined> { return this.#observe('result', () => this.#inner.result(id)) }
  list (query: ListQuery): Promise<JobPage> { return this.#observe('list', () => this.#inner.list(query)) }
  counts (queue: string): Promise<QueueCounts> { return this.#observe('counts', () => this.#inner.counts(queue)) }
  cancel (id: string, reason: string): Promise<CancelVerdict | undefined> { return this.#observe('cancel', () => this.#inner.cancel(id, reason)) }
  redrive (id: string, limit?: number): Promise<RedriveVerdict | undefined> { return this.#observe('redrive', () => this.#inner.redrive(id, limit)) }
  remove (id: string): ReturnType<JobStore['remove']> { return this.#observe('remove', () => this.#inner.remove(id)) }
  progress (claim: Claim, progress: JobProgress): Promise<boolean> { return this.#observe('progress', () => this.#inner.progress(claim, progress)) }
  // Claiming and settling happen inside the consumer: the worker, which sees each, emits their `store.operated` and
  // `store.operation_failed`.
  consume (options: ConsumeOptions): Consumer { return this.#exits.quietly(() => this.#inner.consume(options)) }

  listen (listener: FeedListener): JobFeed {
    const feed = this.#exits.quietly(() => this.#inner.listen(listener))
    return {
      follow: (job) => this.#observe('follow', () => feed.follow(job)),
      unfollow: (job) => { this.#exits.quietly(() => feed.unfollow(job)) },
      close: () => { this.#exits.quietly(() => feed.close()) }
    }
  }

  ping (): Promise<void> { return this.#observe('ping', () => this.#inner.ping()) }
  close (deadlineMs: number): Promise<void> { return this.#exits.quietly(() => this.#inner.close(deadlineMs)) }

  #observeSteps (steps: StepStore): StepStore {
    return {
      checkpoint: (claim, checkpoint) => this.#observe('checkpoint', () => steps.checkpoint(claim, checkpoint)),
      journal: (id) => this.#observe('journal', () => steps.journal(id)),
      signal: (id, name, value) => this.#observe('signal', () => steps.signal(id, name, value))
    }
  }

  #observeShared (shared: SharedState): SharedState {
    return {
      tryLock: (name, holder, ttlMs) => this.#observe('lock', () => shared.tryLock(name, holder, ttlMs)),
      unlock: (name, holder) => this.#observe('unlock', () => shared.unlock(name, holder)),
      put: (group, key, value, ttlMs) => this.#observe('share', () => shared.put(group, key, value, ttlMs)),
      entries: (group) => this.#observe('gather', () => shared.entries(group))
    }
  }

  #observe<T> (operation: string, work: () => Promise<T>): Promise<T> {
    const { clock } = this.#context
    const startedAt = clock.monotonic()
    // The caller waits for the answer outside, where its span is active.
    return this.#exits.quietly(work).then((value) => {
      if (this.#bus.wants('store.operated')) {
        this.#bus.emit('store.operated', { storeType: this.type, operation, durationMs: clock.monotonic() - startedAt })
      }
      return value
    }, (error: unknown) => {
      // The store works: it answers that it has no room. The event of the submission says so, once.
      if (operation === 'create' && (isAsyncEndpointsError(error, 'FAE_STORE_FULL') || isAsyncEndpointsError(error, 'FAE_JOB_TOO_LARGE'))) throw error
      this.#bus.emit('store.operation_failed', { storeType: this.type, operation, errorCode: errorCodeOf(error), message: ownMessage(error), durationMs: clock.monotonic() - startedAt })
      throw error
    })
  }
}

/** See {@link storeHost}. */
export interface ListeningHost extends StoreHost {
  /** To be called once all listeners are there. */
  listening (): void
}

/**
 * Turns what a store reports about itself into events. It connects, and looks at its server, while the application is
 * still being put together: what it finds then (a server too old, a setting that loses jobs) is kept until somebody
 * can hear it.
 */
export function storeHost (storeType: string, context: Context, bus: EventBus): ListeningHost {
  let early: StoreReport[] | undefined = []
  const emit = (event: StoreReport): void => {
    switch (event.kind) {
      case 'connected': return bus.emit('store.connected', { storeType, server: event.server })
      case 'disconnected': return bus.emit('store.disconnected', { storeType, errorCode: event.code, server: event.server, message: event.message ?? '' })
      case 'error': return bus.emit('store.failed', { storeType, errorCode: event.code, message: event.message })
      case 'warning': return bus.emit('store.warned', { storeType, errorCode: event.code, message: event.message })
    }
  }
  return {
    context,
    report (event: StoreReport): void {
      if (early === undefined) emit(event)
      else early.push(event)
    },
    listening (): void {
      const reports = early ?? []
      early = undefined
      for (const report of reports) emit(report)
    }
  }
}
