/** Who exports what to which target, and when; over a clock that is moved by hand. */
import { existsSync, readFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createContext, silentLogger } from '../../lib/core/context.ts'
import { AsyncEndpointsError } from '../../lib/core/errors.ts'
import type { SharedState } from '../../lib/core/shared.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { createExporters } from '../../lib/exposition/built-in-exporters.ts'
import { ExportCoordinator, type ExportOutcome } from '../../lib/exposition/export-coordinator.ts'
import type { OpenTemporary } from '../../lib/exposition/file-target.ts'
import { readExportOptions, type ExportOptions, type PushTargetOptions } from '../../lib/exposition/options.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'
import { FakeClock } from '../../lib/testing/fake-clock.ts'

const REAL_LIMIT_MS = 25_000
const STEP_MS = 1_000
const LONG_STEP_MS = 5_000

/** What stores on one server share, without the server. */
class Shared implements SharedState {
  away = false
  readonly #clock: FakeClock
  readonly #locks = new Map<string, { readonly holder: string, readonly until: number }>()
  readonly #texts = new Map<string, { readonly value: string, readonly until: number }>()

  constructor (clock: FakeClock) { this.#clock = clock }

  async tryLock (name: string, holder: string, ttlMs: number): Promise<boolean> {
    this.#check()
    const lock = this.#locks.get(name)
    if (lock !== undefined && lock.holder !== holder && lock.until > this.#clock.monotonic()) return false
    this.#locks.set(name, { holder, until: this.#clock.monotonic() + ttlMs })
    return true
  }

  async unlock (name: string, holder: string): Promise<void> {
    this.#check()
    if (this.#locks.get(name)?.holder === holder) this.#locks.delete(name)
  }

  async put (group: string, key: string, value: string, ttlMs: number): Promise<void> {
    this.#check()
    this.#texts.set(`${group} ${key}`, { value, until: this.#clock.monotonic() + ttlMs })
  }

  async entries (group: string): Promise<ReadonlyMap<string, string>> {
    this.#check()
    const live = [...this.#texts].filter(([key, { until }]) => key.startsWith(`${group} `) && until > this.#clock.monotonic())
    return new Map(live.map(([key, { value }]) => [key.slice(group.length + 1), value]))
  }

  #check (): void { if (this.away) throw new AsyncEndpointsError('FAE_STORE_UNAVAILABLE', 'away') }
}

interface World {
  readonly clock: FakeClock
  readonly shared?: Shared
  readonly openTemporary?: OpenTemporary
  readonly host?: string
}

/** One process: its metrics, its exporters and what it was told. */
function processOf (test: Pick<typeof t, 'teardown'>, instanceId: string, options: ExportOptions, { clock, shared, openTemporary, host }: World) {
  const context = createContext({ clock, instanceId })
  const bus = new EventBus(silentLogger)
  const registry = new MetricsRegistry({ now: () => clock.now() })
  const jobs = registry.instrument({ name: 'jobs', kind: 'counter', unit: '{job}', description: 'Jobs', labels: [] }).bind({})
  const busy = registry.instrument({ name: 'busy', kind: 'gauge', unit: '', description: 'Busy', labels: [] }).bind({})
  const exporters = createExporters({ context, bus, registry, resource: {}, scope: undefined })
  const outcomes: string[] = []
  const underWay = new Set<string>()
  bus.on('telemetry.export_requested', ({ target }) => { underWay.add(target) })
  bus.on('telemetry.export_completed', ({ target }) => { underWay.delete(target) })
  bus.on('telemetry.export_failed', ({ target, errorCode }) => {
    underWay.delete(target)
    outcomes.push(`${target} ${errorCode}`)
  })
  const coordinator = new ExportCoordinator({
    context, bus, exporters, shared, options: readExportOptions(options), rules: {}, quietly: (work) => work(), random: () => 0, host, ...openTemporary === undefined ? {} : { openTemporary },
    recorded: (target, outcome: ExportOutcome) => { if (outcome !== 'failed') outcomes.push(`${target} ${outcome}`) }
  })
  test.teardown(() => coordinator.stop(0))
  return { bus, jobs, busy, exporters, coordinator, outcomes, underWay }
}

type Process = ReturnType<typeof processOf>

/** Moves time on in steps, but never while a page is on its way to a real file or socket: locks would run out meanwhile. */
async function pass (clock: FakeClock, processes: readonly Process[], until: () => boolean, what: string, stepMs = STEP_MS): Promise<void> {
  const limit = Date.now() + REAL_LIMIT_MS
  while (!until()) {
    if (Date.now() > limit) throw new Error(`waited for ${what}`)
    await (processes.some(({ underWay }) => underWay.size > 0) ? turn() : clock.advance(stepMs))
  }
}

/** So much time. */
async function spend (clock: FakeClock, processes: readonly Process[], ms: number, stepMs = STEP_MS): Promise<void> {
  const end = clock.monotonic() + ms
  await pass(clock, processes, () => clock.monotonic() >= end, `${ms} ms`, stepMs)
}

function read (path: string): string { return existsSync(path) ? readFileSync(path, 'utf8') : '' }

t.test('a full disk for an hour: told turn by turn, the old page stays, and the next one comes when there is room', { skip: existsSync('/dev/full') ? false : 'there is no /dev/full' }, async (t) => {
  const clock = new FakeClock()
  const path = join(t.testdir(), 'metrics.prom')
  let full = false
  const openTemporary: OpenTemporary = (name) => open(full ? '/dev/full' : name, full ? 'w' : 'wx')
  const process = processOf(t, 'one', { targets: { file: { path, intervalMs: 60_000 } } }, { clock, openTemporary })
  const { coordinator, jobs, outcomes, exporters } = process
  await coordinator.start()
  jobs.add(1)
  await pass(clock, [process], () => outcomes.length > 0, 'the first page')
  t.match(read(path), /^jobs_total 1$/m)
  full = true
  outcomes.length = 0
  jobs.add(1)
  await spend(clock, [process], 3_600_000, LONG_STEP_MS)
  t.ok(outcomes.length > 45 && outcomes.length <= 60, `${outcomes.length} attempts`)
  t.ok(outcomes.every((outcome) => outcome === 'file ENOSPC'), 'by the code of the system')
  t.match(read(path), /^jobs_total 1$/m)
  t.match(String((await exporters.export()).body), /^jobs_total 2$/m, 'who asks for a page gets one')
  full = false
  outcomes.length = 0
  await pass(clock, [process], () => outcomes.includes('file completed'), 'a page, now that there is room')
  t.match(read(path), /^jobs_total 2$/m)
  jobs.add(1)
  await coordinator.stop(1_000)
  t.match(read(path), /^jobs_total 3$/m, 'the last page is written at the end')
  t.equal(clock.pending, 0)
})

t.test('a busy process does not wait for its time', async (t) => {
  const clock = new FakeClock()
  const pages: string[] = []
  const server = createServer((request, response) => {
    let page = ''
    request.on('data', (chunk) => { page += String(chunk) }).on('end', () => { pages.push(page); response.end() })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => new Promise((resolve) => { server.close(resolve); server.closeAllConnections() }))
  const process = processOf(t, 'one', { targets: { push: { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, allowPrivate: true, threshold: 100, intervalMs: 600_000, format: 'json' } } }, { clock })
  const { coordinator, jobs, outcomes } = process
  await coordinator.start()
  await pass(clock, [process], () => outcomes.length === 1, 'the first page')
  jobs.add(99)
  await spend(clock, [process], 10_000)
  t.equal(pages.length, 1, 'below the threshold nothing is sent')
  jobs.add(1)
  await pass(clock, [process], () => outcomes.length === 2, 'the page of a busy process')
  t.equal((JSON.parse(pages[1] ?? '') as { metrics: Array<{ series: Array<{ value: number }> }> }).metrics[0]?.series[0]?.value, 100)
  t.ok(clock.monotonic() < 20_000)
})

t.test('what a process counted last is exported, however seldom that happens', async (t) => {
  const clock = new FakeClock()
  const shared = new Shared(clock)
  const path = join(t.testdir(), 'metrics.prom')
  const options: ExportOptions = { targets: { file: { path, intervalMs: 1_800_000 } }, syncIntervalMs: 5_000, retentionMs: 60_000 }
  const one = processOf(t, 'one', options, { clock, shared })
  const other = processOf(t, 'other', options, { clock, shared })
  await one.coordinator.start()
  await pass(clock, [one], () => read(path) !== '', 'the first page')
  await other.coordinator.start()
  other.jobs.add(10)
  await other.coordinator.stop(1_000)
  await spend(clock, [one], 1_700_000, 10_000)
  t.notMatch(read(path), /other/, 'its time of 60 s is long over, and nobody has exported since')
  await pass(clock, [one], () => read(path).includes('"other"'), 'the next page', 10_000)
  t.match(read(path), /^jobs_total{instance="other"} 10$/m)
  t.equal(readExportOptions(options).retentionMs, 5_000 + 2_700_000 + 1_800_000 + 12_000, 'seen, the lock of a dead process run out, a turn, a fifth of the retention longer')
  t.equal(readExportOptions({ ...options, safetyMarginMs: 300_000 }).retentionMs, 4_805_000)
  t.equal(readExportOptions({ targets: { file: { path }, push: { url: 'http://x.test' } } }).retentionMs, 300_000, 'the defaults leave more than enough')
})

t.test('a push target that is not public needs an option, which the message names', async (t) => {
  const read = (push: PushTargetOptions): unknown => readExportOptions({ targets: { push } }).push
  for (const url of ['http://localhost:9091/', 'http://pushgateway:9091/metrics/job/shop', 'http://user:hunter2@10.0.0.1/', 'http://[fd00::1]/']) {
    const error = t.throws(() => read({ url }), {
      code: 'FAE_INVALID_OPTIONS',
      message: /: targets\.push\.url: its host is [^;]*; if the receiver is in a private network, set allowPrivate to true, or to its ranges$/
    }, url) as unknown as Error
    t.notMatch(error.message, /hunter2|10\.0\.0\.1/)
    t.match(read({ url, allowPrivate: true }), { url, allowPrivate: true })
  }
  t.match(read({ url: 'http://user:x@metrics.example.com:9091/' }), { allowPrivate: false })
  t.throws(() => read({ url: 'http://10.0.0.1/', allowPrivate: ['10/8'] }), { message: /targets\.push\.allowPrivate\.0 must be a range/ })
  t.throws(() => read({ url: 'http://169.254.169.254/', allowPrivate: true }), { message: /its host has an address that is not public$/ })
})

t.test('of two processes one exports for both; when it dies, the other takes over', async (t) => {
  const clock = new FakeClock()
  const shared = new Shared(clock)
  const path = join(t.testdir(), 'metrics.prom')
  const options: ExportOptions = { targets: { file: { path, intervalMs: 10_000 } }, syncIntervalMs: 5_000, retentionMs: 60_000 }
  const one = processOf(t, 'one', options, { clock, shared })
  const other = processOf(t, 'other', options, { clock, shared })
  one.jobs.add(1)
  other.jobs.add(10)
  other.busy.set(1)
  await one.coordinator.start()
  await other.coordinator.start()
  const both = [one, other]
  await pass(clock, both, () => read(path).includes('"other"'), 'a page of both')
  t.match(read(path), /^jobs_total{instance="one"} 1$/m)
  t.match(read(path), /^jobs_total{instance="other"} 10$/m)
  await spend(clock, both, 60_000)
  const completed = (process: Process): number => process.outcomes.filter((outcome) => outcome === 'file completed').length
  t.ok(completed(one) + completed(other) > 4)
  t.ok(completed(one) === 0 || completed(other) === 0, 'never both')

  const [dead, alive] = completed(one) > 0 ? [one, other] : [other, one]
  // As if it had been killed: no lock is given back.
  shared.unlock = async () => {}
  await dead.coordinator.stop(0)
  const before = completed(alive)
  await pass(clock, [alive], () => completed(alive) > before, 'the other process to take over')
  t.match(read(path), /^jobs_total{instance="one"} 1$/m)
  t.match(read(path), /^jobs_total{instance="other"} 10$/m, 'what a process had counted is known for a while after its end')
  const summed = String((await alive.exporters.export({ includeInstances: false })).body)
  t.match(summed, /^jobs_total 11$/m)

  shared.away = true
  alive.outcomes.length = 0
  await spend(clock, [alive], 60_000)
  t.same(alive.outcomes, ['file FAE_STORE_UNAVAILABLE'], 'nobody exports while nobody knows who shall, and that is told once')
  await t.rejects(alive.exporters.export({ includeInstances: true }), { code: 'FAE_STORE_UNAVAILABLE' })
  t.match(String((await alive.exporters.export()).body), /^jobs_total /m, 'its own metrics it has all the same')
})

t.test('what the process that exported counted last survives it, whatever the interval', async (t) => {
  for (const intervalMs of [1_000, 60_000, 300_000, 3_600_000]) {
    const clock = new FakeClock()
    const shared = new Shared(clock)
    const path = join(t.testdir(), 'metrics.prom')
    const options: ExportOptions = { targets: { file: { path, intervalMs } }, syncIntervalMs: 500, retentionMs: 1_000 }
    const one = processOf(t, 'one', options, { clock, shared })
    const other = processOf(t, 'other', options, { clock, shared })
    await one.coordinator.start()
    await pass(clock, [one], () => one.outcomes.length > 0, 'the first page')
    await other.coordinator.start()
    one.jobs.add(7)
    await spend(clock, [one, other], 2_000, 500)
    one.outcomes.length = 0
    // As if it had been killed: no lock is given back, and no last page is written.
    shared.unlock = async () => {}
    await one.coordinator.stop(0)
    const before = other.outcomes.length
    await pass(clock, [other], () => other.outcomes.length > before, 'the other process to take over', Math.max(100, intervalMs / 100))
    t.match(read(path), /^jobs_total{instance="one"} 7$/m, `a turn every ${intervalMs} ms`)
    await other.coordinator.stop(1_000)
  }
})

t.test('a file for each host holds the metrics of that host, and one for all holds those of all', async (t) => {
  const clock = new FakeClock()
  const shared = new Shared(clock)
  const folder = t.testdir({ a: {}, b: {} })
  const at = (host: string): string => join(folder, host, 'shop.prom')
  const start = async (host: string, instance: string, options: ExportOptions['targets']): Promise<Process> => {
    const started = processOf(t, instance, { targets: options ?? {}, syncIntervalMs: 5_000 }, { clock, shared, host })
    started.jobs.add(1)
    await started.coordinator.start()
    return started
  }
  const both = [
    await start('a', 'one', { file: { path: at('a'), intervalMs: 10_000 } }), await start('a', 'two', { file: { path: at('a'), intervalMs: 10_000 } }),
    await start('b', 'three', { file: { path: at('b'), intervalMs: 10_000 } })
  ]
  await spend(clock, both, 60_000)
  const instances = (path: string): string[] => [...read(path).matchAll(/^jobs_total{instance="(\w+)"} 1$/gm)].map(([, name = '']) => name).sort()
  t.same(instances(at('a')), ['one', 'two'])
  t.same(instances(at('b')), ['three'])

  // The same path on two hosts, as everybody configures it.
  const same = join(folder, 'same.prom')
  const [left, right] = [await start('c', 'four', { file: { path: same, intervalMs: 10_000 } }), await start('d', 'five', { file: { path: same, intervalMs: 10_000 } })]
  await spend(clock, [...both, left, right], 40_000)
  t.ok(left.outcomes.includes('file completed') && right.outcomes.includes('file completed'), 'each host writes its own')

  const all = join(folder, 'all.prom')
  const one = await start('e', 'six', { file: { path: all, intervalMs: 10_000, scope: 'all' } })
  const other = await start('f', 'seven', { file: { path: all, intervalMs: 10_000, scope: 'all' } })
  await spend(clock, [...both, left, right, one, other], 40_000)
  t.same(instances(all), ['five', 'four', 'one', 'seven', 'six', 'three', 'two'])
  t.notOk(one.outcomes.includes('file completed') && other.outcomes.includes('file completed'), 'written by one')
})

t.test('a page over all processes, where nobody shows the others anything, is refused', async (t) => {
  const clock = new FakeClock()
  const shared = processOf(t, 'one', {}, { clock, shared: new Shared(clock) })
  await shared.coordinator.start()
  for (const includeInstances of [true, false]) await t.rejects(shared.exporters.export({ includeInstances }), { code: 'FAE_INVALID_OPTIONS', message: /includeInstances needs a target/ })
  const alone = processOf(t, 'one', {}, { clock })
  await alone.coordinator.start()
  t.match(String((await alone.exporters.export({ includeInstances: true })).body), /^jobs_total{instance="one"} 0$/m, 'one that is alone is all there is')
  t.throws(() => readExportOptions({ includeInstances: false, retentionMs: 90_000 }), { code: 'FAE_INVALID_OPTIONS', message: /retentionMs has no effect without targets.*includeInstances has no effect/ })
})

t.test('a format that nobody writes fails the start', async (t) => {
  const { coordinator } = processOf(t, 'one', { targets: { file: { path: '/tmp/never', format: 'statsd' } } }, { clock: new FakeClock() })
  await t.rejects(coordinator.start(), { code: 'FAE_UNKNOWN_FORMAT', message: /"statsd"; known are prometheus, openmetrics, json, csv/ })
})
