import type { Clock } from '../core/context.ts'
import type { JobStore } from './store.ts'

/**
 * The current time of the clock that the times of stored jobs come from. Compare those times only with this: the
 * clock of this host may differ by minutes from the clock of the host that stored them.
 */
export function storeNow (store: Pick<JobStore, 'now'>, clock: Pick<Clock, 'now'>): number {
  return store.now?.() ?? clock.now()
}
