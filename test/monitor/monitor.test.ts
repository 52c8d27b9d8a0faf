import t from 'tap'
import { UNMONITORED } from '../../lib/monitor/monitor.ts'
import { readPerformanceOptions } from '../../lib/monitor/options.ts'
import { monitored } from './support.ts'

const DURATION = 'asyncendpoints.operation.duration'
const DELTA = 'asyncendpoints.operation.memory.delta'
const MIB = 1_048_576

t.test('work runs as if nobody looked, and is measured', async (t) => {
  const { monitor, clock, events, points } = monitored()
  t.equal(monitor.monitor('load', () => { clock.jump(300); return 7 }), 7)
  const promise = monitor.monitor('load', async () => { clock.jump(200); return 8 })
  t.type(promise, Promise)
  t.equal(await promise, 8)
  t.throws(() => monitor.monitor('load', () => { clock.jump(100); throw new Error('sync') }), { message: 'sync' })
  await t.rejects(monitor.monitor('load', async () => { clock.jump(100); throw new Error('async') }), { message: 'async' })
  t.equal(monitor.monitor('load', () => undefined), undefined)
  t.match(points(DURATION), [{ labels: { operation: 'load' }, count: 5 }])
  t.ok(Math.abs((points(DURATION)[0]?.sum ?? 0) - 0.7) < 1e-9)
  t.same(points(DELTA), [], 'the heap stood still')
  t.same(events, [])
})

t.test('a builder that is sent by its `then` is sent once', async (t) => {
  const { monitor, points } = monitored()
  let sent = 0
  const builder: PromiseLike<number> = { then: (resolved, rejected) => { sent++; return Promise.resolve(5).then(resolved, rejected) } }
  t.equal(await monitor.monitor('query', () => builder), 5)
  t.equal(sent, 1)
  t.equal(points(DURATION)[0]?.count, 1)
})

t.test('slow operations and memory spikes are told, with a clean context', async (t) => {
  const { monitor, clock, world, told, points } = monitored({ slowMs: 100, memorySpikeMb: 10 })
  const run = (ms: number, mib: number, context?: object): void => {
    monitor.monitor('import', () => { clock.jump(ms); world.heap += mib * MIB }, context as Record<string, string>)
  }
  run(100, 10)
  t.same([...told('performance.slow_operation'), ...told('performance.memory_spike')], [], 'at the threshold is not over it')
  run(101, 0, { customer: 'c-1', rows: 5, big: true, password: 'hunter2', note: 'token=hunter2\nforged line', deep: { secret: 1 }, none: undefined, nan: NaN, long: 'x'.repeat(1_000) })
  const context = { customer: 'c-1', rows: 5, big: true, password: '[FILTERED]', note: 'token=[FILTERED] forged line', long: `${'x'.repeat(255)}…` }
  t.same(told('performance.slow_operation'), [{ operation: 'import', durationMs: 101, thresholdMs: 100, context }])
  run(0, 11)
  t.same(told('performance.memory_spike'), [{ operation: 'import', deltaMb: 11, thresholdMb: 10, context: undefined }])
  run(0, -50)
  t.equal(told('performance.memory_spike').length, 1, 'a heap that shrank is no spike')
  t.match(points(DELTA), [{ count: 3, sum: (10 + 11 + 50) * MIB }], 'differences in either direction, and no zeros')
  // One that throws when it is read.
  run(200, 0, { get boom () { throw new Error('no') } })
  t.match(told('performance.slow_operation').at(-1), { durationMs: 200, context: undefined })
})

t.test('a heap that cannot be read, and names that are none', async (t) => {
  const { monitor, points } = monitored({}, { heapUsed: () => { throw new Error('no') } })
  t.equal(monitor.monitor('load', () => 1), 1)
  t.same(points(DELTA), [])
  for (const name of ['', 'x'.repeat(101), 'a\nb', 'a\u0000', '\ud800', 7, undefined]) {
    let ran = false
    t.throws(() => monitor.monitor(name as string, () => { ran = true }), { code: 'FAE_INVALID_OPTIONS', message: /operation must be a name/ })
    t.notOk(ran, 'before the work begins')
  }
  t.equal(points(DURATION).length, 1)
})

t.test('many names end in the overflow series', async (t) => {
  const { monitor, points } = monitored()
  for (let n = 0; n < 700; n++) monitor.monitor(`operation ${n}`, () => {})
  t.equal(points(DURATION).length, 501)
})

t.test('what the library measures anyway is told from its events, handlers are not', async (t) => {
  const { monitor, bus, told } = monitored({ slowMs: 1_000 })
  const ids = { jobId: 'j', jobName: 'report', queue: 'default', correlationId: 'c', workerId: 'w', traceId: undefined, spanId: undefined }
  const emit = (): void => {
    bus.emit('job.submitted', { ...ids, submitMs: 1_001, delayMs: 0, payloadBytes: undefined, origin: undefined })
    bus.emit('job.claimed', { ...ids, attempt: 1, queueWaitMs: 9_999, claimMs: 1_002 })
    bus.emit('job.claimed', { ...ids, attempt: 1, queueWaitMs: 9_999, claimMs: undefined })
    bus.emit('handler.completed', { ...ids, durationMs: 60_000 })
    bus.emit('store.operated', { storeType: 'redis', operation: 'create', durationMs: 1_001 })
    bus.emit('store.operated', { storeType: 'redis', operation: 'cancel', durationMs: 1_003 })
    bus.emit('store.operated', { storeType: 'redis', operation: 'get', durationMs: 999 })
  }
  await monitor.start()
  emit()
  const expected = [['submit', 1_001], ['claim', 1_002], ['store.cancel', 1_003]]
  const seen = (): unknown[] => (told('performance.slow_operation') as Array<{ operation: string, durationMs: number }>).map(({ operation, durationMs }) => [operation, durationMs])
  t.same(seen(), expected)
  await monitor.stop(0)
  emit()
  t.same(seen(), expected, 'and no more after the stop')
})

t.test('the event loop is sampled while it runs, and told when it is late', async (t) => {
  const { monitor, clock, world, told, gauge } = monitored({ sampleIntervalMs: 1_000, eventLoopLagMs: 200 })
  t.equal(world.running, false)
  await monitor.start()
  t.equal(world.running, true)
  await clock.advance(1_000)
  t.equal(gauge('asyncendpoints.process.event_loop.lag'), 0.001)
  t.equal(gauge('asyncendpoints.process.event_loop.utilization'), 10)
  t.same(told('performance.event_loop_lagged'), [])
  world.loop = { meanMs: 0, lagMs: 340, worstMs: 900, utilization: 0.98 }
  await clock.advance(1_000)
  t.same(told('performance.event_loop_lagged'), [{ lagMs: 340, thresholdMs: 200, jobs: '' }])
  t.equal(gauge('asyncendpoints.process.event_loop.lag'), 0.34)
  world.loop = undefined
  await clock.advance(1_000)
  t.equal(gauge('asyncendpoints.process.event_loop.lag'), 0.34, 'nothing was measured')
  await monitor.stop(0)
  t.equal(world.running, false)
  t.equal(clock.pending, 0, 'no timer is left')
  t.equal(world.watched, 0)
})

t.test('switches', async (t) => {
  const without = monitored({ bottlenecks: false, slowQueries: false })
  await without.monitor.start()
  t.equal(without.monitor.bottlenecks(), undefined)
  t.equal(without.world.watched, 0)
  await without.monitor.stop(0)
  t.equal(UNMONITORED.monitor('', () => 3), 3)
  t.equal(UNMONITORED.bottlenecks(), undefined)
  t.same(Object.keys(UNMONITORED.spanProcessor()), ['onStart', 'onEnd', 'forceFlush', 'shutdown'])
  t.throws(() => readPerformanceOptions({ slowMs: -1, slowQueries: 'yes', queueWaitMs: 0, nonsense: 1 } as never), {
    code: 'FAE_INVALID_OPTIONS', details: { problems: [/^nonsense is not an option \(known: slowMs, slowQueryMs, /, 'slowMs must be a number of at least 0', 'slowQueries must be true or false', 'queueWaitMs must be a number greater than 0'] }
  })
})
