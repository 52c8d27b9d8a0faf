import type { Clock } from '../core/context.ts'
import type { JobStore } from './store.ts'

/**
 * Now, on the clock that the moments of stored jobs come from. Compare those with nothing else: the clock of this host may
 * be minutes ahead of, or behind, that of the host that stored them.
 */
export function storeNow (store: Pick<JobStore, 'now'>, clock: Pick<Clock, 'now'>): number {
  return store.now?.() ?? clock.now()
}
