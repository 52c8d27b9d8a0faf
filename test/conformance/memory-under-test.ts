import { createContext } from '../../lib/core/context.ts'
import type { StoreReport } from '../../lib/jobs/store.ts'
import { memoryStore, type MemoryStoreOptions } from '../../lib/stores/memory/index.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import type { NewStoreOptions, StoreUnderTest } from '../../lib/testing/exercise-job-store.ts'

export const LEASE_MS = 30_000

/** A memory store on a fake clock, for the conformance suite. */
export function memoryUnderTest (settings: NewStoreOptions = {}, options: MemoryStoreOptions = {}): StoreUnderTest & { clock: FakeClock, reports: StoreReport[] } {
  const clock = new FakeClock()
  const reports: StoreReport[] = []
  return {
    store: memoryStore({ leaseMs: LEASE_MS, ...settings, ...options }),
    host: { context: createContext({ clock }), report: (event) => { reports.push(event) } },
    clock,
    reports,
    // Without `loseLease`: a consumer that is there cannot lose one in this store, which shares its event loop.
    advance: (ms) => clock.advance(ms)
  }
}
