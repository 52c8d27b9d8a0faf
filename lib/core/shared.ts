/**
 * State that all processes on one store share, besides jobs: named locks, so that only one process does a piece of
 * work, and small texts that all can read. Optional: a store that lives in one process has no shared state.
 *
 * Every method rejects with `FAE_STORE_UNAVAILABLE` if the server behind the store does not answer within the store's
 * own deadline.
 */
export interface SharedState {
  /**
   * Takes the lock for `ttlMs`, or extends it if the holder already has it.
   *
   * @param name letters, digits, `_`, `-`, `.`, `:`
   * @param holder identifies the caller, for example by its instance id
   * @returns whether the holder has the lock now
   */
  tryLock (name: string, holder: string, ttlMs: number): Promise<boolean>
  /** Releases the lock. Does nothing if another holder has it by now. */
  unlock (name: string, holder: string): Promise<void>
  /** Stores a text under a key of a group. After `ttlMs` it is gone. */
  put (group: string, key: string, value: string, ttlMs: number): Promise<void>
  /** The texts of a group that have not expired, by key. */
  entries (group: string): Promise<ReadonlyMap<string, string>>
}
