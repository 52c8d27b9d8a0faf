import type { JobStore } from './store.ts'

/** Of the longest time between two looks: a shorter silence could not tell a consumer that works from one that does not. */
const LEAST_LOOKS = 1.5

/** What is wrong, if anything, with an option that says how long a consumer may be silent. */
export function workerSilenceProblem (option: string, silentMs: number, { longestLookMs = 0 }: Pick<JobStore, 'longestLookMs'>): string | undefined {
  const leastMs = LEAST_LOOKS * longestLookMs
  return silentMs < leastMs ? `${option} must be at least ${leastMs} with this store: a worker that works may look only every ${longestLookMs} ms` : undefined
}
