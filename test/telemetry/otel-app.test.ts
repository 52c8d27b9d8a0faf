/** Whole applications, and a collector that takes OTLP over HTTP: every way out, told apart by what arrives. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { AggregationTemporalityPreference, OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-http'
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'
import { jobStore } from '../../plugins/job-store.ts'
import { observability, type ObservabilityOptions } from '../../plugins/observability.ts'
import { newestPoint, receivedMetrics } from '../support/otlp-metrics.ts'
import { startOtlpReceiver, type OtlpReceiver } from '../support/otlp-receiver.ts'

type Test = Pick<typeof t, 'teardown'>

async function receiver (test: Test, answers = true): Promise<OtlpReceiver> {
  const started = await startOtlpReceiver({ answers })
  test.teardown(() => started.stop())
  return started
}

function setEnv (test: Test, env: Record<string, string>): void {
  for (const [name, value] of Object.entries(env)) process.env[name] = value
  test.teardown(() => { for (const name of Object.keys(env)) delete process.env[name] })
}

/** Runs a good job and a bad one. */
async function build (test: Test, options: ObservabilityOptions = {}, log: string[] = []): Promise<FastifyInstance> {
  const app = Fastify({ logger: { level: 'warn', stream: { write: (line: string) => { log.push(line) } } } })
  test.teardown(() => app.close())
  await app.register(jobStore)
  await app.register(observability, options)
  await app.register(asyncEndpoints)
  app.asyncEndpoint({ method: 'POST', url: '/reports', name: 'report', handler: async () => ({ rows: 7 }) })
  app.asyncEndpoint({ method: 'POST', url: '/broken', name: 'broken', retry: { attempts: 1 }, handler: async () => { throw Object.assign(new Error('no'), { code: 'E_NO' }) } })
  await app.ready()
  for (const url of ['/reports', '/broken', '/reports']) {
    const submitted = await app.inject({ method: 'POST', url, payload: { year: 2026 } })
    await app.jobs.waitFor(submitted.json<{ id: string }>().id, { timeoutMs: 5_000 })
  }
  return app
}

const CREATED = 'asyncendpoints.jobs.created.total'

t.test('exporters: fed at the end at the latest, with everything', async (t) => {
  const collector = await receiver(t)
  const app = await build(t, { serviceName: 'shop', metrics: { exporters: [new OTLPMetricExporter({ url: `${collector.url}/v1/metrics` })] } })
  await app.close()
  const [metrics = []] = receivedMetrics(collector)
  t.match(newestPoint(collector, CREATED, { job_name: 'report' }), { value: 2, attributes: { job_name: 'report', store_type: 'memory' } })
  t.match(newestPoint(collector, 'asyncendpoints.jobs.failed.total', { error_type: 'E_NO' }), { value: 1 })
  t.match(metrics.find(({ name }) => name === CREATED), { unit: '{job}', kind: 'sum', monotonic: true, temporality: 2, resource: { 'service.name': 'shop', 'service.instance.id': String }, scope: /^AsyncEndpoints \d/ })
  const wait = newestPoint(collector, 'asyncendpoints.jobs.queue.duration', { job_name: 'report' })
  t.equal(wait?.value, 2)
  t.equal(wait?.bucketCounts.length, 19)
  t.equal(wait?.bounds.length, 18)
  t.ok(newestPoint(collector, 'asyncendpoints.jobs.active'), 'what is read at collection is there too')
  t.equal(metrics.some(({ name }) => name === 'asyncendpoints.jobs.attempts'), false, 'no details unless they are asked for')
})

t.test('exporters that want deltas get deltas, and repeat nothing', async (t) => {
  const collector = await receiver(t)
  const exporter = new OTLPMetricExporter({ url: `${collector.url}/v1/metrics`, temporalityPreference: AggregationTemporalityPreference.DELTA })
  const app = await build(t, { detailedMetrics: true, metrics: { exporters: [exporter], exportIntervalMs: 10 } })
  await collector.until('the three jobs', () => sum(collector, CREATED) === 3)
  await app.close()
  t.equal(sum(collector, CREATED), 3)
  t.equal(sum(collector, 'asyncendpoints.jobs.attempts'), 3)
  t.equal(sum(collector, 'asyncendpoints.jobs.payload.size'), 3)
  t.equal(sum(collector, 'asyncendpoints.jobs.result.size'), 2)
  t.same([...new Set(receivedMetrics(collector).flat().filter(({ kind }) => kind !== 'gauge').map(({ temporality }) => temporality))], [1])
})

function sum (collector: OtlpReceiver, name: string): number {
  return receivedMetrics(collector).flat().filter((metric) => metric.name === name).flatMap(({ points }) => points).reduce((total, { value }) => total + value, 0)
}

t.test('readers: the SDK\'s own, as they are', async (t) => {
  const collector = await receiver(t)
  const reader = new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter({ url: `${collector.url}/v1/metrics` }), exportIntervalMillis: 50 })
  const app = await build(t, { metrics: { readers: [reader] } })
  await collector.until('two jobs', () => newestPoint(collector, CREATED, { job_name: 'report' })?.value === 2)
  await app.close()
  t.equal(newestPoint(collector, 'asyncendpoints.jobs.processed.total', { job_name: 'report', status: 'completed' })?.value, 2)
})

t.test('a meter provider as option shows the numbers of /metrics; it may be shut down before us', async (t) => {
  const collector = await receiver(t)
  const reader = new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter({ url: `${collector.url}/v1/metrics` }), exportIntervalMillis: 1e6 })
  const meterProvider = new MeterProvider({ readers: [reader] })
  const app = await build(t, { metrics: { meterProvider } })
  await meterProvider.forceFlush()
  const page = (await app.inject('/metrics')).payload
  const compared = new Map<string, readonly [theirs: number, ours: number]>()
  for (const { name, kind, unit, points } of receivedMetrics(collector).flat()) {
    // The collection is between two scrapes: what goes on by itself is left out.
    if (kind === 'gauge' || name.startsWith('asyncendpoints.store.') || name.includes('idle')) continue
    for (const { attributes, value } of points) {
      const series = `${prometheusName(name, kind, unit)}{${Object.entries(attributes).map(([key, text]) => `${key}="${String(text)}"`).join(',')}}`
      compared.set(series, [value, scraped(page, series)])
    }
  }
  t.ok(compared.size > 15, `${compared.size} series`)
  for (const [series, [theirs, ours]] of compared) t.equal(theirs, ours, series)
  await meterProvider.shutdown()
  const after = await app.inject({ method: 'POST', url: '/reports', payload: {} })
  t.equal(after.statusCode, 202)
  await app.jobs.waitFor(after.json<{ id: string }>().id, { timeoutMs: 5_000 })
  t.match((await app.inject('/metrics')).payload, /asyncendpoints_jobs_created_total\{job_name="report".*\} 3/)
})

function prometheusName (name: string, kind: string, unit: string): string {
  const base = name.replaceAll('.', '_')
  if (kind === 'histogram') return `${base}${unit === 's' ? '_seconds' : ''}_count`
  return base.endsWith('_total') ? base : `${base}_total`
}

function scraped (page: string, series: string): number {
  const line = page.split('\n').find((line) => line.startsWith(`${series} `))
  return line === undefined ? NaN : Number(line.slice(series.length + 1))
}

t.test('by the standard variables alone: one endpoint, traces and metrics', async (t) => {
  const collector = await receiver(t)
  setEnv(t, { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_METRIC_EXPORT_INTERVAL: '50', OTEL_SERVICE_NAME: 'shop', OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test' })
  const app = await build(t)
  await collector.until('the metrics of an interval', () => newestPoint(collector, CREATED, { job_name: 'report' })?.value === 2)
  await app.close()
  t.ok(collector.spans().some(({ name }) => name === 'process default'))
  t.match(receivedMetrics(collector)[0]?.[0]?.resource, { 'service.name': 'shop', 'deployment.environment.name': 'test' })
})

t.test('http/protobuf, the default; an endpoint of its own; nothing but metrics', async (t) => {
  const collector = await receiver(t)
  setEnv(t, { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: `${collector.url}/own/path`, OTEL_SERVICE_NAME: 'shop' })
  await (await build(t)).close()
  t.same([...new Set(collector.requests.map(({ url, headers }) => `${url} ${headers['content-type'] ?? ''}`))], ['/own/path application/x-protobuf'])
  const text = Buffer.concat(collector.requests.map(({ body }) => body)).toString('latin1')
  for (const part of ['shop', CREATED, 'job_name', 'report']) t.ok(text.includes(part), part)
})

t.test('OTEL_METRICS_EXPORTER=none, OTEL_SDK_DISABLED and metrics: false send nothing', async (t) => {
  const collector = await receiver(t)
  setEnv(t, { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_TRACES_EXPORTER: 'none' })
  await (await build(t, { metrics: false })).close()
  process.env.OTEL_METRICS_EXPORTER = 'none'
  await (await build(t)).close()
  setEnv(t, { OTEL_METRICS_EXPORTER: 'otlp', OTEL_SDK_DISABLED: 'true' })
  await (await build(t)).close()
  t.same(collector.requests, [])
})

t.test('a collector that never answers, a recorder and a reader that throw: the jobs do not notice', async (t) => {
  const collector = await receiver(t, false)
  setEnv(t, { OTEL_METRIC_EXPORT_INTERVAL: '20', OTEL_METRIC_EXPORT_TIMEOUT: '20' })
  const log: string[] = []
  const readers = [{
    setMetricProducer: () => { throw new Error('no producer wanted') },
    selectAggregation: () => ({ type: 0 }),
    selectAggregationTemporality: () => 1,
    selectCardinalityLimit: () => 1,
    collect: async () => { throw new Error('cannot collect') },
    forceFlush: async () => { throw new Error('cannot flush') },
    shutdown: async () => { throw new Error('cannot end') }
  }]
  const app = await build(t, { metrics: { exporters: [new OTLPMetricExporter({ url: `${collector.url}/v1/metrics`, timeoutMillis: 300 })], readers, recorder: { jobRetried: () => {}, jobProcessingDuration: () => { throw new Error('broken recorder') } } } }, log)
  await collector.until('an attempt', ({ requests }) => requests.length > 0)
  const page = (await app.inject('/metrics')).payload
  t.match(page, /asyncendpoints_jobs_processed_total\{job_name="report",status="completed",store_type="memory"\} 2/)
  t.match(page, /asyncendpoints_telemetry_failures_total\{source="metrics\.jobProcessingDuration"\} 3/)
  t.match(page, /asyncendpoints_telemetry_failures_total\{source="metrics\.reader"\} 1/)
  await app.close()
  const sources = log.map((line) => (JSON.parse(line) as { source?: string }).source).filter((source) => source?.startsWith('metrics.'))
  t.same(sources.sort(), ['metrics.exporter', 'metrics.jobProcessingDuration', 'metrics.reader'], 'each is logged once')
})

t.test('a package that is not installed: one clear warning, and the application runs', async (t) => {
  const at = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href)
  const hooks = `data:text/javascript,${encodeURIComponent(`
    export const resolve = (specifier, context, next) => {
      if (specifier.startsWith('@opentelemetry/exporter-')) throw Object.assign(new Error('not here'), { code: 'ERR_MODULE_NOT_FOUND' })
      return next(specifier, context)
    }`)}`
  const script = `
    import { register } from 'node:module'
    register(${JSON.stringify(hooks)})
    const { default: Fastify } = await import('fastify')
    const { jobStore } = await import(${at('../../plugins/job-store.js')})
    const { observability } = await import(${at('../../plugins/observability.js')})
    const app = Fastify({ logger: { level: 'warn' } })
    await app.register(jobStore)
    await app.register(observability)
    await app.ready()
    await app.close()`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    cwd: fileURLToPath(new URL('../../../', import.meta.url)), timeout: 30_000, env: { ...process.env, OTEL_METRICS_EXPORTER: 'otlp' }
  })
  const warnings = stdout.trim().split('\n').map((line) => JSON.parse(line) as { msg: string })
  t.equal(warnings.length, 1)
  t.match(warnings[0]?.msg, /metrics were asked for, but @opentelemetry\/exporter-metrics-otlp-proto is not installed: npm install/)
})
