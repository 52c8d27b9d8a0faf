/** An application with a meter provider of its own, registered with the API as `--import` would do it: in a process of its own. */
import { metrics } from '@opentelemetry/api'
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import Fastify from 'fastify'
import t from 'tap'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'

t.test('a provider that is registered after our plugin is found when the application is ready, and never shut down', async (t) => {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 1e6 })
  process.env.OTEL_METRICS_EXPORTER = 'otlp'
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(asyncEndpoints)
  app.asyncEndpoint({ method: 'POST', url: '/reports', name: 'report', handler: async () => {} })
  const provider = new MeterProvider({ readers: [reader] })
  let ended = 0
  const end = provider.shutdown.bind(provider)
  provider.shutdown = async () => { ended++; await end() }
  metrics.setGlobalMeterProvider(provider)
  await app.ready()
  const submitted = await app.inject({ method: 'POST', url: '/reports', payload: {} })
  await app.jobs.waitFor(submitted.json<{ id: string }>().id, { timeoutMs: 5_000 })
  // As with most applications: theirs is closed first, and then the SDK.
  await app.close()
  t.equal(ended, 0)
  await provider.forceFlush()
  const seen = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics).find(({ scope }) => scope.name === 'AsyncEndpoints')?.metrics
  const value = (name: string): unknown => seen?.find(({ descriptor }) => descriptor.name === name)?.dataPoints[0]?.value
  t.equal(value('asyncendpoints.jobs.created.total'), 1)
  t.match(value('asyncendpoints.jobs.queue.duration'), { count: 1 })
  await provider.shutdown()
})
