/** How long a stop takes: never longer than it says, and no longer than it must. */
import t from 'tap'
import { withDeadline } from '../../lib/core/deadline.ts'
import type { JobContext, JobDefinitionInput } from '../../lib/jobs/definition.ts'
import type { Attempt, ConsumeOptions, Consumer, JobStore, Settlement } from '../../lib/jobs/store.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import { Worker } from '../../lib/worker/worker.ts'
import { testClaim, testRuntime } from './support.ts'

const DRAIN_MS = 20_000
const ignore = (): void => {}

/** A consumer that claims when the test says so, and a store behind it that can be dead. */
class PlayedConsumer implements Consumer {
  readonly queue: string
  readonly lastSeenAt = 0
  readonly paused = false
  readonly settlements: Settlement[] = []
  readonly #options: ConsumeOptions
  readonly #clock: FakeClock
  readonly #dead: boolean
  readonly #pending = new Set<Promise<void>>()

  constructor (options: ConsumeOptions, clock: FakeClock, dead: boolean) {
    this.queue = options.queue
    this.#options = options
    this.#clock = clock
    this.#dead = dead
  }

  get active (): number { return this.#pending.size }
  pause (): void {}
  resume (): void {}

  claim (): void {
    const attempt = this.#options.attempt(testClaim({ id: String(this.settlements.length) }))
    const settled = this.#settle(attempt).finally(() => { this.#pending.delete(settled) })
    this.#pending.add(settled)
  }

  async #settle (attempt: Attempt): Promise<void> {
    this.settlements.push(await attempt.run())
    if (this.#dead) await new Promise(ignore)
    attempt.settled({ kind: 'stored' })
  }

  async drain (deadlineMs: number): Promise<boolean> {
    await withDeadline(this.#clock, deadlineMs, Promise.all(this.#pending))
    return this.active === 0
  }

  async close (deadlineMs: number): Promise<void> {
    if (this.#dead) await withDeadline(this.#clock, deadlineMs, new Promise(ignore))
  }
}

/** Two queues, of which the first has nothing to do. */
async function runningBeside (handler: JobDefinitionInput['handler']): Promise<{ clock: FakeClock, idle: PlayedConsumer, busy: PlayedConsumer, worker: Worker }> {
  const clock = new FakeClock()
  const { runtime } = testRuntime({ handler }, clock)
  const consumers: PlayedConsumer[] = []
  const store = { ...runtime.store, consume: (options: ConsumeOptions) => consumers[consumers.push(new PlayedConsumer(options, clock, false)) - 1] } as JobStore
  const worker = new Worker({ ...runtime, store }, { drainTimeoutMs: DRAIN_MS, queues: { other: {} } })
  await worker.start()
  const [idle, busy] = consumers
  if (idle === undefined || busy === undefined) throw new Error('there are no consumers')
  return { clock, idle, busy, worker }
}

interface Stopping { readonly consumer: PlayedConsumer, readonly clock: FakeClock, readonly event: (name: 'handler.abandoned') => Record<string, unknown> | undefined, readonly stop: () => { over: boolean } }

async function running (definition: Pick<JobDefinitionInput, 'handler'> & Partial<JobDefinitionInput>, dead = false): Promise<Stopping> {
  const clock = new FakeClock()
  const { runtime, event } = testRuntime(definition, clock)
  const consumers: PlayedConsumer[] = []
  const store = { ...runtime.store, consume: (options: ConsumeOptions) => consumers[consumers.push(new PlayedConsumer(options, clock, dead)) - 1] } as JobStore
  const worker = new Worker({ ...runtime, store }, { drainTimeoutMs: DRAIN_MS })
  await worker.start()
  const [consumer] = consumers
  if (consumer === undefined) throw new Error('there is no consumer')
  consumer.claim()
  await clock.advance(0)
  const stop = (): { over: boolean } => {
    const state = { over: false }
    void worker.stop(worker.drainTimeoutMs).then(() => { state.over = true })
    return state
  }
  return { consumer, clock, event, stop }
}

const obedient = async (job: JobContext): Promise<void> => { await new Promise((_resolve, reject) => { job.signal.addEventListener('abort', () => reject(job.signal.reason)) }) }
const deaf = async (): Promise<void> => { await new Promise(ignore) }

/** Ends at this time, and not a millisecond earlier. */
async function endsAfter (t: { equal (found: unknown, wanted: unknown, message: string): unknown }, clock: FakeClock, state: { over: boolean }, ms: number): Promise<void> {
  await clock.advance(ms - 1)
  t.equal(state.over, false, `not before ${ms} ms`)
  await clock.advance(1)
  t.equal(state.over, true, `after ${ms} ms`)
}

t.test('an obedient handler: handed back as soon as the drain is over', async (t) => {
  const { clock, consumer, stop } = await running({ handler: obedient, graceMs: 600_000 })
  await endsAfter(t, clock, stop(), DRAIN_MS)
  t.same(consumer.settlements, [{ kind: 'release' }])
})

t.test('a deaf handler gets its grace', async (t) => {
  const { clock, consumer, stop, event } = await running({ handler: deaf, graceMs: 1_000 })
  await endsAfter(t, clock, stop(), DRAIN_MS + 1_000)
  t.same(consumer.settlements, [{ kind: 'release' }])
  t.match(event('handler.abandoned'), { reason: 'shutdown', graceMs: 1_000 })
})

t.test('however long its grace is, a shutdown cuts it down', async (t) => {
  const { clock, consumer, stop, event } = await running({ handler: deaf, graceMs: 600_000 })
  await endsAfter(t, clock, stop(), DRAIN_MS + 5_000)
  t.same(consumer.settlements, [{ kind: 'release' }])
  t.match(event('handler.abandoned'), { reason: 'shutdown', graceMs: 5_000 })
})

t.test('also a grace that began earlier, with a timeout: it counts as that', async (t) => {
  const { clock, consumer, stop, event } = await running({ handler: deaf, timeoutMs: 1_000, graceMs: 600_000 })
  await clock.advance(2_000)
  await endsAfter(t, clock, stop(), DRAIN_MS + 5_000)
  t.match(consumer.settlements, [{ kind: 'retry', error: { code: 'FAE_ATTEMPT_TIMEOUT' } }])
  t.match(event('handler.abandoned'), { reason: 'timeout', graceMs: 1_000 + DRAIN_MS + 5_000 })
})

t.test('a grace that is nearly over is not prolonged', async (t) => {
  const { clock, stop } = await running({ handler: deaf, timeoutMs: 1_000, graceMs: DRAIN_MS + 1_000 })
  await clock.advance(1_000)
  await endsAfter(t, clock, stop(), DRAIN_MS + 1_000)
})

t.test('a store that does not answer adds two and a half seconds, and no grace that nobody used', async (t) => {
  const { clock, stop } = await running({ handler: obedient, graceMs: 600_000 }, true)
  await endsAfter(t, clock, stop(), DRAIN_MS + 2_500)
})

t.test('at the worst everything is waited for in full, and then it is over', async (t) => {
  const { clock, stop } = await running({ handler: deaf, graceMs: 600_000 }, true)
  await endsAfter(t, clock, stop(), DRAIN_MS + 5_000 + 2_500)
})

t.test('a claim that arrives when the drain is over goes back before its handler is called', async (t) => {
  let calls = 0
  const { clock, consumer, stop } = await running({ handler: async () => { calls++; await new Promise(ignore) }, graceMs: 1_000 })
  const state = stop()
  await clock.advance(DRAIN_MS + 500)
  consumer.claim()
  await clock.advance(0)
  t.equal(calls, 1)
  t.same(consumer.settlements, [{ kind: 'release' }])
  await clock.advance(500)
  t.equal(state.over, true)
  t.same(consumer.settlements, [{ kind: 'release' }, { kind: 'release' }])
})

t.test('a claim that arrives after its own consumer was drained, while another still is, goes back as well', async (t) => {
  let calls = 0
  const { clock, idle, busy, worker } = await runningBeside(async (job) => { calls++ === 0 ? await new Promise((resolve) => { clock.setTimeout(() => resolve(undefined), 5_000) }) : await obedient(job) })
  busy.claim()
  await clock.advance(0)
  let over = false
  void worker.stop(DRAIN_MS).then(() => { over = true })
  await clock.advance(1_000)
  idle.claim()
  await clock.advance(4_000)
  t.equal(over, true)
  t.same([busy.settlements, idle.settlements], [[{ kind: 'completed', result: undefined, resultBytes: undefined }], [{ kind: 'release' }]])
})
