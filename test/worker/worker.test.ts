import t from 'tap'
import { compileDefinition } from '../../lib/jobs/compile-definition.ts'
import type { Attempt, ConsumeOptions, Consumer, JobStore } from '../../lib/jobs/store.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import type { WorkerOptions } from '../../lib/worker/worker-options.ts'
import { Worker } from '../../lib/worker/worker.ts'
import { testClaim, testRuntime, type TestRuntime } from './support.ts'

/** A consumer that does nothing by itself. */
class IdleConsumer implements Consumer {
  readonly options: ConsumeOptions
  readonly lastSeenAt = 0
  active = 0
  paused = false

  constructor (options: ConsumeOptions) { this.options = options }
  get queue (): string { return this.options.queue }
  pause (): void { this.paused = true }
  resume (): void { this.paused = false }
  async drain (): Promise<boolean> { return true }
  async close (): Promise<void> {}
}

function make (options: WorkerOptions = {}, clock = new FakeClock()): TestRuntime & { worker: Worker, made: IdleConsumer[] } {
  const test = testRuntime({ handler: () => 'done' }, clock)
  const made: IdleConsumer[] = []
  const store = { ...test.runtime.store, consume: (given: ConsumeOptions) => { const consumer = new IdleConsumer(given); made.push(consumer); return consumer } } as JobStore
  const runtime = { ...test.runtime, store }
  return { ...test, runtime, made, worker: new Worker(runtime, { watchdog: false, ...options }) }
}

t.test('a worker that is made has changed nothing and claims nothing; starting it does both', async (t) => {
  const middleware = async (_job: unknown, next: () => Promise<unknown>): Promise<unknown> => await next()
  const { worker, runtime, made, names } = make({ middleware: [middleware], queues: { mail: {} } })
  t.strictSame([runtime.handlerMiddleware, made, names(), worker.consumers(), worker.concurrency], [[], [], [], [], 0])
  await worker.start()
  t.teardown(() => worker.stop(0))
  t.strictSame(runtime.handlerMiddleware, [middleware])
  t.strictSame(made.map(({ queue }) => queue), ['default', 'mail'])
  t.strictSame([names(), worker.concurrency], [['worker.started', 'worker.started'], 20])
  runtime.registry.add(compileDefinition({ name: 'late', queue: 'late', handler: () => {} }))
  t.equal(made[2]?.queue, 'late', 'a definition that comes later has its queue consumed too')
})

t.test('the attempts of all queues, the oldest first', async (t) => {
  const clock = new FakeClock()
  const { worker, made } = make({ queues: { mail: {} } }, clock)
  await worker.start()
  t.teardown(() => worker.stop(0))
  const attempts: Attempt[] = []
  for (const [id, queue] of [['1', 'default'], ['2', 'mail'], ['3', 'default']] as const) {
    const attempt = made.find((consumer) => consumer.queue === queue)?.options.attempt(testClaim({ id, queue }))
    if (attempt !== undefined) attempts.push(attempt)
    await clock.advance(100)
  }
  t.strictSame(worker.oldestAttempts(2).map(({ id, queue, runningMs }) => [id, queue, runningMs]), [['1', 'default', 300], ['2', 'mail', 200]])
  t.strictSame(worker.loads(), [{ queue: 'default', active: 2, concurrency: 10 }, { queue: 'mail', active: 1, concurrency: 10 }])
  t.equal(worker.active, 3)
  for (const attempt of attempts) {
    await attempt.run()
    attempt.settled({ kind: 'stored' })
    attempt.settled({ kind: 'stored' })
  }
  t.strictSame([worker.active, worker.oldestAttempts(5)], [0, []], 'an attempt that is settled twice is counted once')
})

t.test('pause and resume name the queue, or mean all; a queue that is not consumed here has its slots and nothing else', async (t) => {
  const { worker, made, names } = make({ queues: { mail: { concurrency: 3 } } })
  await worker.start()
  t.teardown(() => worker.stop(0))
  worker.pause('mail')
  t.strictSame(made.map(({ paused }) => paused), [false, true])
  worker.pause()
  worker.pause('unknown')
  worker.resume('default')
  t.strictSame(made.map(({ paused }) => paused), [false, true])
  t.strictSame(names().slice(2), ['worker.paused', 'worker.paused', 'worker.paused', 'worker.resumed'])
  t.strictSame([worker.slotsOf('mail'), worker.slotsOf('unknown'), worker.restart('unknown')], [3, 10, false])
  t.strictSame(worker.abandonedIn('unknown'), { running: 0, exhaustedSince: undefined })
})
