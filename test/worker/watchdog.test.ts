import t from 'tap'
import type { JobRuntime } from '../../lib/events/runtime.ts'
import type { Attempt, Claim, ConsumeOptions, Consumer, JobStore } from '../../lib/jobs/store.ts'
import { memoryStore } from '../../lib/stores/memory/index.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import type { WorkerOptions } from '../../lib/worker/worker-options.ts'
import { Worker } from '../../lib/worker/worker.ts'
import { testClaim, testRuntime } from './support.ts'

interface Test { teardown: (fn: () => unknown) => unknown }

/** A consumer that a test plays: alive only when it says so. */
class PlayedConsumer implements Consumer {
  readonly queue: string
  readonly options: ConsumeOptions
  readonly sizes: number[]
  readonly done: string[] = []
  active = 0
  lastSeenAt = -Infinity
  paused = false

  constructor (options: ConsumeOptions) {
    this.queue = options.queue
    this.options = options
    this.sizes = [options.concurrency]
  }

  resize (concurrency: number): void { this.sizes.push(concurrency) }
  pause (): void { this.paused = true }
  resume (): void { this.paused = false }
  async drain (): Promise<boolean> {
    this.done.push('drain')
    return this.active === 0
  }

  async close (): Promise<void> { this.done.push('close') }
}

interface Made {
  readonly clock: FakeClock
  readonly worker: Worker
  readonly made: PlayedConsumer[]
  readonly restarts: Array<{ queue: string, silentMs: number, reason: string }>
  readonly store: { away: boolean, asked: number }
  /** Moves time on in small steps, with a look of every consumer that is `alive` in each. */
  pass: (ms: number, ...alive: PlayedConsumer[]) => Promise<void>
}

async function make (t: Test, options: WorkerOptions = {}): Promise<Made> {
  const clock = new FakeClock()
  const { runtime } = testRuntime({ handler: () => {} }, clock)
  const made: PlayedConsumer[] = []
  const state = { away: false, asked: 0 }
  const store = {
    type: 'test',
    consume: (given: ConsumeOptions) => { const consumer = new PlayedConsumer(given); made.push(consumer); return consumer },
    ping: async () => { state.asked++; if (state.away) throw new Error('away') }
  } as Partial<JobStore> as JobStore
  const restarts: Made['restarts'] = []
  runtime.bus.on('worker.restarted', ({ queue, silentMs, reason }) => restarts.push({ queue, silentMs, reason }))
  const worker = new Worker({ ...runtime, store }, { concurrency: 4, ...options })
  await worker.start()
  t.teardown(() => worker.stop(0))
  const pass = async (ms: number, ...alive: PlayedConsumer[]): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 1_000) {
      for (const consumer of alive) consumer.lastSeenAt = clock.monotonic()
      await clock.advance(1_000)
    }
  }
  return { clock, worker, made, restarts, store: state, pass }
}

function first (made: Made): PlayedConsumer {
  const [consumer] = made.made
  if (consumer === undefined) throw new Error('there is no consumer')
  return consumer
}

t.test('one that works is left alone, and the store is not even asked', async (t) => {
  const made = await make(t)
  await made.pass(150_000, first(made))
  t.same([made.restarts, made.store.asked, made.made.length], [[], 0, 1])
})

t.test('one that worked and is silent is replaced, drained and closed', async (t) => {
  const made = await make(t)
  await made.pass(10_000, first(made))
  await made.pass(45_000)
  t.match(made.restarts, [{ queue: 'default', reason: 'silent' }])
  t.ok((made.restarts[0]?.silentMs ?? 0) >= 30_000 && (made.restarts[0]?.silentMs ?? Infinity) <= 38_500, `after ${String(made.restarts[0]?.silentMs)} ms`)
  t.same(first(made).done, ['drain', 'close'])
  t.same(made.worker.consumers().map((consumer) => consumer === made.made[1]), [true])
  t.same(made.made[1]?.sizes[0], 4)
})

t.test('one that never came to its first look', async (t) => {
  const made = await make(t)
  await made.pass(45_000)
  t.match(made.restarts, [{ reason: 'never-looked' }])
})

t.test('backoff: each that fails gets twice the time, up to the limit; a sign of life starts anew', async (t) => {
  const made = await make(t, { watchdog: { silentMs: 10_000, maxSilentMs: 40_000 } })
  const at: number[] = []
  for (let step = 0; step < 1_000 && at.length < 5; step++) {
    const before = made.restarts.length
    await made.pass(1_000)
    if (made.restarts.length > before) at.push(made.clock.monotonic())
  }
  const gaps = at.map((time, index) => time - (at[index - 1] ?? 0))
  for (const [index, least] of [10_000, 20_000, 40_000, 40_000, 40_000].entries()) t.ok((gaps[index] ?? 0) >= least && (gaps[index] ?? Infinity) <= least + 6_500, `number ${index + 1} after ${String(gaps[index])} ms`)
  const newest = made.made.at(-1)
  if (newest === undefined) return
  await made.pass(6_000, newest)
  const count = made.restarts.length
  await made.pass(16_000)
  t.equal(made.restarts.length, count + 1, 'the time is short again')
})

t.test('a reason to be silent is no silence: paused, every place taken, draining, no watchdog', async (t) => {
  const paused = await make(t)
  paused.worker.pause()
  await paused.pass(150_000)
  const full = await make(t)
  first(full).active = 4
  await full.pass(150_000)
  const draining = await make(t)
  draining.worker.quiesce()
  await draining.pass(150_000)
  const off = await make(t, { watchdog: false })
  await off.pass(150_000)
  for (const made of [paused, full, draining, off]) t.same([made.restarts, made.made.length], [[], 1])
  t.equal(off.clock.pending, 0)

  paused.worker.resume()
  await paused.pass(29_000)
  t.same(paused.restarts, [], 'silence counts from the end of the reason')
  await paused.pass(16_000)
  t.equal(paused.restarts.length, 1)
  first(full).active = 3
  await full.pass(45_000)
  t.equal(full.restarts.length, 1, 'with one free place')
})

t.test('nothing is replaced while the store is away; when it is back, everybody has the full time', async (t) => {
  const made = await make(t)
  await made.pass(5_000, first(made))
  made.store.away = true
  await made.pass(150_000)
  t.same(made.restarts, [])
  t.ok(made.store.asked > 5, 'it was asked')
  made.store.away = false
  await made.pass(29_000)
  t.same(made.restarts, [])
  await made.pass(24_000)
  t.equal(made.restarts.length, 1)
})

t.test('a blocked event loop is not a silent consumer', async (t) => {
  const made = await make(t)
  await made.pass(10_000, first(made))
  made.clock.jump(120_000)
  // The first timers fire late, before the answers of the store are read.
  await made.clock.advance(0)
  t.ok(made.store.asked > 0, 'it was suspected')
  await made.pass(60_000, first(made))
  t.same(made.restarts, [])
})

t.test('attempts under way stay with the old one; the new one takes the other places, and theirs when they end', async (t) => {
  const made = await make(t)
  const old = first(made)
  old.active = 3
  await made.pass(45_000)
  t.equal(made.restarts.length, 1)
  const next = made.made[1]
  t.same([next?.sizes, made.worker.slotsOf('default')], [[1], 1])
  t.same(old.done.filter((step) => step === 'close'), [], 'not closed while they run')
  await made.worker.stop(0)
  t.ok(old.done.includes('close') && next?.done.includes('close'), 'a worker that stops closes both')
})

t.test('restart by hand; not of what is not there', async (t) => {
  const made = await make(t)
  t.equal(made.worker.restart('other'), false)
  t.equal(made.worker.restart('default'), true)
  t.same(made.restarts, [{ queue: 'default', silentMs: 0, reason: 'requested' }])
  made.worker.pause()
  t.equal(made.worker.restart('default'), false)
  made.worker.quiesce()
  t.equal(made.worker.restart('default'), false)
})

t.test('never more attempts than places: no restart while all are taken, and a late claim of the old one counts', async (t) => {
  const made = await make(t)
  const old = first(made)
  old.active = 4
  t.equal(made.worker.restart('default'), false)
  old.active = 1
  t.equal(made.worker.restart('default'), true)
  const next = made.made[1]
  t.same(next?.sizes, [3])
  old.active = 2
  old.options.attempt(testClaim())
  await made.clock.advance(0)
  t.same(next?.sizes, [3, 2])
  if (next !== undefined) next.active = 2
  t.equal(made.worker.restart('default'), false, 'the places of both together')
})

t.test('a time that is too short for the store is refused', async (t) => {
  const { runtime } = testRuntime({ handler: () => {} })
  const of = (silentMs: number): Worker => new Worker({ ...runtime, store: { ...runtime.store, longestLookMs: 10_000 } }, { watchdog: { silentMs } })
  t.throws(() => of(14_999), { code: 'FAE_INVALID_OPTIONS', message: /watchdog\.silentMs must be at least 15000/ })
  t.ok(of(15_000))
  t.ok(new Worker(runtime, { watchdog: { silentMs: 100 } }), 'a store whose consumers need not look')
})

t.test('stopped, it leaves no timer', async (t) => {
  const made = await make(t)
  await made.pass(10_000)
  await made.worker.stop(0)
  t.equal(made.clock.pending, 0)
})

/** The memory store, whose first consumer never hears that there is work. */
function deafStore (inner: JobStore): JobStore {
  let deaf = true
  return new Proxy(inner, {
    get (target, key) {
      if (key === 'consume' && deaf) {
        return (options: ConsumeOptions) => {
          deaf = false
          return new PlayedConsumer(options)
        }
      }
      const value: unknown = Reflect.get(target, key)
      return typeof value === 'function' ? value.bind(target) : value
    }
  })
}

t.test('in memory as well: jobs that nobody takes are taken by the new consumer', async (t) => {
  const clock = new FakeClock()
  const { runtime } = testRuntime({ handler: () => 'done' }, clock)
  const inner = memoryStore()
  await inner.open({ context: runtime.context, report () {} })
  t.teardown(() => inner.close(0))
  const worker = new Worker({ ...runtime, store: deafStore(inner) } satisfies JobRuntime, { concurrency: 2 })
  await worker.start()
  t.teardown(() => worker.stop(0))
  const id = runtime.context.ids.job()
  const now = clock.now()
  await inner.create({ id, name: 'job', queue: 'default', input: { body: {}, params: {}, query: {}, headers: {} }, owner: undefined, correlationId: 'c', trace: undefined, priority: 0, createdAt: now, runAt: now, maxAttempts: 1, idempotency: undefined })
  await clock.advance(20_000)
  t.equal((await inner.get(id))?.state, 'queued')
  await clock.advance(25_000)
  t.equal((await inner.get(id))?.state, 'completed')
})

t.test('a busy consumer in memory with a long line is not suspected', async (t) => {
  const clock = new FakeClock()
  const { runtime } = testRuntime({ handler: () => {} }, clock)
  const inner = memoryStore()
  await inner.open({ context: runtime.context, report () {} })
  t.teardown(() => inner.close(0))
  const restarts: unknown[] = []
  runtime.bus.on('worker.restarted', (event) => restarts.push(event))
  const ends: Array<() => void> = []
  const attempt = (claim: Claim): Attempt => ({ run: () => new Promise((resolve) => { ends.push(() => resolve({ kind: 'completed', result: undefined, resultBytes: undefined })) }), abort () {}, settled () { void claim } })
  const store = new Proxy(inner, {
    get: (target, key) => {
      if (key === 'consume') return (options: ConsumeOptions) => target.consume({ ...options, attempt })
      const value: unknown = Reflect.get(target, key)
      return typeof value === 'function' ? value.bind(target) : value
    }
  })
  const worker = new Worker({ ...runtime, store }, { concurrency: 1 })
  await worker.start()
  t.teardown(() => worker.stop(0))
  for (let n = 0; n < 5; n++) {
    const now = clock.now()
    await inner.create({ id: runtime.context.ids.job(), name: 'job', queue: 'default', input: { body: {}, params: {}, query: {}, headers: {} }, owner: undefined, correlationId: 'c', trace: undefined, priority: 0, createdAt: now, runAt: now, maxAttempts: 1, idempotency: undefined })
  }
  for (let n = 0; n < 5; n++) {
    await clock.advance(100_000)
    ends[n]?.()
    await clock.advance(10)
  }
  t.same([ends.length, restarts], [5, []])
})
