import type { JobStore } from './store.ts'

/**
 * A multiple of the longest time between two reads of a queue. With a shorter limit, a consumer that works would
 * count as silent.
 */
const LEAST_LOOKS = 1.5

/** Checks an option that limits how long a consumer may be silent. @returns the problem, if there is one */
export function workerSilenceProblem (
  option: string, silentMs: number, { longestLookMs = 0 }: Pick<JobStore, 'longestLookMs'>
): string | undefined {
  const leastMs = LEAST_LOOKS * longestLookMs
  return silentMs < leastMs ? `${option} must be at least ${leastMs} with this store: a worker without jobs asks for new ones only every ${longestLookMs} ms` : undefined
}
