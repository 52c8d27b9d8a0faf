import type { MetricFamily } from '../telemetry/snapshot.ts'

/** What counters and histograms have counted so far; the difference of two is how busy the time between them was. */
export function recordingsIn (families: readonly MetricFamily[]): number {
  let recordings = 0
  for (const family of families) {
    if (family.kind === 'counter') for (const { value } of family.points) recordings += value
    else if (family.kind === 'histogram') for (const { count } of family.points) recordings += count
  }
  return recordings
}
