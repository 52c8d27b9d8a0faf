import { randomUUID } from 'node:crypto'
import t from 'tap'
import { silentLogger } from '../../lib/core/context.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { EVENT_CATALOGUE, EVENT_NAMES, type EventName } from '../../lib/events/catalogue.ts'
import { connectSinks, DEFAULT_ROUTES, type EventRoutes } from '../../lib/events/router.ts'
import { TROUBLE } from '../../lib/events/sampling.ts'
import { LOG_EVENTS } from '../../lib/telemetry/log-events.ts'

const redriven = { jobId: '1', jobName: 'n', queue: 'q', correlationId: 'c' }

t.test('every event is named domain.past_tense and says what it means', async (t) => {
  t.ok(EVENT_NAMES.length >= 40, `${EVENT_NAMES.length} events`)
  for (const name of EVENT_NAMES) {
    t.match(name, /^(job|step|saga|handler|worker|store|health|alert|performance|access|channel|webhook|subscriber|telemetry)\.[a-z]+(_[a-z]+)*$/)
    t.match(EVENT_CATALOGUE[name].about, /^[A-Z].*\.$/)
  }
})

t.test('listeners are called in order, with what was emitted, until they stop', async (t) => {
  const bus = new EventBus(silentLogger)
  const heard: string[] = []
  const stop = bus.on('job.redriven', (event, name) => heard.push(`1 ${name} ${event.jobId}`))
  bus.on('job.redriven', () => heard.push('2'))
  t.ok(bus.wants('job.redriven'))
  t.notOk(bus.wants('job.failed'))
  bus.emit('job.redriven', redriven)
  stop()
  bus.emit('job.redriven', redriven)
  t.same(heard, ['1 job.redriven 1', '2', '2'])
})

t.test('a listener that throws harms nobody, is logged once and told every time', async (t) => {
  const lines: unknown[] = []
  const bus = new EventBus({ ...silentLogger, warn: (fields) => lines.push(fields) })
  const told: string[] = []
  let after = 0
  bus.on('telemetry.listener_failed', ({ source, message }) => told.push(`${source} ${message}`))
  bus.on('telemetry.listener_failed', () => { throw new Error('even this one') })
  bus.on('job.redriven', () => { throw new Error('broken listener') })
  bus.on('job.redriven', () => after++)
  for (let i = 0; i < 3; i++) bus.emit('job.redriven', redriven)
  t.equal(after, 3)
  t.same(told, Array(3).fill('job.redriven broken listener'))
  t.equal(lines.length, 2, 'one line per listener and event')
})

t.test('the router connects only what is asked for', async (t) => {
  const bus = new EventBus(silentLogger)
  const heard: string[] = []
  const sink = (label: string) => ({ 'job.redriven': () => { heard.push(label) }, 'job.claimed': () => { heard.push(`${label} claimed`) } })
  const stop = connectSinks(bus, { metrics: sink('metrics'), log: sink('log'), traces: sink('traces') }, { 'job.redriven': { sinks: ['log'] } })
  bus.emit('job.redriven', redriven)
  t.same(heard, ['log'])
  bus.emit('job.claimed', { ...redriven, workerId: 'w', traceId: undefined, spanId: undefined, attempt: 1, queueWaitMs: 0, claimMs: undefined })
  t.same(heard.slice(1), ['traces claimed', 'metrics claimed'], 'the other events keep their default row')
  stop()
  t.notOk(bus.wants('job.redriven'))
})

t.test('an event can be silenced, and sampling never touches metrics', async (t) => {
  const bus = new EventBus(silentLogger)
  const heard: string[] = []
  const sink = (label: string) => ({ 'job.redriven': () => { heard.push(label) }, 'job.removed': () => { heard.push('never') } })
  const routes: EventRoutes = { 'job.redriven': { sampleRate: 0.5 }, 'job.removed': { enabled: false } }
  connectSinks(bus, { metrics: sink('metrics'), log: sink('log') }, routes)
  t.notOk(bus.wants('job.removed'))
  const ids = Array.from({ length: 400 }, () => randomUUID())
  for (const jobId of ids) bus.emit('job.redriven', { ...redriven, jobId })
  const kept = heard.filter((label) => label === 'log').length
  t.equal(heard.filter((label) => label === 'metrics').length, 400)
  t.ok(kept > 140 && kept < 260, `${kept} of 400`)
})

t.test('what is sampled has no job: it is drawn', async (t) => {
  const bus = new EventBus(silentLogger)
  const heard: string[] = []
  const draws = [0.4, 0.6]
  connectSinks(bus, { log: { 'worker.paused': ({ queue }) => { heard.push(queue) } } }, {}, 0.5, () => draws.shift() ?? 1)
  for (const queue of ['a', 'b']) bus.emit('worker.paused', { workerId: 'w', queue })
  t.same(heard, ['a'])
})

t.test('all events of a job are kept or none, and what went wrong is always kept', async (t) => {
  const bus = new EventBus(silentLogger)
  const lines = new Map<string, string[]>()
  const note = ({ jobId }: { readonly jobId: string }, name: string): void => { lines.set(jobId, [...lines.get(jobId) ?? [], name]) }
  connectSinks(bus, { log: { 'job.redriven': note, 'job.removed': note, 'job.cancel_requested': note, 'job.failed': note } }, {}, 0.3)
  const ids = Array.from({ length: 200 }, () => randomUUID())
  for (const name of ['job.redriven', 'job.removed', 'job.cancel_requested'] as const) for (const jobId of ids) bus.emit(name, { ...redriven, jobId })
  t.ok(lines.size > 30 && lines.size < 100, `${lines.size} of 200`)
  t.ok([...lines.values()].every((names) => names.length === 3))
  for (const jobId of ids) bus.emit('job.failed', { ...redriven, jobId, workerId: 'w', traceId: undefined, spanId: undefined, errorCode: 'E', errorMessage: '', attempt: 1, processingMs: 1, totalMs: 1 })
  t.equal(lines.size, 200)
})

t.test('what is logged as a warning or an error is what sampling keeps', async (t) => {
  const loud = Object.entries(LOG_EVENTS).filter(([, { level }]) => level === 'warn' || level === 'error').map(([name]) => name)
  t.same(loud.filter((name) => !TROUBLE.has(name as EventName)), [])
})

t.test('a router row for nothing that exists is refused', async (t) => {
  const routes = { 'job.finshed': {}, 'job.failed': { sinks: ['pager'], sampleRate: 2 } } as unknown as EventRoutes
  t.throws(() => connectSinks(new EventBus(silentLogger), {}, routes), {
    code: 'FAE_INVALID_OPTIONS',
    details: { problems: ['job.finshed is not an event (app.jobEvents.catalogue lists them)', 'job.failed.sinks: pager is not one of traces, metrics, log', 'job.failed.sampleRate must be a number from 0 to 1'] }
  })
  t.same(DEFAULT_ROUTES['job.failed'].sinks, ['traces', 'metrics', 'log'])
})
