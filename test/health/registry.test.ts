import t from 'tap'
import { createContext, silentLogger } from '../../lib/core/context.ts'
import { AsyncEndpointsError } from '../../lib/core/errors.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { Health, type HealthCheck, type HealthCheckOptions, type HealthVerdict } from '../../lib/health/registry.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

interface Made { readonly health: Health, readonly clock: FakeClock, readonly changes: Array<{ status: string, previous: string }>, readonly told: unknown[] }

function make (): Made {
  const clock = new FakeClock()
  const bus = new EventBus(silentLogger)
  const told: unknown[] = []
  bus.on('health.check_changed', (event) => told.push(event))
  const changes: Array<{ status: string, previous: string }> = []
  bus.on('health.changed', ({ status, previous }) => changes.push({ status, previous }))
  const health = new Health(createContext({ clock }), bus)
  health.started()
  return { health, clock, changes, told }
}

/** A check that counts its calls and answers what it is told. */
function counting (answer: () => HealthVerdict | Promise<HealthVerdict>): HealthCheck & { calls: number } {
  const check = Object.assign(async () => { check.calls++; return await answer() }, { calls: 0 })
  return check
}

t.test('the report has the shape that was agreed, and nothing else', async (t) => {
  const { health } = make()
  health.addCheck('disk', () => ({ status: 'Degraded', description: 'nearly full', data: { free_bytes: 5, path: '/data', ok: false, none: null } }), { tags: ['ready', 'disk'] })
  const { totalDurationMs, ...report } = await health.report()
  t.strictSame(report, {
    status: 'Degraded',
    checks: [
      { name: 'application', status: 'Healthy', description: 'taking requests', durationMs: 0, tags: ['ready'], data: {} },
      { name: 'disk', status: 'Degraded', description: 'nearly full', durationMs: 0, tags: ['ready', 'disk'], data: { free_bytes: 5, path: '/data', ok: false, none: null } }
    ]
  })
  t.equal(typeof totalDurationMs, 'number')
})

t.test('every form of verdict', async (t) => {
  const forms: ReadonlyArray<readonly [unknown, string]> = [
    [undefined, 'Healthy'], [true, 'Healthy'], ['Healthy', 'Healthy'], ['Degraded', 'Degraded'], [{ status: 'Healthy' }, 'Healthy'],
    [false, 'Unhealthy'], ['Unhealthy', 'Unhealthy'], [{ status: 'Unhealthy' }, 'Unhealthy'],
    // Not verdicts at all: a check that is broken is not a healthy one.
    [null, 'Unhealthy'], ['fine', 'Unhealthy'], [1, 'Unhealthy'], [{}, 'Unhealthy'], [{ status: 'ok' }, 'Unhealthy'], [Symbol('x'), 'Unhealthy']
  ]
  for (const [answer, status] of forms) {
    const { health } = make()
    health.addCheck('one', () => answer as HealthVerdict)
    t.equal((await health.report()).status, status, String(typeof answer))
  }
})

t.test('the worst critical check decides; one that is not critical can only degrade', async (t) => {
  const table: ReadonlyArray<readonly [critical: HealthVerdict, optional: HealthVerdict, whole: string]> = [
    ['Healthy', 'Healthy', 'Healthy'], ['Healthy', 'Degraded', 'Degraded'], ['Healthy', 'Unhealthy', 'Degraded'],
    ['Degraded', 'Unhealthy', 'Degraded'], ['Unhealthy', 'Healthy', 'Unhealthy']
  ]
  for (const [critical, optional, whole] of table) {
    const { health } = make()
    health.addCheck('needed', () => critical)
    health.addCheck('nice', () => optional, { critical: false })
    const report = await health.report()
    t.equal(report.status, whole, `${String(critical)} + optional ${String(optional)}`)
    t.equal(report.checks.find(({ name }) => name === 'nice')?.status, optional, 'its own status is shown as it is')
  }
})

t.test('readiness asks only the checks that are tagged for it, liveness none', async (t) => {
  const { health } = make()
  const ready = counting(() => true)
  const other = counting(() => 'Unhealthy')
  health.addCheck('store', ready, { tags: ['ready'] })
  health.addCheck('mail', other)
  t.match(await health.readiness(), { status: 'Healthy', checks: [{ name: 'application' }, { name: 'store' }] })
  t.strictSame(health.liveness(), { status: 'Healthy', checks: [], totalDurationMs: 0 })
  t.same([ready.calls, other.calls], [1, 0])
  t.equal((await health.report()).status, 'Unhealthy')
})

t.test('a thousand probes cost one call per cacheMs', async (t) => {
  const { health, clock } = make()
  const check = counting(() => true)
  health.addCheck('store', check, { tags: ['ready'], cacheMs: 1_000 })
  await Promise.all(Array.from({ length: 1_000 }, async () => await health.readiness()))
  t.equal(check.calls, 1, 'probes at one moment share one call')
  await clock.advance(999)
  await health.report()
  t.equal(check.calls, 1, 'its answer is reused')
  await clock.advance(1)
  await health.report()
  t.equal(check.calls, 2, 'and asked for again when it is old')
})

t.test('cacheMs 0 asks every time, but still only once at one moment', async (t) => {
  const { health } = make()
  const check = counting(() => true)
  health.addCheck('clock', check, { cacheMs: 0 })
  await Promise.all([health.report(), health.report()])
  t.equal(check.calls, 1)
  await health.report()
  t.equal(check.calls, 2)
})

t.test('checks run side by side', async (t) => {
  const { health } = make()
  let open: () => void = () => {}
  const both = new Promise<void>((resolve) => { open = resolve })
  health.addCheck('first', async () => { await both })
  health.addCheck('second', () => { open() })
  t.equal((await health.report()).status, 'Healthy', 'the first could only end because the second had begun')
})

t.test('a check that hangs is Unhealthy after its time, is told to stop, and is not piled up', async (t) => {
  const { health, clock } = make()
  const signals: AbortSignal[] = []
  health.addCheck('stuck', async ({ signal }) => { signals.push(signal); await new Promise(() => {}) }, { timeoutMs: 50, cacheMs: 0 })
  const asked = health.report()
  await clock.advance(50)
  const report = await asked
  t.match(report.checks[1], { name: 'stuck', status: 'Unhealthy', description: 'no answer within 50 ms', durationMs: 50 })
  t.ok(signals[0]?.aborted)
  for (let probe = 0; probe < 20; probe++) t.equal((await health.report()).status, 'Unhealthy')
  t.equal(signals.length, 1, 'not asked again while the old call hangs')
  await clock.advance(500)
  const again = health.report()
  await clock.advance(50)
  await again
  t.equal(signals.length, 2, 'but after a while it may have recovered')
  t.equal(clock.pending, 0, 'no timer is left')
})

t.test('a check that answers late is asked again as usual', async (t) => {
  const { health, clock } = make()
  let answer: (verdict: HealthVerdict) => void = () => {}
  let calls = 0
  health.addCheck('late', () => { calls++; return calls === 1 ? new Promise((resolve) => { answer = resolve }) : true }, { timeoutMs: 50, cacheMs: 0 })
  const asked = health.report()
  await clock.advance(50)
  t.equal((await asked).status, 'Unhealthy')
  answer(true)
  await clock.advance(0)
  t.equal((await health.report()).status, 'Healthy')
})

t.test('a check that throws is Unhealthy, without the words of its error', async (t) => {
  const secret = 'redis://user:hunter2@host:6379 said no'
  const throwing: ReadonlyArray<readonly [HealthCheck, string, string]> = [
    [() => { throw new Error(secret) }, 'the check failed (Error)', 'Error'],
    [() => { throw Object.assign(new Error(secret), { code: 'ECONNREFUSED' }) }, 'the check failed (ECONNREFUSED)', 'ECONNREFUSED'],
    [() => { throw secret }, 'the check failed (FAE_HANDLER_ERROR)', 'FAE_HANDLER_ERROR'],
    [() => { throw undefined }, 'the check failed (FAE_HANDLER_ERROR)', 'FAE_HANDLER_ERROR'],
    [async () => { throw new AsyncEndpointsError('FAE_STORE_UNAVAILABLE', 'The store does not answer') }, 'The store does not answer', 'FAE_STORE_UNAVAILABLE']
  ]
  for (const [check, description, code] of throwing) {
    const { health, told } = make()
    health.addCheck('bad', check, { cacheMs: 0 })
    const report = await health.report()
    t.match(report.checks[1], { status: 'Unhealthy', description, data: { error_type: code } })
    t.match(told, [{ check: 'bad', status: 'Unhealthy', previous: 'Unknown', message: description }])
    t.notMatch(JSON.stringify([report, told]), 'hunter2')
  }
})

t.test('words and facts are bounded and always JSON', async (t) => {
  const { health } = make()
  const data: Record<string, unknown> = { big: 1n, nested: { a: 1 }, list: [1], nan: NaN, fn: () => {}, long: 'x'.repeat(1_000), ok: 1 }
  for (let n = 0; n < 100; n++) data[`k${n}`] = n
  health.addCheck('chatty', () => ({ status: 'Healthy', description: 'y'.repeat(10_000), data }) as HealthVerdict)
  const chatty = (await health.report()).checks[1]
  t.equal(chatty?.description.length, 200)
  t.ok(Object.keys(chatty?.data ?? {}).length <= 20)
  t.strictSame([chatty?.data['ok'], chatty?.data['big'], chatty?.data['nested'], chatty?.data['nan']], [1, undefined, undefined, undefined])
  t.equal(String(chatty?.data['long']).length, 200)
  t.doesNotThrow(() => JSON.stringify(chatty))
})

t.test('starting and draining are not ready', async (t) => {
  const clock = new FakeClock()
  const health = new Health(createContext({ clock }), new EventBus(silentLogger))
  t.match(await health.readiness(), { status: 'Unhealthy', checks: [{ name: 'application', description: 'starting' }] })
  health.started()
  t.equal((await health.readiness()).status, 'Healthy')
  health.startDraining()
  t.ok(health.draining)
  t.match(await health.readiness(), { status: 'Unhealthy', checks: [{ name: 'application', description: 'shutting down' }] })
  health.started()
  t.equal((await health.readiness()).status, 'Unhealthy', 'there is no way back')
  t.equal(health.liveness().status, 'Healthy', 'a process that drains must not be killed for it')
})

t.test('a drain waits until load balancers have noticed, and not at all when the application closes', async (t) => {
  const clock = new FakeClock()
  const make = (): Health => new Health(createContext({ clock }), new EventBus(silentLogger), { shutdownDelayMs: 5_000 })
  const health = make()
  health.started()
  let over = 0
  const drains = [health.drain(), health.drain()].map((drain) => drain.then(() => { over++ }))
  t.equal((await health.readiness()).status, 'Unhealthy', 'not ready at once')
  await clock.advance(4_999)
  t.equal(over, 0)
  await clock.advance(1)
  await Promise.all(drains)

  const closing = make()
  const drain = closing.drain()
  closing.close()
  await drain
  await closing.drain()
  t.ok(closing.draining)
})

t.test('what stops when draining begins is called once, and not for a drain that has begun already', async (t) => {
  const { health } = make()
  let calls = 0
  health.onDraining(() => { calls++ })
  health.startDraining()
  health.startDraining()
  health.onDraining(() => { calls += 10 })
  health.close()
  t.equal(calls, 1)
})

t.test('readiness answers in its time: a slower check counts with its last answer, and without one as Unhealthy', async (t) => {
  const clock = new FakeClock()
  const health = new Health(createContext({ clock }), new EventBus(silentLogger), { probeTimeoutMs: 1_500 })
  health.started()
  const slow = (): Promise<HealthVerdict> => new Promise((resolve) => { clock.setTimeout(() => resolve('Healthy'), 3_000) })
  health.addCheck('far', slow, { tags: ['ready'], timeoutMs: 5_000, cacheMs: 0 })
  const first = health.readiness()
  await clock.advance(1_600)
  t.match(await first, { status: 'Unhealthy', checks: [{}, { name: 'far', description: 'no answer within 1500 ms' }] })
  await clock.advance(1_400)
  const second = health.readiness()
  await clock.advance(1_600)
  t.match(await second, { status: 'Healthy', checks: [{}, { name: 'far', status: 'Healthy' }] }, 'the answer that came after the first probe')
  const all = health.report()
  await clock.advance(3_000)
  t.match(await all, { status: 'Healthy' }, '/health gives every check its own time')
})

t.test('draining is not overtaken by an answer that was asked for before', async (t) => {
  const { health, changes } = make()
  let answer: () => void = () => {}
  health.addCheck('slow', () => new Promise<void>((resolve) => { answer = resolve }), { tags: ['ready'] })
  const asked = health.readiness()
  health.startDraining()
  answer()
  t.equal((await asked).status, 'Unhealthy')
  t.strictSame(changes.map(({ status }) => status), ['Unhealthy'])
})

t.test('health.changed is told once per change of the readiness', async (t) => {
  const { health, clock, changes } = make()
  let answer: HealthVerdict = 'Healthy'
  health.addCheck('store', () => answer, { tags: ['ready'] })
  const probe = async (): Promise<void> => { await clock.advance(1_000); await health.readiness(); await health.readiness() }
  await probe()
  t.strictSame(changes, [], 'the first good answer is no news')
  answer = 'Degraded'
  await probe()
  answer = 'Unhealthy'
  await probe()
  answer = 'Healthy'
  await probe()
  health.startDraining()
  health.startDraining()
  await probe()
  t.strictSame(changes, [
    { previous: 'Healthy', status: 'Degraded' }, { previous: 'Degraded', status: 'Unhealthy' },
    { previous: 'Unhealthy', status: 'Healthy' }, { previous: 'Healthy', status: 'Unhealthy' }
  ])
})

t.test('health.check_changed is told once per change of an answer; a first good one is no news', async (t) => {
  const { health, clock, told } = make()
  let answer: HealthVerdict = 'Healthy'
  health.addCheck('disk', () => answer)
  health.addCheck('worse', () => ({ status: 'Degraded', description: 'nearly full' }))
  const probe = async (): Promise<void> => { await clock.advance(1_000); await health.report(); await health.report() }
  await probe()
  t.strictSame(told.splice(0), [{ check: 'worse', status: 'Degraded', previous: 'Unknown', message: 'nearly full' }])
  answer = 'Unhealthy'
  await probe()
  await probe()
  answer = 'Healthy'
  await probe()
  t.strictSame(told, [
    { check: 'disk', status: 'Unhealthy', previous: 'Healthy', message: '' }, { check: 'disk', status: 'Healthy', previous: 'Unhealthy', message: '' }
  ])
})

t.test('bad checks are refused with one message', async (t) => {
  const { health } = make()
  const fine = (): boolean => true
  health.addCheck('once', fine)
  const bad: ReadonlyArray<readonly [unknown, unknown, unknown, RegExp]> = [
    ['once', fine, undefined, /taken/], ['application', fine, undefined, /taken/], ['', fine, undefined, /name must be/], ['a b', fine, undefined, /name must be/],
    [7, fine, undefined, /name must be/], ['x', 'no', undefined, /must be a function/], ['x', fine, { timeoutMs: 0, tag: 'ready' }, /tag is not an option \(known: tags, .*\); timeoutMs must be a number greater than 0 and at most 60000/],
    ['x', fine, { tags: ['a b'] }, /tags\.0/], ['x', fine, { cacheMs: -1 }, /cacheMs/]
  ]
  for (const [name, check, options, message] of bad) {
    t.throws(() => health.addCheck(name as string, check as HealthCheck, options as HealthCheckOptions), { code: 'FAE_INVALID_OPTIONS', message })
  }
})

t.test('a listener for the beginning of draining that fails is logged, and holds up nothing', async (t) => {
  const lines: unknown[] = []
  const logger = { ...silentLogger, error: (fields: unknown) => { lines.push(fields) } }
  const clock = new FakeClock()
  const health = new Health(createContext({ clock, logger }), new EventBus(silentLogger), { shutdownDelayMs: 5_000 })
  let called = 0
  health.onDraining(() => { throw new Error('no') })
  health.onDraining(async () => { throw new Error('nor later') })
  health.onDraining(() => { called++ })
  const drained = health.drain()
  await clock.advance(5_000)
  await drained
  t.equal(called, 1)
  t.match(lines, [{ err: { message: 'no' } }, { err: { message: 'nor later' } }])
})
