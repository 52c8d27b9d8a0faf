import { readOptions, type OptionsSchema } from '../core/options.ts'

/** Thresholds of the performance monitor. */
export interface PerformanceOptions {
  /** A monitored operation, a submission, a claim or a store operation that takes longer is told as `performance.slow_operation`. @defaultValue 1000 */
  slowMs?: number | undefined
  /** A database query that takes longer is told as `performance.slow_query`. @defaultValue 1000 */
  slowQueryMs?: number | undefined
  /** A monitored operation that leaves the heap so much larger is told as `performance.memory_spike`; in MiB. @defaultValue 100 */
  memorySpikeMb?: number | undefined
  /** An event loop that is late by more (for one in a hundred moments of a sampling interval) is told as `performance.event_loop_lagged`. @defaultValue 200 */
  eventLoopLagMs?: number | undefined
  /** Database queries are measured by the spans of instrumented clients, for which a span processor is added to the provider of the process. @defaultValue true */
  slowQueries?: boolean | undefined
  /** Jobs that wait longer for a place (95th percentile), or longest, are a bottleneck. @defaultValue 5000 */
  queueWaitMs?: number | undefined
  /** A store whose operations take longer (95th percentile) is a bottleneck. @defaultValue 100 */
  slowStoreMs?: number
  /** How often the event loop is looked at, and a point of the window is taken. @defaultValue 10000 */
  sampleIntervalMs?: number | undefined
  /** `GET /metrics/bottlenecks`: what limits the throughput now. @defaultValue true */
  bottlenecks?: boolean | undefined
  /** How far back `now` reaches for the bottlenecks. @defaultValue 300000 (5 min) */
  windowMs?: number | undefined
  /** Slow operations and queries that are kept to be shown, the newest. @defaultValue 1000 */
  maxSamples?: number | undefined
}

const performanceSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    slowMs: { type: 'number', minimum: 0 },
    slowQueryMs: { type: 'number', minimum: 0 },
    slowQueries: { type: 'boolean' },
    queueWaitMs: { type: 'number', exclusiveMinimum: 0 },
    slowStoreMs: { type: 'number', exclusiveMinimum: 0 },
    memorySpikeMb: { type: 'number', exclusiveMinimum: 0 },
    eventLoopLagMs: { type: 'number', exclusiveMinimum: 0 },
    sampleIntervalMs: { type: 'number', minimum: 100, maximum: 3_600_000 },
    bottlenecks: { type: 'boolean' },
    windowMs: { type: 'number', minimum: 1_000, maximum: 86_400_000 },
    maxSamples: { type: 'integer', minimum: 1, maximum: 100_000 }
  }
}

const PERFORMANCE_DEFAULTS: Readonly<Required<PerformanceOptions>> = Object.freeze({
  slowMs: 1_000,
  slowQueryMs: 1_000,
  slowQueries: true,
  memorySpikeMb: 100,
  eventLoopLagMs: 200,
  queueWaitMs: 5_000,
  slowStoreMs: 100,
  sampleIntervalMs: 10_000,
  bottlenecks: true,
  windowMs: 300_000,
  maxSamples: 1_000
})

export type ResolvedPerformanceOptions = Readonly<Required<PerformanceOptions>>

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readPerformanceOptions (given: PerformanceOptions): ResolvedPerformanceOptions {
  return readOptions<PerformanceOptions, Required<PerformanceOptions>>('observability.performance', performanceSchema, PERFORMANCE_DEFAULTS, given)
}
