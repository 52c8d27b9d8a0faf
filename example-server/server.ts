import swagger from '@fastify/swagger'
import Fastify, { type FastifyInstance } from 'fastify'
import asyncEndpoints, { redisStore } from '../plugins/async-endpoints.ts'
import { demoEndpoints } from './demo.ts'
import { reportEndpoints } from './reports.ts'
import { Folder } from './sagas/folder.ts'
import { publicationSaga } from './sagas/publications.ts'
import { transcodeSaga } from './sagas/transcodes.ts'
import { zipSaga } from './sagas/zips.ts'
import type { Settings } from './settings.ts'

/** The whole service, not yet listening. A worker defines the same jobs, but without `http` they get no routes. */
export async function buildServer (settings: Settings): Promise<FastifyInstance> {
  // A body is stored with its job, and most bodies of this service have at most two numbers.
  const app = Fastify({ logger: { level: settings.logLevel }, bodyLimit: 1_024 })

  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Sales reports', version: '1.0.0', description: 'An example of fastify-async-endpoints: slow endpoints as jobs.' },
      servers: [{ url: '/' }],
      // Open to everybody, because this is a demonstration.
      security: [],
      tags: [
        { name: 'reports', description: 'What this service is for' },
        { name: 'sagas', description: 'Several steps that are undone when one fails' },
        { name: 'demo', description: 'Something to try things out with' },
        { name: 'jobs', description: 'What became of a submission' },
        { name: 'health', description: 'Probes' },
        { name: 'observability', description: 'Metrics' }
      ]
    }
  })
  await app.register(asyncEndpoints, {
    store: settings.redisUrl === undefined ? undefined : redisStore({ url: settings.redisUrl, prefix: settings.redisPrefix }),
    worker: settings.role === 'api' ? false : { concurrency: 20, queues: { exports: { concurrency: 2 } }, drainTimeoutMs: settings.drainTimeoutMs },
    // A demonstration has no users and so no owners. In a real service set http.owner and metrics.authorize, see
    // docs/security.md.
    http: settings.role === 'worker' ? false : { access: 'open' },
    observability: { metrics: { access: 'open' } },
    health: { shutdownDelayMs: settings.shutdownDelayMs },
    // Alerts go to the log, and to a webhook if one is set. Large reports and sleeping jobs are meant to take long.
    alerts: { longJobs: ['generate-report', 'demo-sleep'], ...(settings.alertWebhook === undefined ? undefined : { webhook: settings.alertWebhook }) }
  })
  reportEndpoints(app)
  demoEndpoints(app)
  const folder = new Folder(settings.filesDir)
  zipSaga(app, folder)
  transcodeSaga(app, folder)
  publicationSaga(app, folder)
  app.get('/documentation/json', { schema: { hide: true }, logLevel: 'silent' }, async () => app.swagger())
  return app
}
