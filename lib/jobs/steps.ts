/**
 * The durable steps of a job, as a store keeps them: what each step has done and what it returned. A saga is made of
 * steps, and an ordinary handler has them by `job.step()`. The texts are written and read by `lib/saga`; a store does
 * not look into them.
 */
import type { JobProgress } from './job.ts'
import type { Claim } from './store.ts'

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

/** What is written in one step. Keys and texts are of `lib/saga`; a key has at most 200 characters. */
export interface Checkpoint {
  /** Small texts by key, each replaces the one before. They are part of the job's record ({@link StepsFacts}). */
  readonly facts: StepsFacts
  /**
   * Results of steps as JSON text, by key. They are no part of the record, and are deleted when the job is completed or
   * cancelled.
   */
  readonly values?: Readonly<Record<string, string>> | undefined
  /** Deletes the values and signals that were stored before this checkpoint. */
  readonly dropValues?: boolean | undefined
  /**
   * Whether the job has done something that it must undo before it may be cancelled. While that holds, a cancel of the
   * job never ends it: where the job waits it becomes claimable at once, its handler is called with `cancelRequested`,
   * and after a request to cancel its attempts may still be settled with `retry`, `snooze`, `postpone`, `suspend` and
   * `release`. Absent: as before (at first: no).
   */
  readonly undo?: boolean | undefined
  /** Since when the job undoes its steps; `null`: it does not (any more). Counted by queue, see `SagaCounts`. */
  readonly compensatingSince?: number | null | undefined
  /** The progress of the job after this checkpoint. */
  readonly progress?: JobProgress | undefined
}

/** The small texts of a job's steps, by key. The text under the empty key is about all of them. */
export type StepsFacts = Readonly<Record<string, string>>

export type CheckpointVerdict =
  /** `cancelRequested`: somebody has asked to cancel the job. */
  | { readonly stored: true, readonly cancelRequested: boolean }
  /** The lease is lost, or the job is gone: nothing was stored. */
  | { readonly stored: false }

export interface Journal {
  readonly facts: StepsFacts
  /** JSON texts by key. */
  readonly values: Readonly<Record<string, string>>
  /** JSON texts by the name of the signal. */
  readonly signals: Readonly<Record<string, string>>
  /** The reason of the request to cancel, if there was one. */
  readonly cancelReason: string | undefined
  /** How often the job was redriven. */
  readonly redrives: number
}

/**
 * `stored`: the signal is new. `repeated`: there was one with the same value. `conflict`: there was one with another
 * value, which stands. `finished`: the job has ended.
 */
export interface SignalVerdict { readonly kind: 'stored' | 'repeated' | 'conflict' | 'finished' }

/** The sagas of one queue that are not over. */
export interface SagaCounts {
  /** How many undo their steps, whether they run or wait. */
  readonly compensating: number
  /** Since when the oldest of them does, in milliseconds since the epoch. */
  readonly compensatingSince: number | undefined
  /** How many are suspended until a signal comes. */
  readonly awaitingSignal: number
}
