/** The lines about sagas and steps: readable without their fields, numbered as the source documents number them. */
import { Writable } from 'node:stream'
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import Fastify from 'fastify'
import t from 'tap'
import { readRedactOptions } from '../../lib/core/redact.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { connectSinks } from '../../lib/events/router.ts'
import { compileExclusion } from '../../lib/telemetry/job-exclusion.ts'
import type { LogEvent } from '../../lib/telemetry/log-event.ts'
import { createLogSink } from '../../lib/telemetry/logging.ts'
import { SAGA_LOG_EVENTS } from '../../lib/telemetry/saga-log-events.ts'
import asyncEndpoints from '../../plugins/async-endpoints.ts'

type Line = Record<string, unknown>

function pinoLines () {
  const lines: Line[] = []
  const stream = new Writable({ write: (chunk: Buffer, _encoding, done) => { lines.push(JSON.parse(chunk.toString()) as Line); done() } })
  return { options: { level: 'trace', stream }, lines, said: (): unknown[] => lines.map(({ eventId, level, msg }) => `${String(eventId)} ${String(level)} ${String(msg)}`) }
}

function connected (excluded: readonly string[] = [], level: 'debug' | 'error' = 'debug') {
  const { options, lines, said } = pinoLines()
  const logger = Fastify({ logger: options }).log
  const bus = new EventBus(logger)
  connectSinks(bus, { log: createLogSink({ logger, level, enrich: [], excluded: compileExclusion(excluded), redaction: readRedactOptions(), now: () => 0 }) })
  return { bus, lines, said }
}

const IDS = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) }
const SAGA = { jobId: '0b5e', jobName: 'transcode', queue: 'media', workerId: 'w', correlationId: 'corr', ...IDS }
const STEP = { ...SAGA, step: 'hd', order: 3, attempt: 1, maxAttempts: 5 }
const ERROR = { errorCode: 'ETIMEDOUT', errorMessage: 'no answer' }

t.test('the numbers of the source documents', async (t) => {
  const numbers = Object.fromEntries(Object.entries<LogEvent>(SAGA_LOG_EVENTS).map(([name, { id, level }]) => [name, `${id} ${level}`]))
  t.match(numbers, {
    'step.started': '10001 info',
    'step.completed': '10002 info',
    'step.failed': '10003 error',
    'step.compensating': '10004 warn',
    'saga.completed': '10005 info',
    'saga.failed': '10006 error',
    'step.compensated': '10007 info',
    'step.compensation_failed': '10008 error'
  })
  for (const [name, { id }] of Object.entries<LogEvent>(SAGA_LOG_EVENTS)) t.ok(id > 10_000 && id < 10_100, name)
})

t.test('each line says which saga, step, try, and how long', async (t) => {
  const { bus, said } = connected()
  bus.emit('step.started', STEP)
  bus.emit('step.completed', { ...STEP, durationMs: 1_234.4, resultBytes: 2 })
  bus.emit('step.failed', { ...STEP, ...ERROR, durationMs: 50, final: false })
  bus.emit('step.failed', { ...STEP, ...ERROR, attempt: 5, durationMs: 12_340, final: true })
  bus.emit('step.compensating', STEP)
  bus.emit('step.compensated', { ...STEP, durationMs: 340 })
  bus.emit('step.compensation_failed', { ...STEP, ...ERROR, durationMs: 3, final: true })
  bus.emit('saga.completed', { ...SAGA, totalMs: 4_100, total: 5 })
  bus.emit('saga.failed', { ...SAGA, ...ERROR, totalMs: 4_100, total: 5, phase: 'compensated' })
  t.same(said(), [
    '10001 30 saga transcode/0b5e step hd started (attempt 1 of 5)',
    '10002 30 saga transcode/0b5e step hd completed in 1234 ms (attempt 1 of 5)',
    '10003 40 saga transcode/0b5e step hd failed after 50 ms (attempt 1 of 5): ETIMEDOUT: no answer',
    '10003 50 saga transcode/0b5e step hd failed after 12.3 s (attempt 5 of 5): ETIMEDOUT: no answer',
    '10004 40 saga transcode/0b5e step hd is being undone (attempt 1 of 5)',
    '10007 30 saga transcode/0b5e step hd was undone in 340 ms (attempt 1 of 5)',
    '10008 50 saga transcode/0b5e step hd could not be undone after 3 ms (attempt 1 of 5): ETIMEDOUT: no answer',
    '10005 30 saga transcode/0b5e completed in 4100 ms (5 steps)',
    '10006 50 saga transcode/0b5e failed 4100 ms after its submission (5 steps; compensated): ETIMEDOUT: no answer'
  ])
})

t.test('the fields: ids, place, try, and the span of the step', async (t) => {
  const { bus, lines } = connected()
  bus.emit('step.completed', { ...STEP, durationMs: 1_234.456, resultBytes: 2 })
  const { time, pid, hostname, msg, ...line } = lines[0] ?? {}
  t.same(line, {
    level: 30, eventId: 10002, event: 'step.completed', component: 'asyncendpoints.step', job_id: '0b5e', job_name: 'transcode', queue: 'media', worker_id: 'w', correlation_id: 'corr', trace_id: IDS.traceId,
    span_id: IDS.spanId, trace_flags: '01', step: 'hd', step_order: 3, attempt: 1, max_attempts: 5, durationMs: 1_234.46, resultBytes: 2
  })
})

t.test('what else happens to a saga', async (t) => {
  const { bus, said } = connected()
  bus.emit('step.retry_scheduled', { ...STEP, delayMs: 200, errorCode: 'ETIMEDOUT' })
  bus.emit('step.timed_out', { ...STEP, timeoutMs: 600_000 })
  bus.emit('step.skipped', { ...SAGA, step: 'uhd', order: 4 })
  bus.emit('saga.resumed', { ...SAGA, done: 2, total: 5, phase: 'forward' })
  bus.emit('saga.suspended', { ...SAGA, step: 'approval', reason: 'signal', delayMs: 86_400_000 })
  bus.emit('saga.signalled', { jobId: '0b5e', jobName: 'transcode', queue: 'media', correlationId: 'corr', ...IDS, signal: 'approval' })
  bus.emit('saga.compensating', { ...SAGA, ...ERROR, step: 'hd', reason: 'failed', total: 2 })
  bus.emit('saga.compensation_failed', { ...SAGA, errorCode: 'FAE_COMPENSATION_FAILED', errorMessage: '', total: 2, steps: 'upload, hd' })
  t.same(said(), [
    '10010 30 saga transcode/0b5e step hd will be tried again in 200 ms after ETIMEDOUT (attempt 1 of 5)',
    '10011 40 saga transcode/0b5e step hd was aborted: it took longer than its timeout of 10 min (attempt 1 of 5)',
    '10013 20 saga transcode/0b5e step uhd skipped: its condition does not hold',
    '10016 30 saga transcode/0b5e goes on: 2 of 5 steps are done (forward)',
    '10019 30 saga transcode/0b5e waits at approval for up to 24 h (signal)',
    '10020 30 saga transcode/0b5e got the signal approval',
    '10022 40 saga transcode/0b5e undoes 2 of its steps (failed), because of step hd: no answer',
    '10024 50 saga transcode/0b5e could not undo all of its steps: undo upload, hd by hand, or mend the cause and redrive the job'
  ])
})

t.test('a step of an ordinary handler is not said to be of a saga', async (t) => {
  const { bus, said } = connected()
  const step = { ...STEP, jobName: 'report', step: 'load', order: 0 }
  bus.emit('step.completed', { ...step, durationMs: 12, resultBytes: 2 })
  bus.emit('step.abandoned', { ...step, reason: 'timeout', durationMs: 10, graceMs: 1_000 })
  t.match(said(), ['10002 30 job report/0b5e step load completed in 12 ms (attempt 1 of 5)', /^10012 40 job report\/0b5e .*: the job went on without it/])
  for (const line of said()) t.notMatch(line, /saga/)
})

t.test('an error of a step is cut to one line, and shows no credentials', async (t) => {
  const { bus, lines } = connected()
  bus.emit('step.failed', { ...STEP, errorCode: 'E', errorMessage: 'postgres://admin:hunter2@db/x\nERROR forged line', durationMs: 1, final: true })
  t.equal(lines.length, 1)
  t.notMatch(JSON.stringify(lines[0]), /hunter2/)
  t.notMatch(String(lines[0]?.['msg']), /\n/)
})

t.test('the normal course of an excluded saga is not logged; what went wrong with it is', async (t) => {
  const { bus, said } = connected(['transcode'])
  bus.emit('step.completed', { ...STEP, durationMs: 12, resultBytes: 2 })
  bus.emit('saga.completed', { ...SAGA, totalMs: 1, total: 5 })
  bus.emit('saga.compensation_failed', { ...SAGA, ...ERROR, total: 1, steps: 'hd' })
  t.equal(said().length, 1)
  const errors = connected([], 'error')
  errors.bus.emit('step.failed', { ...STEP, ...ERROR, durationMs: 1, final: false })
  errors.bus.emit('step.failed', { ...STEP, ...ERROR, durationMs: 1, final: true })
  t.equal(errors.lines.length, 1, 'a try that is followed by another is a warning')
})

t.test('a saga that runs: its lines tell its story in a console', async (t) => {
  const { options, lines } = pinoLines()
  const exporter = new InMemorySpanExporter()
  const app = Fastify({ logger: options })
  await app.register(asyncEndpoints, { observability: { tracing: { spanProcessors: [new SimpleSpanProcessor(exporter)], maxTracesPerSecond: 1_000 } } })
  app.saga({
    name: 'transcode',
    steps: (s) => s.step('upload', { run: () => 1, compensate: () => {} }).step('publish', { attempts: 1, run: () => { throw new Error('refused') } })
  })
  await app.ready()
  const { id } = await app.jobs.submit('transcode' as never)
  await app.jobs.waitFor(id, { timeoutMs: 10_000 })
  const finished = exporter.getFinishedSpans()
  const ids = new Map(finished.map((span) => [span.name, span.spanContext().spanId]))
  await app.close()
  const mine = lines.filter(({ eventId }) => typeof eventId === 'number' && eventId < 10_100)
  const story = mine.map(({ msg }) => String(msg).replace(id, 'ID').replace(/\d+(?:\.\d+)? m?s\b/, 'N ms'))
  t.same(story, [
    'saga transcode/ID began (2 steps)',
    'saga transcode/ID step upload started (attempt 1 of 3)',
    'saga transcode/ID step upload completed in N ms (attempt 1 of 3)',
    'saga transcode/ID step publish started (attempt 1 of 1)',
    'saga transcode/ID step publish failed after N ms (attempt 1 of 1): Error: refused',
    'saga transcode/ID undoes 1 of its steps (failed), because of step publish: refused',
    'saga transcode/ID step upload is being undone (attempt 1 of 5)',
    'saga transcode/ID step upload was undone in N ms (attempt 1 of 5)',
    'saga transcode/ID has undone 1 of its steps in N ms',
    'saga transcode/ID failed N ms after its submission (2 steps; compensated): Error: refused'
  ])
  const spanOf = (text: string): unknown => mine.find(({ msg }) => String(msg).includes(text))?.['span_id']
  const tries = [['upload completed', 'step upload'], ['publish failed', 'step publish'], ['upload was undone', 'compensate upload']] as const
  for (const [text, span] of tries) t.equal(spanOf(text), ids.get(span), `the line of a try has the span of the try: ${text}`)
  t.same([...new Set(mine.map(({ trace_id: trace }) => trace))], [finished[0]?.spanContext().traceId], 'all in one trace')
})
