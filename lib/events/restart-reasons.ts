/**
 * Why a worker got a new consumer for a queue, in `worker.restarted`. `silent`: the old one had claimed before.
 * `never-looked`: it was made and never looked for a job. `requested`: the application called `restart`.
 */
export const RESTART_REASONS = ['silent', 'never-looked', 'requested'] as const

export type RestartReason = typeof RESTART_REASONS[number]
