import underPressure from '@fastify/under-pressure'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { AsyncEndpointsError } from '../lib/core/errors.ts'
import { readOptions } from '../lib/core/options.ts'
import { memoryCheck, storeCheck, workerCheck, type WorkerView } from '../lib/health/checks.ts'
import { HEALTH_DEFAULTS, healthSchema, PRESSURE_DEFAULTS, reportSchema, STATUS_CODES, type HealthOptions, type PressureOptions } from '../lib/health/options.ts'
import { Health, type HealthReport } from '../lib/health/registry.ts'

export type { HealthOptions, PressureOptions } from '../lib/health/options.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Health questions: add your own, and say when the process is about to go. */
    health: Health
  }
}

type Settings = Readonly<HealthOptions & typeof HEALTH_DEFAULTS>

async function healthPlugin (app: FastifyInstance, given: HealthOptions): Promise<void> {
  const options = readOptions<HealthOptions, typeof HEALTH_DEFAULTS>('health', healthSchema, HEALTH_DEFAULTS, given)
  const { context, bus } = app.jobRuntime
  const health = new Health(context, bus, options.shutdownDelayMs)
  app.decorate('health', health)
  addChecks(app, health, options)
  addRoutes(app, health, options)
  if (options.pressure !== false) await watchPressure(app, options.pressure)
  app.addHook('onReady', async () => { health.started() })
  // From here on new connections are refused; a probe on an open one must hear the same.
  app.addHook('preClose', async () => { health.close() })
}

function addChecks (app: FastifyInstance, health: Health, options: Settings): void {
  const { context, store } = app.jobRuntime
  const { clock } = context
  const wanted = { store: true, worker: true, memory: true, ...options.checks }
  if (wanted.store) health.addCheck('store', storeCheck(store, clock, options.storeLatencyMs), { tags: ['ready', 'store'], timeoutMs: 2 * options.storeLatencyMs })
  if (wanted.memory) health.addCheck('memory', memoryCheck(options), { tags: ['memory'], critical: false })
  if (!wanted.worker) return
  // The worker's plugin may come after this one; whether there is one is known when all are loaded.
  app.addHook('onReady', async () => {
    if (!app.hasDecorator('jobWorker')) return
    const worker = app.getDecorator<WorkerView>('jobWorker')
    health.addCheck('worker', workerCheck(worker, clock, options.workerSilentMs), { tags: ['ready', 'worker'], cacheMs: 0 })
  })
}

function addRoutes (app: FastifyInstance, health: Health, options: Settings): void {
  const { prefix, details, paths } = options
  const codes = { ...STATUS_CODES, ...options.statusCodes }
  const route = (url: string | false, summary: string, operationId: string, ask: () => HealthReport | Promise<HealthReport>): void => {
    if (url === false) return
    const responses = Object.fromEntries([...new Set(Object.values(codes))].map((code) => [code, { ...reportSchema, description: 'The verdict and what it is made of' }]))
    app.route({
      method: 'GET',
      url,
      exposeHeadRoute: true,
      logLevel: 'silent',
      // No tracing of probes, and no refusal of them by anybody's pressure rules: under load a restart helps nobody.
      config: probeConfig,
      schema: { summary, operationId, tags: ['health'], response: responses },
      handler: async (_request, reply) => {
        const report = await ask()
        reply.code(codes[report.status]).header('cache-control', 'no-store')
        return details === 'always' ? report : { ...report, checks: [] }
      }
    })
  }
  route(paths?.health ?? (prefix === '' ? '/' : prefix), 'Every health check', 'getHealth', () => health.report())
  route(paths?.ready ?? `${prefix}/ready`, 'Whether this process should get traffic', 'getReadiness', () => health.readiness())
  route(paths?.live ?? `${prefix}/live`, 'Whether this process answers at all', 'getLiveness', () => health.liveness())
}

const probeConfig = { otel: false, pressureHandler: () => {} }

/** Refuses submissions, and nothing else, while the process is overloaded. */
async function watchPressure (app: FastifyInstance, given: PressureOptions): Promise<void> {
  // Registered by the application: its rules hold, and a second registration would be refused by Fastify.
  if (app.hasDecorator('isUnderPressure')) return
  const limits = { ...PRESSURE_DEFAULTS, ...given }
  await app.register(underPressure, {
    maxEventLoopDelay: limits.maxEventLoopDelayMs,
    maxEventLoopUtilization: limits.maxEventLoopUtilization,
    // The cumulative mode averages over the whole life of the process: it notices too late, and forgets even later.
    eventLoopUtilizationMode: 'interval',
    maxHeapUsedBytes: limits.maxHeapUsedBytes,
    maxRssBytes: limits.maxRssBytes,
    sampleInterval: limits.sampleIntervalMs,
    retryAfter: limits.retryAfterSeconds,
    // A rejection, not a throw: only that reaches the error handler of the route, which answers and tells `job.rejected`.
    pressureHandler: (request: FastifyRequest) => isSubmission(request) ? Promise.reject(overloaded(limits.retryAfterSeconds)) : undefined
  })
}

function overloaded (retryAfterSeconds: number): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_OVERLOADED', 'The server is under pressure; try again later', { retryAfterSeconds })
}

/** By what our endpoints write into the `config` of their routes. */
function isSubmission (request: FastifyRequest): boolean {
  const config: object = request.routeOptions.config
  if (!('asyncEndpoints' in config)) return false
  const ours = config.asyncEndpoints
  return typeof ours === 'object' && ours !== null && 'kind' in ours && ours.kind === 'submit'
}

/** `/health`, `/health/ready`, `/health/live` and `app.health`. */
export const health = fp(healthPlugin, {
  name: 'asyncendpoints-health',
  fastify: '5.x',
  dependencies: ['asyncendpoints-job-store'],
  decorators: { fastify: ['jobRuntime'] }
})
export default health
