/**
 * The packed tarball next to the other line of the OpenTelemetry SDK (3.x, API 1.10), which cannot be a development
 * dependency beside the one we use: installed in an empty folder, a small application is run in each of the ways that
 * telemetry can leave it, and what arrives at a collector is compared with what `/metrics` shows.
 *
 *     node .ci/check-otel.js [tarball]    without a tarball, the package is packed first
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** The newest of the 3.x line, and the exporters that belong to it. */
const PACKAGES = [
  '@opentelemetry/api@1.10', '@opentelemetry/sdk-metrics@3', '@opentelemetry/sdk-trace@3',
  '@opentelemetry/exporter-metrics-otlp-http@0.301', '@opentelemetry/exporter-trace-otlp-http@0.301'
]

/** The ways out: what each is called, and the environment it needs. */
const WAYS = {
  registered: { title: 'providers of SDK 3.x that are registered: traces, and metrics by flush to two readers' },
  readers: { title: 'a metric reader of SDK 3.x as option' },
  exporters: { title: 'exporters of the 3.x line as options' },
  environment: { title: 'nothing but OTEL_EXPORTER_OTLP_ENDPOINT', env: { OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_METRIC_EXPORT_INTERVAL: '100' } }
}

const application = `import { createServer } from 'node:http'
import { once } from 'node:events'
import { metrics, trace } from '@opentelemetry/api'
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-http'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import Fastify from 'fastify'
import plugin from '${manifest.name}'

const way = process.argv[2]
const received = []
const server = createServer((request, response) => {
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => {
    received.push({ url: request.url, body: JSON.parse(Buffer.concat(chunks).toString()) })
    response.setHeader('content-type', 'application/json').end('{}')
  })
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const url = 'http://127.0.0.1:' + server.address().port
const reader = (path) => new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter({ url: url + path }), exportIntervalMillis: 1e6 })

const ends = []
let observability = {}
let between = () => {}
let tracing
if (way === 'registered') {
  tracing = new TracerProvider({ spanProcessors: [new BatchSpanProcessor({ exporter: new OTLPTraceExporter({ url: url + '/v1/traces' }) })] })
  const metering = new MeterProvider({ readers: [reader('/v1/metrics'), reader('/other/metrics')] })
  trace.setGlobalTracerProvider(tracing)
  metrics.setGlobalMeterProvider(metering)
  ends.push(() => tracing.shutdown(), () => metering.shutdown())
  between = () => metering.forceFlush()
}
if (way === 'readers') observability = { metrics: { readers: [reader('/v1/metrics')] } }
if (way === 'exporters') {
  observability = { metrics: { exporters: [new OTLPMetricExporter({ url: url + '/v1/metrics' })] }, tracing: { exporters: [new OTLPTraceExporter({ url: url + '/v1/traces' })] } }
}
if (way === 'environment') process.env.OTEL_EXPORTER_OTLP_ENDPOINT = url

const warnings = []
const app = Fastify({ logger: { level: 'warn', stream: { write: (line) => { if (JSON.parse(line).source !== undefined) warnings.push(line) } } } })
// A busy machine is no reason to refuse the few jobs that there are.
await app.register(plugin, { observability, health: { pressure: false } })
app.asyncEndpoint({ method: 'POST', url: '/reports', name: 'report', handler: async () => ({ rows: 7 }) })
await app.ready()
for (let n = 0; n < 3; n++) {
  const submitted = await app.inject({ method: 'POST', url: '/reports', payload: { n } })
  if (submitted.statusCode !== 202) throw new Error('submit: ' + submitted.payload)
  await app.jobs.waitFor(submitted.json().id, { timeoutMs: 10_000 })
  // A collection in the middle: what is flushed twice would be counted twice.
  await between()
}
// What an instrumented client leaves, in a provider that was made long before the application.
const leave = (text) => { const now = Date.now(); tracing.getTracer('db').startSpan('SELECT', { startTime: now - 2_000, attributes: { 'db.system.name': 'postgresql', 'db.query.text': text } }).end(now) }
if (tracing !== undefined) leave("SELECT * FROM orders WHERE id = 'x'")
const { slowQueries } = app.jobMonitor.bottlenecks()
const page = (await app.inject('/metrics')).payload
await app.close()
if (tracing !== undefined) leave('SELECT 1')
const watched = app.jobMonitor.bottlenecks().slowQueries.length
for (const end of ends) await end()
server.close()

const fail = (what) => { throw new Error(what) }
const scraped = (series) => Number(page.split('\\n').find((line) => line.startsWith(series + '{') && line.includes('job_name="report"'))?.split('} ')[1]?.split(' ')[0])
/** The newest value of a metric, of those that came to this path. */
const last = (path, name) => {
  const all = received.filter((request) => request.url === path).flatMap(({ body }) => body.resourceMetrics).flatMap(({ scopeMetrics }) => scopeMetrics)
    .filter(({ scope }) => scope.name === 'AsyncEndpoints').flatMap(({ metrics }) => metrics).filter((metric) => metric.name === name)
  const points = all.flatMap(({ sum, gauge, histogram }) => (sum ?? gauge ?? histogram).dataPoints)
  const named = points.filter(({ attributes }) => attributes.some(({ key, value }) => key === 'job_name' && value.stringValue === 'report'))
  return (named.length > 0 ? named : points).at(-1)
}
const number = (point) => Number(point?.asDouble ?? point?.asInt ?? point?.count ?? NaN)

for (const path of way === 'registered' ? ['/v1/metrics', '/other/metrics'] : ['/v1/metrics']) {
  const created = number(last(path, 'asyncendpoints.jobs.created.total'))
  if (created !== 3 || created !== scraped('asyncendpoints_jobs_created_total')) fail(path + ': jobs created ' + created + ', /metrics has ' + scraped('asyncendpoints_jobs_created_total'))
  const wait = last(path, 'asyncendpoints.jobs.queue.duration')
  if (number(wait) !== 3 || number(wait) !== scraped('asyncendpoints_jobs_queue_duration_seconds_count')) fail(path + ': queue durations ' + number(wait))
  if (wait.explicitBounds.length !== 18 || wait.bucketCounts.length !== 19) fail(path + ': buckets ' + JSON.stringify(wait))
  if (Number.isNaN(number(last(path, 'asyncendpoints.jobs.active')))) fail(path + ': no gauges')
}
if (way !== 'readers') {
  const spans = received.filter((request) => request.url === '/v1/traces').flatMap(({ body }) => body.resourceSpans).flatMap(({ scopeSpans }) => scopeSpans)
    .filter(({ scope }) => scope.name === 'AsyncEndpoints').flatMap(({ spans }) => spans)
  for (const name of ['POST /reports', 'send default', 'process default', 'report']) {
    const seen = spans.filter((span) => span.name === name).length
    if (seen !== 3) fail(seen + ' spans are named ' + name + ', not 3; there are ' + [...new Set(spans.map((span) => span.name))].join(', '))
  }
  const traces = new Set(spans.map(({ traceId }) => traceId)).size
  if (traces !== 3) fail('three jobs made ' + traces + ' traces')
}
if (tracing !== undefined) {
  if (slowQueries.length !== 1 || slowQueries[0].statement !== 'SELECT * FROM orders WHERE id = ?') fail('slow queries: ' + JSON.stringify(slowQueries))
  if (watched !== 1) fail('spans are watched after the close')
}
const logged = warnings.filter((line) => JSON.parse(line).eventId !== 10603)
if (logged.length > 0) fail('telemetry warned: ' + logged.join(''))
`

const folder = mkdtempSync(join(tmpdir(), 'fae-otel-'))
let failed = 0
function tell (good, what, details = '') {
  process.stdout.write(`${good ? 'ok' : 'not ok'} - ${what}\n${good ? '' : details}`)
  if (!good) failed++
}

try {
  let tarball = process.argv[2] === undefined ? undefined : resolve(process.argv[2])
  if (tarball === undefined) {
    execFileSync('npm', ['pack', '--pack-destination', folder], { cwd: root, stdio: 'ignore', timeout: 180_000 })
    tarball = join(folder, readdirSync(folder).find((name) => name.endsWith('.tgz')))
  }
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'consumer', private: true }))
  writeFileSync(join(folder, 'application.mjs'), application)
  const install = spawnSync('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error', tarball, `fastify@${manifest.devDependencies.fastify}`, ...PACKAGES], { cwd: folder, encoding: 'utf8', timeout: 180_000 })
  tell(install.status === 0, `install the tarball with ${PACKAGES.join(' ')}`, install.stderr)
  if (install.status !== 0) throw new Error('nothing can be tried')

  const version = (path) => JSON.parse(readFileSync(join(folder, 'node_modules', path, 'package.json'), 'utf8')).version
  tell(/^1\.1\d\./.test(version('@opentelemetry/api')), `the API is ${version('@opentelemetry/api')}, the SDK ${version('@opentelemetry/sdk-metrics')}`)
  // A second copy would see nothing of what the application registers with the first.
  tell(!existsSync(join(folder, 'node_modules', manifest.name, 'node_modules/@opentelemetry/api')), 'there is one copy of the API')

  for (const [way, { title, env }] of Object.entries(WAYS)) {
    const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('OTEL_')))
    const run = spawnSync(process.execPath, ['application.mjs', way], { cwd: folder, encoding: 'utf8', timeout: 60_000, env: { ...clean, ...env } })
    tell(run.status === 0, title, `${run.stdout}${run.stderr}${run.error === undefined ? '' : `${run.error.message}\n`}`)
  }
} catch (error) {
  tell(false, error.message)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
process.stdout.write(failed === 0 ? 'both lines of the SDK are served\n' : `${failed} failed\n`)
process.exitCode = failed === 0 ? 0 : 1
