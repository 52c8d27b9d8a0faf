import type { HealthStatus } from '../core/health-check.ts'
import { openApiProperty, type OpenApiOptions } from '../core/openapi.ts'
import { OptionProblems, pathProperty, readOptions, type OptionsSchema } from '../core/options.ts'
import { processMemory } from '../core/process-memory.ts'

/** When new jobs are refused. The limit 0 means: no limit. */
export interface PressureOptions {
  /**
   * The event loop is later than this, in milliseconds, on average over one sample. The first two samples after the start do not
   * count: the start itself holds the loop up. @defaultValue 1000
   */
  maxEventLoopDelayMs?: number | undefined
  /** The event loop is busy for a larger share of the time, 0 to 1, from the third sample on. A busy process need not be overloaded. @defaultValue 0 */
  maxEventLoopUtilization?: number | undefined
  /**
   * The heap is larger than this. @defaultValue nine tenths of `--max-old-space-size`: above that, V8 spends its time on garbage
   * collection until the process dies
   */
  maxHeapUsedBytes?: number | undefined
  /** Resident memory is larger than this. @defaultValue 0 */
  maxRssBytes?: number | undefined
  /** The `Retry-After` of a refused submission, in seconds. @defaultValue 10 */
  retryAfterSeconds?: number | undefined
  /** How often the process is measured, in milliseconds. @defaultValue 1000 */
  sampleIntervalMs?: number | undefined
}

/**
 * The switches of `health.checks`. `stuck` and `requires` switch the checks of the defined jobs, `sagaQueue` and
 * `compensations` those of sagas.
 */
export const BUILT_IN_CHECKS = [
  'asyncendpoints', 'queueDepth', 'redis', 'worker', 'memory', 'eventLoop', 'stuck', 'requires', 'sagaQueue', 'compensations'
] as const
export type BuiltInCheck = typeof BUILT_IN_CHECKS[number]

/** The options of the health plugin, without the hook that sees a request. */
export interface BaseHealthOptions {
  /**
   * The path of the health routes: every check here, `/ready` and `/live` below it. `false` registers no routes; `app.jobHealth` still
   * answers. @defaultValue '/health'
   */
  path?: string | false | undefined
  /** Moves a single route to another path, whatever `path` says; `false` leaves it out. */
  paths?: { health?: string | false, ready?: string | false, live?: string | false } | undefined
  /**
   * Who sees the single checks: their names and findings can help an attacker. `authorized` means the requests that `authorize`
   * accepts. The HTTP status is the same for everybody. @defaultValue 'always'
   */
  details?: 'always' | 'authorized' | 'never' | undefined
  /** `list` puts the checks into an array, `map` puts them by name under `entries`. @defaultValue 'list' */
  format?: 'list' | 'map' | undefined
  /** The HTTP status that stands for each health status, on `/health` and `/health/ready`. @defaultValue 200, 200, 503 */
  statusCodes?: Partial<Record<HealthStatus, number>> | undefined
  /** `false` leaves a built-in check out. @defaultValue all are on */
  checks?: Partial<Record<BuiltInCheck, boolean>> | undefined
  /**
   * A store that takes longer to answer is Degraded, in milliseconds. One that takes twice as long, or longer than `probeTimeoutMs`, is
   * Unhealthy. Must be less than `probeTimeoutMs`. @defaultValue 1000
   */
  storeLatencyMs?: number | undefined
  /**
   * `/health/ready` answers within this many milliseconds (at most 100 ms later), whatever the store and the checks do. Give less than
   * your orchestrator allows for the probe: Kubernetes gives up after `timeoutSeconds`, which is 1 unless you set it.
   * @defaultValue 1500
   */
  probeTimeoutMs?: number | undefined
  /**
   * What `/health/ready` answers while the store cannot be used. `unready`: 503, so that no traffic comes here; all processes that
   * share the store lose their traffic at the same time. `ready`: 200 and Degraded, for a process whose other routes work without
   * the store; submissions are answered 503. A process that has not reached its store since its start is unready in both cases.
   * @defaultValue 'unready'
   */
  storeOutage?: 'unready' | 'ready' | undefined
  /** `dry-run` checks that the store would accept a job, by a write that leaves nothing behind. `false` leaves this out. @defaultValue 'dry-run' */
  submitProbe?: 'dry-run' | false | undefined
  /** Degraded if more jobs than this are in progress without a lease, and not claimed again yet (stalled). @defaultValue 10 */
  maxStuckJobs?: number | undefined
  /** A saga that has been undoing its steps for longer than this, in milliseconds, is Degraded. @defaultValue 900000 (15 min) */
  maxCompensationMs?: number | undefined
  /** This many waiting jobs, or more, are Degraded. @defaultValue 100 */
  maxQueueDepth?: number | undefined
  /**
   * The process is unready when a worker has a free slot for a queue but has not looked for a job in it for this many milliseconds. With
   * Redis it must be at least 15000, because a healthy worker may look only every ten seconds. @defaultValue 30000
   */
  workerSilentMs?: number | undefined
  /** More resident memory than this is Degraded, in bytes. @defaultValue 524288000 (500 MiB) */
  degradedRssBytes?: number | undefined
  /** A heap that fills a larger share of V8's limit is Degraded, 0 to 1. @defaultValue 0.9 */
  degradedHeapRatio?: number | undefined
  /** An event loop that is later than this, in milliseconds on average over a second, is Degraded. @defaultValue 200 */
  degradedEventLoopDelayMs?: number | undefined
  /** An event loop that is busy for a larger share of a second, 0 to 1, is Degraded; 1 switches this off. @defaultValue 1 */
  degradedEventLoopUtilization?: number | undefined
  /**
   * How many milliseconds `app.jobHealth.drain()` waits after readiness has turned to 503, until every load balancer has noticed. Kubernetes
   * needs 5 to 10 s, which count against its grace period. @defaultValue 5000
   */
  shutdownDelayMs?: number | undefined
  /**
   * Refuses job submissions and redrives (503, `FAE_OVERLOADED`) while the process is overloaded. Probes, `/metrics`, status, result
   * and cancel are always answered. If the application has registered `@fastify/under-pressure` itself, that registration decides
   * what is refused, and `pressure` must not be given. `false` switches it off.
   */
  pressure?: false | PressureOptions | undefined
  /** How the three routes appear in the OpenAPI document. @defaultValue under the tag `health` */
  openapi?: OpenApiOptions | undefined
}

const path = pathProperty({ root: true, off: true })
const httpStatus = { type: 'integer', minimum: 200, maximum: 599 }
const limit = { type: 'number', minimum: 0 }
/** The limit of a check. 0 would always be exceeded; `checks` switches a check off. */
const threshold = { type: 'number', exclusiveMinimum: 0 }

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
    path,
    paths: { type: 'object', additionalProperties: false, properties: { health: path, ready: path, live: path } },
    details: { type: 'string', enum: ['always', 'authorized', 'never'] },
    authorize: { isFunction: true },
    format: { type: 'string', enum: ['list', 'map'] },
    statusCodes: { type: 'object', additionalProperties: false, properties: { Healthy: httpStatus, Degraded: httpStatus, Unhealthy: httpStatus } },
    checks: { type: 'object', additionalProperties: false, properties: Object.fromEntries(BUILT_IN_CHECKS.map((name) => [name, { type: 'boolean' }])) },
    storeLatencyMs: { type: 'number', exclusiveMinimum: 0, maximum: 30_000 },
    probeTimeoutMs: { type: 'number', minimum: 50, maximum: 60_000 },
    storeOutage: { type: 'string', enum: ['unready', 'ready'] },
    submitProbe: { enum: ['dry-run', false] },
    maxStuckJobs: { type: 'integer', minimum: 0 },
    maxCompensationMs: threshold,
    maxQueueDepth: { type: 'integer', minimum: 1 },
    workerSilentMs: threshold,
    degradedRssBytes: threshold,
    degradedHeapRatio: { type: 'number', exclusiveMinimum: 0, maximum: 1 },
    degradedEventLoopDelayMs: threshold,
    degradedEventLoopUtilization: { type: 'number', exclusiveMinimum: 0, maximum: 1 },
    shutdownDelayMs: { type: 'number', minimum: 0, maximum: 600_000 },
    pressure: { anyOf: [{ const: false }, pressureSchema] },
    openapi: openApiProperty
  }
}

/**
 * V8 counts the space for young objects into its limit: three times 16 MiB, in which objects that last cannot stay. It is subtracted,
 * because a process with a small heap would otherwise die before it reached nine tenths.
 */
const YOUNG_BYTES = 48 * 1_048_576
const HEAP_SHARE = 0.9

/** The bytes at which the heap counts as nearly full. @param limitBytes the limit of the heap as V8 reports it */
export function nearlyFullHeap (limitBytes: number): number {
  return Math.floor(HEAP_SHARE * Math.max(limitBytes - YOUNG_BYTES, limitBytes / 2))
}

export const PRESSURE_DEFAULTS: Readonly<Required<PressureOptions>> = Object.freeze({
  maxEventLoopDelayMs: 1_000, maxEventLoopUtilization: 0, maxHeapUsedBytes: nearlyFullHeap(processMemory.heap().limitBytes), maxRssBytes: 0, retryAfterSeconds: 10, sampleIntervalMs: 1_000
})

export const HEALTH_DEFAULTS = Object.freeze({
  path: '/health' as string | false,
  details: 'always' as NonNullable<BaseHealthOptions['details']>,
  format: 'list' as NonNullable<BaseHealthOptions['format']>,
  storeLatencyMs: 1_000,
  probeTimeoutMs: 1_500,
  storeOutage: 'unready' as NonNullable<BaseHealthOptions['storeOutage']>,
  submitProbe: 'dry-run' as NonNullable<BaseHealthOptions['submitProbe']>,
  maxStuckJobs: 10,
  maxCompensationMs: 900_000,
  maxQueueDepth: 100,
  workerSilentMs: 30_000,
  degradedRssBytes: 524_288_000,
  degradedHeapRatio: 0.9,
  degradedEventLoopDelayMs: 200,
  degradedEventLoopUtilization: 1,
  shutdownDelayMs: 5_000,
  pressure: PRESSURE_DEFAULTS as PressureOptions | false
})

export const STATUS_CODES: Readonly<Record<HealthStatus, number>> = Object.freeze({ Healthy: 200, Degraded: 200, Unhealthy: 503 })

export type ResolvedBaseHealthOptions = Readonly<BaseHealthOptions & typeof HEALTH_DEFAULTS>

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readHealthOptions<T extends BaseHealthOptions & { authorize?: unknown }> (given: T | undefined): Readonly<T & typeof HEALTH_DEFAULTS> {
  const problems = new OptionProblems()
  const options = problems.collect('', () => readOptions<T, typeof HEALTH_DEFAULTS & Partial<T>>('health', healthSchema, HEALTH_DEFAULTS as typeof HEALTH_DEFAULTS & Partial<T>, given))
  const authorized = given?.details === 'authorized'
  if (authorized && given.authorize === undefined) problems.add('details "authorized" needs the function authorize')
  if (!authorized && given?.authorize !== undefined) problems.add('authorize has no effect without details: "authorized"')
  if (options !== undefined && options.storeLatencyMs >= options.probeTimeoutMs) {
    problems.add(`storeLatencyMs must be less than probeTimeoutMs (${options.probeTimeoutMs}): a slower store is given up before it is found slow`)
  }
  if (options?.storeOutage === 'ready' && options.checks?.asyncendpoints === false) {
    problems.add('storeOutage has no effect without the check asyncendpoints, which finds the outage')
  }
  problems.throwIfAny('health')
  if (options === undefined) throw new Error('the reader of options returned nothing and found nothing wrong')
  return options
}

const status = { type: 'string', enum: ['Healthy', 'Degraded', 'Unhealthy'] }
const checkProperties = {
  status,
  description: { type: 'string' },
  durationMs: { type: 'number', description: 'How long the check took when it was last asked' },
  tags: { type: 'array', items: { type: 'string' } },
  data: { type: 'object', additionalProperties: true }
}

/** The answer of every health route, for OpenAPI and for the serializer. */
export const REPORT_SCHEMAS = {
  list: {
    type: 'object',
    required: ['status', 'checks', 'totalDurationMs'],
    properties: {
      status,
      checks: {
        type: 'array',
        items: { type: 'object', required: ['name', ...Object.keys(checkProperties)], properties: { name: { type: 'string' }, ...checkProperties } }
      },
      totalDurationMs: { type: 'number' }
    }
  },
  map: {
    type: 'object',
    required: ['status', 'totalDurationMs', 'entries'],
    properties: {
      status,
      totalDurationMs: { type: 'number' },
      entries: { type: 'object', additionalProperties: { type: 'object', required: Object.keys(checkProperties), properties: checkProperties } }
    }
  }
} as const
