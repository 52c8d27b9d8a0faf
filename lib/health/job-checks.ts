import type { Clock } from '../core/context.ts'
import type { HealthCheck, HealthCheckOptions } from '../core/health-check.ts'
import type { JobDefinition } from '../jobs/definition.ts'
import type { StoreReadings } from './readings.ts'
import type { Health } from './registry.ts'

/** Dependencies are asked less often, and given more time, than what is near. */
const REQUIREMENT_DEFAULTS: HealthCheckOptions = Object.freeze({ timeoutMs: 5_000, cacheMs: 10_000 })

/** Adds `<job>-<name>` for everything that a job requires. */
export function addRequirementChecks (health: Health, { name: job, requires }: JobDefinition): void {
  for (const [name, requirement] of Object.entries(requires)) {
    const { check, ...options } = typeof requirement === 'function' ? { check: requirement } : requirement
    health.addCheck(`${job}-${name}`, check, { ...REQUIREMENT_DEFAULTS, ...options, tags: ['job', name, ...options.tags ?? []] })
  }
}

/** Adds `<job>-stuck` for a job whose attempts have a limit of time. */
export function addStuckCheck (health: Health, definition: JobDefinition, readings: Pick<StoreReadings, 'running'>, clock: Pick<Clock, 'now'>): void {
  if (definition.timeoutMs === 0) return
  health.addCheck(`${definition.name}-stuck`, stuckCheck(definition, readings, clock), { tags: ['job', 'stuck'], critical: false, timeoutMs: 5_000, cacheMs: 5_000 })
}

/**
 * Attempts that nobody ended although their time and their grace are over: a worker that is alive
 * would have aborted and settled them.
 */
export function stuckCheck ({ name, timeoutMs, graceMs }: Pick<JobDefinition, 'name' | 'timeoutMs' | 'graceMs'>, readings: Pick<StoreReadings, 'running'>, clock: Pick<Clock, 'now'>): HealthCheck {
  const limitMs = timeoutMs + graceMs
  const seconds = limitMs / 1_000
  return async () => {
    const since = clock.now() - limitMs
    const stuck = (await readings.running()).filter((job) => job.name === name && job.startedAt !== undefined && job.startedAt < since).length
    return stuck === 0
      ? { status: 'Healthy', description: 'no stuck jobs', data: { stuck_count: 0, threshold_seconds: seconds } }
      : { status: 'Degraded', description: `${stuck} in progress for more than ${seconds} s`, data: { stuck_count: stuck, threshold_seconds: seconds } }
  }
}
