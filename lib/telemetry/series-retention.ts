import { MAX_TIMER_MS, type Clock } from '../core/context.ts'
import { Periodic } from '../core/periodic.ts'
import { BaseService } from '../core/service.ts'
import type { MetricsRegistry } from './registry.ts'

export interface RetentionParts {
  readonly registry: Pick<MetricsRegistry, 'sweep'>
  readonly clock: Clock
  /** After this time without a recording a series is forgotten. */
  readonly retentionMs: number
  /** Called before series are forgotten, so that their last numbers can still be read. Must not throw. */
  readonly beforeSweep?: () => void
  /** Runs the timer outside of any trace: otherwise it would keep a span alive. */
  readonly quietly: <R>(work: () => R) => R
}

/** Silence is counted in sweeps: recordings need no clock, and a process that was frozen forgets no series. */
const SWEEPS = 24
const MIN_INTERVAL_MS = 1_000

/**
 * Forgets series that nothing was recorded into for the time of retention, at most one sweep (a 24th of that time)
 * late.
 *
 * ```
 * waiting ──timer──▶ sweeping ──▶ waiting          stop ends it
 * ```
 */
export class Retention extends BaseService {
  readonly #parts: RetentionParts
  readonly #sweeps: Periodic

  constructor (parts: RetentionParts) {
    super()
    this.#parts = parts
    const { clock, registry, retentionMs, beforeSweep } = parts
    const intervalMs = Math.min(Math.max(retentionMs / SWEEPS, MIN_INTERVAL_MS), MAX_TIMER_MS)
    // The first sweep may come right after a recording, so it does not count as silence.
    const limit = Math.ceil(retentionMs / intervalMs)
    this.#sweeps = new Periodic({
      clock,
      intervalMs,
      turn: () => {
        beforeSweep?.()
        registry.sweep(limit)
      }
    })
  }

  protected async onStart (): Promise<void> {
    this.#parts.quietly(() => { this.#sweeps.start() })
  }

  protected async onStop (): Promise<void> { this.#sweeps.cancel() }
}
