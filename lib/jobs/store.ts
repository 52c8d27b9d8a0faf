import type { Context } from '../core/context.ts'
import type { SharedState } from '../core/shared.ts'
import type { ClaimedJob, JobInput, JobPlace, JobProgress, JobRecord, JobUpdate, NewJob, StoredError } from './job.ts'
import type { JobState } from './states.ts'
import type { Checkpoint, CheckpointVerdict, Journal, SagaCounts, SignalVerdict } from './steps.ts'

/**
 * Stores jobs and hands them to workers. Delivery is at least once: a job that was accepted is run until it is
 * settled, and an attempt that has lost its lease can no longer settle its job.
 *
 * Rules for every method: it rejects with `FAE_STORE_UNAVAILABLE` (503) if the server behind the store does not
 * answer within the store's own deadline, with `FAE_STORE_FULL` if there is no space, and with `FAE_JOB_TOO_LARGE`
 * for a job that would not fit into an empty store. No error may contain a payload, a command or a password.
 * `undefined` always means that the job does not exist (unknown, expired or removed). `exerciseJobStore` (in
 * `fastify-async-endpoints/testing`) tests these rules.
 */
export interface JobStore {
  /** The kind of store for metrics and spans (`memory`, `bullmq`, …): the label `store_type`. */
  readonly type: string
  /** State that the processes on this store share. Absent if the store lives in one process. */
  readonly shared?: SharedState | undefined
  /** Keeps the durable steps of jobs. Absent: this store has no sagas and no `job.step()`. */
  readonly steps?: StepStore | undefined
  /**
   * The longest time in milliseconds between two reads of an empty queue by a consumer that works. A consumer counts
   * as silent only after a longer time. Absent: the store always knows whether its consumers work.
   */
  readonly longestLookMs?: number | undefined
  /**
   * The current time of the server behind the store. All times in records, claims and counts are on this clock, and
   * `NewJob.createdAt` and `runAt` must be, too. Absent: the store uses the clock of its host.
   */
  readonly now?: (() => number) | undefined
  /**
   * Starts the store. Resolves even if the server behind it cannot be reached: then the store connects in the
   * background and reports `connected` later. Rejects only for problems that waiting cannot solve.
   */
  open (host: StoreHost): Promise<void>
  /**
   * Creates a job, or returns the existing one, atomically: of any number of calls with one idempotency key, exactly
   * one creates a job. The key is remembered for its own time, even if its job is deleted before that (retention);
   * removing the job frees the key. Resolves when the job is as durable as the store can make it. A `get` immediately
   * afterwards finds it.
   */
  create (job: NewJob): Promise<Created>
  get (id: string): Promise<JobRecord | undefined>
  /**
   * Reads up to {@link MAX_MANY} jobs at once, in the order of `jobs`, each as `get` would show it. It costs the server
   * less than as many calls of `get`.
   */
  getMany (jobs: readonly JobPlace[]): Promise<ReadonlyArray<JobRecord | undefined>>
  /**
   * What was submitted. It is kept until the job is completed or cancelled; a failed job keeps it, so that it can be
   * redriven.
   */
  input (id: string): Promise<JobInput | undefined>
  /** The result as JSON text. Also `undefined` if the job has no result, or the result has expired. */
  result (id: string): Promise<string | undefined>
  /**
   * One page of jobs. A caller that follows the cursors gets every job that matches all the time from the first page
   * to the last: jobs that are cancelled, removed or redriven meanwhile leave no gap. A job that changes its state
   * during the paging may appear twice. Jobs that are submitted during the paging may be missing; and in a list
   * without a state, so may a job that is retried repeatedly while a long list is read.
   */
  list (query: ListQuery): Promise<JobPage>
  /** The counts of one queue. The cost must not grow with the number of jobs. An unused queue has zeros. */
  counts (queue: string): Promise<QueueCounts>
  /**
   * Cancels a job, atomically. A waiting job becomes `cancelled`, and its handler never runs. The attempt of a job in
   * progress is aborted, in whichever process it runs. A job that has something to undo is not ended by the store: see
   * `Checkpoint.undo`.
   */
  cancel (id: string, reason: string): Promise<CancelVerdict | undefined>
  /**
   * Puts a failed job back into its queue with a new budget of attempts. A job in any other state stays as it is, and
   * so does a job that was already redriven `limit` times: the store counts redrives, so that the limit applies
   * across all processes.
   */
  redrive (id: string, limit?: number): Promise<RedriveVerdict | undefined>
  /** Deletes a job and its result. A job in progress is not deleted; cancel it first. */
  remove (id: string): Promise<'removed' | 'active' | undefined>
  /** Stores the progress of a running attempt. `false`: the lease was lost, and nothing was stored. */
  progress (claim: Claim, progress: JobProgress): Promise<boolean>
  /** Starts to claim jobs of one queue. If the server cannot be reached, it waits for it instead of throwing. */
  consume (options: ConsumeOptions): Consumer
  /**
   * Opens a feed: it hears of changes of the jobs that it follows, in whichever process they happen, and of no others.
   * Does not wait for the server. A process needs one, whatever it listens for.
   *
   * @throws {AsyncEndpointsError} `FAE_CLOSED` before the store is open, and after it was closed
   */
  listen (listener: FeedListener): JobFeed
  /** One round trip to the server behind the store. */
  ping (): Promise<void>
  /**
   * A trial submission: does what `create` does, on the same connection and with a write, but leaves nothing behind
   * that a worker, a list, a count or a listener could see. Rejects with the error that `create` would reject with.
   * Absent: the store cannot test this without creating a job.
   */
  readonly probe?: (() => Promise<void>) | undefined
  /**
   * Queues with waiting jobs that no worker of any process consumes, as far as the store knows; for example after a
   * deploy that removed a queue. Answers at once, from the last reading. Absent: the store does not know.
   */
  readonly unattended?: (() => readonly UnattendedQueue[]) | undefined
  /**
   * Closes everything that the store opened itself, but nothing that it was given. Never takes longer than the
   * deadline.
   */
  close (deadlineMs: number): Promise<void>
}

/**
 * The part of a store that keeps steps. It belongs to the job: whatever deletes the job deletes its steps.
 * `exerciseJobStore` tests the rules.
 */
export interface StepStore {
  /**
   * Stores what a step has done: all of the checkpoint or nothing, and only while the claim has the lease, which it
   * renews. The same checkpoint may be sent again when the answer to it was lost. It is published to listeners like a
   * report of progress.
   */
  checkpoint (claim: Claim, checkpoint: Checkpoint): Promise<CheckpointVerdict>
  /** Everything that the steps of a job have stored. `undefined`: the job does not exist. */
  journal (id: string): Promise<Journal | undefined>
  /**
   * Stores a signal, also before anything waits for it. The first of a name counts. A job that is suspended until this
   * signal becomes claimable in the same step.
   *
   * @param value JSON text
   */
  signal (id: string, name: string, value: string): Promise<SignalVerdict | undefined>
}

/** The most jobs that one call of `JobStore.getMany` reads. */
export const MAX_MANY = 200

/** Hears what a {@link JobFeed} hears. Neither method throws. */
export interface FeedListener {
  /** A job that is followed has changed, after that was stored. */
  changed (update: JobUpdate): void
  /** Changes may have been missed, because a connection was away: every followed job must be read again. */
  missed (): void
}

/**
 * Hears of changes of the jobs that it follows. Best effort: messages can be lost without a sign, so a listener reads
 * a job after `follow` has resolved, and all of them again from time to time.
 */
export interface JobFeed {
  /**
   * Follows a job, until `unfollow`. Resolves when changes from then on are heard. If the server does not answer, it
   * rejects with `FAE_STORE_UNAVAILABLE`, goes on trying, and calls `missed` when it has succeeded.
   */
  follow (job: JobPlace): Promise<void>
  unfollow (job: JobPlace): void
  /** Follows nothing any more. */
  close (): void
}

/** What the application passes to a store when it opens. */
export interface StoreHost {
  readonly context: Context
  /** Reports what happens to the store itself. Never throws. */
  report (event: StoreReport): void
}

export type StoreReport =
  /** `server`: its host and port, without user and password. */
  | { readonly kind: 'connected', readonly server?: string | undefined }
  /** `message`: what it means and what to do. */
  | { readonly kind: 'disconnected', readonly code: string, readonly server?: string | undefined, readonly message?: string }
  | { readonly kind: 'error', readonly code: string, readonly message: string }
  /** Something that an operator should change, for example an eviction policy that loses jobs. */
  | { readonly kind: 'warning', readonly code: string, readonly message: string }

export type Created =
  | { readonly created: true, readonly id: string }
  /**
   * The job of the idempotency key. `job` is `undefined` if the store only remembers the key and has deleted the job.
   * `sameRequest`: both submissions have the same fingerprint.
   */
  | { readonly created: false, readonly id: string, readonly job: JobRecord | undefined, readonly sameRequest: boolean }

export interface ListQuery {
  readonly queue?: string
  readonly name?: string
  /** Jobs of this name are left out. */
  readonly exceptName?: string
  readonly state?: JobState
  readonly owner?: string
  /** The cursor of the previous page. Opaque. An invalid one starts from the beginning. */
  readonly cursor?: string
  /** 1 to 100. */
  readonly limit: number
}

export interface JobPage {
  readonly jobs: readonly JobRecord[]
  /** The cursor for the next page. Absent on the last page. */
  readonly cursor?: string
}

export interface QueueCounts {
  readonly queue: string
  readonly states: Readonly<Record<JobState, number>>
  /**
   * Since when the longest waiting job could have been claimed, in milliseconds since the epoch. `undefined`: no job
   * is waiting.
   */
  readonly oldestQueuedAt: number | undefined
  /** The number of stalled jobs that were not claimed again yet: in progress, but their lease has run out. */
  readonly stuck: number
  /** The ids of at most 20 of those jobs. Absent: the store does not know them. */
  readonly stuckIds?: readonly string[] | undefined
  /** Absent: the store keeps no steps. */
  readonly sagas?: SagaCounts | undefined
}

export interface UnattendedQueue {
  readonly queue: string
  /** The number of queued and scheduled jobs. */
  readonly waiting: number
}

/**
 * `cancelled`: the job is cancelled (`already`: it was before). `requested`: its running attempt was asked to stop, or
 * it was woken to undo what it has done (`already`: somebody had asked for that before, as far as the store knows).
 * `finished`: it had ended.
 */
export type CancelVerdict =
  | { readonly kind: 'cancelled', readonly already: boolean, readonly job: JobRecord }
  | { readonly kind: 'requested', readonly already?: boolean | undefined, readonly job: JobRecord }
  | { readonly kind: 'finished', readonly job: JobRecord }

export type RedriveVerdict =
  | { readonly kind: 'redriven', readonly job: JobRecord }
  | { readonly kind: 'not-failed', readonly job: JobRecord }
  | { readonly kind: 'limit', readonly job: JobRecord }

export interface ConsumeOptions {
  readonly queue: string
  /** The largest number of attempts at the same time in this process. */
  readonly concurrency: number
  readonly workerId: string
  /** Makes the attempt for a claim. Called once per claim. Synchronous; must not throw. */
  readonly attempt: (claim: Claim) => Attempt
  /** Called when a lease ran out in any process and the job is back in the queue. */
  readonly onStalled: (jobId: string) => void
  /** Called with an error of the claiming itself, which goes on by itself. The error contains no payload. */
  readonly onError: (error: Error) => void
}

/** A job that was claimed. */
export interface Claim {
  /** The job as it was when it was claimed. `attempts` includes this attempt. */
  readonly job: ClaimedJob
  /**
   * When the job last became claimable: its `runAt`, or the end of its backoff. The queue wait is measured from here.
   */
  readonly availableAt: number
  /** The job was claimed before: it came back by a retry, a snooze, a redrive, a stall or a worker that stopped. */
  readonly again?: boolean
  /**
   * The previous attempt stalled, and its backoff has not passed yet. The worker settles with `postpone` (or with
   * `failed` if no attempt is left). The next claim then has `stalled: false`.
   */
  readonly stalled: boolean
  /** How long the store took for the claim, if it knows. */
  readonly claimMs: number | undefined
}

/** One run of a claimed job. The worker makes it, and the store drives it. */
export interface Attempt {
  /** Runs the handler and says how it ended. Never rejects. */
  run (): Promise<Settlement>
  /** Called when the attempt must stop, because the job was cancelled or the lease is lost. */
  abort (reason: 'cancelled' | 'lease-lost'): void
  /** Called exactly once, after the store has stored the settlement or failed to. */
  settled (verdict: SettleVerdict): void
}

/**
 * How an attempt ended, and so what state the job gets. `completed`, `failed`, `cancelled`: the job has ended.
 * `retry`: scheduled, and the attempt is spent. `snooze`: scheduled, no attempt is spent. `postpone`: like `snooze`,
 * and the stall counts as handled. `release`: queued at once for another worker, no attempt is spent. `suspend`: like
 * `snooze`, but a signal can end the wait (see `StepStore.signal`), and the stall counts as handled.
 */
export type Settlement =
  | {
    readonly kind: 'completed'
    /** JSON text; `undefined`: no result */
    readonly result: string | undefined
    readonly resultBytes: number | undefined
    /** Stored in the same step. Its values are not kept. */
    readonly checkpoint?: Checkpoint | undefined
  }
  | { readonly kind: 'failed', readonly error: StoredError }
  | { readonly kind: 'cancelled', readonly reason: string }
  | { readonly kind: 'retry', readonly error: StoredError, readonly delayMs: number }
  | { readonly kind: 'snooze', readonly delayMs: number }
  | { readonly kind: 'postpone', readonly delayMs: number }
  | Suspension
  | { readonly kind: 'release' }

/** Ends an attempt of a job that goes on later: it holds no slot, no lease and no timer until then. */
export interface Suspension {
  readonly kind: 'suspend'
  readonly delayMs: number
  /** The name of the signal that makes the job claimable at once, also if it was stored before. */
  readonly signal?: string | undefined
  /** A cancel that was requested before is known to the attempt, and does not make the job claimable at once. */
  readonly cancelKnown?: boolean | undefined
  /** Stored in the same step. */
  readonly checkpoint?: Checkpoint | undefined
}

export type SettleVerdict =
  /** `instead`: the attempt wanted the job to run again, but somebody had asked to cancel it, so it is cancelled. */
  | { readonly kind: 'stored', readonly instead?: 'cancelled' }
  /** Another worker has the job now, or the job is gone. The settlement is ignored. */
  | { readonly kind: 'refused', readonly code: 'FAE_LEASE_LOST' }
  /** The settlement could not be stored. The lease will run out, and the job will run again. */
  | { readonly kind: 'error', readonly error: Error }

/** Claims jobs of one queue until it is drained. */
export interface Consumer {
  readonly queue: string
  /** The number of running attempts. */
  readonly active: number
  /**
   * When this consumer last proved that it works, on the monotonic clock in milliseconds: by a claim, or by a read of
   * an empty queue that the server answered.
   */
  readonly lastSeenAt: number
  readonly paused: boolean
  /**
   * Changes how many attempts may run at the same time (1 or more). Running attempts go on. Absent: the number cannot
   * be changed.
   */
  readonly resize?: ((concurrency: number) => void) | undefined
  /** Stops claiming. Running attempts go on. */
  pause (): void
  resume (): void
  /**
   * Stops claiming for good and waits for the running attempts. Their leases are renewed until the last one ends.
   *
   * @returns whether all attempts ended before the deadline
   */
  drain (deadlineMs: number): Promise<boolean>
  /** Closes connections and timers, whether or not attempts are still running. Called after `drain`. */
  close (deadlineMs: number): Promise<void>
}
