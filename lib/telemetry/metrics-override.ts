import { RECORDED_METRICS } from './instruments.ts'
import {
  metricsOf, noopMetrics, NOOP_TIMER, TIMER_METHODS, withTimers,
  type AsyncEndpointsMetrics, type MetricMethod, type MetricTimer, type TimerMethod
} from './metrics.ts'

/** Passes on whatever it is called with. */
type Recorder = (...values: unknown[]) => unknown
type Wrap = (method: MetricMethod, recorder: Recorder) => Recorder

/**
 * A whole implementation from a part of one: what is left out records nothing, and the two timers record into the
 * durations that are there. Give it as `metrics.recorder` to replace all of the default.
 */
export function defineMetrics (part: Partial<AsyncEndpointsMetrics>): AsyncEndpointsMetrics {
  return assemble(noopMetrics(), part, (_method, recorder) => recorder)
}

/**
 * Puts the given methods over the base. Each of them is guarded: when one throws or its promise rejects, `failed` is
 * called and the caller notices nothing.
 *
 * @param failed must not throw
 */
export function overrideMetrics (
  base: AsyncEndpointsMetrics,
  part: Partial<AsyncEndpointsMetrics>,
  failed: (method: MetricMethod, error: unknown) => void
): AsyncEndpointsMetrics {
  return assemble(base, part, (method, recorder) => (...values) => {
    try {
      const outcome = recorder(...values)
      // The interface is synchronous, but `async` is easily written, and an unhandled rejection would end the process.
      if (outcome instanceof Promise) outcome.catch((error: unknown) => failed(method, error))
      return outcome
    } catch (error) {
      failed(method, error)
      return undefined
    }
  })
}

function assemble (base: AsyncEndpointsMetrics, part: Partial<AsyncEndpointsMetrics>, wrap: Wrap): AsyncEndpointsMetrics {
  const methods = metricsOf(RECORDED_METRICS, (method) => {
    const own = methodOf(part, method)
    return own === undefined ? methodOf(base, method) ?? (() => {}) : wrap(method, own)
  })
  const metrics = withTimers(methods)
  for (const timer of TIMER_METHODS) {
    const own = methodOf(part, timer)
    if (own !== undefined) metrics[timer] = ownTimer(timer, own, wrap)
  }
  return metrics
}

/** A method with its `this`; `undefined` when there is none of that name. */
function methodOf (target: object, name: string): Recorder | undefined {
  const method: unknown = Reflect.get(target, name)
  return typeof method === 'function' ? (...values) => method.apply(target, values) : undefined
}

function ownTimer (method: TimerMethod, own: Recorder, wrap: Wrap): (labels: object) => MetricTimer {
  const begin = wrap(method, own)
  return (labels) => guardTimer(begin(labels), (stop) => wrap(method, stop))
}

/** A timer that an application made: it may be missing, and it may throw when it is stopped. */
function guardTimer (timer: unknown, wrap: (stop: Recorder) => Recorder): MetricTimer {
  if (typeof timer !== 'object' || timer === null) return NOOP_TIMER
  const own = timer as Partial<MetricTimer>
  const stop = wrap(() => typeof own.stop === 'function' ? own.stop() : own[Symbol.dispose]?.())
  const end = (): number => {
    const seconds = stop()
    return typeof seconds === 'number' ? seconds : 0
  }
  return { stop: end, [Symbol.dispose]: () => { end() } }
}
