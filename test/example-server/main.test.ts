import t from 'tap'
import { boot, bootInVain, eventually, json, metric, submit, untilOver } from './support.ts'

t.test('a report, from the submission to its result, its metrics and its health', async (t) => {
  const server = await boot(t, { LOG_LEVEL: 'info' })
  const submitted = await submit(`${server.url}/reports`, { year: 2026, rows: 1_000 }, { 'idempotency-key': '"r-1"' })
  t.match(submitted, { status: 202, body: { name: 'generate-report', id: String, links: { self: String, result: String } } })
  const location = submitted.headers.get('location') ?? ''
  t.match(await json(server.url + location), { status: 200, body: { id: submitted.body['id'] } }, 'known at once')
  t.match(await untilOver(server.url + location), { status: 'completed', progress: { done: 1_000, total: 1_000 } })
  const result = await json(`${server.url}${location}/result`)
  t.match(result, { status: 200, body: { year: 2026, rows: 1_000, centsByMonth: Array, totalCents: Number } })
  t.equal((result.body['centsByMonth'] as number[]).reduce((sum, cents) => sum + cents, 0), result.body['totalCents'])

  const again = await submit(`${server.url}/reports`, { year: 2026, rows: 1_000 }, { 'idempotency-key': '"r-1"' })
  t.equal(again.body['id'], submitted.body['id'])

  t.equal(await metric(server.url, 'asyncendpoints_jobs_created_total', 'job_name="generate-report"'), 1)
  t.equal(await metric(server.url, 'asyncendpoints_jobs_processed_total', 'job_name="generate-report"', 'status="completed"'), 1)
  t.equal(await metric(server.url, 'asyncendpoints_jobs_processing_duration_seconds_count', 'job_name="generate-report"'), 1)

  for (const path of ['/health', '/health/ready', '/health/live']) t.match(await json(server.url + path), { status: 200, body: { status: 'Healthy' } }, path)
  t.match((await json(`${server.url}/health`)).body['checks'], [{ name: 'application' }, { name: 'asyncendpoints' }, { name: 'asyncendpoints.queuedepth' }, { name: 'memory' }, { name: 'event-loop' }, { name: 'worker' }, { name: 'asyncendpoints.stuck' }])

  t.equal(await server.end('SIGTERM'), 0)
})

t.test('the other endpoints', async (t) => {
  const { url } = await boot(t, { LOG_LEVEL: 'silent' })
  const exported = await submit(`${url}/exports`, { year: 2025, rows: 3 })
  t.match(await untilOver(url + exported.headers.get('location')), { status: 'completed' })
  t.match(await json(`${url}${exported.headers.get('location')}/result`), { body: { fileName: 'sales-2025.csv', content: /^month,product,quantity,cents\r\n(.+\r\n){3}$/ } })

  const second = await submit(`${url}/demo/sleep`, { ms: 1, failTimes: 1 })
  t.match(await untilOver(url + second.headers.get('location')), { status: 'completed' })
  t.match(await json(`${url}${second.headers.get('location')}/result`), { status: 200, body: { sleptMs: 1, attempt: 2 } })

  const never = await submit(`${url}/demo/sleep`, { ms: 1, failTimes: 3 })
  t.match(await untilOver(url + never.headers.get('location')), { status: 'failed', error: { message: 'attempt 3 fails as asked' } })
  t.match(await json(`${url}${never.headers.get('location')}/result`), { status: 409 })

  const long = await submit(`${url}/demo/sleep`, { ms: 600_000 })
  await eventually('the sleep to begin', async () => (await json(url + long.headers.get('location'))).body['status'] === 'in-progress' || undefined)
  t.match(await json(url + long.headers.get('location'), { method: 'DELETE' }), { status: 202 })
  t.match(await untilOver(url + long.headers.get('location')), { status: 'cancelled' })

  for (const body of [{}, { year: 'x' }, { year: 2026, rows: -1 }]) {
    t.match(await submit(`${url}/reports`, body), { status: 400, body: { code: 'FAE_INVALID_REQUEST' } }, JSON.stringify(body))
  }
  const { body: document } = await json(`${url}/documentation/json`)
  for (const path of ['/reports', '/exports', '/zips', '/transcodes', '/publications', '/demo/sleep', '/jobs/{id}', '/health/ready']) t.ok(Object.hasOwn(document['paths'] as object, path), path)
})

t.test('SIGTERM: not ready at first, then gone, with exit code 0; a running job gets to its end', async (t) => {
  const server = await boot(t, { SHUTDOWN_DELAY_MS: '2000' })
  await submit(`${server.url}/demo/sleep`, { ms: 2_500 })
  const ended = server.end('SIGTERM')
  t.match(await eventually('readiness to turn', async () => {
    const ready = await json(`${server.url}/health/ready`)
    return ready.status === 503 ? ready : undefined
  }), { body: { status: 'Unhealthy' } })
  t.equal((await json(`${server.url}/health/live`)).status, 200)
  t.match(await submit(`${server.url}/reports`, { year: 2026, rows: 1 }), { status: 202 }, 'requests that still come are served')
  t.equal(await ended, 0)
})

t.test('SIGINT does the same', async (t) => {
  t.equal(await (await boot(t, { SHUTDOWN_DELAY_MS: '0' })).end('SIGINT'), 0)
})

t.test('started by npm, it leaves when npm is stopped: the shell between them passes no signal on', async (t) => {
  const server = await boot(t, { npm_lifecycle_event: 'start', SHUTDOWN_DELAY_MS: '0' }, true)
  // Resolves when the last process has closed its output, the server that is.
  await server.end('SIGTERM')
  t.match(server.stdout(), /shutting down/)
  t.match(server.stdout(), /worker stopped/)
})

t.test('roles in one process: api runs nothing, worker has no job routes', async (t) => {
  const api = await boot(t, { ROLE: 'api', LOG_LEVEL: 'warn' })
  const submitted = await submit(`${api.url}/reports`, { year: 2026, rows: 1 })
  t.equal(submitted.status, 202)
  t.match(await json(api.url + submitted.headers.get('location')), { body: { status: 'queued' } })
  t.match(api.stdout(), /without REDIS_URL/)

  const worker = await boot(t, { ROLE: 'worker' })
  t.equal((await submit(`${worker.url}/reports`, { year: 2026 })).status, 404)
  t.equal((await json(`${worker.url}/health/ready`)).status, 200)
  t.equal((await fetch(`${worker.url}/metrics`)).status, 200)
})

t.test('an environment that cannot be used: one message, exit code 1', async (t) => {
  const { code, stdout, stderr } = await bootInVain(t, { PORT: 'abc', ROLE: 'boss' })
  t.equal(code, 1)
  t.equal(stdout, '')
  t.match(stderr, /^The environment is not valid: PORT .*; ROLE .*\n$/)
})

t.test('a port that is taken: a message, exit code 1', async (t) => {
  const { url } = await boot(t)
  const { code, stderr } = await bootInVain(t, { PORT: new URL(url).port, LOG_LEVEL: 'silent' })
  t.equal(code, 1)
  t.match(stderr, /EADDRINUSE/)
})
