/** `memoryStore()`: jobs in the memory of this process. */
import type { JobStore } from '../../jobs/store.ts'
import { readMemoryOptions, type MemoryStoreOptions } from './options.ts'
import { MemoryStore } from './store.ts'

export type { MemoryStoreOptions, RetentionOptions } from './options.ts'

/**
 * Jobs in the memory of this process: for development, tests, and services whose jobs may be lost with the process.
 * Everything else (attempts, leases, delays, priorities, retention) is as in a store on a server. One store serves one
 * application.
 *
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`, with every bad key in one message
 */
export function memoryStore (options?: MemoryStoreOptions): JobStore {
  return new MemoryStore(readMemoryOptions(options))
}
