/** The command looks at what runs already, and finds what is wrong with it. */
import t, { type Test } from 'tap'
import { freePort } from '../../../example-server/validate/support/free-port.ts'
import { startOtlpReceiver, type OtlpReceiver } from '../../support/otlp-receiver.ts'
import { findPrometheus, startPrometheus } from '../../support/prometheus.ts'
import { startRedis } from '../../support/redis.ts'
import { boot } from '../support.ts'
import { LIMIT_MS, listen, report } from './support.ts'

const tools = await findPrometheus()

/** Passes everything on; pages of metrics may be changed on their way. */
async function proxy (t: Test, to: string, change: (page: string) => string): Promise<string> {
  return await listen(t, (request, response) => {
    void (async () => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      const { connection: _connection, host: _host, 'content-length': _length, ...headers } = request.headers as Record<string, string>
      const answer = await fetch(to + request.url, { method: request.method, headers, body: chunks.length > 0 ? Buffer.concat(chunks) : undefined })
      const body = await answer.text()
      response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? 'text/plain' }).end(request.url === '/metrics' ? change(body) : body)
    })().catch(() => { response.destroy() })
  })
}

t.test('a server that prints something wrong', { timeout: LIMIT_MS }, async (t) => {
  const { url } = await boot(t, { LOG_LEVEL: 'silent' })
  const wrong: ReadonlyArray<readonly [check: string, change: (page: string) => string, says: RegExp]> = [
    ['metrics page', (page) => page.replaceAll('asyncendpoints_jobs_stuck', 'asyncendpoints_jobs_lost'), /asyncendpoints_jobs_lost is not in the table of instruments/],
    ['metrics page', (page) => page.replace('# TYPE asyncendpoints_jobs_active gauge\n', ''), /has no TYPE/],
    ['counters', (page) => page.replace(/(jobs_created_total\{job_name="demo-sleep"[^}]*\}) \d+/, '$1 7'), /asyncendpoints_jobs_created_total\{"job_name":"demo-sleep"\} moved by 0 instead of 3/]
  ]
  for (const [check, change, says] of wrong) {
    const { code, report: { checks } } = await report(t, ['--url', await proxy(t, url, change), '--no-prometheus', '--jobs', '1', '--timeout', '2'])
    t.equal(code, 1, check)
    const failed = checks.filter(({ status }) => status === 'failed')
    t.match(failed, [{ name: check, hint: String }])
    t.match(failed[0]?.problems?.join('\n'), says)
  }

  const slow = await report(t, ['--url', url, '--no-prometheus', '--jobs', '1', '--performance', '--requests', '3', '--max-slow', '2', '--slow-ms', '10', '--p95-ms', '10'])
  t.match([slow.code, slow.of('jobs'), slow.of('performance'), slow.of('slow jobs'), slow.of('histogram of latency')], [1, 'ok', 'failed', 'failed', 'ok'], 'a job of 50 ms is slower than 10')
})

t.test('a Prometheus that scrapes something else', { skip: tools.skip, timeout: LIMIT_MS }, async (t) => {
  const { url } = await boot(t, { LOG_LEVEL: 'silent' })
  const prometheus = await startPrometheus(tools, [{ job: 'gone', targets: [`127.0.0.1:${await freePort()}`] }])
  t.teardown(() => prometheus.stop())
  const { code, report: { checks } } = await report(t, ['--url', url, '--prometheus', prometheus.url, '--jobs', '1', '--timeout', '2'])
  t.equal(code, 1)
  t.match(checks.find(({ name }) => name === 'prometheus: up')?.problems, [/its targets: gone 127\.0\.0\.1:\d+ is (down|unknown)/])
  t.equal(checks.find(({ name }) => name === 'traces')?.status, 'not-checked')
})

/** Jaeger's query API over what a collector has got. */
async function jaeger (t: Test, receiver: OtlpReceiver, drop: (name: string) => boolean): Promise<string> {
  return await listen(t, ({ url = '' }, response) => {
    const spans = receiver.spans()
    const [, traceId] = /^\/api\/traces\/(\w+)$/.exec(url) ?? []
    const found = spans.filter((span) => span.traceId === traceId && !drop(span.name))
    const data = traceId === undefined
      ? [...new Set(spans.map(({ resource }) => resource['service.name']))]
      : [{
          processes: Object.fromEntries(found.map(({ resource }, index) => [`p${index}`, { serviceName: resource['service.name'], tags: [{ key: 'service.instance.id', value: resource['service.instance.id'] }] }])),
          spans: found.map((span, index) => ({
            operationName: span.name,
            spanID: span.spanId,
            processID: `p${index}`,
            duration: Number(span.endedAt - span.startedAt) / 1_000,
            references: span.parentSpanId === undefined ? [] : [{ refType: 'CHILD_OF', traceID: span.traceId, spanID: span.parentSpanId }],
            tags: [{ key: 'span.kind', value: ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'][span.kind] }, ...(span.status.code === 2 ? [{ key: 'error', value: true }] : [])]
          }))
        }]
    const missing = traceId !== undefined && found.length === 0
    response.writeHead(missing ? 404 : 200, { 'content-type': 'application/json' }).end(JSON.stringify(missing ? { errors: [{ code: 404 }] } : { data }))
  })
}

t.test('servers, a Prometheus and a Jaeger that run already', { skip: tools.skip, timeout: LIMIT_MS }, async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const receiver = await startOtlpReceiver()
  t.teardown(() => receiver.stop())
  const env = { LOG_LEVEL: 'silent', SHUTDOWN_DELAY_MS: '0', REDIS_URL: redis.url, OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_METRICS_EXPORTER: 'none', OTEL_BSP_SCHEDULE_DELAY: '50' }
  const [api, worker] = await Promise.all([boot(t, { ...env, ROLE: 'api', OTEL_SERVICE_NAME: 'shop-api' }), boot(t, { ...env, ROLE: 'worker', OTEL_SERVICE_NAME: 'shop-worker' })])
  const prometheus = await startPrometheus(tools, [api, worker].map(({ url }, index) => ({ job: ['shop-api', 'shop-worker'][index] ?? '', targets: [new URL(url).host] })))
  t.teardown(() => prometheus.stop())
  let dropped = false
  const traces = await jaeger(t, receiver, (name) => dropped && name === 'process default')
  const args = ['--url', api.url, '--worker', worker.url, '--prometheus', prometheus.url, '--jaeger', traces, '--jobs', '2']

  const whole = await report(t, args)
  t.strictSame(whole.report.checks.filter(({ status }) => status !== 'ok'), [])
  t.match([whole.code, whole.of('jaeger: services'), whole.of('traces across processes'), whole.of('prometheus: values')], [0, 'ok', 'ok', 'ok'])

  dropped = true
  const broken = await report(t, [...args, '--timeout', '2'])
  t.match([broken.code, broken.of('traces'), broken.of('traces across processes')], [1, 'failed', 'ok'])
  t.match(broken.report.checks.find(({ name }) => name === 'traces')?.problems?.[0], /no consumer span below "send default"; the trace has .*server POST/)

  const half = await report(t, ['--url', api.url, '--no-prometheus', '--jobs', '1', '--timeout', '5'])
  t.match([half.code, half.of('counters')], [1, 'failed'], 'without its worker the sums cannot be right')
})
