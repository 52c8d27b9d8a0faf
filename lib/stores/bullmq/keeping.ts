/**
 * The keys in which the store remembers what a queue keeps: finished jobs by owner and by size, idempotency keys, large
 * inputs. The Lua that works on them is in `lua/parts/keep.lua` and `lua/parts/inputs.lua`.
 */
import type { ResolvedRedisStoreOptions } from './options.ts'

/** Keys of the store beside BullMQ's, each behind the prefix of its queue. */
export const OWN = {
  /** Sorted set: jobs that ended cancelled (BullMQ has them among the failed), by when. */
  cancelled: 'fae:cancelled',
  /** Sorted set: jobs that are cancelled but still in BullMQ's list of waiting jobs. */
  cancelling: 'fae:cancelling',
  /** Sorted set: jobs that undo their steps, by since when. */
  compensating: 'fae:compensating',
  /** Sorted set: jobs that are suspended until a signal comes, by since when. */
  awaiting: 'fae:awaiting',
  /** Sorted set: jobs with steps that could not be undone, by since when; failed, or about to be. */
  notUndone: 'fae:not-undone',
  /** Sorted set: finished jobs that left much behind, by when they ended. */
  large: 'fae:large',
  /** Hash: how many bytes each of those left; their sum under the empty name, which no job can have. */
  sizes: 'fae:sizes',
  /**
   * Sorted set: jobs that are not over and whose input is large or whose steps have stored something, by the bytes;
   * their sum under the empty name.
   */
  inputs: 'fae:inputs',
  /** How far the sweep has come in `large`, `inputs` or `cancelled`; their name follows. */
  place: 'fae:place:',
  /** Sorted set per owner (a hash of it): finished jobs of that owner, by when they ended. */
  owner: 'fae:owner:',
  /** Text per idempotency key: the id of its job and the fingerprint of the request. */
  key: 'fae:key:',
  /** Sorted set per owner: the idempotency keys of that owner, by when they are forgotten. */
  keys: 'fae:keys:'
} as const

/** What a job leaves behind counts towards `maxBytes` from this size on. Smaller ones are bounded by `maxCount`. */
export const LARGE_BYTES = 4_096
/** One script forgets at most this many jobs for each reason: STEPS in `lua/parts/forget.lua`. */
export const FORGOTTEN_AT_ONCE = 100

/** The limits as arguments of a script, in the order in which `keep` takes them (`lua/parts/keep.lua`). */
export function limitsOf (settings: Pick<ResolvedRedisStoreOptions, 'retention'>): number[] {
  return Object.values(limitsByName(settings))
}

export type Limits = Readonly<Record<'maxCount' | 'completedMs' | 'failedMs' | 'maxPerOwner' | 'maxBytes', number>>

/** The limits by their names in Lua, in the same order. */
export function limitsByName ({ retention }: Pick<ResolvedRedisStoreOptions, 'retention'>): Limits {
  const { maxCount, completedMs, failedMs, maxPerOwner, maxBytes } = retention
  return {
    maxCount: Math.ceil(maxCount),
    completedMs: Math.ceil(completedMs),
    failedMs: Math.ceil(failedMs),
    maxPerOwner: Math.ceil(maxPerOwner),
    maxBytes: Math.ceil(maxBytes)
  }
}
