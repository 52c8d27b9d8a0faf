import t from 'tap'
import { AsyncEndpointsError } from '../../lib/core/errors.ts'
import { cancel, discard, snooze } from '../../lib/jobs/outcome.ts'
import type { JobContext } from '../../lib/jobs/definition.ts'
import type { Claim, Settlement } from '../../lib/jobs/store.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'
import { AttemptRun, type AttemptObserver } from '../../lib/worker/attempt.ts'
import { testClaim, testRuntime, type TestRuntime } from './support.ts'

const ignore = (): void => {}
const nobody: AttemptObserver = { attemptEnded: ignore, handlerAbandoned: ignore, handlerEndedLate: ignore }

async function settle (test: TestRuntime, claim: Claim = testClaim(), during?: (run: AttemptRun) => void): Promise<Settlement> {
  const run = new AttemptRun(test.runtime, claim, 'w1', nobody)
  const running = run.run()
  during?.(run)
  const settlement = await running
  run.settled({ kind: 'stored' })
  return settlement
}

t.test('a handler\'s return becomes the result as JSON', async (t) => {
  t.same(await settle(testRuntime({ handler: async (job) => ({ twice: (job.body as { n: number }).n * 2 }) })), { kind: 'completed', result: '{"twice":2}', resultBytes: 11 })
  t.same(await settle(testRuntime({ handler: () => undefined })), { kind: 'completed', result: undefined, resultBytes: undefined })
  t.same(await settle(testRuntime({ handler: () => null })), { kind: 'completed', result: 'null', resultBytes: 4 })
  t.same(await settle(testRuntime({ handler: () => 'ä' })), { kind: 'completed', result: '"ä"', resultBytes: 4 }, 'bytes, not characters')
})

t.test('the wait is counted from the moment the job could run, the whole from its submission', async (t) => {
  const clock = new FakeClock()
  const test = testRuntime({ handler: () => 'x' }, clock)
  const now = clock.now()
  // Submitted long ago for later, put back by a backoff since, claimed two seconds after that was over.
  await settle(test, testClaim({ createdAt: now - 60_000, runAt: now - 2_000, startedAt: now, attempts: 2 }, { availableAt: now - 2_000, claimMs: 3 }))
  t.match(test.event('job.claimed'), { queueWaitMs: 2_000, claimMs: 3 })
  t.match(test.event('job.completed'), { queueWaitMs: 2_000, totalMs: 60_000, attempt: 2 })
  await settle(test, testClaim({ createdAt: now }, { availableAt: now + 500 }))
  t.match(test.event('job.claimed'), { queueWaitMs: 0 }, 'clocks of two hosts differ')
})

t.test('results that cannot be kept fail the job with a code, without another attempt', async (t) => {
  const circular: Record<string, unknown> = {}
  circular['self'] = circular
  t.match(await settle(testRuntime({ handler: () => circular })), { kind: 'failed', error: { code: 'FAE_RESULT_NOT_SERIALIZABLE' } })
  t.match(await settle(testRuntime({ handler: () => 10n })), { kind: 'failed', error: { code: 'FAE_RESULT_NOT_SERIALIZABLE' } })
  t.match(await settle(testRuntime({ handler: () => () => 1 })), { kind: 'failed', error: { code: 'FAE_RESULT_NOT_SERIALIZABLE' } })
  t.match(await settle(testRuntime({ handler: () => 'x'.repeat(100), maxResultBytes: 101 })), { kind: 'failed', error: { code: 'FAE_RESULT_TOO_LARGE' } })
  t.match(await settle(testRuntime({ handler: () => 'x'.repeat(99), maxResultBytes: 101 })), { kind: 'completed', resultBytes: 101 })
})

t.test('a claim and a settlement are operations of the store, the failed ones too', async (t) => {
  const operations: unknown[] = []
  const test = testRuntime({ handler: () => 'x' })
  const { runtime } = test
  runtime.bus.on('store.operated', ({ operation, durationMs }) => { operations.push(operation, durationMs >= 0) })
  runtime.bus.on('store.operation_failed', ({ operation, errorCode }) => { operations.push(operation, errorCode) })
  await settle(test, testClaim({}, { claimMs: 3 }))
  t.same(operations, ['claim', true, 'settle', true])
  const run = new AttemptRun(runtime, testClaim({}, { claimMs: undefined }), 'w1', nobody)
  await run.run()
  run.settled({ kind: 'error', error: new AsyncEndpointsError('FAE_STORE_UNAVAILABLE', 'away') })
  t.same(operations.slice(4), ['settle', 'FAE_STORE_UNAVAILABLE'], 'a claim that nobody measured is not made up')
})

t.test('a throw is retried until the attempts are spent', async (t) => {
  const broken = (): TestRuntime => testRuntime({ handler: () => { throw new TypeError('no') } })
  const first = broken()
  t.same(await settle(first), { kind: 'retry', error: { code: 'TypeError', message: 'no' }, delayMs: 1_000 })
  t.same(first.names(), ['job.claimed', 'job.started', 'handler.started', 'handler.failed', 'job.attempt_failed', 'job.retry_scheduled'])
  const last = broken()
  t.same(await settle(last, testClaim({ attempts: 3 })), { kind: 'failed', error: { code: 'TypeError', message: 'no' } })
  t.match(last.event('job.attempt_failed'), { final: true, errorCode: 'TypeError', attempt: 3 })
  t.match(last.event('job.failed'), { errorCode: 'TypeError', attempt: 3, correlationId: 'corr' })
  t.match(await settle(testRuntime({ handler: () => { throw 'text' } })), { kind: 'retry', error: { code: 'FAE_HANDLER_ERROR' } })
  t.match(await settle(testRuntime({ handler: () => { throw undefined } })), { kind: 'retry', error: { code: 'FAE_HANDLER_ERROR' } })
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  t.match(await settle(testRuntime({ handler: () => { throw revoked.proxy } })), { kind: 'retry', error: { code: 'FAE_HANDLER_ERROR' } }, 'a value that cannot even be looked at')
  t.match(await settle(testRuntime({ handler: () => { throw new Error('no') }, retry: { attempts: 3, backoff: () => -1 } })), { kind: 'failed' }, 'a backoff may give up')
})

t.test('a store that lets go of an attempt before its end: the handler hears it, and nobody counts it any more', async (t) => {
  const ended: AttemptRun[] = []
  const test = testRuntime({ handler: async (job) => { await new Promise((_resolve, reject) => { job.signal.addEventListener('abort', () => reject(job.signal.reason)) }) } })
  const run = new AttemptRun(test.runtime, testClaim(), 'w1', { ...nobody, attemptEnded: (run) => { ended.push(run) } })
  const running = run.run()
  run.settled({ kind: 'error', error: new Error('closed') })
  t.same([ended.length, run.abortReason], [1, 'lease-lost'])
  t.match(await running, { kind: 'release' }, 'a store that heard of it would give the job to somebody else')
})

t.test('outcomes may be returned or thrown', async (t) => {
  t.same(await settle(testRuntime({ handler: () => snooze(500) })), { kind: 'snooze', delayMs: 500 })
  const thrown = testRuntime({ handler: () => { throw snooze(500) } })
  t.same(await settle(thrown), { kind: 'snooze', delayMs: 500 })
  t.same(thrown.names().slice(-2), ['handler.completed', 'job.snoozed'], 'a thrown outcome is no error of the handler')
  const cancelled = testRuntime({ handler: () => cancel('not wanted') })
  t.same(await settle(cancelled), { kind: 'cancelled', reason: 'not wanted' })
  t.match(cancelled.event('job.cancelled'), { jobId: testClaim().job.id, workerId: 'w1' })
  t.same(await settle(testRuntime({ handler: () => discard('bad input') })), { kind: 'failed', error: { code: 'FAE_DISCARDED', message: 'bad input', expose: true } })
})

t.test('a timeout aborts the signal, counts as an error and says so', async (t) => {
  let reason: unknown
  const test = testRuntime({
    timeoutMs: 5,
    handler: async (job) => await new Promise((_resolve, reject) => {
      job.signal.addEventListener('abort', () => { reason = job.signal.reason; reject(job.signal.reason as Error) })
    })
  })
  t.match(await settle(test), { kind: 'retry', error: { code: 'FAE_ATTEMPT_TIMEOUT' } })
  t.match(reason, { code: 'FAE_ATTEMPT_TIMEOUT' })
  t.match(test.event('job.timed_out'), { timeoutMs: 5 })
})

t.test('a handler that never ends is settled without it after its grace, and heard no more', async (t) => {
  let late: JobContext | undefined
  const test = testRuntime({ timeoutMs: 5, graceMs: 5, handler: async (job) => { late = job; await new Promise(ignore) } })
  t.match(await settle(test), { kind: 'retry', error: { code: 'FAE_ATTEMPT_TIMEOUT' } })
  t.match(test.event('handler.abandoned'), { reason: 'timeout', graceMs: 5 })
  late?.progress(50)
  t.same(test.progress, [], 'progress of an attempt that is over goes nowhere')
})

t.test('cancelling a running handler', async (t) => {
  await t.test('one that listens is cancelled', async (t) => {
    const test = testRuntime({ handler: async (job) => await new Promise((resolve) => job.signal.addEventListener('abort', () => resolve('half done'))) })
    t.match(await settle(test, testClaim(), (run) => setImmediate(() => run.abort('cancelled'))), { kind: 'cancelled' })
  })
  await t.test('one that never looks and ends in time has completed', async (t) => {
    let finish!: (value: string) => void
    const test = testRuntime({ handler: async () => await new Promise((resolve) => { finish = resolve }) })
    t.match(await settle(test, testClaim(), (run) => setImmediate(() => { run.abort('cancelled'); finish('done') })), { kind: 'completed', result: '"done"' })
  })
  await t.test('one that goes on is cancelled without it', async (t) => {
    const test = testRuntime({ graceMs: 5, handler: async () => await new Promise(ignore) })
    t.match(await settle(test, testClaim(), (run) => setImmediate(() => run.abort('cancelled'))), { kind: 'cancelled' })
  })
  await t.test('throwIfAborted is a checkpoint', async (t) => {
    const test = testRuntime({ handler: async (job) => { while (true) { job.throwIfAborted(); await new Promise((resolve) => setImmediate(resolve)) } } })
    t.match(await settle(test, testClaim(), (run) => setImmediate(() => run.abort('cancelled'))), { kind: 'cancelled' })
  })
})

t.test('shutdown hands the job back without spending an attempt', async (t) => {
  const test = testRuntime({ handler: async (job) => { await new Promise((_resolve, reject) => job.signal.addEventListener('abort', () => reject(job.signal.reason as Error))) } })
  t.same(await settle(test, testClaim({ attempts: 3 }), (run) => setImmediate(() => run.abort('shutdown'))), { kind: 'release' })
  t.same(test.names().slice(-1), ['job.released'])
})

t.test('a job of a name that is not known here goes back and is reported', async (t) => {
  const test = testRuntime({ handler: ignore })
  const settlement = await settle(test, testClaim({ name: 'other' }))
  t.equal(settlement.kind, 'snooze')
  t.ok((settlement as { delayMs: number }).delayMs >= 3_000)
  t.same(test.names(), ['job.unhandled'])
})

t.test('a stall counts as an attempt and serves its backoff', async (t) => {
  let ran = 0
  const test = testRuntime({ handler: () => { ran++ } })
  t.same(await settle(test, testClaim({ attempts: 2 }, { stalled: true })), { kind: 'postpone', delayMs: 1_000 })
  t.match(test.event('job.recovered'), { attempt: 2 })
  t.match(test.event('job.retry_scheduled'), { attempt: 1, delayMs: 1_000, errorCode: 'FAE_STALLED' })
  t.notOk(test.names().includes('job.claimed'), 'nothing was run, so nobody waited')
  t.match(await settle(test, testClaim({ attempts: 4 }, { stalled: true })), { kind: 'failed', error: { code: 'FAE_STALLED' } })
  t.equal(ran, 0)
  t.notOk(test.names().includes('job.attempt_failed'))
  t.match(test.event('job.failed'), { attempt: 3, errorCode: 'FAE_STALLED' })
})

t.test('a stall passes through the middleware like an attempt, and stays one when that fails', async (t) => {
  const claim = (): ReturnType<typeof testClaim> => testClaim({ attempts: 2 }, { stalled: true })
  const test = testRuntime({ handler: () => { throw new Error('not called') } })
  const ended: string[] = []
  test.runtime.attemptMiddleware.push(async (scope, next) => {
    scope.traceIds = { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), traceFlags: '01' }
    const settlement = await next()
    ended.push(settlement.kind)
    return settlement
  })
  t.same(await settle(test, claim()), { kind: 'postpone', delayMs: 1_000 })
  t.same(ended, ['postpone'])
  t.match(test.event('job.retry_scheduled'), { errorCode: 'FAE_STALLED', traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) })
  test.runtime.attemptMiddleware.push(async () => { throw new Error('broken middleware') })
  t.same(await settle(test, claim()), { kind: 'postpone', delayMs: 1_000 }, 'no second attempt is spent')
})

t.test('an ending that was not stored is not told as one', async (t) => {
  const test = testRuntime({ handler: () => 'x' })
  const run = new AttemptRun(test.runtime, testClaim(), 'w1', nobody)
  await run.run()
  run.settled({ kind: 'refused', code: 'FAE_LEASE_LOST' })
  t.notOk(test.names().includes('job.completed'))
  t.match(test.event('job.lease_lost'), { attempt: 1 })
  const other = new AttemptRun(test.runtime, testClaim(), 'w1', nobody)
  await other.run()
  other.settled({ kind: 'error', error: Object.assign(new Error('gone'), { code: 'FAE_STORE_UNAVAILABLE' }) })
  t.match(test.event('job.settle_failed'), { errorCode: 'FAE_STORE_UNAVAILABLE' })
})

t.test('an attempt that wanted to go on, and was ended by a cancel, is told as cancelled', async (t) => {
  const test = testRuntime({ handler: () => snooze(10) })
  const run = new AttemptRun(test.runtime, testClaim(), 'w1', nobody)
  await run.run()
  run.settled({ kind: 'stored', instead: 'cancelled' })
  t.ok(test.event('job.cancelled'))
  t.notOk(test.event('job.snoozed'))
})

t.test('a handler that throws because it was told to stop has no error of its own', async (t) => {
  const test = testRuntime({ handler: async (job) => await new Promise((_resolve, reject) => job.signal.addEventListener('abort', () => reject(job.signal.reason as Error))) })
  await settle(test, testClaim(), (run) => setImmediate(() => run.abort('cancelled')))
  t.notOk(test.names().includes('handler.failed'))
  t.ok(test.names().includes('handler.completed'))
})

t.test('progress is throttled, the last one is stored before the job is settled', async (t) => {
  const test = testRuntime({
    handler: (job) => {
      for (let done = 1; done <= 100; done++) job.progress({ done, total: 100, message: 'm'.repeat(600) })
      job.progress(Number.NaN)
      job.progress(undefined as unknown as number)
      job.progress(99.5)
    }
  })
  await settle(test)
  t.equal(test.progress.length, 2)
  t.match(test.progress[0], { done: 1, total: 100, message: `${'m'.repeat(499)}…` })
  t.same(test.progress[1], { done: 99.5, total: 100 })
  t.equal(test.names().filter((name) => name === 'job.progressed').length, 2)
})

t.test('a progress report that finds the lease gone aborts the attempt', async (t) => {
  let reason: unknown
  const test = testRuntime({
    handler: async (job) => await new Promise((_resolve, reject) => {
      job.signal.addEventListener('abort', () => { reason = job.signal.reason; reject(new Error('stopped')) })
      test.lease.held = false
      job.progress(1)
    })
  })
  t.same(await settle(test), { kind: 'release' })
  t.match(reason, { code: 'FAE_LEASE_LOST' })
})

t.test('middleware wraps in order, innermost the handler; spans run their work without tracing', async (t) => {
  const order: string[] = []
  const test = testRuntime({ handler: async (job) => { order.push(await job.span('step', () => 'in span')); return 'r' } })
  test.runtime.attemptMiddleware.push(async (_scope, next) => { order.push('attempt'); const settlement = await next(); order.push(settlement.kind); return settlement })
  test.runtime.handlerSpanMiddleware.push(async (_scope, next) => { order.push('span'); return await next() })
  test.runtime.handlerMiddleware.push(async (job, next) => { order.push(`user ${job.attempt}`); return `${String(await next())}!` })
  t.match(await settle(test), { kind: 'completed', result: '"r!"' })
  t.same(order, ['attempt', 'span', 'user 1', 'in span', 'completed'])
})

t.test('middleware that fails is an error of the attempt, not of the worker', async (t) => {
  const test = testRuntime({ handler: ignore })
  test.runtime.attemptMiddleware.push(async () => { throw new Error('broken middleware') })
  t.match(await settle(test), { kind: 'retry', error: { message: 'broken middleware' } })
})

t.test('middleware that calls next() twice: the handler runs once, and the second call is refused', async (t) => {
  const twice = async <R>(_scope: unknown, next: () => Promise<R>): Promise<R> => { await next(); return await next() }
  for (const kind of ['attemptMiddleware', 'handlerSpanMiddleware', 'handlerMiddleware'] as const) {
    let runs = 0
    const test = testRuntime({ handler: () => ++runs })
    test.runtime[kind].push(twice)
    t.match(await settle(test), { kind: 'retry', error: { code: 'FAE_NEXT_CALLED_TWICE' } }, kind)
    t.equal(runs, 1, kind)
  }
})

t.test('what reading the signal means: after a cancel, only a handler that never read it has completed', async (t) => {
  const ends = async (read: (job: JobContext) => unknown): Promise<Settlement> => {
    let finish!: () => void
    const test = testRuntime({ handler: async (job) => { read(job); await new Promise<void>((resolve) => { finish = resolve }); return 'done' } })
    return await settle(test, testClaim(), (run) => setImmediate(() => { run.abort('cancelled'); finish() }))
  }
  t.match(await ends(() => {}), { kind: 'completed', result: '"done"' })
  t.match(await ends((job) => job.signal), { kind: 'cancelled' })
  t.match(await ends((job) => { job.throwIfAborted() }), { kind: 'cancelled' })
})

t.test('a handler that is in its grace when its timeout comes has not timed out as well', async (t) => {
  const clock = new FakeClock()
  const test = testRuntime({ timeoutMs: 1_000, graceMs: 5_000, handler: async () => { await new Promise(ignore) } }, clock)
  const run = new AttemptRun(test.runtime, testClaim(), 'w1', nobody)
  const running = run.run()
  await clock.advance(500)
  run.abort('cancelled')
  await clock.advance(5_000)
  t.match(await running, { kind: 'cancelled' })
  t.notOk(test.names().includes('job.timed_out'))
  t.match(test.event('handler.abandoned'), { reason: 'cancelled', durationMs: 5_500, graceMs: 5_000 })
})

t.test('middleware of the application that ends without its next(): a late call runs no handler, and a failure ends no process', async (t) => {
  const unhandled: unknown[] = []
  const note = (error: unknown): void => { unhandled.push(error) }
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  let runs = 0
  let late: () => Promise<unknown> = async () => undefined
  const early = testRuntime({ handler: () => ++runs })
  early.runtime.handlerMiddleware.push(async (_job, next) => { late = next; return 'early' })
  t.match(await settle(early), { kind: 'completed', result: '"early"' })
  await t.rejects(late(), { code: 'FAE_NEXT_CALLED_LATE' })
  t.equal(runs, 0, 'the attempt is settled')

  const careless = testRuntime({ handler: async () => { throw new Error('no') } })
  careless.runtime.handlerMiddleware.push(async (_job, next) => { void next(); return 'answered' })
  t.match(await settle(careless), { kind: 'completed', result: '"answered"' })
  await new Promise((resolve) => setImmediate(resolve))
  t.strictSame(unhandled, [])
})
