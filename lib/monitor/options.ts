import { readOptions, type OptionsSchema } from '../core/options.ts'

/** What the performance monitor measures, and from which values on it emits an event. */
export interface PerformanceOptions {
  /**
   * A monitored operation, a submission, a claim or a store operation that takes longer than this many milliseconds
   * emits `performance.slow_operation`. @defaultValue 1000
   */
  slowMs?: number | undefined
  /** A database query that takes longer emits `performance.slow_query`. @defaultValue 1000 */
  slowQueryMs?: number | undefined
  /**
   * A monitored operation after which the heap is larger by more than this many MiB emits `performance.memory_spike`.
   * @defaultValue 100
   */
  memorySpikeMb?: number | undefined
  /**
   * An event loop that is late by more than this many milliseconds, in one of a hundred moments of a sample, emits
   * `performance.event_loop_lagged`. @defaultValue 200
   */
  eventLoopLagMs?: number | undefined
  /**
   * Measures database queries by the spans of instrumented clients. For this a span processor is added to the tracer
   * provider of the process. @defaultValue true
   */
  slowQueries?: boolean | undefined
  /**
   * A queue is a bottleneck when its jobs wait longer than this for a free slot (95th percentile, or the oldest that
   * waits now). @defaultValue 5000
   */
  queueWaitMs?: number | undefined
  /** The store is a bottleneck when its operations take longer than this (95th percentile). @defaultValue 100 */
  slowStoreMs?: number | undefined
  /** How often the event loop is measured, and the window over the metrics gets a new point. @defaultValue 10000 */
  sampleIntervalMs?: number | undefined
  /** Serves `GET /metrics/bottlenecks`: what limits the throughput now. @defaultValue true */
  bottlenecks?: boolean | undefined
  /** How far back "now" reaches in the report of bottlenecks, in milliseconds. @defaultValue 300000 (5 min) */
  windowMs?: number | undefined
  /** How many slow operations, and how many slow queries, are kept for the report: the newest. @defaultValue 1000 */
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
