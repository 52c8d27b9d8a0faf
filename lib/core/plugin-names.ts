/**
 * The names under which the plugins of this package are registered, for `app.hasPlugin(name)` and for the
 * `dependencies` of plugins that need one of them. The umbrella has the name of the package.
 */
export const PLUGIN = {
  umbrella: 'fastify-async-endpoints',
  jobStore: 'fastify-async-endpoints/job-store',
  observability: 'fastify-async-endpoints/observability',
  worker: 'fastify-async-endpoints/worker',
  health: 'fastify-async-endpoints/health',
  alerts: 'fastify-async-endpoints/alerts'
} as const
