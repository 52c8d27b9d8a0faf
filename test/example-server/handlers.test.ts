/** The five example handlers: what each returns, logs, counts, and leaves in its trace. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { SpanKind, SpanStatusCode } from '@opentelemetry/api'
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor, type ReadableSpan } from '@opentelemetry/sdk-trace-node'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { buildHandlers } from '../../example-server/handlers/app.ts'
import { eventually, PATIENCE_MS, type Test } from './support.ts'

const exporter = new InMemorySpanExporter()
// For the whole process, as an application does it.
new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register()

interface Line { readonly msg?: string, readonly level: number, readonly [field: string]: unknown }
interface Stage {
  readonly app: FastifyInstance
  /** Lines with this message. */
  said (message: string): Line[]
  /** Submits, and waits for the end. */
  run (path: string, payload: object, headers?: Record<string, string>): Promise<{ id: string, state: string, result: Record<string, unknown>, errorCode: string | undefined }>
  /** The spans of one job's trace, by name. */
  spans (jobId: string): Promise<Map<string, ReadableSpan>>
  metric (line: RegExp): Promise<string>
}

async function stage (t: Test): Promise<Stage> {
  const lines: Line[] = []
  const stream = new Writable({ write (chunk, _encoding, done) { for (const text of String(chunk).trim().split('\n')) lines.push(JSON.parse(text) as Line); done() } })
  const app = await buildHandlers({ logger: { level: 'debug', stream } })
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  return {
    app,
    said: (message) => lines.filter(({ msg }) => msg === message),
    run: async (path, payload, headers = {}) => {
      const submitted = await eventually(`${path} to be accepted`, async () => {
        const response = await app.inject({ method: 'POST', url: `/handlers/${path}`, payload, headers })
        return response.statusCode === 503 ? undefined : response
      })
      if (submitted.statusCode !== 202) throw new Error(submitted.body)
      const { id } = submitted.json<{ id: string }>()
      const job = await app.jobs.waitFor(id, { timeoutMs: PATIENCE_MS })
      return { id, state: job.state, result: (job.state === 'completed' ? await app.jobs.result(id) ?? {} : {}) as Record<string, unknown>, errorCode: job.error?.code }
    },
    spans: (jobId) => eventually(`the spans of ${jobId}`, async () => {
      const spans = exporter.getFinishedSpans()
      // The span of the attempt ends last.
      const attempt = spans.find(({ name, attributes }) => name === 'process default' && attributes['job.id'] === jobId)
      return attempt && new Map(spans.filter((span) => span.spanContext().traceId === attempt.spanContext().traceId).map((span) => [span.name, span]))
    }),
    metric: (line) => eventually(`a metric like ${line}`, async () => line.exec((await app.inject('/metrics')).body)?.[0])
  }
}

const parentOf = (span: ReadableSpan | undefined): string | undefined => span?.parentSpanContext?.spanId
const idOf = (span: ReadableSpan | undefined): string | undefined => span?.spanContext().spanId

t.test('monitored data processing', async (t) => {
  const { run, said, spans, metric } = await stage(t)
  const body = { category: 'books', startDate: '2026-01-01T00:00:00Z' }
  const { id, state, result } = await run('monitored', body, { 'x-user-id': 'ada' })
  t.equal(state, 'completed')
  t.match(result, { processedCount: 250, processedAt: /Z$/, summary: /^Processed 250 entities in \d+\.\d\d s$/ })

  t.match(said('processing entities'), [{ job_id: id, category: 'books', startDate: body.startDate, trace_id: /^\w{32}$/ }])
  t.match(said('entities fetched'), [{ level: 20, entities: 250 }])
  t.match(said('entities processed so far').map(({ done, total }) => [done, total]), [[100, 250], [200, 250]])
  t.match(said('all entities processed'), [{ job_id: id, entities: 250, durationMs: Number }])

  const seen = await spans(id)
  const handler = [...seen.values()].find(({ attributes }) => attributes['request.category'] === 'books' && attributes['result.processed_count'] === 250)
  t.match(handler?.attributes, { 'job.id': id, 'request.start_date': body.startDate, 'request.user_id': 'ada' })
  t.ok(seen.get('DataProcessing'), 'a span of its own')
  await metric(/^example_entities_processed_total\{.*category="books".*\} 250$/m)
  await metric(/^example_entities_duration_seconds_count\{.*category="books".*\} 1$/m)

  const failed = await run('monitored', { category: 'shoes' })
  t.match(failed, { state: 'failed', errorCode: 'UNKNOWN_CATEGORY' })
  t.ok([...(await spans(failed.id)).values()].some(({ status, attributes }) => status.code === SpanStatusCode.ERROR && attributes['error.type'] === 'UNKNOWN_CATEGORY'))
})

t.test('monitored data processing: cancelled while it runs', async (t) => {
  const { app, said } = await stage(t)
  const { id } = await app.jobs.submit('MonitoredProcess', { category: 'all' })
  const stop = app.jobEvents.subscribe('test', { 'job.progressed': ({ jobId }) => { if (jobId === id) void app.jobs.cancel(id, 'not needed') } })
  const job = await app.jobs.waitFor(id, { timeoutMs: PATIENCE_MS })
  stop()
  t.equal(job.state, 'cancelled')
  t.strictSame(said('all entities processed'), [])
})

t.test('logging with context', async (t) => {
  const { run, said } = await stage(t)
  const headers = { 'x-user-id': 'ada', 'x-request-id': 'r-9', 'x-forwarded-for': '203.0.113.7', 'user-agent': 'test/1' }
  const { id, state, result } = await run('context', { data: 'text' }, headers)
  t.match({ state, result }, { state: 'completed', result: { processedData: 'TEXT' } })
  const about = { job_id: id, job_name: 'ContextLogging', user_id: 'ada', request_id: 'r-9', client_ip: '203.0.113.7', user_agent: 'test/1', correlation_id: String, trace_id: String }
  t.match(said('Processing request with contextual information'), [about])
  t.match(said('Request processed successfully'), [about])

  const failed = await run('context', { data: '' }, headers)
  t.equal(failed.errorCode, 'NO_DATA')
  t.match(said('Error during request processing with contextual information'), [{ ...about, job_id: failed.id, level: 50, err: { message: 'there is no data' } }])
})

t.test('metrics of the application', async (t) => {
  const { run, said, metric } = await stage(t)
  const { id, result } = await run('metrics', { data: 'text' })
  t.match(result, { processedData: 'TEXT' })
  await metric(/^example_jobs_processed_total\{.*job_type="MetricsEnhanced".*\} 1$/m)
  await metric(/^example_jobs_queue_time_seconds_count\{.*job_type="MetricsEnhanced".*\} 1$/m)
  await metric(/^example_jobs_processing_time_seconds_count\{.*job_type="MetricsEnhanced".*\} 1$/m)
  const [line] = said('job completed, with its times')
  t.match(line, { job_id: id, totalMs: Number, queueMs: Number, processMs: Number })
  t.ok(Number(line?.['totalMs']) >= Number(line?.['processMs']), 'the whole is not less than its part')

  const failed = await run('metrics', { data: '' })
  await metric(/^example_jobs_failed_total\{.*job_type="MetricsEnhanced".*error_type="NO_DATA".*\} 1$/m)
  t.match(said('job failed, with its time'), [{ job_id: failed.id, error_type: 'NO_DATA', totalMs: Number }])
})

t.test('spans of the application', async (t) => {
  const { run, said, spans } = await stage(t)
  const { id, state, result } = await run('traced/r-1', { category: 'books', data: 'xyz' }, { 'x-user-id': 'ada' })
  t.equal(state, 'completed')
  t.match(result, { processedData: { length: 10 }, executionTimeMs: Number })
  t.equal(said('Processing tracing request with distributed tracing').length, 1)
  t.match(said('Tracing request completed successfully'), [{ job_id: id }])

  const seen = await spans(id)
  const [request, query, call] = ['ProcessTracingRequest', 'DatabaseOperation', 'ExternalApiCall'].map((name) => seen.get(name))
  t.match(request, { kind: SpanKind.INTERNAL, attributes: { 'request.id': 'r-1', 'user.id': 'ada', 'request.data_size': 3, 'result.processed_count': 10, 'result.duration_ms': Number } })
  t.match(query, { kind: SpanKind.INTERNAL, attributes: { fetched_entities: 250 } })
  t.match(call, { kind: SpanKind.CLIENT, attributes: { 'http.request.method': 'POST', 'url.full': /\/external\/data$/, 'http.response.status_code': 200 } })
  t.equal(parentOf(query), idOf(request))
  t.equal(parentOf(call), idOf(request))
  t.ok([...seen.values()].some((span) => idOf(span) === parentOf(request)), 'below a span of the library')

  const failed = await run('traced/r-2', { category: 'games' })
  t.equal(failed.errorCode, 'EXTERNAL_SERVICE')
  const broken = (await spans(failed.id)).get('ExternalApiCall')
  t.match(broken, { status: { code: SpanStatusCode.ERROR }, attributes: { 'http.response.status_code': 503, 'error.type': 'EXTERNAL_SERVICE', 'error.message': 'the call failed with 503' } })
})

t.test('performance monitoring', async (t) => {
  const { run, said, metric } = await stage(t)
  const { state, result } = await run('performance', { taskType: 'squares', itemCount: 30_000, includeIoSimulation: true })
  t.equal(state, 'completed')
  t.match(result, { processedItemCount: 30_000, sum: 8_999_550_005_000 })
  t.match(said('Starting performance-intensive operation'), [{ taskType: 'squares', itemCount: 30_000 }])
  t.match(said('Performance operation completed'), [{ taskType: 'squares', durationMs: Number, memoryDeltaBytes: Number }])
  await metric(/^performance_processed_items_total\{.*task_type="squares".*\} 30000$/m)
  await metric(/^performance_processing_time_seconds_count\{.*task_type="squares".*\} 1$/m)
  await metric(/^performance_memory_usage_bytes_count\{.*task_type="squares".*\} 1$/m)
})

t.test('as a program: the lines that it prints work, and it leaves on SIGTERM', async (t) => {
  const main = fileURLToPath(new URL('../../example-server/handlers/main.js', import.meta.url))
  const child = spawn(process.execPath, [main], { env: { PATH: process.env['PATH'] ?? '', PORT: '0', LOG_LEVEL: 'silent', SPANS: 'console' }, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => { if (child.exitCode === null) child.kill('SIGKILL') })
  let printed = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => { printed += text })
  await eventually('the lines', async () => /\/metrics\n/.exec(printed) ?? undefined)
  const commands = printed.split('\n').filter((line) => line.startsWith('  curl '))
  t.equal(commands.length, 6)
  for (const command of commands) {
    const body = await eventually(`${command} when the server is not overloaded`, async () => {
      const { stdout } = await promisify(execFile)('sh', ['-c', command.replace('curl', 'curl -s --fail-with-body')], { timeout: PATIENCE_MS, maxBuffer: 16 << 20 }).catch(({ stdout }: { stdout: string }) => ({ stdout }))
      return stdout.includes('FAE_OVERLOADED') ? undefined : stdout
    })
    t.match(body, command.endsWith('/metrics') ? /^example_entities_processed_total/m : /processed/i, command.slice(0, 80))
  }
  await eventually('the spans on the console', async () => printed.includes("name: 'ExternalApiCall'") || undefined)
  child.kill('SIGTERM')
  t.strictSame(await once(child, 'exit'), [0, null])
})
