import type { Clock } from '../core/context.ts'
import { watchEventLoop, type LoopSample } from '../core/event-loop.ts'
import type { HealthCheck } from '../core/health-check.ts'
import { Periodic } from '../core/periodic.ts'
import { BaseService } from '../core/service.ts'

/** As in `@fastify/under-pressure`, so that a limit means the same in both. */
const RESOLUTION_MS = 10
const SAMPLE_MS = 1_000

/** Measures the event loop of this process every second. An average over its whole life would hide a blocked second. */
export class EventLoopSampler extends BaseService {
  readonly #loop = watchEventLoop(RESOLUTION_MS)
  readonly #samples: Periodic
  #reading: LoopSample | undefined

  constructor (clock: Clock) {
    super()
    // There may be no new sample: on the clock of a test, or if nothing else ran in the loop. Then the one before stays.
    this.#samples = new Periodic({ clock, intervalMs: SAMPLE_MS, turn: () => { this.#reading = this.#loop.sample() ?? this.#reading } })
  }

  /** `undefined` until the first sample is over. */
  get reading (): LoopSample | undefined { return this.#reading }

  protected async onStart (): Promise<void> {
    this.#loop.start()
    this.#samples.start()
  }

  protected async onStop (): Promise<void> {
    this.#samples.cancel()
    this.#loop.stop()
  }
}

export interface EventLoopLimits {
  /** Milliseconds, on average over a sample. */
  readonly degradedEventLoopDelayMs: number
  readonly degradedEventLoopUtilization: number
}

/** Never worse than Degraded: taking the traffic from a busy process would overload the others. */
export function eventLoopCheck (limits: EventLoopLimits, read: () => LoopSample | undefined): HealthCheck {
  return () => {
    const reading = read()
    if (reading === undefined) return { status: 'Healthy', description: 'not measured yet' }
    const { meanMs, worstMs, utilization } = reading
    const problems: string[] = []
    if (meanMs > limits.degradedEventLoopDelayMs) problems.push('the event loop is blocked too long')
    if (utilization > limits.degradedEventLoopUtilization) problems.push('the event loop has no idle time left')
    return {
      status: problems.length > 0 ? 'Degraded' : 'Healthy',
      description: problems.length > 0 ? problems.join('; ') : 'within its limits',
      data: {
        delay_ms: rounded(meanMs),
        max_delay_ms: rounded(worstMs),
        delay_limit_ms: limits.degradedEventLoopDelayMs,
        utilization: rounded(utilization),
        utilization_limit: limits.degradedEventLoopUtilization
      }
    }
  }
}

function rounded (value: number): number { return Math.round(value * 1_000) / 1_000 }
