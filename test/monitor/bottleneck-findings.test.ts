/** What limits the throughput: each cause by what it leaves in the instruments, and only that cause. */
import { Ajv } from 'ajv'
import t from 'tap'
import type { BottleneckReport } from '../../lib/monitor/bottleneck-report.ts'
import { bottleneckSchema } from '../../lib/monitor/bottleneck-schema.ts'
import { monitored, span } from './support.ts'

const JOB = { jobName: 'report', storeType: 'redis' }
const validate = new Ajv({ strict: true, allowUnionTypes: true, formats: { 'date-time': true } }).compile(bottleneckSchema)

type World = ReturnType<typeof monitored>

/** What happens in the window, in a process that had nothing to do before. @returns the report after it */
async function after (happens: (world: World) => void | Promise<void>, world = monitored({ windowMs: 60_000, sampleIntervalMs: 10_000 })): Promise<BottleneckReport> {
  await world.monitor.start()
  counts(world, {})
  await happens(world)
  const report = world.monitor.bottlenecks()
  await world.monitor.stop(0)
  if (report === undefined) throw new Error('there is no report')
  if (!validate(JSON.parse(JSON.stringify(report)))) throw new Error(`not as the schema says: ${JSON.stringify(validate.errors)}`)
  return report
}

/** As the background poller leaves it. */
function counts ({ metrics }: World, { queued = 0, running = 0, oldest = 0, stuck = 0, age = 1 }): void {
  metrics.jobCurrentCount(queued, { jobStatus: 'queued', storeType: 'redis' })
  metrics.jobCurrentCount(running, { jobStatus: 'in-progress', storeType: 'redis' })
  metrics.jobsOldestAge(oldest, { queue: 'default', storeType: 'redis' })
  metrics.jobsStuck(stuck, { queue: 'default', storeType: 'redis' })
  metrics.storeCountsAge(age, { storeType: 'redis' })
}

function run ({ metrics }: World, times: number, { wait = 0.01, takes = 0.1, name = 'report' } = {}): void {
  for (let n = 0; n < times; n++) {
    metrics.jobQueueDuration(wait, { ...JOB, jobName: name })
    metrics.handlerDuration(takes, { jobName: name, handlerType: 'function' })
  }
}

function worker (world: World, active: number, concurrency = 20): void {
  world.world.worker = { loads: [{ queue: 'default', active, concurrency }], attempts: () => Array.from({ length: active }, () => ({ name: 'report', queue: 'default' })) }
}

const causes = ({ findings }: BottleneckReport): string[] => findings.map(({ cause, severity }) => `${severity} ${cause}`)

t.test('nothing', async (t) => {
  const idle = await after(async ({ clock }) => { await clock.advance(30_000) })
  t.match(idle, { verdict: 'Nothing limits the throughput now: no job was run here in the last 30 s.', limitedBy: null, findings: [], coveredMs: 30_000, windowMs: 60_000 })
  t.match(idle.queues, [{ queue: 'default', wait: null, active: null, busyPercent: null }, { queue: 'mails' }])
  const busy = await after((world) => { worker(world, 3); run(world, 50) })
  t.match(busy, { verdict: 'Nothing limits the throughput now.', findings: [], queues: [{ active: 3, concurrency: 20, wait: { count: 50 } }, {}], handlers: [{ name: 'report', queue: 'default', timePercent: 100, duration: { count: 50 } }] })
})

t.test('workers saturated, with what keeps them busy', async (t) => {
  const report = await after(async (world) => {
    worker(world, 20)
    await world.clock.advance(30_000)
    run(world, 100, { wait: 12.4, takes: 9.8 })
  })
  t.equal(report.limitedBy, 'workers-saturated')
  t.match(report.verdict, /^Jobs wait .* while all 20 slots are busy with `report` \(p95 9\.\d s\): add workers or raise `worker\.concurrency`\.$/)
  t.same(causes(report), ['warning workers-saturated', 'info handler-slow'])
  t.match(report.findings[0], { subject: 'default', threshold: 5_000, unit: 'ms' })
  const one = await after((world) => { worker(world, 1, 1); counts(world, { queued: 9, running: 1, oldest: 95 }) })
  t.equal(one.verdict, 'The job that waits longest in queue `default` has waited for 2 min while its only slot is busy with `report`: add workers or raise `worker.concurrency`.', 'nothing has ended yet')
})

t.test('all places are taken at this moment, though they were free for most of the window', async (t) => {
  const report = await after(async (world) => {
    worker(world, 0)
    await world.clock.advance(150_000)
    worker(world, 20)
    run(world, 40, { wait: 12.4, takes: 9.8 })
  })
  t.match(report.verdict, / while all 20 slots are busy with `report` \(p95 9\.8 s\): add workers or raise `worker\.concurrency`\.$/)
  t.ok((report.queues.find(({ queue }) => queue === 'default')?.busyPercent ?? 100) < 90)
  const mostly = await after(async (world) => {
    worker(world, 20)
    await world.clock.advance(150_000)
    worker(world, 19)
    run(world, 40, { wait: 12.4, takes: 9.8 })
  })
  t.match(mostly.verdict, / while (?:9\d(?:\.\d)? % of 20 slots were busy on average|all 20 slots are busy) with /)
})

t.test('a percentile is never above what was measured at most', async (t) => {
  const report = await after(async (world) => {
    run(world, 20, { wait: 0.3, takes: 0.11 })
    await world.clock.advance(20_000)
    run(world, 1, { wait: 0.3, takes: 0.12 })
  })
  t.match(report.handlers, [{ duration: { p95Ms: 120, p95FromMs: 100, p95ToMs: 250 } }])
  t.match(report.queues.find(({ queue }) => queue === 'default')?.wait, { p95Ms: 300, p95FromMs: 250, p95ToMs: 500 })
})

t.test('saturated because the process computes all the time: more concurrency would not help', async (t) => {
  const report = await after(async (world) => {
    world.world.loop = { meanMs: 0, lagMs: 20, worstMs: 30, utilization: 0.99 }
    worker(world, 20)
    await world.clock.advance(20_000)
    run(world, 100, { wait: 12 })
  }, busyLoop())
  t.equal(report.limitedBy, 'event-loop-busy')
  t.match(report.findings[1]?.sentence, /: add worker processes; this one has no time left for more concurrency\.$/)
})

function busyLoop (): World {
  const world = monitored({ windowMs: 60_000 })
  world.world.loop = { meanMs: 0, lagMs: 20, worstMs: 30, utilization: 0.99 }
  return world
}

t.test('no worker at all, against workers elsewhere, against a worker that claims nothing', async (t) => {
  const none = await after((world) => { counts(world, { queued: 12, oldest: 95 }) })
  t.same(causes(none), ['critical no-worker'])
  t.equal(none.verdict, 'The job that waits longest in queue `default` has waited for 2 min, and no job is being worked on anywhere: start a worker; this process has none for that queue.')
  const elsewhere = await after((world) => { counts(world, { queued: 12, running: 20, oldest: 40 }) })
  t.same(causes(elsewhere), ['warning workers-elsewhere'])
  t.match(elsewhere.verdict, /look at the same page of those that do \(20 jobs are being worked on\)/)
  const deaf = await after((world) => { worker(world, 0); counts(world, { queued: 12, oldest: 40 }) })
  t.same(causes(deaf), ['critical not-claiming'])
  t.match(deaf.verdict, /its 20 slots are free: see whether it is paused/)
  const burst = await after((world) => { worker(world, 4); run(world, 10, { wait: 8 }) })
  t.same(causes(burst), ['warning queue-wait'])
})

t.test('a slow store; not when the event loop is what makes it look slow', async (t) => {
  const slow = (world: World): void => { for (let n = 0; n < 20; n++) world.metrics.storeOperationDuration(0.4, { operation: 'create', storeType: 'redis' }) }
  const report = await after(slow)
  t.same(causes(report), ['warning store-slow'])
  t.match(report.verdict, /^The job store takes 4\d\d ms \(p95\) for `create`: look at the load of its server/)
  t.match(report.store.operations, [{ operation: 'create', duration: { count: 20, p95FromMs: 250, p95ToMs: 500 } }])
  const blocked = await after(async (world) => {
    world.world.loop = { meanMs: 0, lagMs: 450, worstMs: 900, utilization: 0.9 }
    await world.clock.advance(50_000)
    slow(world)
  }, monitored({ windowMs: 60_000 }))
  t.same(causes(blocked), ['critical event-loop-blocked'])
  t.match(blocked.verdict, /^The event loop is late by up to 450 ms \(p99\): code in this process computes without a pause/)
  const aside = await after((world) => { for (let n = 0; n < 20; n++) world.metrics.storeOperationDuration(0.4, { operation: 'gather', storeType: 'redis' }) })
  t.same(causes(aside), [], 'no job waits for that')
})

t.test('a loop that was blocked a while ago', async (t) => {
  const report = await after(async (world) => {
    world.world.loop = { meanMs: 0, lagMs: 700, worstMs: 900, utilization: 0.9 }
    await world.clock.advance(10_000)
    world.world.loop = { meanMs: 0, lagMs: 1, worstMs: 2, utilization: 0.1 }
    await world.clock.advance(10_000)
  })
  t.same(causes(report), ['warning event-loop-blocked'])
  t.match(report, { limitedBy: 'event-loop-blocked', eventLoop: { lagMs: 1, highestLagMs: 700, worstMs: 900 } })
})

t.test('a store that is away, or fails', async (t) => {
  const away = await after((world) => { counts(world, { queued: 5, oldest: 95, age: 75 }) })
  t.same(causes(away), ['critical store-away'], 'old counts prove nothing about workers')
  t.match(away.verdict, /^The job store has not answered for 75 s/)
  const failing = await after(({ metrics }) => {
    for (let n = 0; n < 40; n++) metrics.storeOperationDuration(0.01, { operation: 'create', storeType: 'redis' })
    for (let n = 0; n < 6; n++) metrics.storeError({ operation: 'create', errorType: 'FAE_STORE_UNAVAILABLE', storeType: 'redis' })
  })
  t.equal(failing.verdict, '6 of 40 operations of the job store failed, most of them `create`: look at its server, and at the error codes in the log.')
})

t.test('what needs attention but limits nothing', async (t) => {
  const report = await after(async (world) => {
    run(world, 40, { takes: 29 })
    for (let n = 0; n < 25; n++) world.metrics.handlerError({ jobName: 'report', errorType: n < 20 ? 'E_CONN' : 'E_OTHER' })
    world.metrics.requestRejected({ reason: 'queue-full' })
    world.metrics.requestRejected({ reason: 'idempotency-key-reused' })
    world.metrics.jobRetried(JOB)
    counts(world, { stuck: 3 })
    const processor = world.monitor.spanProcessor()
    for (let n = 0; n < 3; n++) processor.onEnd(span({ 'db.system': 'mysql', 'db.statement': 'select * from orders where id = 7' }, 1_000 + 1_000 * n))
  })
  t.match(report, { limitedBy: null, verdict: 'Nothing limits the throughput now, but the findings need attention.', pressure: { retries: 1, refused: [{ reason: 'queue-full', count: 1 }, { count: 1 }] } })
  t.same(report.findings.map(({ severity, cause, sentence }) => `${severity} ${cause}: ${sentence}`), [
    'critical handler-failing: 62.5 % of the attempts of `report` failed, mostly with E_CONN: their retries take slots from other jobs.',
    'warning submissions-refused: 1 submission was refused (queue-full): clients were asked to come back later.',
    'warning handler-near-timeout: `report` takes 29 s (p95) and is aborted after 30 s: make it faster, or give it a longer `timeoutMs`.',
    'warning jobs-stuck: 3 jobs have lost the worker that ran them, and will be taken over by another: if the number stays, look for workers that crash or do not answer.',
    'info queries-slow: 2 database queries took longer than 1 s, the slowest 3 s (`select` on `orders`): see `slowQueries`.'
  ])
  t.match(report.slowQueries, [{ durationMs: 3_000, statement: 'select * from orders where id = ?', at: /^2026-/ }, { durationMs: 2_000 }])
})

t.test('what limits the throughput for longer than the window is told, once per window, until it is over', async (t) => {
  const world = monitored({ windowMs: 60_000, sampleIntervalMs: 1_000 })
  const { clock, monitor, told, registry } = world
  let families = 0
  registry.families = () => { families++; return [] }
  const found = (): unknown[] => told('performance.bottleneck_found')
  await monitor.start()
  run(world, 100, { wait: 8 })
  worker(world, 4)
  await clock.advance(30_000)
  t.equal(monitor.bottlenecks()?.limitedBy, 'queue-wait')
  await clock.advance(60_000)
  t.same(found(), [], 'a burst is in the numbers for a window, and is no more than that')
  counts(world, { queued: 12, running: 3, oldest: 40 })
  world.world.worker = undefined
  await clock.advance(60_000)
  t.same(found(), [])
  await clock.advance(10_000)
  t.same(found(), [{ cause: 'workers-elsewhere', severity: 'warning', subject: 'default', value: 40_000, threshold: 5_000, unit: 'ms', sentence: monitor.bottlenecks()?.verdict }])
  await clock.advance(55_000)
  t.equal(found().length, 1)
  await clock.advance(10_000)
  t.equal(found().length, 2, 'a window later')
  counts(world, { queued: 12, running: 0, oldest: 40 })
  await clock.advance(60_000)
  t.equal(found().length, 2, 'something else has to last as well')
  counts(world, {})
  await clock.advance(200_000)
  t.equal(found().length, 2)
  t.equal(families, 2, 'looking reads a few instruments, not all of the registry')
  await monitor.stop(0)
  t.equal(clock.pending, 0)
})

t.test('what was before the window is not now, and samples are as many as asked for', async (t) => {
  const world = monitored({ windowMs: 60_000, slowMs: 10, maxSamples: 30 })
  const report = await after(async (world) => {
    worker(world, 0)
    run(world, 100, { wait: 60, takes: 60 })
    for (let n = 0; n < 40; n++) world.monitor.monitor(`operation ${n}`, () => { world.clock.jump(20) })
    world.monitor.spanProcessor().onEnd(span({ 'db.system': 'mysql', 'db.statement': 'select 1' }))
    await world.clock.advance(10_000)
    t.equal(world.monitor.bottlenecks()?.queues[0]?.wait?.count, 100)
    await world.clock.advance(70_000)
    t.equal(world.monitor.bottlenecks(1_000)?.slowOperations.length, 30)
    t.equal(world.monitor.bottlenecks(0)?.slowOperations.length, 0)
  }, world)
  t.match(report, { limitedBy: null, findings: [], queues: [{ wait: null }, {}], handlers: [] })
  t.equal(report.slowOperations.length, 20)
  t.match(report.slowOperations[0], { operation: 'operation 39', durationMs: 20 })
  t.equal(report.slowQueries.length, 1, 'still shown, no finding any more')
})
