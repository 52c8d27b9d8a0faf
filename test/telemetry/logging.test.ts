import { Writable } from 'node:stream'
import Fastify from 'fastify'
import t from 'tap'
import type { Logger } from '../../lib/core/context.ts'
import { readRedactOptions, type RedactOptions } from '../../lib/core/redact.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { EVENT_CATALOGUE, type AttemptFailure, type EventMap, type EventName, type SubmitOrigin } from '../../lib/events/catalogue.ts'
import { connectSinks, DEFAULT_ROUTES } from '../../lib/events/router.ts'
import { compileExclusion } from '../../lib/telemetry/job-exclusion.ts'
import { LOG_EVENTS, LOG_LEVELS, type LogEvent, type LogLevel } from '../../lib/telemetry/log-events.ts'
import { attemptLogging, createLogSink, logsTraceIdsItself, type AttemptLoggingParts, type LoggingParts } from '../../lib/telemetry/logging.ts'
import { carryOrigin } from '../../lib/telemetry/log-request-origin.ts'
import { LOG_ENRICHMENTS, type LogEnrichment } from '../../lib/telemetry/options/logging.ts'
import type { SubmitScope } from '../../lib/jobs/seams.ts'
import { attemptScope, COMPLETED, submitScope } from './support.ts'

type Line = Record<string, unknown>

/** Fastify's own pino, writing into an array. */
function pinoLines (options: { level?: string, mixin?: () => object } = {}): { logger: Logger, lines: Line[], texts: string[] } {
  const texts: string[] = []
  const lines: Line[] = []
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      texts.push(chunk.toString())
      lines.push(JSON.parse(chunk.toString()) as Line)
      done()
    }
  })
  const app = Fastify({ logger: { level: options.level ?? 'trace', stream, ...(options.mixin === undefined ? {} : { mixin: options.mixin }) } })
  return { logger: app.log, lines, texts }
}

function partsOf (logger: Logger, parts: Partial<LoggingParts> = {}): LoggingParts {
  return { logger, level: 'debug', enrich: LOG_ENRICHMENTS, excluded: () => false, redaction: readRedactOptions(), now: () => 0, ...parts }
}

function attemptParts (logger: Logger, parts: Partial<AttemptLoggingParts> = {}): AttemptLoggingParts {
  return { logger, withTraceIds: () => true, enrich: LOG_ENRICHMENTS, redaction: readRedactOptions(), ...parts }
}

function connected (level: LogLevel = 'debug', excluded: ReadonlyArray<string | RegExp> = [], loggerLevel = 'trace', parts: Partial<LoggingParts> = {}) {
  const { logger, lines, texts } = pinoLines({ level: loggerLevel })
  const bus = new EventBus(logger)
  connectSinks(bus, { log: createLogSink(partsOf(logger, { level, excluded: compileExclusion(excluded), ...parts })) })
  return { bus, lines, texts }
}

const IDS = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) }
const JOB = { jobId: 'j', jobName: 'report', queue: 'default', correlationId: 'corr' }
const RUN = { ...JOB, workerId: 'w' }
const FAILED = { ...RUN, attempt: 1, processingMs: 1, errorCode: 'E', errorMessage: 'no answer', failure: undefined, final: true, traceId: undefined, spanId: undefined }

t.test('the numbers are unique, the fields exist, and every event that is routed to the log has a line', async (t) => {
  const entries = Object.entries(LOG_EVENTS as Record<string, LogEvent>)
  t.equal(new Set(entries.map(([, { id }]) => id)).size, entries.length)
  for (const [name, { id, level, fields }] of entries) {
    const saga = name.startsWith('step.') || name.startsWith('saga.')
    t.ok(saga ? id > 10_000 && id < 10_100 : id > 10_100 && id < 12_000, `${name} ${id}: 10001 to 10099 belong to sagas`)
    t.ok(LOG_LEVELS.includes(level))
    const { measurements, metadata } = EVENT_CATALOGUE[name as EventName]
    for (const field of Object.keys(fields)) t.ok([...measurements, ...metadata].some((known) => known === field), `${name} has ${field}`)
  }
  const routed = Object.entries(DEFAULT_ROUTES).filter(([, { sinks }]) => sinks.includes('log')).map(([name]) => name)
  // The bus itself logs the failure of a listener, once; a line per failure would be a flood.
  t.same(routed.filter((name) => !(name in LOG_EVENTS)), ['telemetry.listener_failed'])
})

t.test('levels and numbers of the rows S0-57 and S1-06', async (t) => {
  const expected: ReadonlyArray<readonly [EventName, number, LogLevel]> = [
    ['job.submitted', 10101, 'debug'], ['job.replayed', 10102, 'debug'], ['job.submit_failed', 10104, 'error'], ['job.started', 10110, 'info'], ['job.completed', 10111, 'info'],
    ['job.attempt_failed', 10112, 'warn'], ['job.failed', 10114, 'error'], ['job.cancelled', 10115, 'info'], ['job.settle_failed', 10123, 'error']
  ]
  for (const [name, id, level] of expected) t.match((LOG_EVENTS as Record<string, LogEvent>)[name], { id, level }, name)
})

t.test('a completed job: ids, trace, and the three times', async (t) => {
  const { bus, lines } = connected()
  bus.emit('job.completed', { ...RUN, ...IDS, correlationId: 'corr', attempt: 2, maxAttempts: 5, processingMs: 80.4567, queueWaitMs: 12, totalMs: 1_130, resultBytes: undefined })
  const { time, pid, hostname, ...line } = lines[0] ?? {}
  t.same(line, {
    level: 30, msg: 'job report/j completed in 80 ms (attempt 2 of 5), 1130 ms after its submission', eventId: 10111, event: 'job.completed', component: 'asyncendpoints.job', job_id: 'j', job_name: 'report', queue: 'default', worker_id: 'w', correlation_id: 'corr',
    trace_id: IDS.traceId, span_id: IDS.spanId, trace_flags: '01', attempt: 2, max_attempts: 5, totalMs: 1_130, queueMs: 12, processMs: 80.46
  })
})

t.test('whatever an attempt comes to, its line leads to its trace', async (t) => {
  const { bus, lines } = connected()
  bus.emit('job.retry_scheduled', { ...RUN, ...IDS, attempt: 1, delayMs: 1, errorCode: 'E' })
  bus.emit('job.timed_out', { ...RUN, ...IDS, attempt: 1, timeoutMs: 1 })
  bus.emit('job.cancelled', { ...RUN, ...IDS, processingMs: 1, totalMs: 1 })
  bus.emit('job.snoozed', { ...RUN, ...IDS, delayMs: 1, processingMs: 1 })
  bus.emit('job.released', { ...RUN, ...IDS, processingMs: 1 })
  bus.emit('job.lease_lost', { ...RUN, ...IDS, attempt: 1, processingMs: 1 })
  bus.emit('job.settle_failed', { ...RUN, ...IDS, attempt: 1, errorCode: 'E' })
  bus.emit('handler.abandoned', { ...JOB, ...IDS, reason: 'timeout', durationMs: 2, graceMs: 1 })
  bus.emit('job.recovered', { ...RUN, ...IDS, attempt: 2 })
  bus.emit('job.unhandled', { ...RUN, ...IDS, delayMs: 1 })
  bus.emit('job.progressed', { ...JOB, ...IDS, done: 1, total: 2 })
  bus.emit('handler.ended_late', { ...JOB, ...IDS, lateMs: 1 })
  bus.emit('job.replayed', { ...JOB, ...IDS, submitMs: 1, origin: undefined })
  for (const name of ['job.cancel_requested', 'job.redriven', 'job.removed'] as const) bus.emit(name, { ...JOB, ...IDS })
  t.equal(lines.length, 16)
  for (const line of lines) t.match(line, { trace_id: IDS.traceId, span_id: IDS.spanId, trace_flags: '01', correlation_id: 'corr' }, String(line.event))
})

t.test('without a sampled trace there are no trace fields', async (t) => {
  const { bus, lines } = connected()
  bus.emit('job.started', { ...RUN, traceId: undefined, spanId: undefined, correlationId: 'corr', attempt: 1 })
  t.same(Object.keys(lines[0] ?? {}).filter((key) => key.includes('trace') || key.includes('span')), [])
})

t.test('only what is on the list is logged, bounded, in one line', async (t) => {
  const { bus, lines, texts } = connected()
  const event = { ...FAILED, errorCode: `E\n{"level":60}\u0007${'x'.repeat(5_000)}` }
  bus.emit('job.attempt_failed', { ...event, payload: 'secret', body: { password: 'secret' } } as EventMap['job.attempt_failed'])
  t.equal(texts.length, 1)
  t.notMatch(texts[0], /secret/)
  t.equal(texts[0]?.trimEnd().includes('\n'), false)
  t.ok(String(lines[0]?.error_type).length <= 1_000)
  t.notOk(['\n', '\u0007'].some((char) => String(lines[0]?.error_type).includes(char)))
})

t.test('the level: ours and the logger\'s', async (t) => {
  const emitAll = ({ bus }: { bus: EventBus }): void => {
    bus.emit('job.submitted', { jobId: 'j', jobName: 'report', queue: 'q', correlationId: 'c', ...IDS, submitMs: 1, delayMs: 0, payloadBytes: undefined, origin: undefined })
    bus.emit('job.started', { ...RUN, ...IDS, correlationId: 'c', attempt: 1 })
    bus.emit('job.failed', { ...FAILED, totalMs: 1 })
  }
  for (const [level, loggerLevel, expected] of [['debug', 'trace', 3], ['info', 'trace', 2], ['error', 'trace', 1], ['debug', 'error', 1], ['debug', 'silent', 0]] as const) {
    const under = connected(level, [], loggerLevel)
    emitAll(under)
    t.equal(under.lines.length, expected, `${level} on a logger at ${loggerLevel}`)
  }
})

t.test('an excluded job is silent until something goes wrong', async (t) => {
  const { bus, lines } = connected('debug', ['report'])
  bus.emit('job.started', { ...RUN, ...IDS, correlationId: 'c', attempt: 1 })
  bus.emit('job.failed', { ...FAILED, totalMs: 1 })
  bus.emit('worker.started', { workerId: 'w', queue: 'q', concurrency: 1 })
  t.same(lines.map(({ eventId }) => eventId), [10114, 10301])
})

t.test('the logger of an attempt: made on first use, with all ids', async (t) => {
  const { logger, lines } = pinoLines()
  let children = 0
  const counting = { ...logger, child: (bindings: Line) => { children++; return logger.child(bindings) } } as Logger
  const scope = attemptScope({ attempts: 2 })
  const settlement = await attemptLogging(attemptParts(counting))(scope, async () => COMPLETED)
  t.equal(settlement, COMPLETED)
  t.equal(children, 0, 'a job that never logs pays nothing')
  scope.traceIds = { traceId: IDS.traceId, spanId: IDS.spanId, traceFlags: '01' }
  scope.makeLogger?.().info({ rows: 3 }, 'rows loaded')
  t.equal(children, 1)
  t.match(lines[0], { job_id: 'job-1', job_name: 'report', queue: 'default', attempt: 2, correlation_id: 'corr-1', trace_id: IDS.traceId, span_id: IDS.spanId, trace_flags: '01', rows: 3, msg: 'rows loaded' })
  t.notMatch(JSON.stringify(lines), /payload|secret/)
})

t.test('no key twice on a line: a logger that knows the span itself is left to it', async (t) => {
  const { logger, lines } = pinoLines()
  const scope = attemptScope()
  await attemptLogging(attemptParts(logger, { withTraceIds: () => false }))(scope, async () => COMPLETED)
  scope.traceIds = { traceId: IDS.traceId, spanId: IDS.spanId, traceFlags: '01' }
  scope.makeLogger?.().info({}, 'x')
  t.notOk('trace_id' in (lines[0] ?? {}))
  t.equal(logsTraceIdsItself(logger), false)
  t.equal(logsTraceIdsItself(pinoLines({ mixin: () => ({ region: 'eu' }) }).logger), false, 'a mixin of another purpose')
  t.equal(logsTraceIdsItself(pinoLines({ mixin: () => ({ trace_id: 'x' }) }).logger), true)
  t.equal(logsTraceIdsItself(pinoLines({ mixin: () => { throw new Error('x') } }).logger), false)
  t.equal(logsTraceIdsItself({} as Logger), false)
})

const ORIGIN: SubmitOrigin = { requestId: 'req-1', userId: 'ann', clientIp: '10.0.0.7', userAgent: 'curl/8' }
const SUBMITTED = { ...JOB, ...IDS, submitMs: 1, delayMs: 0, payloadBytes: 20, origin: ORIGIN }

function sink (parts: Partial<LoggingParts>) {
  return connected('debug', [], 'trace', parts)
}

t.test('the lines of a submission say whose it was: all four, some, or none', async (t) => {
  const all = { request_id: 'req-1', user_id: 'ann', client_ip: '10.0.0.7', user_agent: 'curl/8' }
  const emitAll = (bus: EventBus, origin: SubmitOrigin | undefined): void => {
    bus.emit('job.submitted', { ...SUBMITTED, origin })
    bus.emit('job.replayed', { ...JOB, submitMs: 1, origin })
    bus.emit('job.rejected', { jobName: 'report', queue: 'q', correlationId: 'corr', reason: 'queue-full', submitMs: 1, origin })
    bus.emit('job.submit_failed', { jobName: 'report', queue: 'q', correlationId: 'corr', errorCode: 'E', message: '', submitMs: 1, origin })
  }
  const full = sink({})
  emitAll(full.bus, ORIGIN)
  t.same(full.lines.map(({ eventId }) => eventId), [10101, 10102, 10103, 10104])
  for (const line of full.lines) t.match(line, { ...all, correlation_id: 'corr' })
  t.equal(full.lines[0]?.payloadBytes, 20)
  const some = sink({ enrich: ['client_ip'] })
  emitAll(some.bus, ORIGIN)
  for (const line of some.lines) t.same(Object.keys(all).filter((key) => key in line), ['client_ip'])
  for (const [{ bus, lines }, origin] of [[sink({ enrich: [] }), ORIGIN], [sink({}), undefined]] as const) {
    emitAll(bus, origin)
    t.equal(lines.length, 4)
    for (const line of lines) t.same(Object.keys(all).filter((key) => key in line), [])
  }
})

t.test('a sender is not asked for a line that nobody writes, and cannot forge one', async (t) => {
  let asked = 0
  const curious: SubmitOrigin = { ...ORIGIN, get clientIp (): string { asked++; return '10.0.0.7' } }
  connected('info').bus.emit('job.submitted', { ...SUBMITTED, origin: curious })
  connected('debug', [], 'info').bus.emit('job.submitted', { ...SUBMITTED, origin: curious })
  t.equal(asked, 0)
  const { bus, lines, texts } = sink({})
  const hostile: SubmitOrigin = { requestId: 'a\n{"level":60}', userId: `\u001b[31m${'x'.repeat(10_000_000)}`, clientIp: 'a\u2028b', userAgent: 'curl token=secret-1' }
  bus.emit('job.submitted', { ...SUBMITTED, origin: hostile })
  t.equal(texts.length, 1)
  t.match(lines[0], { request_id: 'a {"level":60}', client_ip: 'a b', user_agent: 'curl token=[FILTERED]' })
  t.equal(String(lines[0]?.user_id).length, 300)
})

t.test('why an attempt failed: message, causes and stack, without what must not be shown', async (t) => {
  let asked = 0
  const failure: AttemptFailure = { get causes () { asked++; return ['ECONNREFUSED: connect'] }, get stack () { asked++; return ['at load (load.js:1:1)'] } }
  const { bus, lines } = sink({})
  bus.emit('job.attempt_failed', { ...FAILED, failure, errorMessage: 'redis://u:p@h\nrefused' })
  t.match(lines[0], {
    level: 40, eventId: 10112, error_type: 'E', error_message: 'redis://[FILTERED]@h refused', error_causes: ['ECONNREFUSED: connect'], error_stack: ['at load (load.js:1:1)'], correlation_id: 'corr'
  })
  bus.emit('job.failed', { ...FAILED, totalMs: 5, errorMessage: 'no answer' })
  t.match(lines[1], { level: 50, eventId: 10114, error_type: 'E', error_message: 'no answer', totalMs: 5 })
  bus.emit('job.attempt_failed', { ...FAILED, failure: { causes: [], stack: [] } })
  t.same(Object.keys(lines[2] ?? {}).filter((key) => key === 'error_causes' || key === 'error_stack'), [])
  asked = 0
  connected('error').bus.emit('job.attempt_failed', { ...FAILED, failure })
  t.equal(asked, 0, 'a stack that nobody reads is not written down')
})

t.test('the details of workers, stores and exporters lose their credentials', async (t) => {
  const { bus, lines } = sink({})
  const message = 'connect redis://u:secret-1@h, password=secret-2'
  bus.emit('worker.failed', { workerId: 'w', queue: 'q', errorCode: 'E', message })
  bus.emit('store.failed', { storeType: 'bullmq', errorCode: 'E', message })
  bus.emit('store.warned', { storeType: 'bullmq', errorCode: 'E', message })
  bus.emit('telemetry.export_failed', { exporter: 'e', format: 'f', target: 'https://u:secret-3@h/push', errorCode: 'E', message, durationMs: 1 })
  bus.emit('performance.slow_query', { system: 'postgresql', operation: 'SELECT', target: 't', statement: "SELECT 1 WHERE password='secret-4'", durationMs: 1, thresholdMs: 1, traceId: undefined, spanId: undefined })
  t.equal(lines.length, 5)
  t.notMatch(JSON.stringify(lines), /secret-\d/)
})

t.test('a field of ours that the application hides', async (t) => {
  const redact: RedactOptions = { keys: ['client_ip', 'user-id', 'error_message', 'error_stack'], mask: '***' }
  const { bus, lines } = sink({ redaction: readRedactOptions(redact) })
  bus.emit('job.submitted', SUBMITTED)
  t.match(lines[0], { client_ip: '***', user_id: '***', request_id: 'req-1' })
  bus.emit('job.attempt_failed', { ...FAILED, failure: { causes: ['a'], stack: ['b'] } })
  t.match(lines[1], { error_message: '***', error_causes: ['a'], error_stack: '***' })
})

t.test('numbers that JSON has no word for are left out', async (t) => {
  const { bus, lines } = sink({})
  bus.emit('job.completed', { ...RUN, ...IDS, attempt: 1, processingMs: Number.NaN, queueWaitMs: Number.POSITIVE_INFINITY, totalMs: 1.23456, resultBytes: undefined })
  t.equal(lines[0]?.totalMs, 1.23)
  t.same(Object.keys(lines[0] ?? {}).filter((key) => key === 'processMs' || key === 'queueMs'), [])
})

t.test('the progress of a job: a line every ten seconds, however often it is told', async (t) => {
  let time = 0
  const { bus, lines } = sink({ now: () => time })
  const tell = (jobId: string, done: number): void => { bus.emit('job.progressed', { ...JOB, jobId, done, total: 100 }) }
  tell('a', 1)
  tell('b', 1)
  time = 9_999
  tell('a', 2)
  time = 10_000
  tell('a', 3)
  t.match(lines, [{ level: 30, eventId: 10127, job_id: 'a', done: 1, total: 100 }, { job_id: 'b', done: 1 }, { job_id: 'a', done: 3 }])
  t.equal(lines.length, 3)
  for (let index = 0; index < 5_000; index++) tell(`job-${index}`, 1)
  tell('b', 2)
  t.match(lines.at(-1), { job_id: 'b', done: 2 }, 'those of long ago are forgotten')
})

t.test('a logger that throws harms no job', async (t) => {
  const { logger } = pinoLines()
  const throwing = Object.assign(Object.create(logger) as Logger, { info: () => { throw new Error('disk full') } })
  const bus = new EventBus(throwing)
  const failed: string[] = []
  bus.on('telemetry.listener_failed', ({ source, message }) => { failed.push(`${source}: ${message}`) })
  connectSinks(bus, { log: createLogSink(partsOf(throwing)) })
  t.doesNotThrow(() => { bus.emit('job.started', { ...RUN, ...IDS, attempt: 1 }) })
  t.same(failed, ['job.started: disk full'])
})

t.test('the logger of an attempt carries no forged correlation id', async (t) => {
  const { logger, lines } = pinoLines()
  const scope = attemptScope({ correlationId: 'a\n{"level":60}' })
  await attemptLogging(attemptParts(readRedactOptions().logger(logger)))(scope, async () => COMPLETED)
  scope.makeLogger?.().info({ password: 'x' }, 'told')
  t.match(lines[0], { correlation_id: 'a {"level":60}', password: '[FILTERED]' })
})

t.test('every line of a job, but that of a lost lease whose job nobody has read, has room for its trace', (t) => {
  const without = Object.entries(LOG_EVENTS as Record<string, LogEvent>).filter(([, { fields }]) => 'jobId' in fields && !('traceId' in fields)).map(([name]) => name)
  t.same(without, ['job.stalled'])
  t.end()
})

t.test('the lines of a handler say who sent the request, bounded, cleaned and hidden like all others', async (t) => {
  const { logger, lines } = pinoLines()
  const origin = { requestId: 'r-1', userId: 'ann', clientIp: '10.0.0.7', userAgent: 'curl\n token=secret-1' }
  const tell = async (job: Parameters<typeof attemptScope>[0], parts: Partial<AttemptLoggingParts> = {}): Promise<Line | undefined> => {
    const scope = attemptScope(job)
    await attemptLogging(attemptParts(logger, parts))(scope, async () => COMPLETED)
    scope.makeLogger?.().info({}, 'told')
    return lines.at(-1)
  }
  t.match(await tell({ origin }), { request_id: 'r-1', user_id: 'ann', client_ip: '10.0.0.7', user_agent: 'curl  token=[FILTERED]' })
  t.match(await tell({ origin: { requestId: 'r-1' }, owner: 'bob' }), { request_id: 'r-1', user_id: 'bob' }, 'the owner is the user')
  t.match(await tell({ owner: 'bob' }), { user_id: 'bob' }, 'also of a job from code')
  const few = await tell({ origin }, { enrich: ['request_id'] })
  t.same(Object.keys(few ?? {}).filter((key) => ['user_id', 'client_ip', 'user_agent'].includes(key)), [])
  t.match(await tell({ origin }, { redaction: readRedactOptions({ keys: ['client_ip'], mask: '***' }) }), { client_ip: '***' })
})

t.test('what goes into the store of a sender: what the lines tell, and nothing that is hidden', async (t) => {
  const carry = async (enrich: readonly LogEnrichment[], owner: string | undefined, redact?: RedactOptions): Promise<unknown> => {
    const scope = submitScope()
    const job: SubmitScope['job'] = { ...scope.job, owner }
    await carryOrigin(readRedactOptions(redact), enrich)({ ...scope, job, origin: { ...ORIGIN, userAgent: 'x'.repeat(1_000) } }, async () => ({ created: true, id: 'x' }))
    return job.origin
  }
  const all = await carry(LOG_ENRICHMENTS, undefined) as Record<string, string>
  t.match(all, { requestId: 'req-1', userId: 'ann', clientIp: '10.0.0.7' })
  t.equal(all.userAgent?.length, 300)
  t.same(await carry(['request_id', 'user_id'], 'ann'), { requestId: 'req-1' }, 'the owner is stored once')
  t.same(await carry(LOG_ENRICHMENTS, 'ann', { keys: ['client_ip', 'user_agent'] }), { requestId: 'req-1' })
  t.equal(await carry([], undefined), undefined)
})
