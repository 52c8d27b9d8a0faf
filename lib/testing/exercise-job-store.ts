import { cancelCases } from './conformance/cancel.ts'
import { claimCases } from './conformance/claims.ts'
import { keepingCases } from './conformance/keeping.ts'
import { leaseCases } from './conformance/leases.ts'
import { lifecycleCases } from './conformance/lifecycle.ts'
import { listCases } from './conformance/list.ts'
import { listeningCases } from './conformance/listening.ts'
import { manageCases } from './conformance/manage.ts'
import { settlementCases } from './conformance/settlement.ts'
import { sharedCases } from './conformance/shared.ts'
import { stepCases } from './conformance/steps.ts'
import { submissionCases } from './conformance/submission.ts'
import { suspensionCases } from './conformance/suspensions.ts'
import { World, type ConformanceCase, type ConformanceTiming, type NewStoreOptions, type StoreUnderTest } from './conformance/world.ts'

export type { ConformanceTiming, NewStoreOptions, StoreUnderTest } from './conformance/world.ts'

/** What {@link exerciseJobStore} needs to know. */
export interface ExerciseJobStoreOptions {
  /** Registers one test, for example `(name, run) => t.test(name, run)` of tap, or `test` of `node:test`. */
  readonly test: (name: string, run: () => Promise<void>) => unknown
  /** Makes a fresh, empty store for every case, not opened yet. */
  readonly newStore: (settings: NewStoreOptions) => StoreUnderTest | Promise<StoreUnderTest>
  /** How fast the store is; see {@link ConformanceTiming} for the defaults. */
  readonly timing?: Partial<ConformanceTiming> | undefined
  /**
   * What a store may lack, each `true` unless said otherwise. `retention`: it can be set so short (`shortMs`) and so
   * small (a few jobs) that a test can see it work. `list`: jobs can be listed. `shared` (`false` unless said
   * otherwise): processes on it can agree on locks and texts; a store that has `shared` and is not tried fails. `steps`: it keeps
   * durable steps, so that it can have sagas.
   */
  readonly capabilities?: { readonly retention?: boolean, readonly list?: boolean, readonly shared?: boolean, readonly steps?: boolean } | undefined
}

/** Every case of the suite, in the order in which they are run. */
const CASES: readonly ConformanceCase[] = [
  ...submissionCases, ...claimCases, ...settlementCases, ...cancelCases, ...manageCases, ...listeningCases, ...listCases, ...leaseCases, ...keepingCases, ...sharedCases, ...stepCases, ...suspensionCases, ...lifecycleCases
]

/**
 * Proves that a {@link JobStore} keeps the contract that workers, clients and endpoints build on. Registers one test
 * per rule with the runner given; each gets a store of its own. Works for a store on a fake clock (give
 * `StoreUnderTest.advance`) and for one in real time.
 *
 * ```ts
 * exerciseJobStore({
 *   test: (name, run) => t.test(name, run),
 *   newStore: () => ({ store: myStore({ leaseMs: 1_000 }), host: { context, report () {} } }),
 *   timing: { leaseMs: 1_000 }
 * })
 * ```
 */
export function exerciseJobStore (options: ExerciseJobStoreOptions): void {
  const leaseMs = options.timing?.leaseMs ?? 30_000
  const timing: ConformanceTiming = { leaseMs, stallMs: leaseMs * 3, shortMs: 200, deadlineMs: 10_000, ...options.timing }
  const capabilities = { retention: true, list: true, shared: false, steps: true, ...options.capabilities }
  for (const { name, needs, unless, settings, run } of CASES) {
    if ((needs !== undefined && !capabilities[needs]) || (unless !== undefined && capabilities[unless])) continue
    options.test(name, async () => {
      const world = new World(await options.newStore(settings?.(timing) ?? {}), timing)
      try {
        if (!name.startsWith('before it is open')) await world.store.open(world.host)
        await run(world)
      } finally {
        await world.end()
      }
    })
  }
}
