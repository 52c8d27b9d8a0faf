import { AsyncEndpointsError } from '../core/errors.ts'

/**
 * The states of a job and the allowed transitions. Types, guards and docs are derived from this table.
 *
 * ```
 *            ┌────────── scheduled ◀──────────┐ backoff, snooze
 *            ▼               ▲                │
 * submit ─▶ queued ────▶ in-progress ─────────┤
 *            ▲               │  └─▶ queued    │ hand-back, stall
 *            │               ├─▶ completed    │
 *            └── redrive ─── ├─▶ failed ──────┘ (redrive)
 *                            └─▶ cancelled
 * ```
 */
export const TRANSITIONS = {
  queued: ['in-progress', 'scheduled', 'cancelled'],
  scheduled: ['queued', 'in-progress', 'cancelled'],
  'in-progress': ['completed', 'failed', 'cancelled', 'scheduled', 'queued'],
  completed: [],
  failed: ['queued'],
  cancelled: []
} as const satisfies Record<string, readonly string[]>

export type JobState = keyof typeof TRANSITIONS

export const JOB_STATES = Object.keys(TRANSITIONS) as JobState[]

/** A job in one of these states has ended. It does not change any more, except that a failed job can be redriven. */
export const TERMINAL_STATES = ['completed', 'failed', 'cancelled'] as const satisfies readonly JobState[]

export type TerminalState = typeof TERMINAL_STATES[number]

export function isTerminal (state: JobState): state is TerminalState {
  return state === 'completed' || state === 'failed' || state === 'cancelled'
}

export function canTransition (from: JobState, to: JobState): boolean {
  return (TRANSITIONS[from] as readonly JobState[]).includes(to)
}

/** @throws {AsyncEndpointsError} `FAE_ILLEGAL_TRANSITION` */
export function assertTransition (from: JobState, to: JobState): void {
  if (!canTransition(from, to)) {
    throw new AsyncEndpointsError('FAE_ILLEGAL_TRANSITION', `A job that is ${from} cannot become ${to}`)
  }
}
