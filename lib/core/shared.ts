/**
 * What the processes on one store can agree on besides jobs: who does a thing that only one shall do, and small texts that
 * all may read. A capability: a store that lives in one process has none, and its process is always alone.
 *
 * Every method rejects with `FAE_STORE_UNAVAILABLE` when the server behind the store does not answer within the store's
 * own deadline.
 */
export interface SharedState {
  /**
   * Takes the lock for `ttlMs`, or prolongs it for who has it already.
   *
   * @param name letters, digits, `_`, `-`, `.`, `:`
   * @param holder names who asks, for example the instance id
   * @returns whether the holder has it now
   */
  tryLock (name: string, holder: string, ttlMs: number): Promise<boolean>
  /** Gives the lock back; nothing happens when somebody else has it by now. */
  unlock (name: string, holder: string): Promise<void>
  /** Puts a text under a key of a group; after `ttlMs` it is no longer seen. */
  put (group: string, key: string, value: string, ttlMs: number): Promise<void>
  /** The texts of a group whose time is not over, by key. */
  entries (group: string): Promise<ReadonlyMap<string, string>>
}
