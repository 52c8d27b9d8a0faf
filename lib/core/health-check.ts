import type { OptionsSchema } from './options.ts'

/** From good to bad. `Degraded`: the process still works, but somebody should look at it. */
export const HEALTH_STATUSES = ['Healthy', 'Degraded', 'Unhealthy'] as const
export type HealthStatus = typeof HEALTH_STATUSES[number]

/** Data of a verdict. Only texts, numbers, booleans and null are shown. */
export type HealthData = Readonly<Record<string, string | number | boolean | null>>

/**
 * The answer of a check: a status, `true` or nothing for Healthy, `false` for Unhealthy, or a status with a
 * description and data.
 */
export type HealthVerdict = HealthStatus | boolean | void | { readonly status: HealthStatus, readonly description?: string, readonly data?: HealthData }

/** A health check. `signal` aborts when its time is up. A check that throws is Unhealthy. */
export type HealthCheck = (context: { readonly signal: AbortSignal }) => HealthVerdict | Promise<HealthVerdict>

export interface HealthCheckOptions {
  /**
   * With the tag `ready` a check decides about readiness, and so about whether this process gets traffic.
   *
   * @defaultValue []
   */
  tags?: readonly string[] | undefined
  /** A check without an answer after this time is Unhealthy. Kubernetes itself waits one second. @defaultValue 1000 */
  timeoutMs?: number | undefined
  /** `false`: a check that is Unhealthy makes the whole report only Degraded. @defaultValue true */
  critical?: boolean | undefined
  /**
   * How long an answer is reused, so that many probes cost no more than one. 0 runs the check every time.
   *
   * @defaultValue 1000
   */
  cacheMs?: number | undefined
}

export const checkOptionProperties: OptionsSchema = {
  tags: { type: 'array', items: { type: 'string', pattern: '^[A-Za-z0-9_.:-]{1,50}$', description: '1 to 50 letters, digits, "_", ".", ":" or "-"' }, maxItems: 20 },
  timeoutMs: { type: 'number', exclusiveMinimum: 0, maximum: 60_000 },
  critical: { type: 'boolean' },
  cacheMs: { type: 'number', minimum: 0, maximum: 3_600_000 }
}
