import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import asyncEndpoints from '../../plugins/async-endpoints.ts'
import { jobContextLogging } from './job-context-logging.ts'
import { metricsEnhanced } from './metrics-enhanced.ts'
import { monitoredDataProcessing } from './monitored-data-processing.ts'
import { performanceMonitoring } from './performance-monitoring.ts'
import { tracingEnabled } from './tracing-enabled.ts'

/** Five handlers that show logs, metrics and traces of an application, and the service that one of them calls. Not yet listening. */
export async function buildHandlers (options: { readonly logger?: FastifyServerOptions['logger'] } = {}): Promise<FastifyInstance> {
  const app = Fastify({ logger: options.logger ?? true, bodyLimit: 1_048_576 })
  await app.register(asyncEndpoints, { http: { access: 'open' }, observability: { metrics: { access: 'open' } }, health: { shutdownDelayMs: 0 } })
  monitoredDataProcessing(app)
  jobContextLogging(app)
  metricsEnhanced(app)
  tracingEnabled(app, () => `${app.listeningOrigin}/external/data`)
  performanceMonitoring(app)

  // Stands for somebody else's service.
  app.post<{ Body: ReadonlyArray<{ readonly id: number, readonly data: string }> }>('/external/data', async (request, reply) => {
    if (request.body.some(({ data }) => data.startsWith('games'))) return await reply.code(503).send({ error: 'games are closed' })
    return request.body.map(({ data }) => data.toUpperCase())
  })
  return app
}
