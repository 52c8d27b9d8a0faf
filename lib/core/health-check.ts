import type { OptionsSchema } from './options.ts'

/** From good to bad. `Degraded` still serves, but somebody should look. */
export const HEALTH_STATUSES = ['Healthy', 'Degraded', 'Unhealthy'] as const
export type HealthStatus = typeof HEALTH_STATUSES[number]

/** Facts beside a verdict. Only text, numbers, booleans and null are shown. */
export type HealthData = Readonly<Record<string, string | number | boolean | null>>

/** What a check answers: a status, `true`/nothing for Healthy, `false` for Unhealthy, or a status with words and facts. */
export type HealthVerdict = HealthStatus | boolean | void | { readonly status: HealthStatus, readonly description?: string, readonly data?: HealthData }

/** One health question. `signal` aborts when its time is up; a throw means Unhealthy. */
export type HealthCheck = (context: { readonly signal: AbortSignal }) => HealthVerdict | Promise<HealthVerdict>

export interface HealthCheckOptions {
  /** `ready`: part of the readiness route, and so of whether traffic comes here. @defaultValue [] */
  tags?: readonly string[]
  /** A check that has not answered after this long is Unhealthy. Kubernetes itself waits one second. @defaultValue 1000 */
  timeoutMs?: number
  /** `false`: when it fails, the whole is only Degraded. @defaultValue true */
  critical?: boolean
  /** An answer is reused for this long, so that a flood of probes costs what one costs; 0 asks every time. @defaultValue 1000 */
  cacheMs?: number
}

export const checkOptionProperties: OptionsSchema = {
  tags: { type: 'array', items: { type: 'string', pattern: '^[A-Za-z0-9_.:-]{1,50}$', description: '1 to 50 letters, digits, "_", ".", ":" or "-"' }, maxItems: 20 },
  timeoutMs: { type: 'number', exclusiveMinimum: 0, maximum: 60_000 },
  critical: { type: 'boolean' },
  cacheMs: { type: 'number', minimum: 0, maximum: 3_600_000 }
}
