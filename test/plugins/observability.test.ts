import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import t from 'tap'
import { runtimeOf } from '../../lib/events/runtime.ts'
import type { JobHandler } from '../../lib/jobs/definition.ts'
import { METRIC_METHODS } from '../../lib/telemetry/metrics.ts'
import { recordingMetrics } from '../../lib/testing/recording-metrics.ts'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'
import { jobStore } from '../../plugins/job-store.ts'
import { observability, type ObservabilityOptions } from '../../plugins/observability.ts'
import { parseExposition, type Format } from '../exposition/support/openmetrics-parser.ts'

const OPENMETRICS = 'application/openmetrics-text; version=1.0.0'

async function build (test: Pick<typeof t, 'teardown'>, options: ObservabilityOptions = {}, handler: JobHandler = async () => ({ ok: true }), fastify: FastifyServerOptions = {}): Promise<FastifyInstance> {
  const app = Fastify(fastify)
  test.teardown(() => app.close())
  await app.register(jobStore)
  await app.register(observability, options)
  await app.register(asyncEndpoints)
  app.asyncEndpoint({ method: 'POST', url: '/reports', name: 'report', retry: { attempts: 2, backoff: { type: 'fixed', delayMs: 1 } }, handler })
  await app.ready()
  return app
}

/** Submits over HTTP and waits for the end; resolves to the final state. */
async function run (app: FastifyInstance, headers: Record<string, string> = {}): Promise<string> {
  const submitted = await app.inject({ method: 'POST', url: '/reports', headers, payload: { secret: 'payload' } })
  if (submitted.statusCode !== 202) throw new Error(`${submitted.statusCode} ${submitted.body}`)
  return (await app.jobs.waitFor(submitted.json<{ id: string }>().id, { timeoutMs: 5_000 })).state
}

async function scrape (app: FastifyInstance, format: Format = 'openmetrics') {
  const response = await app.inject({ url: '/metrics', headers: format === 'openmetrics' ? { accept: OPENMETRICS } : {} })
  if (response.statusCode !== 200) throw new Error(`${response.statusCode} ${response.body}`)
  const families = parseExposition(response.body, format)
  const value = (name: string, labels: Record<string, string> = {}): number | undefined => {
    for (const family of families.values()) {
      const sample = family.samples.find((entry) => entry.name === name && Object.entries(labels).every(([key, text]) => entry.labels.get(key) === text))
      if (sample !== undefined) return sample.value
    }
    return undefined
  }
  return { families, value, response }
}

t.test('a job is counted and timed, and the page says so in both formats', async (t) => {
  const app = await build(t)
  t.equal(await run(app), 'completed')
  const text = await scrape(app, 'text')
  t.equal(text.response.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8')
  t.equal(text.response.headers.vary, 'accept')
  t.equal(text.value('asyncendpoints_jobs_created_total', { job_name: 'report', store_type: 'memory' }), 1)
  const { families, value, response } = await scrape(app)
  t.equal(response.headers['content-type'], 'application/openmetrics-text; version=1.0.0; charset=utf-8')
  const job = { job_name: 'report', store_type: 'memory' }
  t.equal(value('asyncendpoints_jobs_processed_total', { ...job, status: 'completed' }), 1)
  t.equal(value('asyncendpoints_jobs_processed_total', { ...job, status: 'failed' }), 0, 'known series start at 0')
  t.equal(value('asyncendpoints_jobs_queue_duration_seconds_count', job), 1)
  t.equal(value('asyncendpoints_jobs_processing_duration_seconds_count', { job_name: 'report', status: 'completed' }), 1)
  t.equal(value('asyncendpoints_jobs_submit_duration_seconds_count', job), 1)
  t.equal(value('asyncendpoints_handlers_execution_duration_seconds_count', { job_name: 'report', handler_type: 'function' }), 1)
  t.equal(value('asyncendpoints_store_operations_total', { operation: 'create', store_type: 'memory' }), 1)
  t.equal(value('asyncendpoints_background_processing_rate_total'), 1)
  t.equal(value('asyncendpoints_background_channel_utilization_percent', { channel_type: 'worker' }), 0)
  t.equal(value('asyncendpoints_jobs_active', { store_type: 'memory' }), 0)
  t.equal(value('asyncendpoints_jobs_current_count', { job_status: 'queued' }), 0, 'the poller has read the store')
  t.ok((value('asyncendpoints_store_counts_age_seconds') ?? -1) >= 0)
  t.match([...families.get('target')?.samples[0]?.labels ?? []], [['service_name', 'unknown_service:node'], ['service_instance_id', /.+/]])
})

t.test('failures, retries and error types', async (t) => {
  const app = await build(t, {}, async () => { throw Object.assign(new Error('x'), { code: 'E_BAD' }) })
  t.equal(await run(app), 'failed')
  const { value } = await scrape(app)
  t.equal(value('asyncendpoints_jobs_failed_total', { error_type: 'E_BAD' }), 1)
  t.equal(value('asyncendpoints_jobs_retries_total'), 1)
  t.equal(value('asyncendpoints_handlers_error_rate_total', { error_type: 'E_BAD' }), 2)
  t.equal(value('asyncendpoints_jobs_processing_duration_seconds_count', { status: 'failed' }), 2, 'per attempt')
})

t.test('what runs now is seen by the scrape', async (t) => {
  let letGo: () => void = () => {}
  let started: () => void = () => {}
  const running = new Promise<void>((resolve) => { started = resolve })
  const app = await build(t, { metrics: { authorize: () => true } }, () => new Promise((resolve) => { letGo = () => resolve(1); started() }))
  const done = run(app)
  await running
  const { active } = (await app.inject('/metrics/jobs')).json<{ active: unknown[] }>()
  t.match(active, [{ id: String, name: 'report', queue: 'default', attempt: 1, runningMs: Number }])
  const { value } = await scrape(app)
  t.equal(value('asyncendpoints_jobs_active'), 1)
  t.equal(value('asyncendpoints_background_channel_utilization_percent'), 10, 'one of ten')
  letGo()
  t.equal(await done, 'completed')
})

t.test('HEAD, silent route, no place in OpenAPI, exempt from pressure and other tracing', async (t) => {
  const app = Fastify({ exposeHeadRoutes: false })
  t.teardown(() => app.close())
  const routes: Array<{ method: unknown, schema: unknown, logLevel: unknown, config: unknown }> = []
  app.addHook('onRoute', ({ url, method, schema, logLevel, config }) => { if (url === '/metrics') routes.push({ method, schema, logLevel, config }) })
  await app.register(jobStore)
  await app.register(observability)
  const head = await app.inject({ method: 'HEAD', url: '/metrics' })
  t.equal(head.statusCode, 200)
  t.equal(head.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8')
  t.equal(head.body, '')
  t.match(routes.find(({ method }) => method === 'GET'), { schema: { hide: true }, logLevel: 'silent', config: { otel: false, pressureHandler: Function } })
})

t.test('one trace from the request to the handler, with exemplars that lead to it', async (t) => {
  const exporter = new InMemorySpanExporter()
  const lines: Array<Record<string, unknown>> = []
  const stream = { write: (line: string) => { lines.push(JSON.parse(line) as Record<string, unknown>) } }
  const app = await build(t, { tracing: { spanProcessors: [new SimpleSpanProcessor(exporter)] } }, async (job) => {
    await job.span('load rows', async () => { job.log.info({ rows: 1 }, 'loaded') })
    return { trace: job.trace }
  }, { logger: { level: 'debug', stream } })
  t.equal(await run(app), 'completed')
  const { families } = await scrape(app)
  const spans = exporter.getFinishedSpans()
  const traceId = spans[0]?.spanContext().traceId
  t.same(spans.map((span) => [span.name, span.spanContext().traceId === traceId]).sort(), [['POST /reports', true], ['load rows', true], ['process default', true], ['report', true], ['send default', true]])
  const byId = new Map(spans.map((span) => [span.spanContext().spanId, span.name]))
  t.same(Object.fromEntries(spans.map((span) => [span.name, byId.get(span.parentSpanContext?.spanId ?? '')])), {
    'POST /reports': undefined, 'send default': 'POST /reports', 'process default': 'send default', report: 'process default', 'load rows': 'report'
  })
  const exemplar = families.get('asyncendpoints_jobs_processing_duration_seconds')?.samples.find((sample) => sample.exemplar !== undefined)?.exemplar
  t.equal(exemplar?.labels.get('trace_id'), traceId)
  t.equal(byId.get(exemplar?.labels.get('span_id') ?? ''), 'process default')
  const waited = families.get('asyncendpoints_jobs_queue_duration_seconds')?.samples.find((sample) => sample.exemplar !== undefined)?.exemplar
  t.same([waited?.labels.get('trace_id'), byId.get(waited?.labels.get('span_id') ?? '')], [traceId, 'send default'], 'what waited was the submission')

  const log = lines.find(({ msg }) => msg === 'loaded')
  t.match(log, { trace_id: traceId, trace_flags: '01', job_name: 'report', attempt: 1 })
  t.match(lines.find(({ eventId }) => eventId === 10111), { trace_id: traceId, job_id: log?.job_id, correlation_id: log?.correlation_id, totalMs: Number, queueMs: Number, processMs: Number })
  t.match(lines.find(({ msg }) => msg === 'request completed'), { trace_id: traceId })
  t.notMatch(JSON.stringify(lines) + JSON.stringify(spans.map(({ attributes, events }) => [attributes, events])), /"payload"|secret/, 'no payload anywhere')
})

t.test('the caller\'s trace goes on, sampled or not', async (t) => {
  const exporter = new InMemorySpanExporter()
  const traces: unknown[] = []
  const app = await build(t, { tracing: { spanProcessors: [new SimpleSpanProcessor(exporter)], maxTracesPerSecond: 0 } }, async (job) => { traces.push(job.trace) })
  await run(app)
  await run(app, { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00', tracestate: 'a=1' })
  t.same(exporter.getFinishedSpans(), [], 'no token, no spans')
  t.same(traces, [undefined, { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00', tracestate: 'a=1' }])
  await run(app, { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' })
  t.same([...new Set(exporter.getFinishedSpans().map((span) => span.spanContext().traceId))], ['0af7651916cd43dd8448eb211c80319c'])
})

t.test('no SDK: everything works, and a caller\'s context is passed on', async (t) => {
  const traces: unknown[] = []
  const app = await build(t, {}, async (job) => { traces.push(job.trace); return await job.span('x', () => 1) })
  t.equal(await run(app), 'completed')
  t.equal(await run(app, { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' }), 'completed')
  t.equal(await run(app, { traceparent: 'broken' }), 'completed')
  t.same(traces, [undefined, { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' }, undefined])
})

t.test('a metrics implementation that throws fails no job; it is counted and told once', async (t) => {
  const lines: Array<Record<string, unknown>> = []
  const recorder = Object.fromEntries(METRIC_METHODS.map((method) => [method, () => { throw new Error('broken') }]))
  const app = await build(t, { metrics: { recorder } }, undefined, { logger: { level: 'warn', stream: { write: (line: string) => { lines.push(JSON.parse(line) as Record<string, unknown>) } } } })
  const told: string[] = []
  runtimeOf(app).bus.on('telemetry.listener_failed', ({ source }) => { told.push(source) })
  t.equal(await run(app), 'completed')
  t.equal(await run(app), 'completed')
  const { value } = await scrape(app)
  t.equal(value('asyncendpoints_telemetry_failures_total', { source: 'metrics.jobCreated' }), 2)
  t.equal(told.filter((source) => source === 'metrics.jobCreated').length, 1)
  t.equal(lines.filter(({ source }) => source === 'metrics.jobCreated').length, 1)
})

t.test('errors with codes that nobody should throw: each job fails as itself, and the page stays a page', async (t) => {
  const codes = ['two\nlines', '"}\ninjected_metric 1\n# {a="', '\\', '\u0000\ud800', 'x'.repeat(10_000_000), `${'y'.repeat(10_000_000)}"\n`, ...Array.from({ length: 30 }, (_, n) => `E_${n}`)]
  let next = 0
  const app = await build(t, { metrics: { maxSeriesPerMetric: 20 } }, async () => { throw Object.assign(new Error('as asked'), { code: codes[next++ >> 1] }) })
  for (const code of codes) t.equal(await run(app), 'failed', code.slice(0, 20))
  const { families, value, response } = await scrape(app)
  t.equal(value('asyncendpoints_jobs_processed_total', { status: 'failed' }), codes.length)
  const failed = families.get('asyncendpoints_jobs_failed')?.samples ?? []
  t.equal(failed.reduce((sum, sample) => sum + sample.value, 0), codes.length, 'none is lost')
  t.equal(failed.length, 21, 'one series for all that are too many')
  t.notOk(families.has('injected_metric'))
  t.ok(response.body.length < 1_000_000)
})

t.test('the metrics of an application, in part', async (t) => {
  const own = recordingMetrics()
  const app = await build(t, { metrics: { recorder: { jobCreated: own.jobCreated } } })
  await run(app)
  t.ok(own.has('jobCreated', { jobName: 'report', storeType: 'memory' }))
  const { value } = await scrape(app)
  t.equal(value('asyncendpoints_jobs_created_total'), undefined)
  t.equal(value('asyncendpoints_jobs_processed_total', { status: 'completed' }), 1)
})

t.test('an application adds a metric of its own', async (t) => {
  const app = await build(t)
  app.jobMetricsRegistry.instrument({ name: 'shop.orders', kind: 'counter', unit: '{order}', description: 'Orders', labels: ['country'] }).bind({ country: 'pt' }).add(3)
  t.equal((await scrape(app)).value('shop_orders_total', { country: 'pt' }), 3)
})

t.test('authorize: anything but true is a 403 problem', async (t) => {
  for (const answer of [false, undefined, 'yes'] as const) {
    const app = await build(t, { metrics: { authorize: async (request) => request.headers['x-token'] === 'good' ? true : answer as boolean } })
    const refused = await app.inject('/metrics')
    t.equal(refused.statusCode, 403)
    t.equal(refused.headers['content-type']?.toString().split(';')[0], 'application/problem+json')
    t.match(refused.json(), { status: 403, code: 'FAE_FORBIDDEN', instance: '/metrics' })
    t.equal((await app.inject({ url: '/metrics', headers: { 'x-token': 'good' } })).statusCode, 200)
  }
})

t.test('an authorize that throws is a 500, and the log says why although the route is silent', async (t) => {
  const lines: Array<Record<string, unknown>> = []
  const stream = { write: (line: string) => { lines.push(JSON.parse(line) as Record<string, unknown>) } }
  let error: Error = new TypeError('no session at redis://u:secret@h')
  const app = await build(t, { metrics: { authorize: () => { throw error } } }, undefined, { logger: { level: 'info', stream } })
  lines.length = 0
  const refused = await app.inject('/metrics')
  t.match([refused.statusCode, refused.json()], [500, { type: 'about:blank', status: 500 }])
  t.match(lines, [{ level: 50, msg: 'the metrics could not be shown', err: { type: 'TypeError', message: 'no session at redis://[FILTERED]@h' } }])
  error = Object.assign(new Error('log in first'), { statusCode: 401 })
  t.equal((await app.inject('/metrics')).statusCode, 401)
  t.equal(lines.length, 1, 'a refusal is none')
})

t.test('parts are switched off one by one', async (t) => {
  const noMetrics = await build(t, { metrics: false })
  t.equal((await noMetrics.inject('/metrics')).statusCode, 404)
  t.equal(await run(noMetrics), 'completed')
  t.same(noMetrics.jobMetricsRegistry.families(), [])

  const noRoute = await build(t, { metrics: { path: false }, tracing: false, logging: false })
  t.equal((await noRoute.inject('/metrics')).statusCode, 404)
  t.equal(await run(noRoute), 'completed')
  t.ok(noRoute.jobMetricsRegistry.families().length > 5)
  t.equal(runtimeOf(noRoute).attemptMiddleware.length, 0)

  const elsewhere = await build(t, { metrics: { path: '/internal/metrics', scopeLabels: true } })
  const page = await elsewhere.inject('/internal/metrics')
  t.match(page.body, /otel_scope_name="AsyncEndpoints"/)

  const untracked = await build(t, { activityTracking: false })
  const summary = (await untracked.inject('/metrics/jobs')).json<object>()
  t.ok('errorRatePercent' in summary && !('active' in summary), 'the attempts under way are not listed')

  const silenced = await build(t, { events: { 'job.submitted': { enabled: false } }, excludeJobs: [/^other/] })
  await run(silenced)
  t.equal((await scrape(silenced)).value('asyncendpoints_jobs_created_total'), 0)
})

t.test('enabled: false leaves nothing behind', async (t) => {
  const app = await build(t, { enabled: false })
  t.equal(await run(app), 'completed')
  t.equal((await app.inject('/metrics')).statusCode, 404)
  app.jobMetrics.jobCreated({ jobName: 'report', storeType: 'memory' })
  t.same(app.jobMetricsRegistry.families(), [], 'the methods are there and record nothing')
  t.same([runtimeOf(app).submitMiddleware, runtimeOf(app).attemptMiddleware, runtimeOf(app).handlerSpanMiddleware], [[], [], []])
  t.equal(runtimeOf(app).bus.wants('job.submitted'), false)
})

t.test('enabled: false loads no part of OpenTelemetry', async (t) => {
  const at = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href)
  const script = `
    import { createRequire } from 'node:module'
    import Fastify from 'fastify'
    import { jobStore } from ${at('../../plugins/job-store.js')}
    import { observability } from ${at('../../plugins/observability.js')}
    const app = Fastify()
    await app.register(jobStore)
    await app.register(observability, { enabled: process.argv[1] === 'on' })
    await app.ready()
    console.log(Object.keys(createRequire(import.meta.url).cache).some((path) => path.includes('@opentelemetry')))
    await app.close()`
  const cwd = fileURLToPath(new URL('../../../', import.meta.url))
  const loaded = async (mode: string): Promise<string> => (await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script, mode], { cwd, timeout: 30_000 })).stdout.trim()
  t.same([await loaded('off'), await loaded('on')], ['false', 'true'])
})

t.test('bad options fail the registration with one message', async (t) => {
  const bad: ReadonlyArray<readonly [options: object, message: RegExp]> = [
    [{ enabled: 'yes', nonsense: 1 }, /nonsense is not an option.*enabled must be true or false/],
    [{ metrics: { path: 'metrics', interval: 5 } }, /metrics\.interval is not an option.*metrics\.path must be a path like "\/jobs", of letters, .*or false/],
    [{ metrics: { recorder: { jobCreatd: () => {} } } }, /recorder\.jobCreatd is not a method/],
    [{ metrics: { recorder: { jobCreated: 5 } } }, /recorder\.jobCreated must be a function/],
    [{ metrics: { buckets: [2, 1] } }, /ascending/],
    [{ tracing: { propagation: 'both' } }, /propagation/],
    [{ tracing: { tracerProvider: { getTracer: () => {} }, exporters: [{}] } }, /exporters belongs to a private provider/],
    [{ tracing: { sampler: {}, maxTracesPerSecond: 5 } }, /maxTracesPerSecond has no effect/],
    [{ logging: { level: 'loud' } }, /level/],
    [{ events: { 'job.nonsense': {} } }, /job\.nonsense is not an event/],
    [{ excludeJobs: [5] }, /excludeJobs/],
    [{ serviceName: '' }, /serviceName/]
  ]
  for (const [options, message] of bad) {
    const app = Fastify()
    await app.register(jobStore)
    await t.rejects(Promise.resolve(app.register(observability, options as ObservabilityOptions)), { code: 'FAE_INVALID_OPTIONS', message }, JSON.stringify(options))
    await app.close()
  }
})

t.test('two applications in one process share nothing', async (t) => {
  const one = await build(t)
  const other = await build(t)
  await run(one)
  t.equal((await scrape(one)).value('asyncendpoints_jobs_created_total'), 1)
  t.equal((await scrape(other)).value('asyncendpoints_jobs_created_total'), 0)
})

t.test('closing before being ready, and with nothing traced', async (t) => {
  const app = Fastify()
  await app.register(jobStore)
  await app.register(observability)
  await app.close()
  t.pass('closed')
})
