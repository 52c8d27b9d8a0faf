import { INSTRUMENTS } from '../telemetry/instruments.ts'
import type { HistogramPoint, MetricFamily, NumberPoint } from '../telemetry/snapshot.ts'
import { isHistogram } from './json.ts'

/** What `GET /metrics/jobs` answers. `null`: not known (yet), because the store has not been read. */
export interface JobsSummary {
  /** Of the whole store, over the queues that this process knows; as old as `ageMs` says. */
  readonly queuedJobs: number | null
  readonly scheduledJobs: number | null
  readonly processingJobs: number | null
  /** Those that are still kept. */
  readonly completedJobs: number | null
  readonly failedJobs: number | null
  readonly cancelledJobs: number | null
  /** Attempts of this process since it started that completed or failed, on average; 0 when there were none. */
  readonly avgProcessingTimeMs: number
  /** Jobs that failed, of those that completed or failed in this process since it started. */
  readonly errorRatePercent: number
  /** When the store was read. */
  readonly asOf: string | null
  readonly ageMs: number | null
  /** Attempts under way in this process, the oldest first, 100 at most; absent without `activityTracking`, and where everybody may read this. */
  readonly active?: readonly unknown[]
}

const countOrNull = (description: string): object => ({ type: ['integer', 'null'], description: `${description}; null: the store has not been read yet` })

/** {@link JobsSummary} as JSON Schema, for OpenAPI: it documents, and a test compares it with a real answer. */
export const jobsSummarySchema = {
  type: 'object',
  required: ['queuedJobs', 'scheduledJobs', 'processingJobs', 'completedJobs', 'failedJobs', 'cancelledJobs', 'avgProcessingTimeMs', 'errorRatePercent', 'asOf', 'ageMs'],
  additionalProperties: false,
  properties: {
    queuedJobs: countOrNull('Jobs of the whole store that may run now'),
    scheduledJobs: countOrNull('Jobs that wait for their time'),
    processingJobs: countOrNull('Jobs that run'),
    completedJobs: countOrNull('Completed jobs that are still kept'),
    failedJobs: countOrNull('Failed jobs that are still kept'),
    cancelledJobs: countOrNull('Cancelled jobs that are still kept'),
    avgProcessingTimeMs: { type: 'number', description: 'Milliseconds that an attempt of this process took on average since it started' },
    errorRatePercent: { type: 'number', description: 'Jobs that failed, of those that completed or failed in this process since it started' },
    asOf: { type: ['string', 'null'], format: 'date-time', description: 'When the store was read' },
    ageMs: { type: ['integer', 'null'], description: 'Milliseconds since then' },
    active: { type: 'array', description: 'Attempts under way in this process, the oldest first; only for who is authorized', items: { type: 'object', additionalProperties: true } }
  }
}

/** From the numbers that the process has at hand: the store is not asked. */
export function jobsSummary (families: readonly MetricFamily[], now: number, active: readonly unknown[] | undefined): JobsSummary {
  const numbers = (instrument: keyof typeof INSTRUMENTS): NumberPoint[] => pointsOf(families, INSTRUMENTS[instrument].name).flatMap((point) => isHistogram(point) ? [] : [point])
  const counts = numbers('jobCurrentCount')
  const jobs = (state: string): number | null => {
    const own = counts.filter(({ labels }) => labels['job_status'] === state)
    return own.length === 0 ? null : sum(own.map(({ value }) => value))
  }
  const attempts = pointsOf(families, INSTRUMENTS.jobProcessingDuration.name).filter(isHistogram).filter(isOutcome)
  const made = sum(attempts.map(({ count }) => count))
  const processed = (status: string): number => sum(numbers('jobProcessed').filter(({ labels }) => labels['status'] === status).map(({ value }) => value))
  const [completed, failed] = [processed('completed'), processed('failed')]
  const age = numbers('storeCountsAge')[0]?.value
  // Before the first reading the age counts from the start: it is the age of nothing.
  const ageMs = age === undefined || counts.length === 0 ? null : Math.round(age * 1_000)
  return {
    queuedJobs: jobs('queued'),
    scheduledJobs: jobs('scheduled'),
    processingJobs: jobs('in-progress'),
    completedJobs: jobs('completed'),
    failedJobs: jobs('failed'),
    cancelledJobs: jobs('cancelled'),
    avgProcessingTimeMs: made === 0 ? 0 : rounded(1_000 * sum(attempts.map((point) => point.sum)) / made),
    errorRatePercent: completed + failed === 0 ? 0 : rounded(100 * failed / (completed + failed)),
    asOf: ageMs === null ? null : new Date(now - ageMs).toISOString(),
    ageMs,
    ...(active === undefined ? {} : { active })
  }
}

function pointsOf (families: readonly MetricFamily[], name: string): ReadonlyArray<NumberPoint | HistogramPoint> {
  return families.find((family) => family.name === name)?.points ?? []
}

/** Snoozes, releases and cancels are no measure of how long the work takes. */
function isOutcome ({ labels }: HistogramPoint): boolean {
  return labels['status'] === 'completed' || labels['status'] === 'failed'
}

function sum (values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

function rounded (value: number): number {
  return Math.round(value * 1_000) / 1_000
}
