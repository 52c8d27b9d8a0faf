import underPressure from '@fastify/under-pressure'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { withDeadline } from '../lib/core/deadline.ts'
import { AsyncEndpointsError } from '../lib/core/errors.ts'
import { openApiMembers } from '../lib/core/openapi.ts'
import { invalidOptions, pathBelow } from '../lib/core/options.ts'
import { PLUGIN } from '../lib/core/plugin-names.ts'
import { runtimeOf, workerOf } from '../lib/events/runtime.ts'
import { BuiltInChecks } from '../lib/health/built-in-checks.ts'
import type { WorkerView } from '../lib/health/process-checks.ts'
import {
  PRESSURE_DEFAULTS, readHealthOptions, REPORT_SCHEMAS, STATUS_CODES, type HEALTH_DEFAULTS, type BaseHealthOptions,
  type PressureOptions
} from '../lib/health/options.ts'
import type { JobHealth } from '../lib/health/job-health.ts'
import { Health, type HealthReport } from '../lib/health/registry.ts'
import { ownCompilers } from '../lib/http/own-compilers.ts'
import { plainProblems } from '../lib/http/plain-problems.ts'
import { PROBE_CONFIG } from '../lib/http/probe-config.ts'

export type { PressureOptions } from '../lib/health/options.ts'

export interface HealthOptions extends BaseHealthOptions {
  /**
   * With `details: 'authorized'`: whether this request may see the checks. One that throws, rejects or takes more
   * than a second says no.
   */
  authorize?: ((request: FastifyRequest) => boolean | Promise<boolean>) | undefined
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Health checks: add your own, ask all of them, and say when the process is about to go. */
    jobHealth: JobHealth
  }
}

type ResolvedHealthOptions = Readonly<HealthOptions & typeof HEALTH_DEFAULTS>

const AUTHORIZE_MS = 1_000
/** What pressure means when it is measured from the event loop. */
const OF_THE_LOOP: ReadonlySet<string> = new Set([
  underPressure.TYPE_EVENT_LOOP_DELAY, underPressure.TYPE_EVENT_LOOP_UTILIZATION
])
/** The first sample after the start still covers a part of it. */
const SAMPLES_TO_SETTLE = 2

async function healthPlugin (app: FastifyInstance, given: HealthOptions): Promise<void> {
  const options = readHealthOptions<HealthOptions>(given)
  const runtime = runtimeOf(app)
  const health = new Health(runtime.context, runtime.bus, options)
  const builtIn = new BuiltInChecks(health, runtime, options)
  builtIn.addChecks()
  app.decorate('jobHealth', health)
  runtime.onDraining = (listener) => { health.onDraining(listener) }
  addRoutes(app, health, options)
  await watchPressure(app, options.pressure, given.pressure)
  app.addHook('onReady', async () => {
    // The worker's plugin may have come after this one.
    builtIn.addWorker(workerOf<WorkerView>(app))
    await builtIn.start()
    health.started()
  })
  // From here on new connections are refused; a probe on an open one must hear the same.
  app.addHook('preClose', async () => { health.close() })
  app.addHook('onClose', async () => { await builtIn.stop(0) })
}

function addRoutes (app: FastifyInstance, health: Health, options: ResolvedHealthOptions): void {
  const { path, format, paths } = options
  const codes = { ...STATUS_CODES, ...options.statusCodes }
  const below = (name: string): string | false => path === false ? false : pathBelow(path, name)
  const response = { ...REPORT_SCHEMAS[format], description: 'The verdict and what it is made of' }
  const responses = Object.fromEntries([...new Set(Object.values(codes))].map((code) => [code, response]))
  const route = (
    url: string | false, summary: string, operationId: string, ask: () => HealthReport | Promise<HealthReport>
  ): void => {
    if (url === false) return
    app.route({
      method: 'GET',
      url,
      exposeHeadRoute: true,
      logLevel: 'silent',
      config: PROBE_CONFIG,
      ...plainProblems((error) => {
        app.log.error(runtimeOf(app).redaction.fields({ err: error }), 'the health could not be shown')
      }),
      ...ownCompilers,
      schema: { summary, operationId, ...openApiMembers(options.openapi, ['health']), response: responses },
      handler: async (request, reply) => {
        const report = await ask()
        reply.code(codes[report.status]).header('cache-control', 'no-store')
        // Liveness has no checks, and must not depend on the application's `authorize`.
        const checks = report.checks.length > 0 && await maySee(app, options, request) ? report.checks : []
        return format === 'list' ? { ...report, checks } : toMap({ ...report, checks })
      }
    })
  }
  route(paths?.health ?? path, 'Every health check', 'getHealth', () => health.report())
  const ready = paths?.ready ?? below('ready')
  route(ready, 'Whether this process should get traffic', 'getReadiness', () => health.readiness())
  route(paths?.live ?? below('live'), 'Whether this process answers at all', 'getLiveness', () => health.liveness())
}

function toMap ({ status, checks, totalDurationMs }: HealthReport): object {
  return { status, totalDurationMs, entries: Object.fromEntries(checks.map(({ name, ...entry }) => [name, entry])) }
}

async function maySee (
  app: FastifyInstance, { details, authorize }: ResolvedHealthOptions, request: FastifyRequest
): Promise<boolean> {
  if (details !== 'authorized' || authorize === undefined) return details === 'always'
  try {
    const { clock } = runtimeOf(app).context
    return await withDeadline(clock, AUTHORIZE_MS, (async () => await authorize(request))()) === true
  } catch (error) {
    const fields = runtimeOf(app).redaction.fields({ err: error })
    request.log.debug(fields, 'health.authorize failed; the checks are not shown')
    return false
  }
}

/** Refuses submissions and redrives, and nothing else, while the process is overloaded. */
async function watchPressure (
  app: FastifyInstance, options: PressureOptions | false, given: PressureOptions | false | undefined
): Promise<void> {
  if (app.hasDecorator('isUnderPressure')) {
    // Registered by the application: its rules hold, and a second registration would be refused by Fastify.
    if (given === undefined || given === false) return
    throw invalidOptions('health', [
      'pressure has no effect: @fastify/under-pressure is already registered; give its limits there'
    ])
  }
  if (options === false) return
  const limits = { ...PRESSURE_DEFAULTS, ...options }
  const settled = sinceStart(app, SAMPLES_TO_SETTLE * limits.sampleIntervalMs)
  await app.register(underPressure, {
    maxEventLoopDelay: limits.maxEventLoopDelayMs,
    maxEventLoopUtilization: limits.maxEventLoopUtilization,
    // The cumulative mode averages over the whole life of the process: it notices too late, and forgets even later.
    eventLoopUtilizationMode: 'interval',
    maxHeapUsedBytes: limits.maxHeapUsedBytes,
    maxRssBytes: limits.maxRssBytes,
    sampleInterval: limits.sampleIntervalMs,
    retryAfter: limits.retryAfterSeconds,
    // Reject instead of throwing: only a rejection reaches the error handler of the route, which answers and emits
    // `job.rejected`.
    pressureHandler: (request: FastifyRequest, _reply: FastifyReply, type: string) => {
      if (!isNewWork(request)) return undefined
      if (OF_THE_LOOP.has(type) && !settled() && !outgrown(app.memoryUsage(), limits)) return undefined
      return Promise.reject(overloaded(limits.retryAfterSeconds))
    }
  })
}

/** Of several limits that are passed, only one is named: behind the event loop, there may be the memory. */
function outgrown (
  { heapUsed, rssBytes }: { readonly heapUsed: number, readonly rssBytes: number },
  { maxHeapUsedBytes, maxRssBytes }: Required<PressureOptions>
): boolean {
  return (maxHeapUsedBytes > 0 && heapUsed > maxHeapUsedBytes) || (maxRssBytes > 0 && rssBytes > maxRssBytes)
}

/**
 * True once the application has been at work for so long. Loading modules and compiling schemas holds up the event loop
 * for seconds on a small machine: by that measure every new process would refuse its first submissions.
 */
function sinceStart (app: FastifyInstance, ms: number): () => boolean {
  const { clock } = runtimeOf(app).context
  let startedAt = Infinity
  const begin = async (): Promise<void> => { startedAt = clock.monotonic() }
  app.addHook('onReady', begin)
  // What an application does between the two belongs to its start as well.
  app.addHook('onListen', begin)
  return () => clock.monotonic() - startedAt >= ms
}

function overloaded (retryAfterSeconds: number): AsyncEndpointsError {
  const message = 'The server is under pressure; try again later'
  return new AsyncEndpointsError('FAE_OVERLOADED', message, { retryAfterSeconds })
}

/** New work, by what our routes write into their `config`: a submission, or a failed job that is run again. */
function isNewWork (request: FastifyRequest): boolean {
  const config: object = request.routeOptions.config
  if (!('asyncEndpoints' in config)) return false
  const ours = config.asyncEndpoints
  if (typeof ours !== 'object' || ours === null || !('kind' in ours)) return false
  return ours.kind === 'submit' || ours.kind === 'redrive'
}

/** `/health`, `/health/ready`, `/health/live` and `app.jobHealth`. */
export const health = fp(healthPlugin, {
  name: PLUGIN.health,
  fastify: '5.x',
  dependencies: [PLUGIN.jobStore]
})
export default health
