/** What an operator finds in the log, with a real pino of Fastify's under it. */
import Fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyServerOptions } from 'fastify'
import t from 'tap'
import { runtimeOf } from '../../lib/events/runtime.ts'
import type { JobHandler } from '../../lib/jobs/definition.ts'
import { asyncEndpoints, type AsyncEndpointsOptions } from '../../plugins/async-endpoints.ts'

type Line = Record<string, unknown>
type PinoOptions = Exclude<FastifyServerOptions['logger'], boolean | undefined>

interface Suite {
  readonly app: FastifyInstance
  readonly lines: Line[]
  readonly texts: string[]
  /** Submits and waits for the end. */
  run (headers?: Record<string, string>): Promise<{ id: string, state: string, correlationId: string }>
}

interface SuiteOptions {
  readonly pino?: PinoOptions
  readonly fastify?: FastifyServerOptions
  readonly suite?: AsyncEndpointsOptions
  readonly handler?: JobHandler
  readonly attempts?: number
}

async function build (test: Pick<typeof t, 'teardown'>, { pino, fastify, suite, handler = async () => ({ ok: true }), attempts = 1 }: SuiteOptions = {}): Promise<Suite> {
  const texts: string[] = []
  const lines: Line[] = []
  const stream = { write: (text: string) => { texts.push(text); lines.push(JSON.parse(text) as Line) } }
  const app = Fastify(fastify ?? { logger: { level: 'trace', ...pino, stream } as PinoOptions })
  test.teardown(() => app.close())
  await app.register(asyncEndpoints, suite ?? {})
  app.asyncEndpoint({ url: '/reports', name: 'report', retry: { attempts, backoff: { type: 'fixed', delayMs: 1, jitter: 0 } }, headers: ['x-tenant'], handler })
  await app.ready()
  const run: Suite['run'] = async (headers = {}) => {
    const submitted = await app.inject({ method: 'POST', url: '/reports', headers, payload: { card: 'payload-1', password: 'payload-2' } })
    if (submitted.statusCode !== 202) throw new Error(`${submitted.statusCode} ${submitted.body}`)
    const { id } = submitted.json<{ id: string }>()
    const { state } = await app.jobs.waitFor(id, { timeoutMs: 5_000 })
    return { id, state, correlationId: String(submitted.headers['x-correlation-id']) }
  }
  return { app, lines, texts, run }
}

const byId = (lines: readonly Line[], id: number): Line | undefined => lines.find(({ eventId }) => eventId === id)

t.test('one id on every line of a request and its job', async (t) => {
  const { lines, run } = await build(t, { handler: async (job) => { job.log.info({ rows: 3 }, 'loaded'); job.progress(50) } })
  const { id, state } = await run({ 'x-correlation-id': 'corr-1', 'user-agent': 'curl/8' })
  t.equal(state, 'completed')
  const own = lines.filter(({ job_id: jobId, msg }) => jobId === id || msg === 'processing job creation' || msg === 'request completed')
  t.same(own.filter(({ correlation_id: correlation }) => correlation !== 'corr-1'), [])
  t.same([10101, 10110, 10127, 10111].filter((number) => byId(own, number) === undefined), [], 'submitted, started, progressed, completed')
  t.match(own.find(({ msg }) => msg === 'loaded'), { job_id: id, job_name: 'report', attempt: 1, rows: 3 })
  t.match(byId(lines, 10101), { level: 20, component: 'asyncendpoints.job', request_id: /^req-/, client_ip: '127.0.0.1', user_agent: 'curl/8', payloadBytes: Number })
  t.match(byId(lines, 10111), { level: 30, totalMs: Number, queueMs: Number, processMs: Number })
  t.notMatch(JSON.stringify(lines), /payload-\d/, 'no payload')
})

t.test('retries, failures and cancellations carry it, too', async (t) => {
  const { app, lines, run } = await build(t, { attempts: 2, handler: async () => { throw new TypeError('no rows') } })
  const { id, correlationId } = await run()
  await app.jobs.redrive(id)
  await app.jobs.waitFor(id, { timeoutMs: 5_000 })
  const { id: waiting } = await app.jobs.submit('report', {}, { delayMs: 60_000, correlationId: 'from-code/7' })
  await app.jobs.cancel(waiting, 'no longer needed')
  for (const number of [10101, 10110, 10112, 10113, 10114, 10125, 10201]) t.equal(byId(lines, number)?.correlation_id, correlationId, String(number))
  t.equal(byId(lines, 10115)?.correlation_id, 'from-code/7')
  await t.rejects(app.jobs.submit('report', {}, { correlationId: 'a\nb' }), { code: 'FAE_INVALID_SUBMISSION', message: /correlationId must have 1 to 128 visible/ })
})

t.test('why it failed can be read at three in the morning, but not in the status, and nothing secret is in either', async (t) => {
  const { app, lines, run } = await build(t, {
    handler: async () => {
      const refused = Object.assign(new Error('connect ECONNREFUSED redis://u:secret-1@h'), { code: 'ECONNREFUSED' })
      throw new Error('cannot load rows\n{"level":60,"msg":"forged"} with token=secret-2', { cause: refused })
    }
  })
  const { id, state } = await run()
  t.equal(state, 'failed')
  const message = 'cannot load rows {"level":60,"msg":"forged"} with token=[FILTERED]'
  t.match(byId(lines, 10112), { level: 40, error_type: 'Error', error_message: message, error_causes: ['ECONNREFUSED: connect ECONNREFUSED redis://[FILTERED]@h'], error_stack: [/^at .*observability-logs/] })
  t.match(byId(lines, 10114), { level: 50, error_type: 'Error', error_message: message, totalMs: Number })
  const status = await app.inject({ url: `/jobs/${id}` })
  t.same(status.json<{ error: object }>().error, { code: 'Error', message: 'The handler threw an error' })
  t.equal((await app.jobs.get(id))?.error?.message, message)
  t.notMatch(JSON.stringify(lines) + status.body, /secret-\d/)
  t.notOk(lines.some(({ msg }) => msg === 'forged'))
})

t.test('what a handler logs loses what must not be shown, by our names and the application\'s', async (t) => {
  const headers: unknown[] = []
  const { lines, run } = await build(t, {
    suite: { redact: { keys: ['patient', 'x-tenant'], mask: '***' } },
    handler: async (job) => {
      headers.push(job.headers['x-tenant'])
      job.log.info({ body: job.body, patient: 'p-1', nested: { Authorization: 'Bearer secret' } }, 'told')
      job.log.child({ token: 'secret' }).warn({ patient: 'p-2' }, 'child')
    }
  })
  await run({ 'x-tenant': 't-1' })
  t.match(lines.find(({ msg }) => msg === 'told'), { body: { card: 'payload-1', password: '***' }, patient: '***', nested: { Authorization: '***' } })
  t.match(lines.find(({ msg }) => msg === 'child'), { token: '***', patient: '***', job_name: 'report' })
  t.same(headers, ['***'], 'a stored header says that it was sent')
  t.notMatch(JSON.stringify(lines), /secret|payload-2|p-\d|t-1/)
})

t.test('the same with observability switched off: what is hidden is hidden', async (t) => {
  const { lines, run } = await build(t, { suite: { observability: false }, handler: async (job) => { job.log.info({ password: 'x' }, 'told'); throw new Error('token=x') } })
  await run({ 'x-correlation-id': 'corr-1' })
  t.match(lines.find(({ msg }) => msg === 'told'), { password: '[FILTERED]', correlation_id: 'corr-1', job_name: 'report' })
  t.same(lines.filter((line) => 'eventId' in line), [])
})

t.test('a refused request is told without its credentials, and with its correlation id', async (t) => {
  const { app, lines } = await build(t)
  app.log.level = 'trace'
  await app.inject({ method: 'GET', url: '/jobs/unknown', headers: { 'x-correlation-id': 'corr-1' } })
  t.match(lines.find(({ msg }) => msg === 'request refused'), { correlation_id: 'corr-1', err: { code: 'FAE_JOB_NOT_FOUND' } })
  const refusing = await build(t, { suite: { http: { owner: () => { throw Object.assign(new Error('Bearer abcdef is not known'), { statusCode: 401 }) } } } })
  await refusing.app.inject({ method: 'POST', url: '/reports', payload: {} })
  t.match(refusing.lines.find(({ msg }) => msg === 'request refused'), { err: { message: 'Bearer [FILTERED] is not known' } })
})

t.test('a subscriber of the application that throws is logged without its secrets', async (t) => {
  const { app, lines, run } = await build(t)
  app.jobEvents.on('job.completed', () => { throw new Error('statsd://u:secret@h is away') })
  t.equal((await run()).state, 'completed')
  t.match(lines.find(({ msg }) => String(msg).startsWith('an event listener failed')), { event: 'job.completed', err: { message: 'statsd://[FILTERED]@h is away' } })
  t.notMatch(JSON.stringify(lines), /secret/)
})

t.test('the application\'s own pino: redact, serializers, formatters, mixin and keys', async (t) => {
  const { lines, run } = await build(t, {
    pino: {
      messageKey: 'message',
      redact: { paths: ['patient', 'correlation_id'], censor: 'gone' },
      serializers: { order: (order: { id: number }) => `order ${order.id}` },
      formatters: { level: (label: string) => ({ severity: label }), log: (line: object) => ({ ...line, formatted: true }) },
      mixin: () => ({ region: 'eu' })
    } as PinoOptions,
    handler: async (job) => { job.log.info({ patient: 'p', order: { id: 5, password: 'x' }, password: 'x' }, 'told') }
  })
  await run()
  t.match(lines.find(({ message }) => message === 'told'), { severity: 'info', region: 'eu', formatted: true, patient: 'gone', order: 'order 5', password: '[FILTERED]', job_name: 'report' })
  t.match(byId(lines, 10111), { severity: 'info', region: 'eu', message: /^job report\/.* completed in /, correlation_id: 'gone' })
})

t.test('no logger, a silent one, and one of another make: the job does not notice', async (t) => {
  const handler: JobHandler = async (job) => { job.log.child({ a: 1 }).info({ password: 'x' }, 'told') }
  t.equal((await (await build(t, { fastify: { logger: false }, handler })).run()).state, 'completed')
  const silent = await build(t, { pino: { level: 'silent' }, handler })
  t.equal((await silent.run()).state, 'completed')
  t.same(silent.lines, [])
  const told: Line[] = []
  const other = (bindings: Line): FastifyBaseLogger => {
    const write = (fields: unknown, msg?: string): void => { told.push({ ...bindings, ...(typeof fields === 'object' ? fields : { msg: fields }), ...(msg === undefined ? {} : { msg }) }) }
    return { level: 'info', trace: write, debug: write, info: write, warn: (fields: unknown, msg?: string) => { write(fields, msg) }, error: (fields: unknown, msg?: string) => { write(fields, msg) }, fatal: write, silent: () => {}, child: (more: Line) => other({ ...bindings, ...more }) } as unknown as FastifyBaseLogger
  }
  t.equal((await (await build(t, { fastify: { loggerInstance: other({}) }, handler })).run({ 'x-correlation-id': 'corr-1' })).state, 'completed')
  t.match(told.find(({ msg }) => msg === 'told'), { a: 1, password: '[FILTERED]', job_name: 'report', correlation_id: 'corr-1' })
  t.ok(byId(told, 10111))
})

t.test('a log that cannot be written harms no job', async (t) => {
  const app = Fastify({ logger: { level: 'info', formatters: { log: (line: Line) => { if ('eventId' in line) throw new Error('formatter'); return line } }, stream: { write: () => {} } } as PinoOptions })
  t.teardown(() => app.close())
  await app.register(asyncEndpoints)
  const failed: string[] = []
  app.jobEvents.on('telemetry.listener_failed', ({ source }) => { failed.push(source) })
  const job = app.defineJob({ name: 'report', handler: async () => ({ ok: true }) })
  await app.ready()
  const { id } = await app.jobs.submit(job, {})
  t.equal((await app.jobs.waitFor(id, { timeoutMs: 5_000 })).state, 'completed')
  t.ok(failed.includes('job.started'))
})

t.test('nothing that comes from outside makes a second line', async (t) => {
  const hostile = '\n{"level":60,"msg":"forged"}\u2028\u001b[2J\r'
  const { app, lines, texts, run } = await build(t, {
    handler: async (job) => {
      job.progress({ done: Number.NaN, total: Number.POSITIVE_INFINITY, message: hostile })
      throw Object.assign(new Error(hostile.repeat(100_000)), { code: hostile, cause: new Error(hostile) })
    }
  })
  t.equal((await run({ 'x-correlation-id': 'a%0ab', 'user-agent': 'x'.repeat(10_000) })).state, 'failed')
  runtimeOf(app).bus.emit('job.unhandled', { jobId: hostile, jobName: hostile.repeat(1_000_000), queue: hostile, workerId: hostile, correlationId: hostile, delayMs: Number.NaN })
  t.notOk(lines.some(({ msg }) => msg === 'forged'))
  // Every line of ours is one line, of a size that a log can take, and moves no cursor when it is printed.
  for (const [index, line] of lines.entries()) {
    t.equal(texts[index]?.indexOf('\n'), (texts[index]?.length ?? 0) - 1)
    if (line.eventId === undefined) continue
    t.ok((texts[index]?.length ?? 0) < 20_000, String(line.eventId))
    // eslint-disable-next-line no-control-regex
    t.notMatch(JSON.stringify(Object.values(line).flat().map(String)), /\\n|\\r|\u2028|\\u001b|[\u0000-\u001f]/, String(line.eventId))
  }
})
