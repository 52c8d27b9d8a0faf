import type { Clock } from '../core/context.ts'
import type { HealthCheckOptions, HealthVerdict } from '../core/health-check.ts'
import type { JobDefinition } from '../jobs/definition.ts'
import type { StoreReadings } from './store-readings.ts'
import type { Health } from './registry.ts'

/** Dependencies are often remote: they are asked less often than other checks, and get more time. */
const REQUIREMENT_DEFAULTS: HealthCheckOptions = Object.freeze({ timeoutMs: 5_000, cacheMs: 10_000 })

/** Adds `<job>-<name>` for everything that a job requires. */
export function addRequirementChecks (health: Health, { name: job, requires }: JobDefinition): void {
  for (const [name, requirement] of Object.entries(requires)) {
    const { check, ...options } = typeof requirement === 'function' ? { check: requirement } : requirement
    health.addCheck(`${job}-${name}`, check, { ...REQUIREMENT_DEFAULTS, ...options, tags: ['job', name, ...options.tags ?? []] })
  }
}

/** How many jobs are named one by one: each needs two of the twenty facts that the report of a check can have. */
const MAX_NAMED = 9

/** What the check of stuck jobs needs to know of a definition. */
type Limited = Pick<JobDefinition, 'name' | 'timeoutMs' | 'graceMs'>

/**
 * One check for the stuck jobs of all definitions: jobs that are in progress for longer than their `timeoutMs` and `graceMs` together,
 * whether or not their lease is valid. A worker that is alive would have aborted and settled them. Jobs without a time limit
 * (`timeoutMs: 0`) are never stuck.
 */
export class StuckJobs {
  readonly #definitions: { all (): readonly Limited[] }
  readonly #readings: Pick<StoreReadings, 'running'>
  readonly #clock: Pick<Clock, 'now'>

  constructor (definitions: { all (): readonly Limited[] }, readings: Pick<StoreReadings, 'running'>, clock: Pick<Clock, 'now'>) {
    this.#definitions = definitions
    this.#readings = readings
    this.#clock = clock
  }

  addTo (health: Health): void {
    const options = { tags: ['job', 'stuck'], critical: false, timeoutMs: 5_000, cacheMs: 5_000 }
    health.addCheck('asyncendpoints.stuck', async () => await this.look(), options)
  }

  /** Never worse than Degraded: a restart of this process would not help. */
  async look (): Promise<Exclude<HealthVerdict, string | boolean | void>> {
    const limits = new Map(this.#definitions.all().filter(({ timeoutMs }) => timeoutMs > 0).map(({ name, timeoutMs, graceMs }) => [name, timeoutMs + graceMs]))
    const found = new Map<string, number>()
    // If no job has a time limit, the store is not read.
    const running = limits.size === 0 ? [] : await this.#readings.running()
    const now = this.#clock.now()
    for (const { name, startedAt } of running) {
      const limitMs = limits.get(name)
      if (limitMs !== undefined && startedAt !== undefined && startedAt < now - limitMs) found.set(name, (found.get(name) ?? 0) + 1)
    }
    if (found.size === 0) return { status: 'Healthy', description: 'no stuck jobs', data: { stuck_count: 0, jobs_watched: limits.size } }
    const worst = [...found].toSorted(([, a], [, b]) => b - a)
    const named = worst.slice(0, MAX_NAMED).map(([name, count]) => ({ name, count, seconds: (limits.get(name) ?? 0) / 1_000 }))
    const more = worst.length > MAX_NAMED ? [`${worst.length - MAX_NAMED} more`] : []
    return {
      status: 'Degraded',
      description: `in progress for longer than they may: ${[...named.map(({ name, count, seconds }) => `${name} (${count} for more than ${seconds} s)`), ...more].join(', ')}`,
      data: {
        stuck_count: [...found.values()].reduce((sum, count) => sum + count, 0),
        jobs_watched: limits.size,
        ...Object.fromEntries(named.flatMap(({ name, count, seconds }) => [[`${name}.stuck_count`, count], [`${name}.threshold_seconds`, seconds]]))
      }
    }
  }
}
