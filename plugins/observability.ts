import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { AsyncEndpointsError } from '../lib/core/errors.ts'
import { describeError, PROBLEM_MEDIA_TYPE } from '../lib/http/problem.ts'
import { isOutcome } from '../lib/jobs/outcome.ts'
import { toStoredError } from '../lib/jobs/stored-error.ts'
import { NoopMetrics, type AsyncEndpointsMetrics } from '../lib/telemetry/metrics.ts'
import { readObservabilityOptions, type ObservabilityOptions as Options } from '../lib/telemetry/options.ts'
import { MetricsRegistry } from '../lib/telemetry/registry.ts'
import type { Telemetry } from '../lib/telemetry/telemetry.ts'
import { SCOPE_LABELS } from '../lib/telemetry/version.ts'

export type { LoggingOptions, MetricsOptions, TracingOptions } from '../lib/telemetry/options.ts'
export type ObservabilityOptions = Options<FastifyRequest>

declare module 'fastify' {
  interface FastifyInstance {
    /** The metrics in use: ours, an application's own, or a no-op object of the same shape. */
    jobMetrics: AsyncEndpointsMetrics
    /** What `/metrics` prints: read a snapshot, or add instruments of your own. */
    metricsRegistry: MetricsRegistry
  }
  interface FastifyRequest {
    /** What tracing attached to the request, for the submission; not for applications. */
    jobTrace?: unknown
  }
}

async function observabilityPlugin (app: FastifyInstance, given: ObservabilityOptions): Promise<void> {
  const options = readObservabilityOptions(given)
  if (!options.enabled) {
    app.decorate('jobMetrics', new NoopMetrics())
    app.decorate('metricsRegistry', new MetricsRegistry())
    return
  }
  // Loaded here, so that an application which switches it off loads no part of OpenTelemetry either.
  const { Telemetry } = await import('../lib/telemetry/telemetry.ts')
  const telemetry = new Telemetry({ runtime: app.jobRuntime, options, workload: () => workload(app), thrown: { isOutcome, toStoredError } })
  app.decorate('jobMetrics', telemetry.metrics)
  app.decorate('metricsRegistry', telemetry.registry)
  app.decorateRequest('jobTrace', undefined)
  if (telemetry.tracing !== undefined) await traceSubmissions(app, telemetry.tracing, options)
  if (options.metrics !== undefined && options.metrics.path !== false) await addMetricsRoute(app, telemetry, options.metrics)
  // Before the worker's own hook, if this plugin is registered first: no job may run ahead of its telemetry.
  app.addHook('onReady', async () => { await telemetry.start() })
  app.addHook('onClose', async () => { await telemetry.stop() })
}

type ReadOptions = ReturnType<typeof readObservabilityOptions<FastifyRequest>>

function workload (app: FastifyInstance): { active: number, concurrency: number } | undefined {
  // The worker's plugin comes later, or not at all.
  return app.hasDecorator('jobWorker') ? app.getDecorator<{ active: number, concurrency: number }>('jobWorker') : undefined
}

/** The requests that submit jobs, and no other: their hooks run after those of every other plugin and see what these did. */
async function traceSubmissions (app: FastifyInstance, tracing: NonNullable<Telemetry['tracing']>, options: ReadOptions): Promise<void> {
  const { beginRequest, finishRequest } = await import('../lib/telemetry/request-trace.ts')
  const ownSpans = options.tracing?.serverSpans === 'auto'
  const correlate = options.logging !== undefined

  function traceSubmission (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
    const { source } = tracing
    const begun = source.guard(() => beginRequest(source, request.headers, ownSpans, () => ({
      method: request.method, route: request.routeOptions.url ?? '', path: request.url.split('?', 1)[0] ?? '', scheme: request.protocol
    })))
    request.jobTrace = begun
    if (begun?.span === undefined) return done()
    const { traceId, spanId, traceFlags } = begun.span.spanContext()
    if (correlate && begun.span.isRecording()) request.log = reply.log = request.log.child({ trace_id: traceId, span_id: spanId, trace_flags: `0${traceFlags & 1}` })
    source.contexts.run(begun.context, done)
  }

  function finishSubmission (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
    tracing.source.guard(() => { finishRequest(request.jobTrace, reply.statusCode) })
    done()
  }

  app.addHook('onRoute', (route) => {
    if (!submits(route)) return
    route.onRequest = [route.onRequest ?? [], traceSubmission].flat()
    route.onResponse = [route.onResponse ?? [], finishSubmission].flat()
  })
}

/** By what the endpoints of this package write into the `config` of their routes. */
function submits ({ config }: RouteOptions): boolean {
  const ours: unknown = config === undefined ? undefined : Reflect.get(config, 'asyncEndpoints')
  return typeof ours === 'object' && ours !== null && 'kind' in ours && ours.kind === 'submit'
}

// No tracing of scrapes, and no refusal of them by anybody's pressure rules: under load they are needed most.
const scrapeConfig = { otel: false, pressureHandler: () => {} }

async function addMetricsRoute (app: FastifyInstance, telemetry: Telemetry, { path, authorize, scopeLabels }: NonNullable<ReadOptions['metrics']>): Promise<void> {
  const { PrometheusExposition } = await import('../lib/exposition/prometheus.ts')
  const { CONTENT_TYPES, negotiate } = await import('../lib/exposition/accept.ts')
  const exposition = new PrometheusExposition({ resource: telemetry.resource, scope: scopeLabels ? SCOPE_LABELS : undefined })
  app.route({
    method: 'GET',
    url: String(path),
    exposeHeadRoute: true,
    logLevel: 'silent',
    config: scrapeConfig,
    schema: { hide: true },
    errorHandler: (error, request, reply) => {
      const { problem } = describeError(error, request, reply)
      return reply.code(problem.status).type(PROBLEM_MEDIA_TYPE).send(problem)
    },
    handler: async (request, reply) => {
      if (authorize !== undefined && await authorize(request) !== true) {
        throw new AsyncEndpointsError('FAE_FORBIDDEN', 'These metrics are not for everybody; see metrics.authorize')
      }
      const format = negotiate(request.headers.accept)
      const page = await exposition.render(telemetry.registry.families(), format)
      return reply.header('content-type', CONTENT_TYPES[format]).header('vary', 'accept').header('cache-control', 'no-store').send(page)
    }
  })
}

/** Metrics at `/metrics`, traces, numbered log lines, for every job of this application. Register it before the worker. */
export const observability = fp(observabilityPlugin, { name: 'asyncendpoints-observability', fastify: '5.x', decorators: { fastify: ['jobRuntime'] } })
export default observability
