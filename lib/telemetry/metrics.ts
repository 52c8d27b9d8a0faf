import { RECORDED_METRICS } from './instruments.ts'
import type { LabelProperty } from './metric-catalogue/labels.ts'
import type { MetricRow, MetricTable } from './metric-catalogue/row.ts'
import type { ExemplarSource } from './snapshot.ts'

/** Measures until it is stopped, by hand or at the end of a `using` block. Stopping twice records once. */
export interface MetricTimer extends Disposable {
  /** @returns the seconds that were recorded */
  stop (): number
}

// What follows writes the parameters out instead of naming them, so that an editor shows `(seconds: number, labels: {
// readonly jobName: string, readonly storeType: string }, exemplar?: ExemplarSource) => void`.

type Counting<Labels, R extends MetricRow> = R extends { readonly exemplar: true }
  ? (labels: Labels, exemplar?: ExemplarSource) => void
  : (labels: Labels) => void

type Timing<Labels, R extends MetricRow> = R extends { readonly exemplar: true }
  ? (seconds: number, labels: Labels, exemplar?: ExemplarSource) => void
  : (seconds: number, labels: Labels) => void

type Measuring<Labels, Unit extends string> =
  Unit extends 'By' ? (bytes: number, labels: Labels) => void
    : Unit extends '%' ? (percent: number, labels: Labels) => void
      : (count: number, labels: Labels) => void

type RecordingWith<Labels, R extends MetricRow> =
  R['kind'] extends 'counter' ? Counting<Labels, R>
    : R['unit'] extends 's' ? Timing<Labels, R>
      : Measuring<Labels, R['unit']>

/** The method that records a row of the catalogue. */
export type Recording<R extends MetricRow> =
  RecordingWith<{ readonly [N in R['labels'][number] as LabelProperty<N>]: string }, R>

/** A method for each row of a table, under the row's key and with its comment. */
export type MetricsOf<T extends MetricTable> = { -readonly [M in keyof T]: Recording<T[M]> }

/** The timers, and the method that each of them records into. */
const TIMERS = {
  /** Starts to measure an attempt, and records it with `jobProcessingDuration` when it is stopped. */
  timeJobProcessing: 'jobProcessingDuration',
  /** Starts to measure a handler, and records it with `handlerDuration` when it is stopped. */
  timeHandler: 'handlerDuration'
} as const satisfies Readonly<Record<string, RecordMethod>>

export type MetricTimers = {
  -readonly [M in keyof typeof TIMERS]: (labels: Parameters<RecordedMethods[(typeof TIMERS)[M]]>[1]) => MetricTimer
}

export type RecordedMethods = MetricsOf<typeof RECORDED_METRICS>

/**
 * Everything the library measures, as one interface. The default implementation records into the registry behind
 * `/metrics`; an application may replace all of it (`defineMetrics({...})`) or single methods (`metrics.recorder`).
 * Methods are synchronous and take durations in seconds and sizes in bytes. A method that throws, or returns a promise
 * that rejects, harms nothing: the failure is counted, and the first one is logged.
 *
 * `exemplar` is given when the job is traced and sampled.
 */
export interface AsyncEndpointsMetrics extends RecordedMethods, MetricTimers {}

type RecordMethod = keyof RecordedMethods & string
export type MetricMethod = keyof AsyncEndpointsMetrics & string
export type TimerMethod = keyof typeof TIMERS

function keysOf<T extends object> (table: T): Array<keyof T & string> {
  return Object.keys(table) as Array<keyof T & string>
}

export const RECORD_METHODS: readonly RecordMethod[] = keysOf(RECORDED_METRICS)
export const TIMER_METHODS: readonly TimerMethod[] = keysOf(TIMERS)
export const METRIC_METHODS: readonly MetricMethod[] = [...RECORD_METHODS, ...TIMER_METHODS]

/** Any method of a recorder: which parameters it takes depends on its row. */
export type Recorder = (...values: never[]) => unknown

/**
 * Makes one method for each row of a table.
 *
 * @param make gets the row's key, which is the name of the method, and the row
 */
export function metricsOf<T extends MetricTable> (
  table: T, make: (method: keyof T & string, row: T[keyof T & string]) => Recorder
): MetricsOf<T> {
  // One assignment after the other: `Object.fromEntries` makes an object whose properties take longer to find.
  const methods: Record<string, Recorder> = {}
  for (const method of keysOf(table)) methods[method] = make(method, table[method])
  // The compiler cannot follow a loop over keys: the type says what the loop above has done.
  return methods as MetricsOf<T>
}

/** The methods of the library's own table, with their timers. */
export function withTimers (methods: RecordedMethods, monotonic?: () => number): AsyncEndpointsMetrics {
  return {
    ...methods,
    timeJobProcessing: (labels) =>
      startTimer((seconds) => { methods.jobProcessingDuration(seconds, labels) }, monotonic),
    timeHandler: (labels) => startTimer((seconds) => { methods.handlerDuration(seconds, labels) }, monotonic)
  }
}

/** Starts a timer that hands its seconds to `record`, once. */
export function startTimer (
  record: (seconds: number) => void, monotonic: () => number = () => performance.now()
): MetricTimer {
  const startedAt = monotonic()
  let seconds: number | undefined
  const stop = (): number => {
    if (seconds === undefined) {
      seconds = (monotonic() - startedAt) / 1_000
      record(seconds)
    }
    return seconds
  }
  return { stop, [Symbol.dispose]: () => { stop() } }
}

export const NOOP_TIMER: MetricTimer = Object.freeze({ stop: () => 0, [Symbol.dispose]: () => {} })

/** Records nothing: what `metrics: false` puts in the place of the default, so that no caller needs an `if`. */
export function noopMetrics (): AsyncEndpointsMetrics {
  const methods = metricsOf(RECORDED_METRICS, () => () => {})
  return { ...methods, timeJobProcessing: () => NOOP_TIMER, timeHandler: () => NOOP_TIMER }
}
