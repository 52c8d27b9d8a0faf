import t, { type Test } from 'tap'
import { isThenable, takeRejection } from '../../lib/core/rejections.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { Subscriptions } from '../../lib/events/subscribers.ts'
import { compileBackoff } from '../../lib/jobs/backoff.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'

/** Rejections that nobody takes; Node would end the process at the first. */
function untaken (t: Test): unknown[] {
  const found: unknown[] = []
  const listen = (reason: unknown): void => { found.push(reason) }
  process.on('unhandledRejection', listen)
  t.teardown(() => { process.off('unhandledRejection', listen) })
  return found
}

async function turns (): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => { setImmediate(resolve) })
}

t.test('answers that are no promises', async (t) => {
  for (const answer of [undefined, null, 0, 'text', {}, () => {}]) takeRejection(answer, () => { t.fail('nothing was rejected') })
})

t.test('an async listener that rejects is told like one that throws', async (t) => {
  const found = untaken(t)
  const lines: unknown[] = []
  const logger = { warn: (...line: unknown[]) => { lines.push(line) } }
  const bus = new EventBus(logger as never)
  const events = new Subscriptions(bus)
  const told: unknown[] = []
  bus.on('telemetry.listener_failed', (event) => { told.push(event) })
  const reject = async (): Promise<void> => { throw new Error('the pager is away') }
  events.on('worker.stopped', reject)
  events.subscribe('pager', { 'worker.stopped': reject })
  for (let time = 0; time < 2; time++) bus.emit('worker.stopped', { workerId: 'w', released: 0 })
  await turns()
  t.same(found, [])
  t.equal(lines.length, 2, 'one line for each listener')
  t.same(told, Array(4).fill({ source: 'worker.stopped', message: 'the pager is away' }))
})

t.test('other functions of an application that should answer at once', async (t) => {
  const found = untaken(t)
  const reject = async (): Promise<never> => { throw new Error('no') }
  t.equal(compileBackoff(reject as never)({ attempt: 1 } as never), -1)
  const registry = new MetricsRegistry()
  const failures: unknown[] = []
  registry.onCollectorError = (error) => { failures.push(error) }
  registry.onCollect(reject)
  registry.families()
  await turns()
  t.equal(failures.length, 1)
  t.same(found, [])
})

t.test('what can be awaited has a `then`, whatever else it is', async (t) => {
  const then = (): void => {}
  for (const value of [Promise.resolve(), { then }, Object.assign(() => {}, { then })]) t.ok(isThenable(value))
  for (const value of [undefined, null, 1, 'then', {}, { then: true }, () => {}]) t.notOk(isThenable(value))
})
