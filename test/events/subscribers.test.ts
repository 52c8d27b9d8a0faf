import t from 'tap'
import { silentLogger } from '../../lib/core/context.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { EVENT_CATALOGUE, EVENT_NAMES, type EventMap, type EventName } from '../../lib/events/catalogue.ts'
import { Subscriptions, type EventSubscriber } from '../../lib/events/subscribers.ts'

const JOB = { jobId: 'j', jobName: 'report', queue: 'default', correlationId: 'c' }
const COMPLETED: EventMap['job.completed'] = { ...JOB, workerId: 'w', traceId: undefined, spanId: undefined, attempt: 1, processingMs: 80, queueWaitMs: 5, totalMs: 90, resultBytes: 2 }

function underTest () {
  const warned: unknown[] = []
  const bus = new EventBus({ ...silentLogger, warn: (fields) => { warned.push(fields) } })
  const failed: string[] = []
  bus.on('telemetry.listener_failed', ({ source, message }) => { failed.push(`${source}: ${message}`) })
  return { bus, events: new Subscriptions(bus), warned, failed }
}

t.test('one event: heard with its name until it is stopped, each listener by itself', async (t) => {
  const { bus, events } = underTest()
  const heard: string[] = []
  const listener = ({ jobId }: EventMap['job.redriven'], name: EventName): void => { heard.push(`${name} ${jobId}`) }
  const stops = [events.on('job.redriven', listener), events.on('job.redriven', listener)]
  bus.emit('job.redriven', JOB)
  t.same(heard, ['job.redriven j', 'job.redriven j'])
  stops[0]?.()
  stops[0]?.()
  bus.emit('job.redriven', JOB)
  t.equal(heard.length, 3, 'the same function listens on for the other one')
  stops[1]?.()
  bus.emit('job.redriven', JOB)
  t.equal(heard.length, 3)
  t.notOk(bus.wants('job.redriven'))
})

t.test('several events at once, and the subscription is told', async (t) => {
  const { bus, events } = underTest()
  const heard: unknown[] = []
  for (const name of ['subscriber.registered', 'subscriber.unregistered'] as const) bus.on(name, (event) => { heard.push([name, event]) })
  const stop = events.subscribe('audit', {
    'job.redriven': (event, name) => { heard.push([name, event.jobId]) },
    'job.removed': ({ jobId }) => { heard.push(['removed', jobId]) },
    'job.failed': undefined
  })
  bus.emit('job.redriven', JOB)
  bus.emit('job.removed', { jobId: 'j', jobName: 'n', queue: 'q', correlationId: 'c' })
  stop()
  stop()
  bus.emit('job.redriven', JOB)
  t.same(heard, [['subscriber.registered', { name: 'audit', events: 2 }], ['job.redriven', 'j'], ['removed', 'j'], ['subscriber.unregistered', { name: 'audit', events: 2 }]])
})

class Audit {
  readonly seen: string[] = []
  /** No event is called so: it is none of ours. */
  close (): void { this.seen.push('closed') }
  'job.completed' ({ jobId }: EventMap['job.completed']): void { this.seen.push(jobId) }
}

class StrictAudit extends Audit {
  'job.redriven' ({ jobId }: EventMap['job.redriven']): void { this.seen.push(`again ${jobId}`) }
}

t.test('an instance of a class: its methods that are named like an event, with itself as `this`', async (t) => {
  const { bus, events } = underTest()
  const audit = new StrictAudit()
  const stop = events.subscribe('audit', audit)
  bus.emit('job.completed', COMPLETED)
  bus.emit('job.redriven', JOB)
  stop()
  bus.emit('job.completed', COMPLETED)
  t.same(audit.seen, ['j', 'again j'])
})

t.test('a subscriber that throws harms nobody: logged once, told every time, the others are heard', async (t) => {
  const { bus, events, warned, failed } = underTest()
  const heard: string[] = []
  events.subscribe('broken', { 'job.redriven': () => { throw new Error('statsd is away') } })
  events.subscribe('whole', { 'job.redriven': ({ jobId }) => { heard.push(jobId) } })
  events.on('job.redriven', () => { throw new Error('mine, too') })
  for (let index = 0; index < 3; index++) t.doesNotThrow(() => { bus.emit('job.redriven', JOB) })
  t.same(heard, ['j', 'j', 'j'])
  t.equal(warned.length, 2)
  t.equal(failed.filter((text) => text === 'job.redriven: statsd is away').length, 3)
})

t.test('a listener that ends its own subscription, or adds one, while it is called', async (t) => {
  const { bus, events } = underTest()
  const heard: string[] = []
  const stop = events.on('job.redriven', () => {
    heard.push('once')
    stop()
    events.on('job.redriven', () => { heard.push('later') })
  })
  events.on('job.redriven', () => { heard.push('other') })
  bus.emit('job.redriven', JOB)
  t.same(heard, ['once', 'other'])
  bus.emit('job.redriven', JOB)
  t.same(heard, ['once', 'other', 'other', 'later'])
})

t.test('what is no event, and what is no function, is refused by name', async (t) => {
  const { bus, events } = underTest()
  const registered: unknown[] = []
  bus.on('subscriber.registered', (event) => { registered.push(event) })
  t.throws(() => events.on('job.complete' as EventName, () => {}), { code: 'FAE_INVALID_OPTIONS', message: /jobEvents\.on: job\.complete is not an event/ })
  t.throws(() => events.on('job.completed', 'x' as unknown as () => void), { code: 'FAE_INVALID_OPTIONS', message: /job\.completed must be a function/ })
  const wrong = { 'job.complete': () => {}, 'job.failed': 5, toString: () => 'x' } as unknown as EventSubscriber
  t.throws(() => events.subscribe('audit', wrong), { code: 'FAE_INVALID_OPTIONS', message: /subscriber "audit": job\.complete is not an event \(app\.jobEvents\.catalogue lists them\); job\.failed must be a function; toString is not an event/ })
  for (const none of [undefined, null, 'x', 5]) t.throws(() => events.subscribe('audit', none as unknown as EventSubscriber), { code: 'FAE_INVALID_OPTIONS', message: /an object with a function per event/ })
  t.notOk(bus.wants('job.failed'), 'nothing of it was subscribed')
  t.same(registered, [])
})

t.test('the catalogue names every event and what is in it', async (t) => {
  const { events } = underTest()
  const catalogue = events.catalogue()
  t.same(catalogue.map(({ name }) => name), EVENT_NAMES)
  t.same(catalogue.find(({ name }) => name === 'job.completed'), { name: 'job.completed', ...EVENT_CATALOGUE['job.completed'] })
})

/** The example of requirement row S4-38: a subscriber in front of a StatsD client. */
class StatsdSubscriber {
  readonly #send: (line: string) => void

  constructor (send: (line: string) => void) {
    this.#send = send
  }

  'job.completed' ({ jobName, totalMs }: EventMap['job.completed']): void {
    this.#send(`jobs.duration:${totalMs}|ms|#job:${jobName}`)
    this.#send('jobs.completed:1|c')
  }

  'job.failed' ({ errorCode }: EventMap['job.failed']): void { this.#send(`jobs.failed:1|c|#error:${errorCode}`) }
}

t.test('example: completed jobs as a histogram of StatsD', async (t) => {
  const { bus, events } = underTest()
  const sent: string[] = []
  events.subscribe('statsd', new StatsdSubscriber((line) => { sent.push(line) }))
  bus.emit('job.completed', COMPLETED)
  bus.emit('job.failed', { ...COMPLETED, errorCode: 'ETIMEDOUT', errorMessage: 'no answer' })
  t.same(sent, ['jobs.duration:90|ms|#job:report', 'jobs.completed:1|c', 'jobs.failed:1|c|#error:ETIMEDOUT'])
})
