import type { Clock } from '../core/context.ts'
import type { HealthCheck, HealthVerdict } from '../core/health-check.ts'
import { failureOf } from './check-failure.ts'

const STILL_READY = 'health.storeOutage keeps this process ready'

/**
 * Keeps a process ready while a store that it has reached before cannot be used (`health.storeOutage: 'ready'`).
 *
 * ```
 * never reached (Unhealthy) ──a good answer──▶ reached ◀──▶ out (Degraded)
 * ```
 *
 * A process that has never reached its store stays unready: otherwise a deployment with a wrong address would replace every
 * process that works.
 */
export class StoreOutage {
  readonly #clock: Clock
  #reached = false
  #out = false
  #lastOutAt = -Infinity
  #asking: Promise<unknown> | undefined

  constructor (clock: Clock) { this.#clock = clock }

  /** Monotonic: when the store was last away. A worker could claim nothing until then, so its silence counts from here. */
  get lastOutAt (): number { return this.#lastOutAt }

  /** Wraps the check of the store: once the store was reached, Unhealthy becomes Degraded. */
  watch (check: HealthCheck): HealthCheck {
    return (context) => {
      const asking = this.#judge(check, context)
      this.#asking = asking
      return asking
    }
  }

  /** Wraps a check of something that needs the store: while the store is away, it answers Degraded instead of running the check. */
  excuse (check: HealthCheck): HealthCheck {
    return async (context) => {
      // Both checks are called at the same time; wait for the one of the store.
      await this.#asking
      return this.#out ? { status: 'Degraded', description: 'the store cannot be reached, so no job can be claimed', data: {} } : await check(context)
    }
  }

  async #judge (check: HealthCheck, context: Parameters<HealthCheck>[0]): Promise<HealthVerdict> {
    const verdict = await ask(check, context)
    this.#out = typeof verdict === 'object' && verdict.status === 'Unhealthy'
    if (!this.#out) this.#reached = true
    if (!this.#out || !this.#reached || typeof verdict !== 'object') return verdict
    this.#lastOutAt = this.#clock.monotonic()
    return { ...verdict, status: 'Degraded', description: `${verdict.description ?? 'the store cannot be used'}; ${STILL_READY}` }
  }
}

async function ask (check: HealthCheck, context: Parameters<HealthCheck>[0]): Promise<HealthVerdict> {
  try {
    return await check(context)
  } catch (error) {
    return failureOf(error)
  }
}
