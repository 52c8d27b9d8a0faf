import { Writable } from 'node:stream'
import Fastify from 'fastify'
import t from 'tap'
import type { Logger } from '../../lib/core/context.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { EVENT_CATALOGUE, type EventMap, type EventName } from '../../lib/events/catalogue.ts'
import { connectSinks, DEFAULT_ROUTES } from '../../lib/events/router.ts'
import { compileExclusion } from '../../lib/telemetry/exclude.ts'
import { LOG_EVENTS, LOG_LEVELS, type LogEvent, type LogLevel } from '../../lib/telemetry/log-events.ts'
import { attemptLogging, createLogSink, logsTraceIdsItself } from '../../lib/telemetry/logging.ts'
import { attemptScope, COMPLETED } from './support.ts'

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

function connected (level: LogLevel = 'debug', excluded: ReadonlyArray<string | RegExp> = [], loggerLevel = 'trace') {
  const { logger, lines, texts } = pinoLines({ level: loggerLevel })
  const bus = new EventBus(logger)
  connectSinks(bus, { log: createLogSink({ logger, level, excluded: compileExclusion(excluded) }) })
  return { bus, lines, texts }
}

const IDS = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) }
const RUN = { jobId: 'j', jobName: 'report', queue: 'default', workerId: 'w' }

t.test('the numbers are unique, the fields exist, and every event that is routed to the log has a line', async (t) => {
  const entries = Object.entries(LOG_EVENTS as Record<string, LogEvent>)
  t.equal(new Set(entries.map(([, { id }]) => id)).size, entries.length)
  for (const [name, { id, level, fields }] of entries) {
    t.ok(id > 10_100 && id < 11_000, `${name} ${id}: 10001 to 10099 belong to sagas`)
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
  bus.emit('job.completed', { ...RUN, ...IDS, correlationId: 'corr', attempt: 2, processingMs: 80.4567, queueWaitMs: 12, totalMs: 1_130, resultBytes: undefined })
  const { time, pid, hostname, ...line } = lines[0] ?? {}
  t.same(line, {
    level: 30, msg: 'job completed', eventId: 10111, event: 'job.completed', job_id: 'j', job_name: 'report', queue: 'default', worker_id: 'w', correlation_id: 'corr',
    trace_id: IDS.traceId, span_id: IDS.spanId, trace_flags: '01', attempt: 2, totalMs: 1_130, queueMs: 12, processMs: 80.46
  })
})

t.test('without a sampled trace there are no trace fields', async (t) => {
  const { bus, lines } = connected()
  bus.emit('job.started', { ...RUN, traceId: undefined, spanId: undefined, correlationId: 'corr', attempt: 1 })
  t.same(Object.keys(lines[0] ?? {}).filter((key) => key.includes('trace') || key.includes('span')), [])
})

t.test('only what is on the list is logged, bounded, in one line', async (t) => {
  const { bus, lines, texts } = connected()
  const event = { ...RUN, attempt: 1, processingMs: 1, errorCode: `E\n{"level":60}\u0007${'x'.repeat(5_000)}`, final: true, traceId: undefined, spanId: undefined }
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
    bus.emit('job.failed', { ...RUN, ...IDS, correlationId: 'c', attempt: 1, processingMs: 1, totalMs: 1, errorCode: 'E' })
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
  bus.emit('job.failed', { ...RUN, ...IDS, correlationId: 'c', attempt: 1, processingMs: 1, totalMs: 1, errorCode: 'E' })
  bus.emit('worker.started', { workerId: 'w', queue: 'q', concurrency: 1 })
  t.same(lines.map(({ eventId }) => eventId), [10114, 10301])
})

t.test('the logger of an attempt: made on first use, with all ids', async (t) => {
  const { logger, lines } = pinoLines()
  let children = 0
  const counting = { ...logger, child: (bindings: Line) => { children++; return logger.child(bindings) } } as Logger
  const scope = attemptScope({ attempts: 2 })
  const settlement = await attemptLogging(counting, () => true)(scope, async () => COMPLETED)
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
  await attemptLogging(logger, () => false)(scope, async () => COMPLETED)
  scope.traceIds = { traceId: IDS.traceId, spanId: IDS.spanId, traceFlags: '01' }
  scope.makeLogger?.().info({}, 'x')
  t.notOk('trace_id' in (lines[0] ?? {}))
  t.equal(logsTraceIdsItself(logger), false)
  t.equal(logsTraceIdsItself(pinoLines({ mixin: () => ({ region: 'eu' }) }).logger), false, 'a mixin of another purpose')
  t.equal(logsTraceIdsItself(pinoLines({ mixin: () => ({ trace_id: 'x' }) }).logger), true)
  t.equal(logsTraceIdsItself(pinoLines({ mixin: () => { throw new Error('x') } }).logger), false)
  t.equal(logsTraceIdsItself({} as Logger), false)
})
