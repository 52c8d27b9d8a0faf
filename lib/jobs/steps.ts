/**
 * The durable steps of a job, as a store keeps them: what each step has done and what it returned. A saga is made of
 * steps, and an ordinary handler has them by `job.step()`. The texts are written and read by `lib/saga`; a store does
 * not look into them. `StepStore` in `store.ts` is the part of a store that keeps them.
 */
import type { JobProgress, StepsFacts } from './job.ts'

/** JSON; a long text as the bytes of its UTF-8, which are written, kept and counted with less work than a string. */
export type StepText = string | Buffer

/** What is written in one step. Keys and texts are of `lib/saga`; a key has at most 200 characters. */
export interface Checkpoint {
  /** Small texts by key, each replaces the one before. They are part of the job's record ({@link StepsFacts}). */
  readonly facts: StepsFacts
  /**
   * Results of steps, by key. They are no part of the record, and are deleted when the job is completed or
   * cancelled.
   */
  readonly values?: Readonly<Record<string, StepText>> | undefined
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
  /**
   * Since when the job has steps that could not be undone, in milliseconds since the epoch; `null`: it has none (any
   * more). Kept when the job fails, and counted by queue (see `SagaCounts`) until it is redriven, removed or expires: a
   * redrive takes it back, together with the state of the job.
   */
  readonly notUndoneSince?: number | null | undefined
  /** The progress of the job after this checkpoint. */
  readonly progress?: JobProgress | undefined
}

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

/** The sagas of one queue that are not over, or that somebody has to look at. */
export interface SagaCounts {
  /** How many undo their steps, whether they run or wait. */
  readonly compensating: number
  /** Since when the oldest of them does, in milliseconds since the epoch. */
  readonly compensatingSince: number | undefined
  /** How many are suspended until a signal comes. Not those whose signal begins with ":": they are no sagas. */
  readonly awaitingSignal: number
  /** How many have ended with steps that could not be undone, and were neither redriven nor removed since. */
  readonly notUndone: number
  /** The ids of at most {@link MAX_NOT_UNDONE} of those, the newest first. */
  readonly notUndoneIds: readonly string[]
}

/** The most ids in `SagaCounts.notUndoneIds`. */
export const MAX_NOT_UNDONE = 20
