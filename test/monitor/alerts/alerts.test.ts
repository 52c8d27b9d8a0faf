import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createContext } from '../../../lib/core/context.ts'
import { AsyncEndpointsError } from '../../../lib/core/errors.ts'
import { readRedactOptions } from '../../../lib/core/redact.ts'
import type { SharedState } from '../../../lib/core/shared.ts'
import { EventBus } from '../../../lib/events/bus.ts'
import type { AlertFacts } from '../../../lib/monitor/alerts/alert-facts.ts'
import { Alerts } from '../../../lib/monitor/alerts/alerts.ts'
import type { AlertNotice, AlertRule, AlertSender } from '../../../lib/monitor/alerts/alert.ts'
import { readAlertsOptions, type AlertsOptions } from '../../../lib/monitor/alerts/options.ts'
import type { AlertWorkerView } from '../../../lib/monitor/alerts/process-report.ts'
import { FakeClock } from '../../../lib/testing/fake-clock.ts'
import type { JobRecord } from '../../../lib/jobs/job.ts'
import { StoreCounts } from '../../../lib/jobs/store-counts.ts'
import type { QueueCounts } from '../../../lib/jobs/store.ts'
import { lineLogger } from './support.ts'

const MINUTE = 60_000
const EVENT = { jobId: 'j', jobName: 'report', queue: 'default', workerId: 'w', correlationId: 'c', traceId: undefined, spanId: undefined }

/** Everything that two processes of a test share. */
class Place {
  readonly clock = new FakeClock()
  /** How the store answers just now. */
  mood: 'well' | 'away' | 'hanging' = 'well'
  counts: Partial<QueueCounts> = {}
  failedKept = 0
  readonly jobs = new Map<string, JobRecord>()
  readonly #locks = new Map<string, { holder: string, until: number }>()
  readonly #texts = new Map<string, { value: string, until: number }>()

  answer<T> (value: () => T): Promise<T> {
    if (this.mood === 'hanging') return new Promise(() => {})
    if (this.mood === 'away') return Promise.reject(new AsyncEndpointsError('FAE_STORE_UNAVAILABLE', 'away'))
    return Promise.resolve().then(value)
  }

  readonly shared: SharedState = {
    tryLock: (name, holder, ttlMs) => this.answer(() => {
      const lock = this.#locks.get(name)
      if (lock !== undefined && lock.holder !== holder && lock.until > this.clock.now()) return false
      this.#locks.set(name, { holder, until: this.clock.now() + ttlMs })
      return true
    }),
    unlock: (name, holder) => this.answer(() => { if (this.#locks.get(name)?.holder === holder) this.#locks.delete(name) }),
    put: (group, key, value, ttlMs) => this.answer(() => { this.#texts.set(`${group}|${key}`, { value, until: this.clock.now() + ttlMs }) }),
    entries: (group) => this.answer(() => new Map([...this.#texts]
      .filter(([key, { until }]) => key.startsWith(`${group}|`) && until > this.clock.now()).map(([key, { value }]) => [key.slice(group.length + 1), value])))
  }
}

interface Options extends AlertsOptions { alone?: boolean, instanceId?: string, worker?: AlertWorkerView }

function process (place: Place, { alone = false, instanceId = 'one', worker, ...options }: Options = {}) {
  const { logger, lines } = lineLogger()
  const context = createContext({ clock: place.clock, logger, instanceId })
  const bus = new EventBus(logger)
  const told: AlertNotice[] = []
  const events: string[] = []
  for (const name of ['alert.raised', 'alert.reminded', 'alert.resolved'] as const) bus.on(name, ({ fingerprint }) => { events.push(`${name} ${fingerprint}`) })
  const gauge = new Map<string, number>()
  const remember: AlertSender = { name: 'test', send: (notice) => { told.push(notice) } }
  const states = (): QueueCounts['states'] => ({ queued: 1, scheduled: 0, 'in-progress': 0, completed: 0, failed: place.failedKept, cancelled: 0 })
  const alerts = new Alerts({
    context,
    bus,
    redaction: readRedactOptions(),
    options: readAlertsOptions({ log: false, memoryRatio: false, ...options, senders: [remember, ...options.senders ?? []] }),
    store: {
      type: 'test',
      ...(alone ? undefined : { shared: place.shared }),
      ping: () => place.answer(() => {}),
      get: (id) => place.answer(() => place.jobs.get(id))
    },
    counts: new StoreCounts({
      counts: (queue) => place.answer(() => ({ queue, states: states(), oldestQueuedAt: undefined, stuck: 0, ...place.counts }))
    }, place.clock),
    queues: () => ['default'],
    worker: () => worker,
    excluded: (name) => name === 'excluded',
    long: () => false,
    quietly: (work) => work(),
    plainly: (work) => work(),
    firing: (count, { rule, severity }) => { gauge.set(`${rule} ${severity}`, count) },
    random: () => 0
  })
  const fail = (count: number, jobName = 'report'): void => {
    for (let n = 0; n < count; n++) bus.emit('job.failed', { ...EVENT, jobName, attempt: 1, processingMs: 1, totalMs: 1, errorCode: 'E', errorMessage: 'no' })
  }
  return { alerts, bus, lines, told, events, gauge, fail, seen: () => told.map(({ kind, alert }) => `${kind} ${alert.fingerprint}`) }
}

t.test('evaluated every five minutes, told once, resolved when the hour is over', async (t) => {
  const place = new Place()
  const one = process(place, { alone: true })
  await one.alerts.start()
  await place.clock.advance(0)
  t.same(one.seen(), [])
  one.fail(10)
  one.fail(100, 'excluded')
  await place.clock.advance(4 * MINUTE)
  t.same(one.seen(), [], 'not before its time')
  await place.clock.advance(MINUTE)
  t.same(one.seen(), ['raised failed-jobs'])
  t.match(one.told[0]?.alert, { severity: 'medium', details: { failed: 10, jobs: [{ job_name: 'report', failed: 10 }] } })
  t.same(one.gauge.get('failed-jobs medium'), 1)
  t.match(await one.alerts.active(), [{ rule: 'failed-jobs', startedAt: place.clock.now() }])
  await place.clock.advance(70 * MINUTE)
  t.same(one.seen(), ['raised failed-jobs', 'resolved failed-jobs'])
  t.same(one.events, ['alert.raised failed-jobs', 'alert.resolved failed-jobs'])
  t.same(one.gauge.get('failed-jobs medium'), 0)
  await one.alerts.stop(1_000)
  t.equal(place.clock.pending, 0, 'nothing is left')
})

t.test('the store\'s own numbers: dead letters, stuck jobs that stay, a worker that is missing', async (t) => {
  const place = new Place()
  const one = process(place, { alone: true, deadLetterGrowth: 20, stuck: { count: 5, afterMs: 10 * MINUTE } })
  await one.alerts.start()
  await one.alerts.check()
  place.failedKept = 20
  for (const [id, state, minutes] of [['gone', 'completed', 9], ['late', 'in-progress', 1], ['early', 'queued', 2]] as const) {
    place.jobs.set(id, { id, name: 'report', state, createdAt: 0, startedAt: place.clock.now() - minutes * MINUTE, finishedAt: state === 'completed' ? 1 : undefined } as JobRecord)
  }
  place.counts = { stuck: 5, stuckIds: ['late', 'forgotten', 'gone', 'early'], oldestQueuedAt: place.clock.now() }
  // What the store counts is reused for a quarter of a second.
  place.clock.jump(250)
  await one.alerts.check()
  t.same(one.seen(), ['raised dead-letter-growth'])
  await place.clock.advance(4 * MINUTE)
  one.bus.emit('job.claimed', { ...EVENT, attempt: 1, queueWaitMs: 0, claimMs: undefined })
  await place.clock.advance(5 * MINUTE)
  t.same(one.seen().slice(1), [], 'somebody claimed a job within the last five minutes')
  await place.clock.advance(6 * MINUTE)
  t.same(one.seen().slice(1).sort(), ['raised stuck-jobs', 'raised worker-missing:default'])
  const [stuck] = one.told.filter(({ alert }) => alert.rule === 'stuck-jobs')
  t.match(stuck?.alert.details['jobs'], [{ job_id: 'early', status: 'queued' }, { job_id: 'late', status: 'in-progress' }], 'only what is stuck, as far as it still is')
  t.equal((stuck?.alert.details['jobs'] as unknown[]).length, 2)
  await one.alerts.stop(0)
})

t.test('sagas that were not undone, as the store names them: until they are redriven, without those that no rule counts', async (t) => {
  const place = new Place()
  const one = process(place, { alone: true })
  await one.alerts.start()
  for (const [id, name] of [['a', 'order'], ['b', 'excluded']] as const) {
    place.jobs.set(id, { id, name, state: 'failed', createdAt: 0, facts: { charge: '{"s":"x","a":1,"m":1,"t":0}' } } as unknown as JobRecord)
  }
  place.counts = { sagas: { compensating: 0, compensatingSince: undefined, awaitingSignal: 0, notUndone: 3, notUndoneIds: ['gone', 'b', 'a'] } }
  await one.alerts.check()
  t.same(one.seen(), ['raised compensation-failed:order'])
  t.match(one.told[0]?.alert.details, { failed: 1, jobs: [{ job_id: 'a', steps: 'charge' }] })
  await place.clock.advance(120 * MINUTE)
  t.notOk(one.seen().some((line) => line.startsWith('resolved')), 'not resolved by time')
  place.counts = {}
  await place.clock.advance(20 * MINUTE)
  t.ok(one.seen().includes('resolved compensation-failed:order'), one.seen().join())
  await one.alerts.stop(0)
})

t.test('slow attempts, over or under way, and a worker that has gone silent', async (t) => {
  const place = new Place()
  const worker: AlertWorkerView = {
    running: true,
    consumers: () => [{ queue: 'default', active: 1, paused: false, lastSeenAt: 0 }],
    concurrencyOf: () => 2,
    oldestAttempts: () => [{ id: 'running', name: 'report', queue: 'default', runningMs: 50_000 }, { id: 'quick', name: 'report', queue: 'default', runningMs: 10 }]
  }
  const one = process(place, { alone: true, worker, minSamples: 1 })
  await one.alerts.start()
  one.bus.emit('job.completed', { ...EVENT, attempt: 1, processingMs: 31_000, queueWaitMs: 0, totalMs: 1, resultBytes: undefined })
  await place.clock.advance(11 * MINUTE)
  t.same(one.seen().sort(), ['raised slow-jobs', 'raised slow-p95:report', 'raised worker-silent:one:default'])
  t.match(one.told.find(({ alert }) => alert.rule === 'slow-jobs')?.alert.details, { jobs: [{ job_id: 'running', duration_ms: 50_000, running: true }, { job_id: 'j', duration_ms: 31_000, running: false }] })
  await one.alerts.stop(0)
})

/** A worker of one queue; a test says what it tells of itself. */
function workerOf (consumer: Partial<ReturnType<AlertWorkerView['consumers']>[number]> = {}): AlertWorkerView & { shown: object } {
  const shown = { queue: 'default', active: 0, paused: false, lastSeenAt: -Infinity, ...consumer }
  return { running: true, consumers: () => [shown], concurrencyOf: () => 2, oldestAttempts: () => [], shown }
}

t.test('a consumer that has never looked: not at once, but when it lasts, whoever evaluates', async (t) => {
  const place = new Place()
  const one = process(place, { instanceId: 'one' })
  const two = process(place, { instanceId: 'two', worker: workerOf() })
  await one.alerts.start()
  await two.alerts.start()
  await one.alerts.check()
  await place.clock.advance(5 * MINUTE)
  t.same([one.alerts.leading, one.seen()], [true, []], 'it has just begun')
  await place.clock.advance(10 * MINUTE)
  t.same(one.seen(), ['raised worker-silent:two:default'])
  t.match(one.told[0]?.alert.details, { silent_ms: Number })
  await Promise.all([one.alerts.stop(0), two.alerts.stop(0)])
})

t.test('who may not claim proves nothing and need not; a consumer that is made anew does not begin from nothing', async (t) => {
  const place = new Place()
  const worker = workerOf({ paused: true, lastSeenAt: 0 })
  const one = process(place, { alone: true, worker })
  await one.alerts.start()
  await place.clock.advance(60 * MINUTE)
  Object.assign(worker.shown, { paused: false })
  await one.alerts.check()
  t.same(one.seen(), [], 'resumed a moment ago')
  for (let minute = 0; minute < 11; minute++) {
    // A watchdog makes another every minute, in vain.
    Object.assign(worker.shown, { lastSeenAt: -Infinity })
    await place.clock.advance(MINUTE)
  }
  t.same(one.seen(), ['raised worker-silent:one:default'])
  await one.alerts.stop(0)
})

t.test('after an outage of the store nobody is called dead who could not be reached', async (t) => {
  const place = new Place()
  const worker = workerOf()
  const one = process(place, { instanceId: 'one', worker })
  const two = process(place, { instanceId: 'two', worker: workerOf() })
  const see = (): void => { Object.assign(worker.shown, { lastSeenAt: place.clock.monotonic() }) }
  await one.alerts.start()
  await two.alerts.start()
  await place.clock.advance(MINUTE)
  place.counts = { oldestQueuedAt: place.clock.now() }
  for (const { bus } of [one, two]) bus.emit('job.claimed', { ...EVENT, attempt: 1, queueWaitMs: 0, claimMs: undefined })
  see()
  place.mood = 'away'
  await place.clock.advance(30 * MINUTE)
  place.mood = 'well'
  await place.clock.advance(MINUTE)
  const judged = [...one.seen(), ...two.seen()].filter((text) => !/store-unreachable/.test(text))
  t.same(judged, [], 'neither the worker nor the queue')
  await place.clock.advance(15 * MINUTE)
  t.match([...one.seen(), ...two.seen()].filter((text) => /raised worker/.test(text)).sort(), ['raised worker-missing:default', 'raised worker-silent:one:default', 'raised worker-silent:two:default'], 'but those that stay silent')
  await Promise.all([one.alerts.stop(0), two.alerts.stop(0)])
})

t.test('between the old worker and the new one of a deployment nobody claims, and yet somebody just did', async (t) => {
  const place = new Place()
  const api = process(place, { instanceId: 'api' })
  const old = process(place, { instanceId: 'old', worker: workerOf({ lastSeenAt: 1e12 }) })
  await api.alerts.start()
  await old.alerts.start()
  await place.clock.advance(59 * MINUTE)
  place.counts = { oldestQueuedAt: place.clock.now() - 20 * MINUTE }
  old.bus.emit('job.recovered', { ...EVENT, attempt: 2 })
  await old.alerts.stop(1_000)
  await api.alerts.check()
  t.same([api.alerts.leading, api.seen()], [true, []], 'a second ago; a job that was taken over is claimed, too')
  await place.clock.advance(11 * MINUTE)
  t.same(api.seen(), ['raised worker-missing:default'])
  t.match(api.told[0]?.alert.details, { last_claim_ms: 10 * MINUTE })
  await api.alerts.stop(0)
})

t.test('a worker that does not report, but works', async (t) => {
  const place = new Place()
  const one = process(place, { alone: true })
  await one.alerts.start()
  const states = { queued: 5, scheduled: 0, 'in-progress': 3, completed: 0, failed: 0, cancelled: 0 }
  place.counts = { oldestQueuedAt: place.clock.now(), states }
  await place.clock.advance(11 * MINUTE)
  t.same(one.seen(), [], 'somebody keeps the leases of three jobs alive')
  place.counts = { ...place.counts, stuck: 3 }
  await place.clock.advance(5 * MINUTE)
  t.same(one.seen(), ['raised worker-missing:default'], 'nobody does')
  await one.alerts.stop(0)
})

t.test('what a process counted last is told when it ends', async (t) => {
  const place = new Place()
  const one = process(place, { instanceId: 'one' })
  const two = process(place, { instanceId: 'two' })
  await one.alerts.start()
  await two.alerts.start()
  await place.clock.advance(MINUTE)
  two.fail(10)
  await two.alerts.stop(1_000)
  await one.alerts.check()
  t.same(one.seen(), ['raised failed-jobs'])
  await one.alerts.stop(0)
})

t.test('a store that goes away between the judgement and its writing: told once it is written, as event and by senders', async (t) => {
  const place = new Place()
  let judging: () => void = () => {}
  const one = process(place, { instanceId: 'one', rules: [{ name: 'late', evaluate: () => { judging() } }] })
  await one.alerts.start()
  one.fail(10)
  judging = () => { place.mood = 'away' }
  await one.alerts.check()
  t.same([one.seen(), one.events], [[], []])
  judging = () => {}
  place.mood = 'well'
  await place.clock.advance(6 * MINUTE)
  t.same([one.seen(), one.events], [['raised failed-jobs'], ['alert.raised failed-jobs']])
  await one.alerts.stop(0)
  t.equal(place.clock.pending, 0)
})

t.test('rules of an application: what they see, and that they cannot stop the others', async (t) => {
  const place = new Place()
  const facts: AlertFacts[] = []
  let broken = true
  const rules: AlertRule[] = [
    { name: 'throws', evaluate: () => { if (broken) throw new Error('token=hunter2 is wrong'); return { title: 'Fine', message: 'again' } } },
    { name: 'nonsense', evaluate: () => ({ title: 5 }) as never },
    { name: 'hangs', evaluate: () => new Promise(() => {}) },
    { name: 'works', evaluate: async (seen) => { facts.push(seen); return [{ key: 'a', title: 'Works', message: 'password=hunter2', details: { password: 'hunter2', big: 1n } }, { key: 'b', severity: 'critical', title: 'W', message: 'm', details: { password: 'hunter2', n: 1 } }] } }
  ]
  const one = process(place, { alone: true, rules })
  await one.alerts.start()
  one.fail(10)
  for (let n = 0; n < 3; n++) {
    const checked = one.alerts.check()
    await place.clock.advance(10_000)
    await checked
  }
  t.same(one.seen().sort(), ['raised failed-jobs', 'raised works:a', 'raised works:b'])
  t.match(facts[0], { jobs: [{ name: 'report', failed: 10 }], queues: [{ queue: 'default' }], processes: [{ instance: 'one' }], deadLetters: { kept: 0, growth: 0 } })
  t.match(one.told.map(({ alert }) => alert).filter(({ rule }) => rule === 'works'), [
    { severity: 'medium', type: 'System', message: 'password=[FILTERED]', details: { left_out: 'the details cannot be written as JSON' } }, { severity: 'critical', details: { password: '[FILTERED]', n: 1 } }
  ])
  t.same(one.lines.filter(({ rule }) => rule !== undefined).map(({ rule, detail }) => `${String(rule)}: ${String(detail)}`).sort(), [
    'hangs: it did not end within 10000 ms', 'nonsense: a finding needs a title and a message; these and the key must be strings', 'throws: token=[FILTERED] is wrong'
  ], 'each is logged once')
  broken = false
  await one.alerts.check()
  t.equal(one.seen().at(-1), 'raised throws')
  broken = true
  await one.alerts.check()
  t.match(await one.alerts.active(), [{}, {}, {}, { rule: 'throws' }], 'what cannot be judged stays as it is')
  await one.alerts.stop(0)
})

t.test('a store that is away, or hangs, is told once by each process, and when it is back', async (t) => {
  for (const mood of ['away', 'hanging'] as const) {
    const place = new Place()
    const one = process(place, { instanceId: 'one' })
    const two = process(place, { instanceId: 'two' })
    await one.alerts.start()
    await two.alerts.start()
    one.fail(10)
    await place.clock.advance(5 * MINUTE)
    t.same([...one.seen(), ...two.seen()], ['raised failed-jobs'])
    place.mood = mood
    await place.clock.advance(30 * MINUTE)
    t.same([...one.seen(), ...two.seen()].slice(1), ['raised store-unreachable:one', 'raised store-unreachable:two'], `${mood}: and nothing is called over`)
    t.match(await Promise.race([one.alerts.active(), place.clock.advance(5_000).then(() => one.alerts.active())]), [{ rule: 'failed-jobs' }, { rule: 'store-unreachable' }])
    place.mood = 'well'
    await place.clock.advance(MINUTE)
    t.same([...one.seen(), ...two.seen()].filter((text) => /resolved/.test(text)), ['resolved store-unreachable:one', 'resolved store-unreachable:two'])
    place.mood = mood
    const stopped = Promise.all([one.alerts.stop(2_000), two.alerts.stop(2_000)])
    await place.clock.advance(2_000)
    await stopped
    await place.clock.advance(10_000)
    t.equal(place.clock.pending, 0)
  }
})

t.test('two processes: one evaluates the numbers of both, and the next neither repeats nor forgets', async (t) => {
  const place = new Place()
  const one = process(place, { instanceId: 'one' })
  const two = process(place, { instanceId: 'two' })
  await one.alerts.start()
  await two.alerts.start()
  one.fail(5)
  two.fail(5)
  await place.clock.advance(6 * MINUTE)
  t.same([one.seen(), two.seen()], [['raised failed-jobs'], []], 'neither has ten by itself')
  t.same([one.alerts.leading, two.alerts.leading], [true, false])
  t.same([one.gauge.get('failed-jobs medium'), two.gauge.get('failed-jobs medium')], [1, undefined])
  t.match(await two.alerts.active(), [{ rule: 'failed-jobs' }], 'the other knows it as well')
  await one.alerts.stop(1_000)
  await place.clock.advance(20 * MINUTE)
  t.same(two.seen(), [], 'not repeated; what the one counted stays in the hour after its end')
  t.ok(two.alerts.leading)
  await place.clock.advance(50 * MINUTE)
  t.same(two.seen(), ['resolved failed-jobs'], 'not forgotten')
  await two.alerts.stop(1_000)
  t.equal(place.clock.pending, 0)
})

t.test('one that dies while it sends: the next sends it, under the same id', async (t) => {
  const place = new Place()
  const ids: string[] = []
  const hanging: AlertSender = { name: 'pager', send: ({ id }) => { ids.push(`dead ${id}`); return new Promise(() => {}) } }
  const paging: AlertSender = { name: 'pager', send: ({ id }) => { ids.push(`alive ${id}`) } }
  const dead = process(place, { instanceId: 'dead', senders: [hanging] })
  await dead.alerts.start()
  dead.fail(10)
  const unfinished = dead.alerts.check()
  await place.clock.advance(0)
  t.equal(ids.length, 1)
  // Nothing of it goes on; its lock and what it wrote stay.
  place.mood = 'away'
  await place.clock.advance(30_000)
  await unfinished
  const stopped = dead.alerts.stop(1_000)
  await place.clock.advance(1_000)
  await stopped
  place.mood = 'well'
  const alive = process(place, { instanceId: 'alive', senders: [paging] })
  await alive.alerts.start()
  await place.clock.advance(10 * MINUTE)
  t.same(ids[1], ids[0]?.replace('dead', 'alive'))
  t.equal(ids.length, 2)
  await alive.alerts.stop(0)
})

t.test('a store that says nothing does not hold up the end', async (t) => {
  const place = new Place()
  const [idle, asking] = [process(place, { instanceId: 'idle' }), process(place, { instanceId: 'asking' })]
  await idle.alerts.start()
  await asking.alerts.start()
  await place.clock.advance(0)
  place.mood = 'hanging'
  void asking.alerts.check()
  for (const [{ alerts }, withinMs] of [[idle, 1_000], [asking, 2_000]] as const) {
    let stopped = false
    const stop = alerts.stop(5_000).then(() => { stopped = true })
    await place.clock.advance(withinMs)
    t.ok(stopped, `within ${withinMs} ms`)
    await place.clock.advance(5_000)
    await stop
  }
  t.equal(place.clock.pending, 0)
})

t.test('stopping waits for what is being sent, and no longer than it may', async (t) => {
  const place = new Place()
  let arrive: () => void = () => {}
  const slow: AlertSender = { name: 'slow', send: () => new Promise((resolve) => { arrive = resolve }) }
  const one = process(place, { senders: [slow] })
  await one.alerts.start()
  one.fail(10)
  void one.alerts.check()
  await place.clock.advance(0)
  const stopped = one.alerts.stop(5_000)
  await turn()
  arrive()
  await stopped
  const next = process(place, { instanceId: 'next', senders: [slow] })
  await next.alerts.start()
  await place.clock.advance(10 * MINUTE)
  t.same([next.alerts.leading, next.seen(), next.events], [true, [], []], 'the lock was given back, and nothing is owed')

  next.fail(1, 'x')
  for (let n = 0; n < 30; n++) next.bus.emit('job.completed', { ...EVENT, attempt: 1, processingMs: 10_000, queueWaitMs: 0, totalMs: 1, resultBytes: undefined })
  void next.alerts.check()
  await place.clock.advance(0)
  const cut = next.alerts.stop(5_000)
  await place.clock.advance(2_500)
  await cut
  const last = process(place, { instanceId: 'last', senders: [{ name: 'slow', send: () => {} }] })
  await last.alerts.start()
  await place.clock.advance(10 * MINUTE)
  t.notOk(last.seen().includes('raised slow-p95:report'), 'the sender that had it does not get it again')
  t.equal(last.lines.filter(({ eventId }) => eventId === 10804).length, 0)
  await last.alerts.stop(0)
  await last.alerts.check()
  t.equal(place.clock.pending, 0)
})
