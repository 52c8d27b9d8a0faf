import { monitorEventLoopDelay, performance, type EventLoopUtilization, type IntervalHistogram } from 'node:perf_hooks'
import type { Clock, TimerHandle } from '../core/context.ts'
import type { HealthCheck } from '../core/health-check.ts'
import { BaseService } from '../core/service.ts'

const RESOLUTION_MS = 10
const SAMPLE_MS = 1_000

/** The event loop over the last sample. */
export interface EventLoopReading {
  /** By how much a timer was late, on average. */
  readonly delayMs: number
  readonly maxDelayMs: number
  /** Share of the time that it was busy, 0 to 1. */
  readonly utilization: number
}

/** Measures the event loop of this process, sample by sample: an average over its whole life would notice nothing. */
export class EventLoopWatch extends BaseService {
  readonly #clock: Clock
  #histogram: IntervalHistogram | undefined
  #utilization: EventLoopUtilization | undefined
  #timer: TimerHandle | undefined
  #reading: EventLoopReading | undefined

  constructor (clock: Clock) {
    super()
    this.#clock = clock
  }

  /** `undefined` until the first sample is over. */
  get reading (): EventLoopReading | undefined { return this.#reading }

  protected async onStart (): Promise<void> {
    this.#histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
    this.#histogram.enable()
    this.#utilization = performance.eventLoopUtilization()
    this.#arm()
  }

  protected async onStop (): Promise<void> {
    this.#clock.clearTimeout(this.#timer)
    this.#histogram?.disable()
  }

  #arm (): void {
    this.#timer = this.#clock.setTimeout(() => {
      this.#sample()
      this.#arm()
    }, SAMPLE_MS)
  }

  #sample (): void {
    const histogram = this.#histogram
    // Nothing was recorded yet: a clock of a test, or a loop that came to nothing but this.
    if (histogram === undefined || histogram.count === 0) return
    const now = performance.eventLoopUtilization()
    this.#reading = {
      delayMs: late(histogram.mean),
      maxDelayMs: late(histogram.max),
      utilization: performance.eventLoopUtilization(now, this.#utilization).utilization
    }
    this.#utilization = now
    histogram.reset()
  }
}

function late (nanoseconds: number): number {
  return Math.round(Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS) * 1_000) / 1_000
}

export interface EventLoopLimits {
  /** Milliseconds, on average over a sample. */
  readonly maxEventLoopDelayMs: number
  readonly maxEventLoopUtilization: number
}

/** Never worse than Degraded: what is too busy should not get more of what it has too much of, nor be taken away. */
export function eventLoopCheck (limits: EventLoopLimits, read: () => EventLoopReading | undefined): HealthCheck {
  return () => {
    const reading = read()
    if (reading === undefined) return { status: 'Healthy', description: 'not measured yet' }
    const { delayMs, maxDelayMs, utilization } = reading
    const problems: string[] = []
    if (delayMs > limits.maxEventLoopDelayMs) problems.push('the event loop is late')
    if (utilization > limits.maxEventLoopUtilization) problems.push('the event loop is never idle')
    return {
      status: problems.length > 0 ? 'Degraded' : 'Healthy',
      description: problems.length > 0 ? problems.join('; ') : 'within its limits',
      data: {
        delay_ms: delayMs,
        max_delay_ms: maxDelayMs,
        delay_limit_ms: limits.maxEventLoopDelayMs,
        utilization: Math.round(utilization * 1_000) / 1_000,
        utilization_limit: limits.maxEventLoopUtilization
      }
    }
  }
}
