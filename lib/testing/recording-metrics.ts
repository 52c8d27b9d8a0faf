import { RECORDED_METRICS } from '../telemetry/instruments.ts'
import { defineMetrics } from '../telemetry/metrics-override.ts'
import { metricsOf, type AsyncEndpointsMetrics, type MetricMethod } from '../telemetry/metrics.ts'
import type { ExemplarSource } from '../telemetry/snapshot.ts'

export interface RecordingWaitOptions {
  /** How many calls. @defaultValue 1 */
  readonly count?: number
  /** @defaultValue 5000 */
  readonly timeoutMs?: number
}

/** One call of a metrics method. */
export interface RecordedMetric {
  readonly method: MetricMethod
  readonly labels: Readonly<Record<string, string>>
  /** Seconds, bytes, a count or a percentage; `undefined` for what only counts. */
  readonly value: number | undefined
  readonly exemplar: ExemplarSource | undefined
}

export interface RecordingMetrics extends AsyncEndpointsMetrics {
  /** Every call, in order. */
  readonly calls: readonly RecordedMetric[]
  /** The calls of one method whose labels include these. */
  of (method: MetricMethod, labels?: Readonly<Record<string, string>>): RecordedMetric[]
  /** True when there is such a call. */
  has (method: MetricMethod, labels?: Readonly<Record<string, string>>): boolean
  /**
   * Waits for such calls instead of sleeping.
   *
   * @throws {Error} after the timeout, with what was waited for and what was seen
   */
  waitFor (method: MetricMethod, labels?: Readonly<Record<string, string>>, options?: RecordingWaitOptions): Promise<RecordedMetric[]>
  clear (): void
}

/**
 * Metrics that remember, for the tests of an application: give it as `metrics.recorder` and ask it afterwards.
 *
 * ```ts
 * const metrics = recordingMetrics()
 * await app.register(asyncEndpoints, { observability: { metrics: { recorder: metrics } } })
 * …
 * await metrics.waitFor('jobProcessed', { jobName: 'generate-report', status: 'completed' })
 * ```
 */
export function recordingMetrics (): RecordingMetrics {
  const calls: RecordedMetric[] = []
  const waiters = new Set<() => void>()
  const record = (method: MetricMethod, values: readonly unknown[]): void => {
    const measured = typeof values[0] === 'number'
    const [labels, exemplar] = measured ? values.slice(1) : values
    calls.push({
      method,
      labels: { ...(labels as Readonly<Record<string, string>>) },
      value: measured ? values[0] as number : undefined,
      exemplar: exemplar as ExemplarSource | undefined
    })
    for (const wake of waiters) wake()
  }
  const recorder = metricsOf(RECORDED_METRICS, (method) => (...values: unknown[]) => { record(method, values) })
  const matching = (method: MetricMethod, labels: Readonly<Record<string, string>> = {}): RecordedMetric[] => {
    const wanted = Object.entries(labels)
    return calls.filter((call) => call.method === method && wanted.every(([key, value]) => call.labels[key] === value))
  }

  const kit = {
    calls: calls as readonly RecordedMetric[],
    of: matching,
    has: (method: MetricMethod, labels?: Readonly<Record<string, string>>) => matching(method, labels).length > 0,
    clear: () => { calls.length = 0 },
    waitFor: (method: MetricMethod, labels?: Readonly<Record<string, string>>, { count = 1, timeoutMs = 5_000 }: RecordingWaitOptions = {}) =>
      new Promise<RecordedMetric[]>((resolve, reject) => {
        const timer = setTimeout(() => {
          waiters.delete(check)
          const seen = matching(method).map((call) => JSON.stringify(call.labels)).join(', ')
          const wanted = `${count} × ${method} ${JSON.stringify(labels ?? {})}`
          reject(new Error(`waited ${timeoutMs} ms for ${wanted}; seen: ${seen === '' ? 'none' : seen}`))
        }, timeoutMs)
        const check = (): void => {
          const found = matching(method, labels)
          if (found.length < count) return
          clearTimeout(timer)
          waiters.delete(check)
          resolve(found)
        }
        waiters.add(check)
        check()
      })
  }
  // On the prototype: `metrics.recorder` takes every key of the object itself for a method of AsyncEndpointsMetrics,
  // and refuses the rest.
  return Object.setPrototypeOf(defineMetrics(recorder), kit)
}
