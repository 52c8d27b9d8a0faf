import type { Context } from '../core/context.ts'
import type { SharedState } from '../core/shared.ts'
import type { ClaimedJob, JobInput, JobProgress, JobRecord, JobUpdate, NewJob, StoredError } from './job.ts'
import type { JobState } from './states.ts'

/**
 * Where jobs live. Delivery is at least once: an acknowledged job is run until it is settled, and an attempt whose
 * lease was lost cannot settle it any more.
 *
 * Rules for every method: it rejects with `FAE_STORE_UNAVAILABLE` (503) when the server behind the store does not
 * answer within the store's own deadline, with `FAE_STORE_FULL` when there is no room, with
 * `FAE_JOB_TOO_LARGE` for a job that would not fit into an empty store, and with nothing that carries a
 * payload, a command or a password. `undefined` always means: there is no such job (unknown, expired or removed).
 * `exerciseJobStore` (in `fastify-async-endpoints/testing`) proves these rules.
 */
export interface JobStore {
  /** Low-cardinality name for metrics and spans (`memory`, `bullmq`, …): the label `store_type`. */
  readonly type: string
  /** What processes on this store can agree on; absent where there is only one process. */
  readonly shared?: SharedState | undefined
  /**
   * How long a consumer that works may go without a look into an empty queue, in milliseconds: nobody can call it silent
   * sooner than that. Absent: it is always known to work.
   */
  readonly longestLookMs?: number | undefined
  /**
   * Now, on the clock that every moment in a record, a claim and the counts comes from: that of the server behind the store.
   * `NewJob.createdAt` and `runAt` are given on it. Absent: the store's moments come from the clock of its host.
   */
  readonly now?: (() => number) | undefined
  /**
   * Takes the store into service. Resolves even when the server behind it is away (it connects in the background and
   * reports `connected` later); rejects only for what waiting cannot heal.
   */
  open (host: StoreHost): Promise<void>
  /**
   * Atomic create-or-return-existing: of any number of calls with one idempotency key, exactly one creates. The key is
   * remembered for its own time, also when its job is forgotten before that (retention); removing the job frees it.
   * Resolves only when the job is as durable as the store can make it; a `get` straight afterwards finds it.
   */
  create (job: NewJob): Promise<Created>
  get (id: string): Promise<JobRecord | undefined>
  /**
   * What was submitted, while the store keeps it: until the job is completed or cancelled. A failed job keeps it, for its
   * redrive.
   */
  input (id: string): Promise<JobInput | undefined>
  /** The result as JSON text. `undefined` as well when the job has none or it has expired. */
  result (id: string): Promise<string | undefined>
  /**
   * A page of jobs. Whoever follows the cursors gets every job that matches from the first page to the last, whatever
   * happens to other jobs meanwhile: a job that a reader cancels, removes or redrives leaves no gap. A job that changes its
   * state during the paging may come twice. Jobs that are submitted during the paging may be missing, and so may, in a list
   * without a state, a job that is retried again and again while a long list is read.
   */
  list (query: ListQuery): Promise<JobPage>
  /** Counts of one queue; cost does not grow with the number of jobs. A queue nobody used has zeros. */
  counts (queue: string): Promise<QueueCounts>
  /**
   * Atomic: a job that is waiting becomes `cancelled` and its handler never runs, one that is in progress (in whatever
   * process) has its attempt aborted.
   */
  cancel (id: string, reason: string): Promise<CancelVerdict | undefined>
  /**
   * A failed job becomes `queued` again, with a fresh budget of attempts; any other state stays as it is. So does a job that
   * was redriven `limit` times already: the store counts, so that the limit holds over all processes.
   */
  redrive (id: string, limit?: number): Promise<RedriveVerdict | undefined>
  /** Forgets a job and its result. A job in progress is left alone: cancel it first. */
  remove (id: string): Promise<'removed' | 'active' | undefined>
  /** Stores the progress of a running attempt. `false`: the lease was lost and nothing was stored. */
  progress (claim: Claim, progress: JobProgress): Promise<boolean>
  /** Starts claiming jobs of one queue. Never throws for a server that is away: it waits for it. */
  consume (options: ConsumeOptions): Consumer
  /**
   * Calls the listener for every change of any job, from whatever process, after it was stored. Best effort: a message
   * may be missed while the connection is away, so a waiter reads after it subscribed and reads again now and then.
   *
   * @returns stops the listening
   */
  subscribe (listener: (update: JobUpdate) => void): Promise<() => void>
  /** One round trip to the server behind the store. */
  ping (): Promise<void>
  /**
   * A submission on trial: goes the way that `create` goes, on the same connection and with a write, and leaves nothing
   * behind: no job, no count, nothing that a worker, a list or a listener could see. Rejects with what `create` would
   * reject with. Absent: the store cannot tell without making a job.
   */
  readonly probe?: (() => Promise<void>) | undefined
  /**
   * Queues that hold jobs for a worker, and that no worker of any process works on, as far as is known: a deploy may have
   * removed them. Answered at once, from what was last seen. Absent: the store cannot tell.
   */
  readonly unattended?: (() => readonly UnattendedQueue[]) | undefined
  /** Lets go of everything the store made itself; what was handed to it stays open. Never takes longer than the deadline. */
  close (deadlineMs: number): Promise<void>
}

/** What the application gives a store when it opens. */
export interface StoreHost {
  readonly context: Context
  /** Tells what happens to the store itself. Never throws. */
  report (event: StoreReport): void
}

export type StoreReport =
  /** `server`: where it is, without user and password. */
  | { readonly kind: 'connected', readonly server?: string | undefined }
  /** `message`: what it means and what to do. */
  | { readonly kind: 'disconnected', readonly code: string, readonly server?: string | undefined, readonly message?: string }
  | { readonly kind: 'error', readonly code: string, readonly message: string }
  /** Something an operator should change, for example an eviction policy that loses jobs. */
  | { readonly kind: 'warning', readonly code: string, readonly message: string }

export type Created =
  | { readonly created: true, readonly id: string }
  /**
   * The job that holds the idempotency key; `job: undefined` when the store has forgotten it and only remembers the key.
   * `sameRequest`: its fingerprint equals the new one's.
   */
  | { readonly created: false, readonly id: string, readonly job: JobRecord | undefined, readonly sameRequest: boolean }

export interface ListQuery {
  readonly queue?: string
  readonly name?: string
  readonly state?: JobState
  readonly owner?: string
  /** From a page before; opaque. An unusable one starts from the beginning. */
  readonly cursor?: string
  /** 1 to 100. */
  readonly limit: number
}

export interface JobPage {
  readonly jobs: readonly JobRecord[]
  /** Ask for the next page with it; absent on the last page. */
  readonly cursor?: string
}

export interface QueueCounts {
  readonly queue: string
  readonly states: Readonly<Record<JobState, number>>
  /** When the job that waits longest could have been claimed, milliseconds since the epoch. `undefined`: none waits. */
  readonly oldestQueuedAt: number | undefined
  /** Jobs in progress whose lease has run out or was not renewed in time. */
  readonly stuck: number
  /** Which, at most 20 of them. Absent: the store cannot tell. */
  readonly stuckIds?: readonly string[] | undefined
}

export interface UnattendedQueue {
  readonly queue: string
  /** Jobs that wait there, for a worker or for their time. */
  readonly waiting: number
}

/** `cancelled`: it is (now, or was already: `already`) cancelled. `requested`: asked of the running attempt. `finished`: too late. */
export type CancelVerdict =
  | { readonly kind: 'cancelled', readonly already: boolean, readonly job: JobRecord }
  | { readonly kind: 'requested', readonly job: JobRecord }
  | { readonly kind: 'finished', readonly job: JobRecord }

export type RedriveVerdict =
  | { readonly kind: 'redriven', readonly job: JobRecord }
  | { readonly kind: 'not-failed', readonly job: JobRecord }
  | { readonly kind: 'limit', readonly job: JobRecord }

export interface ConsumeOptions {
  readonly queue: string
  /** Attempts at one time, in this process. */
  readonly concurrency: number
  readonly workerId: string
  /** Makes the attempt for a claim; called once per claim, synchronously, must not throw. */
  readonly attempt: (claim: Claim) => Attempt
  /** A lease ran out somewhere and the job is back in the queue. */
  readonly onStalled: (jobId: string) => void
  /** Trouble in the claiming itself; it goes on by itself. The error is already free of payloads. */
  readonly onError: (error: Error) => void
}

/** A job that was taken to be run. */
export interface Claim {
  /** As it was when claimed; `attempts` includes this one. */
  readonly job: ClaimedJob
  /** When it last became claimable: its `runAt`, or the end of its backoff. The queue wait counts from here. */
  readonly availableAt: number
  /** The job was claimed before, and came back: by a retry, a snooze, a redrive, a stall or a worker that stopped. */
  readonly again?: boolean
  /**
   * The attempt before this one stalled, and its backoff has not been served. The worker answers with `postpone`
   * (or with `failed`, if the budget is spent); the claim after that has `stalled: false`.
   */
  readonly stalled: boolean
  /** How long the store took to hand the job out, if it can tell. */
  readonly claimMs: number | undefined
}

/** One run of a claimed job, made by the worker, driven by the store. */
export interface Attempt {
  /** Runs the handler and says how it ended. Never rejects. */
  run (): Promise<Settlement>
  /** The store learnt that the attempt must stop: it was cancelled, or its lease is lost. */
  abort (reason: 'cancelled' | 'lease-lost'): void
  /** Called exactly once, after the store has stored the settlement, or could not. */
  settled (verdict: SettleVerdict): void
}

/**
 * How an attempt ended; what the store makes of it:
 * `completed`, `failed`, `cancelled`: terminal. `retry`: scheduled, an attempt spent. `snooze`: scheduled, none spent.
 * `postpone`: like snooze, and the stall is accounted for. `release`: queued at once for another worker, none spent.
 */
export type Settlement =
  | { readonly kind: 'completed', /** JSON text; `undefined`: no result */ readonly result: string | undefined, readonly resultBytes: number | undefined }
  | { readonly kind: 'failed', readonly error: StoredError }
  | { readonly kind: 'cancelled', readonly reason: string }
  | { readonly kind: 'retry', readonly error: StoredError, readonly delayMs: number }
  | { readonly kind: 'snooze', readonly delayMs: number }
  | { readonly kind: 'postpone', readonly delayMs: number }
  | { readonly kind: 'release' }

export type SettleVerdict =
  /** `instead`: somebody had asked the job to stop, and so it ended where the attempt wanted it to be run again. */
  | { readonly kind: 'stored', readonly instead?: 'cancelled' }
  /** Another worker owns the job now, or it is gone: this attempt's ending does not count. */
  | { readonly kind: 'refused', readonly code: 'FAE_LEASE_LOST' }
  /** The store gave up storing it; the lease will run out and the job be run again. */
  | { readonly kind: 'error', readonly error: Error }

/** Claims jobs of one queue until it is drained. */
export interface Consumer {
  readonly queue: string
  /** Attempts under way. */
  readonly active: number
  /**
   * Milliseconds on the monotonic clock of the newest proof that this consumer works: a claim, or a look into an
   * empty queue that the server answered.
   */
  readonly lastSeenAt: number
  readonly paused: boolean
  /**
   * From now on so many attempts at one time (1 or more); those under way go on. Absent: it stays what it was made with.
   */
  readonly resize?: ((concurrency: number) => void) | undefined
  /** No new claims; attempts under way go on. */
  pause (): void
  resume (): void
  /**
   * Stops claiming for good and waits for the attempts under way; leases are renewed until the last one ends.
   *
   * @returns whether all had ended by the deadline
   */
  drain (deadlineMs: number): Promise<boolean>
  /** After `drain`: lets go of connections and timers, whether or not attempts are left. */
  close (deadlineMs: number): Promise<void>
}
