import type { OptionsSchema } from '../core/options.ts'
import type { HealthStatus } from './registry.ts'

/** When to refuse new jobs. A limit of 0 is no limit. */
export interface PressureOptions {
  /** Milliseconds by which the event loop is late, on average over one sample. @defaultValue 1000 */
  maxEventLoopDelayMs?: number
  /** Share of time the event loop is busy, 0 to 1. A busy process is not yet an overloaded one. @defaultValue 0 */
  maxEventLoopUtilization?: number
  /** @defaultValue 0 */
  maxHeapUsedBytes?: number
  /** @defaultValue 0 */
  maxRssBytes?: number
  /** Seconds, the `Retry-After` of a refused submission. @defaultValue 10 */
  retryAfterSeconds?: number
  /** How often the process is measured. @defaultValue 1000 */
  sampleIntervalMs?: number
}

export interface HealthOptions {
  /** Where the three routes live: itself, `/ready` and `/live` below it. @defaultValue '/health' */
  prefix?: string
  /** A route somewhere else, or `false` for none. */
  paths?: { health?: string | false, ready?: string | false, live?: string | false }
  /** `never` shows the status alone: names of checks and what they found can help an attacker. @defaultValue 'always' */
  details?: 'always' | 'never'
  /** HTTP status of each health status, on `/health` and `/health/ready`. @defaultValue 200, 200, 503 */
  statusCodes?: Partial<Record<HealthStatus, number>>
  /** Checks of ours to leave out. @defaultValue all three are on */
  checks?: { store?: boolean, worker?: boolean, memory?: boolean }
  /** A store that answers slower than this is Degraded; after twice as long, Unhealthy. @defaultValue 1000 */
  storeLatencyMs?: number
  /** A queue with a free worker place, of which nothing was heard for this long, makes the process unready. @defaultValue 30000 */
  workerSilentMs?: number
  /** More resident memory than this is Degraded. @defaultValue 524288000 (500 MiB) */
  maxRssBytes?: number
  /** A fuller heap than this share of V8's limit is Degraded. @defaultValue 0.9 */
  maxHeapRatio?: number
  /**
   * How long `app.health.drain()` waits between "not ready" and letting you close: until every load balancer has noticed,
   * in milliseconds. Kubernetes needs 5 to 10 s; it counts against its grace. @defaultValue 5000
   */
  shutdownDelayMs?: number
  /**
   * Refuses job submissions (503, `FAE_OVERLOADED`) while the process is overloaded; nothing else is ever refused by it.
   * Not used when the application has registered `@fastify/under-pressure` itself: then its own rules hold, except that
   * probes are always answered.
   */
  pressure?: false | PressureOptions
}

const path = { anyOf: [{ type: 'string', pattern: '^/' }, { const: false }] }
const httpStatus = { type: 'integer', minimum: 200, maximum: 599 }
const limit = { type: 'number', minimum: 0 }

const pressureSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    maxEventLoopDelayMs: limit,
    maxEventLoopUtilization: { type: 'number', minimum: 0, maximum: 1 },
    maxHeapUsedBytes: limit,
    maxRssBytes: limit,
    retryAfterSeconds: { type: 'integer', minimum: 1, maximum: 86_400 },
    sampleIntervalMs: { type: 'number', minimum: 10, maximum: 60_000 }
  }
}

export const healthSchema: OptionsSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    prefix: { type: 'string', pattern: '^(/[^/]+)*$' },
    paths: { type: 'object', additionalProperties: false, properties: { health: path, ready: path, live: path } },
    details: { type: 'string', enum: ['always', 'never'] },
    statusCodes: { type: 'object', additionalProperties: false, properties: { Healthy: httpStatus, Degraded: httpStatus, Unhealthy: httpStatus } },
    checks: { type: 'object', additionalProperties: false, properties: { store: { type: 'boolean' }, worker: { type: 'boolean' }, memory: { type: 'boolean' } } },
    storeLatencyMs: { type: 'number', exclusiveMinimum: 0, maximum: 30_000 },
    workerSilentMs: { type: 'number', exclusiveMinimum: 0 },
    maxRssBytes: limit,
    maxHeapRatio: { type: 'number', exclusiveMinimum: 0, maximum: 1 },
    shutdownDelayMs: { type: 'number', minimum: 0, maximum: 600_000 },
    pressure: { anyOf: [{ const: false }, pressureSchema] }
  }
}

export const PRESSURE_DEFAULTS: Readonly<Required<PressureOptions>> = Object.freeze({
  maxEventLoopDelayMs: 1_000, maxEventLoopUtilization: 0, maxHeapUsedBytes: 0, maxRssBytes: 0, retryAfterSeconds: 10, sampleIntervalMs: 1_000
})

export const HEALTH_DEFAULTS = Object.freeze({
  prefix: '/health' as string,
  details: 'always' as NonNullable<HealthOptions['details']>,
  storeLatencyMs: 1_000,
  workerSilentMs: 30_000,
  maxRssBytes: 524_288_000,
  maxHeapRatio: 0.9,
  shutdownDelayMs: 5_000,
  pressure: PRESSURE_DEFAULTS as PressureOptions | false
})

export const STATUS_CODES: Readonly<Record<HealthStatus, number>> = Object.freeze({ Healthy: 200, Degraded: 200, Unhealthy: 503 })

/** The answer of every health route, for OpenAPI and for the serializer. */
export const reportSchema = {
  type: 'object',
  required: ['status', 'checks', 'totalDurationMs'],
  properties: {
    status: { type: 'string', enum: ['Healthy', 'Degraded', 'Unhealthy'] },
    checks: {
      type: 'array',
      items: {
        type: 'object',
        required: ['name', 'status', 'description', 'durationMs', 'tags', 'data'],
        properties: {
          name: { type: 'string' },
          status: { type: 'string', enum: ['Healthy', 'Degraded', 'Unhealthy'] },
          description: { type: 'string' },
          durationMs: { type: 'number', description: 'How long the check took when it was last asked' },
          tags: { type: 'array', items: { type: 'string' } },
          data: { type: 'object', additionalProperties: true }
        }
      }
    },
    totalDurationMs: { type: 'number' }
  }
} as const
