/** A stranger's Prometheus, pointed at the example server: everything it is to know arrives, without a line written for it. */
import t from 'tap'
import { parseExposition } from '../exposition/support/openmetrics-parser.ts'
import { findPrometheus, startPrometheus, type PrometheusServer } from '../support/prometheus.ts'
import { alertRules, dashboardExpressions, dashboardFile, filesIn, OPS, recordingRules } from './ops/support.ts'
import { boot, collector, eventually, json, submit, untilOver } from './support.ts'

const OPENMETRICS = 'application/openmetrics-text; version=1.0.0'
const JOBS = 6
const tools = await findPrometheus()

/** Jobs that succeed, jobs that succeed at the second attempt, one that fails; all over when it resolves. */
async function work (url: string): Promise<void> {
  const sent = await Promise.all([
    ...Array.from({ length: JOBS }, async (_, n) => await submit(`${url}/reports`, { year: 2000 + n, rows: 300 })),
    ...Array.from({ length: JOBS }, async () => await submit(`${url}/demo/sleep`, { ms: 20, failTimes: 1 })),
    submit(`${url}/demo/sleep`, { ms: 1, failTimes: 3 })
  ])
  await Promise.all(sent.map(async ({ headers }) => await untilOver(url + headers.get('location'))))
}

/** Every sample of the counters and histograms of jobs, as `name{labels} value`: once all jobs are over, they stand still. */
async function ownNumbers (url: string): Promise<string[]> {
  const response = await fetch(`${url}/metrics`, { headers: { accept: OPENMETRICS } })
  const families = parseExposition(new Uint8Array(await response.arrayBuffer()), 'openmetrics')
  return [...families.values()].filter(({ name, type }) => isOfJobs(name) && type !== 'gauge')
    .flatMap(({ samples }) => samples.map(({ name, labels, value }) => line(name, Object.fromEntries(labels), value))).sort()
}

async function scrapedNumbers (prometheus: PrometheusServer, names: readonly string[]): Promise<string[]> {
  const series = await prometheus.query(`{__name__=~"${names.join('|')}"}`)
  return series.map(({ labels: { __name__: name = '', job: _job, instance: _instance, ...labels }, value }) => line(name, labels, value)).sort()
}

function isOfJobs (family: string): boolean {
  return /^asyncendpoints_(?:jobs|handlers)_/.test(family)
}

function line (name: string, labels: Readonly<Record<string, string>>, value: number): string {
  return `${name}${JSON.stringify(Object.entries(labels).sort())} ${value}`
}

t.test('Prometheus scrapes the example server while jobs run', { skip: tools.skip }, async (t) => {
  const otlp = await collector(t)
  const server = await boot(t, {
    LOG_LEVEL: 'warn',
    SHUTDOWN_DELAY_MS: '0',
    OTEL_SERVICE_NAME: 'shop',
    OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
    OTEL_EXPORTER_OTLP_ENDPOINT: otlp.url,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_BSP_SCHEDULE_DELAY: '50'
  })
  const prometheus = await startPrometheus(tools, [{ job: 'shop', targets: [new URL(server.url).host] }], 2_000, filesIn('prometheus/rules').map((path) => OPS + path))
  t.teardown(() => prometheus.stop())

  await prometheus.scraped(1)
  const long = await submit(`${server.url}/demo/sleep`, { ms: 600_000 })
  await eventually('the long job to begin', async () => (await json(server.url + long.headers.get('location'))).body['status'] === 'in-progress' || undefined)
  await work(server.url)
  await prometheus.scraped(1)
  await work(server.url)
  await prometheus.scraped(1)

  await t.test('the target is up, and says who it is', async (t) => {
    t.match(await prometheus.targets(), [{ health: 'up', lastError: '', job: 'shop' }])
    t.match(await prometheus.query('target_info'), [{ value: 1, labels: { service_name: 'shop', deployment_environment_name: 'test', service_instance_id: String } }])
    t.match(await prometheus.query('asyncendpoints_jobs_active'), [{ value: 1 }], 'the long job is under way')
    t.equal((await prometheus.query('asyncendpoints_jobs_created_total{job_name="generate-report"} * on(job, instance) group_left(service_name) target_info'))[0]?.labels['service_name'], 'shop', 'target_info joins')
  })

  await t.test('types and units', async (t) => {
    t.match(await prometheus.api('metadata'), {
      asyncendpoints_jobs_created: [{ type: 'counter', unit: '', help: 'Total number of jobs created' }],
      asyncendpoints_jobs_processing_duration_seconds: [{ type: 'histogram', unit: 'seconds', help: String }],
      asyncendpoints_jobs_queue_duration_seconds: [{ type: 'histogram', unit: 'seconds' }],
      asyncendpoints_jobs_current_count: [{ type: 'gauge', unit: '' }],
      asyncendpoints_jobs_oldest_age_seconds: [{ type: 'gauge', unit: 'seconds' }],
      asyncendpoints_background_channel_utilization_percent: [{ type: 'gauge', unit: 'percent' }],
      target: [{ type: 'info' }]
    })
  })

  await t.test('its numbers are those of the page', async (t) => {
    const own = await ownNumbers(server.url)
    const names = [...new Set(own.map((entry) => entry.slice(0, entry.indexOf('['))))]
    t.ok(own.length > 100 && names.length > 10, `${own.length} series of ${names.length} names`)
    t.same(await scrapedNumbers(prometheus, names), own)
    const counted = async (query: string): Promise<number | undefined> => (await prometheus.query(query))[0]?.value
    t.equal(await counted('asyncendpoints_jobs_processed_total{job_name="generate-report",status="completed"}'), 2 * JOBS)
    t.equal(await counted('asyncendpoints_jobs_processed_total{job_name="demo-sleep",status="failed"}'), 2)
    t.equal(await counted('asyncendpoints_jobs_retries_total{job_name="demo-sleep"}'), 2 * (JOBS + 2))
    t.equal(await counted('sum(asyncendpoints_jobs_processing_duration_seconds_count)'), 2 * (JOBS + 2 * JOBS + 3))
  })

  await t.test('rates and quantiles', async (t) => {
    const queries = [
      'rate(asyncendpoints_jobs_processed_total{job_name="generate-report",status="completed"}[1m])',
      'histogram_quantile(0.95, sum by (le, job_name) (rate(asyncendpoints_jobs_processing_duration_seconds_bucket{job_name="generate-report"}[1m])))',
      'histogram_quantile(0.5, sum by (le) (rate(asyncendpoints_jobs_queue_duration_seconds_bucket[1m])))',
      'sum(rate(asyncendpoints_jobs_processing_duration_seconds_sum[1m])) / sum(rate(asyncendpoints_jobs_processing_duration_seconds_count[1m]))'
    ]
    for (const query of queries) {
      const result = await prometheus.query(query)
      t.equal(result.length, 1, query)
      t.ok(Number.isFinite(result[0]?.value) && Number(result[0]?.value) > 0, `${query}: ${result[0]?.value}`)
    }
  })

  await t.test('the rules and every expression of the dashboard are accepted', async (t) => {
    interface Groups { groups: Array<{ rules: Array<{ name: string, type: string, health: string, lastError?: string }> }> }
    const rules = await eventually('every rule to be evaluated', async () => {
      const { groups } = await prometheus.api('rules') as Groups
      const all = groups.flatMap(({ rules }) => rules)
      return all.some(({ health }) => health === 'unknown') ? undefined : all
    })
    t.strictSame(rules.filter(({ health }) => health !== 'ok'), [])
    t.equal(rules.length, alertRules().length + recordingRules().length)
    const expressions = dashboardExpressions(dashboardFile())
    let answered = 0
    for (const expr of expressions) {
      // Throws for what Prometheus does not accept.
      if ((await prometheus.query(expr)).length > 0) answered++
    }
    t.ok(answered > expressions.length / 2, `${answered} of ${expressions.length} expressions show something after a few jobs`)
    t.match(await prometheus.query('app_queue:asyncendpoints_jobs_oldest_age_seconds:max2m{queue="exports"}'), [{ value: 0 }])
  })

  await t.test('a bucket leads to a trace', async (t) => {
    const now = Date.now() / 1_000
    const found = await prometheus.api('query_exemplars', {
      query: 'asyncendpoints_jobs_processing_duration_seconds_bucket{job_name="generate-report"}', start: String(now - 300), end: String(now + 1)
    }) as Array<{ exemplars: Array<{ labels: Record<string, string>, value: string, timestamp: number }> }>
    const exemplars = found.flatMap(({ exemplars }) => exemplars)
    t.ok(exemplars.length > 0, `${exemplars.length} exemplars`)
    for (const { labels: { trace_id: traceId, span_id: spanId }, value, timestamp } of exemplars) {
      const span = await eventually('the span of the exemplar', async () => otlp.spans.find((span) => span.traceId === traceId && span.spanId === spanId))
      t.equal(span.service, 'shop')
      t.ok(Number(value) > 0 && Math.abs(now - timestamp) < 300, `${value} s`)
    }
  })

  await t.test('HEAD, and no compression of its own', async (t) => {
    const head = await fetch(`${server.url}/metrics`, { method: 'HEAD', headers: { accept: OPENMETRICS } })
    t.match([head.status, head.headers.get('content-type'), await head.text()], [200, 'application/openmetrics-text; version=1.0.0; charset=utf-8', ''])
    t.ok(Number(head.headers.get('content-length')) > 1_000)
    // As Prometheus asks. Who wants smaller pages registers @fastify/compress.
    const page = await fetch(`${server.url}/metrics`, { headers: { 'accept-encoding': 'gzip' } })
    t.equal(page.headers.get('content-encoding'), null)
    t.match(page.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
    parseExposition(new Uint8Array(await page.arrayBuffer()), 'text')
  })

  await json(server.url + long.headers.get('location'), { method: 'DELETE' })
  t.match(await untilOver(server.url + long.headers.get('location')), { status: 'cancelled' })
  t.equal(await server.end('SIGTERM'), 0)
})
