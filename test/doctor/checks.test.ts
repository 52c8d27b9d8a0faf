/** The judgement alone, over made-up facts: what can hardly be brought about (a wrong clock), and every line of the table. */
import t from 'tap'
import { checkApp } from '../../lib/doctor/app-checks.ts'
import type { AppFacts, AppReady } from '../../lib/doctor/app-facts.ts'
import { checkEventLoop, measureEventLoop } from '../../lib/doctor/event-loop.ts'
import { CHECK_IDS, CHECKS, SEVERITIES, type Finding } from '../../lib/doctor/findings.ts'
import { checkExporters, checkPackages } from '../../lib/doctor/package-checks.ts'
import type { PackageFacts } from '../../lib/doctor/package-facts.ts'
import { checkRedis } from '../../lib/doctor/redis-checks.ts'
import { clockFacts, type RedisFacts } from '../../lib/doctor/redis-facts.ts'
import { otherServer, placeOf } from '../../lib/doctor/store-place.ts'
import { parseRedisUrl, shownConnection } from '../../lib/stores/bullmq/redis-url.ts'
import { jsonReport, summarize, textReport } from '../../lib/doctor/report.ts'
import { readOtelEnvironment } from '../../lib/telemetry/environment.ts'
import { systemClock } from '../../lib/core/context.ts'

const INFO = {
  redis_version: '7.2.4', maxmemory_policy: 'noeviction', maxmemory: '100', used_memory: '10', total_system_memory: '0', aof_enabled: '1',
  rdb_last_bgsave_status: 'ok', aof_last_write_status: 'ok', aof_last_bgrewrite_status: 'ok', cluster_enabled: '0'
}

function info (changes: Readonly<Record<string, string | undefined>> = {}): { value: string } {
  return { value: Object.entries({ ...INFO, ...changes }).filter(([, value]) => value !== undefined).map(([name, value]) => `${name}:${value}`).join('\r\n') }
}

const SERVER: RedisFacts = {
  target: 'redis://h', tls: false, prefix: '{fae}', connection: { ok: true, connectMs: 1 }, info: info(),
  settings: { value: { save: '', appendfsync: 'everysec' } }, clock: { value: { skewMs: 0, uncertaintyMs: 1 } },
  latency: { value: { medianMs: 1, maxMs: 2 } }, cluster: { code: 'NOT_ASKED' }, refused: { value: [] }, subscribed: { value: true }
}
const PACKAGES: PackageFacts = {
  node: 'v24.1.0', engines: '>=20.19', peers: { fastify: '^5.0.0', bullmq: '^6.7.0', ioredis: '^6.0.0', '@opentelemetry/api': '^1.9.0' },
  installed: { fastify: '5.0.0', bullmq: '6.7.0', ioredis: '6.0.0', '@opentelemetry/api': '1.9.0' }, apiCopies: [{ path: 'a', version: '1.9.0' }], complete: true
}
const READY: AppReady = { state: 'ready', sdk: 'none', loadedBefore: [], trustProxy: 'off', https: false, publicUrl: undefined, jobRoutes: 'guarded', metrics: 'none', store: { type: 'bullmq', redis: { connection: { host: 'h' }, prefix: '{fae}', leaseMs: 10_000 } } }

const seen = new Map<string, Finding>()

function keep (findings: readonly Finding[]): Finding[] {
  for (const finding of findings) if (finding.checked) seen.set(`${finding.check} ${finding.severity}`, finding)
  return [...findings]
}

/** The worst that one check says. */
function worst (findings: readonly Finding[], check: string): Finding {
  const found = keep(findings).filter((finding) => finding.check === check).sort((a, b) => SEVERITIES.indexOf(b.severity) - SEVERITIES.indexOf(a.severity))[0]
  if (found === undefined) throw new Error(`nothing about ${check}`)
  return found
}

const ofRedis = (check: string, facts: Partial<RedisFacts>): Finding => worst(checkRedis({ ...SERVER, ...facts }), check)
const ofApp = (check: string, facts: AppFacts, preloads: readonly string[] = [], other?: string): Finding => worst(checkApp(facts, preloads, other), check)
const ofPackages = (check: string, facts: Partial<PackageFacts>): Finding => worst(checkPackages({ ...PACKAGES, ...facts }, true), check)

t.test('the store that the application has', async (t) => {
  const store = (facts: Partial<AppReady>, other?: string): Finding => ofApp('app.store', { ...READY, ...facts }, [], other)
  t.match(store({}), { severity: 'ok', what: 'jobs are kept on redis://h, prefix {fae}' })
  t.match(store({}, 'redis://other'), { severity: 'warning', what: /^jobs are kept on redis:\/\/h, prefix \{fae\}, and not on redis:\/\/other, which/ })
  t.match(store({ store: { type: 'memory' } }), { severity: 'note', what: /^jobs are kept in memory/ })
  t.match(store({ store: { type: 'memory' } }, 'redis://other'), { severity: 'warning', what: /^jobs are kept in memory, and not on redis:\/\/other/, fix: /redisStore/ })
  t.match(store({ store: { type: 'mine' } }), { severity: 'ok', what: 'jobs are kept in a store of type mine' })
  t.match(store({ store: undefined }), { checked: false })
  const asked = { redisUrl: 'redis://u:secret@other', prefix: '{a}', leaseMs: 5_000 }
  t.same(placeOf(asked, { state: 'not-given' }), { target: { connection: { username: 'u', password: 'secret', host: 'other' }, shown: 'redis://other', prefix: '{a}' }, leaseMs: 5_000 })
  t.match(placeOf(asked, READY), { target: { connection: { host: 'h' }, shown: 'redis://h', prefix: '{fae}' }, leaseMs: 10_000 }, 'whatever is said on the command line')
  t.match(placeOf(asked, { state: 'timeout', afterMs: 1 }), { target: { shown: 'redis://other' } })
  t.match(placeOf(asked, { ...READY, store: { type: 'memory' } }), { because: 'the application keeps its jobs in memory' })
  t.match(placeOf({ ...asked, redisUrl: undefined }, { state: 'not-given' }), { because: /no Redis URL is given/ })
  t.equal(otherServer(asked, READY), 'redis://other')
  t.equal(otherServer({ redisUrl: 'redis://:secret@h:6379/0' }, READY), undefined, 'the same place, said in full')
  t.equal(otherServer({ redisUrl: 'redis://h/1' }, READY), 'redis://h/1')
})

t.test('why a server was not reached', async (t) => {
  const cases = [
    ['connect', 'ECONNREFUSED', /nothing listens/], ['connect', 'ETIMEDOUT', /packets go nowhere/], ['connect', 'EHOSTUNREACH', /packets go nowhere/],
    ['connect', 'ENOTFOUND', /unknown host/], ['connect', 'DEPTH_ZERO_SELF_SIGNED_CERT', /certificate/], ['connect', 'ERR_TLS_CERT_ALTNAME_INVALID', /certificate/],
    ['connect', 'CERT_HAS_EXPIRED', /certificate/], ['connect', 'ERR_SSL_WRONG_VERSION_NUMBER', /TLS handshake/], ['handshake', 'ETIMEDOUT', /TLS handshake/],
    ['connect', 'EACCES', /could not be opened/], ['answer', 'NOAUTH', /wants a password/], ['answer', 'WRONGPASS', /password is wrong/], ['answer', 'NOPERM', /may not even PING/],
    ['answer', 'DENIED', /protected mode/], ['answer', 'LOADING', /loading/], ['answer', 'MASTERDOWN', /lost its master/], ['answer', 'ETIMEDOUT', /does not answer/],
    ['answer', 'ECONNRESET', /uses TLS/], ['answer', 'ERR', /refuses/]
  ] as const
  for (const [stage, code, what] of cases) {
    const finding = ofRedis('redis.connection', { connection: { ok: false, stage, code } })
    t.match(finding, { severity: 'problem', what, fix: /\w/ }, `${stage} ${code}`)
    t.ok(finding.what.endsWith(`(${code})`))
  }
  const unreached = checkRedis({ ...SERVER, connection: { ok: false, stage: 'connect', code: 'ECONNREFUSED' } })
  t.same(unreached.map(({ checked }) => checked), [true, ...Array.from({ length: unreached.length - 1 }, () => false)])
})

t.test('versions', async (t) => {
  t.match(ofRedis('redis.version', {}), { severity: 'ok', what: 'Redis 7.2.4' })
  t.match(ofRedis('redis.version', { info: info({ redis_version: '6.0.16' }) }), { severity: 'problem', what: /6\.0\.16 is older than 6\.2/ })
  t.match(ofRedis('redis.version', { info: info({ valkey_version: '8.1.0' }) }), { severity: 'note', what: /^Valkey 8\.1\.0/ })
  t.match(ofRedis('redis.version', { info: info({ dragonfly_version: 'df-v1.30.1' }) }), { severity: 'note', what: /^Dragonfly 1\.30\.1/, fix: /lock_on_hashtags/ })
  t.match(ofRedis('redis.version', { info: info({ redis_version: undefined }) }), { checked: false })
})

t.test('what is kept', async (t) => {
  t.equal(ofRedis('redis.eviction', {}).severity, 'ok')
  t.match(ofRedis('redis.eviction', { info: info({ maxmemory_policy: 'volatile-lru' }) }), { severity: 'problem' })
  t.match(ofRedis('redis.eviction', { info: info({ maxmemory_policy: undefined }) }), { checked: false, fix: /noeviction/ })
  t.equal(ofRedis('redis.persistence', {}).severity, 'ok')
  t.equal(ofRedis('redis.persistence', { settings: { value: { appendfsync: 'no' } } }).severity, 'note')
  t.match(ofRedis('redis.persistence', { info: info({ aof_last_write_status: 'err', aof_last_bgrewrite_status: 'err' }) }), { severity: 'problem', what: /write to the AOF and the last rewrite of the AOF failed/ })
  t.match(ofRedis('redis.persistence', { info: info({ aof_enabled: '0' }) }), { severity: 'warning', what: /neither/ })
  t.match(ofRedis('redis.persistence', { info: info({ aof_enabled: '0' }), settings: { code: 'NOPERM' } }), { severity: 'warning', what: /cannot be seen/ })
  const memory = [['10', 'ok'], ['79', 'ok'], ['80', 'warning'], ['94', 'warning'], ['95', 'problem'], ['120', 'problem']] as const
  for (const [used, severity] of memory) t.equal(ofRedis('redis.memory', { info: info({ used_memory: used }) }).severity, severity, `${used} of 100`)
  t.equal(ofRedis('redis.memory', { info: info({ maxmemory: '0' }) }).severity, 'note')
  t.match(ofRedis('redis.memory', { info: info({ maxmemory: undefined }) }), { checked: false })
})

t.test('the clock: only what is certain counts', async (t) => {
  const at = (skewMs: number, uncertaintyMs = 1): Finding => ofRedis('redis.clock', { clock: { value: { skewMs, uncertaintyMs } } })
  const cases = [[0, 'ok'], [250, 'ok'], [-252, 'note'], [1_002, 'warning'], [-29_000, 'warning'], [31_000, 'problem'], [-3_600_000, 'problem']] as const
  for (const [skew, severity] of cases) t.equal(at(skew).severity, severity, `${skew} ms`)
  t.equal(at(2_000, 1_900).severity, 'ok', 'a slow network is not a wrong clock')
  t.match(at(-90_000).what, /90\.0 s behind/)
  t.match(at(5_000).what, /5\.0 s ahead of/)
})

t.test('the round trip is taken out of the reading', async (t) => {
  t.same(clockFacts([{ serverMs: 10_150, sentAtMs: 10_000, roundTripMs: 100 }]), { skewMs: 100, uncertaintyMs: 50 })
  t.same(clockFacts([
    { serverMs: 99_999, sentAtMs: 0, roundTripMs: 500 }, { serverMs: 6_005, sentAtMs: 1_000, roundTripMs: 10 }, { serverMs: 7_777, sentAtMs: 0, roundTripMs: 20 }
  ]), { skewMs: 5_000, uncertaintyMs: 5 }, 'the shortest round trip says most')
  t.equal(clockFacts([]), undefined)
})

t.test('clusters, commands, latency', async (t) => {
  const cluster = info({ cluster_enabled: '1' })
  const up = (nodes: number): { value: string } => ({ value: `cluster_state:ok\r\ncluster_known_nodes:${nodes}\r\n` })
  t.match(ofRedis('redis.cluster', {}), { severity: 'ok', what: 'not a cluster' })
  t.equal(ofRedis('redis.cluster', { info: cluster, cluster: up(1) }).severity, 'ok')
  t.equal(ofRedis('redis.cluster', { info: cluster, cluster: up(6) }).severity, 'warning')
  t.match(ofRedis('redis.cluster', { info: cluster, cluster: up(1), prefix: 'a{}b' }), { severity: 'problem', fix: /'\{ab\}'/ })
  t.equal(ofRedis('redis.cluster', { info: cluster, cluster: { code: 'NOPERM' } }).severity, 'ok')
  t.equal(ofRedis('redis.commands', {}).severity, 'ok')
  t.match(ofRedis('redis.commands', { refused: { value: [{ command: 'XADD', code: 'ERR' }] } }), { severity: 'problem', what: /: XADD \(ERR\)/, fix: /\+xadd/ })
  for (const code of ['READONLY', 'OOM', 'MISCONF', 'NOREPLICAS', 'MOVED', 'ETIMEDOUT']) t.match(ofRedis('redis.commands', { refused: { value: [{ command: 'SET', code }] } }), { severity: 'problem', what: `(${code})` })
  t.equal(ofRedis('redis.commands', { subscribed: { code: 'NOPERM' } }).severity, 'warning')
  t.match(ofRedis('redis.commands', { subscribed: { code: 'NOPERM' }, cluster: { value: 'cluster_state:ok' } }), { severity: 'warning', fix: /\+ssubscribe/ })
  t.match(ofRedis('redis.commands', { refused: { code: 'ETIMEDOUT' } }), { checked: false })
  for (const [medianMs, severity] of [[1, 'ok'], [21, 'note'], [101, 'warning'], [1_001, 'problem']] as const) t.equal(ofRedis('redis.latency', { latency: { value: { medianMs, maxMs: 2_000 } } }).severity, severity)
})

t.test('packages', async (t) => {
  t.equal(ofPackages('packages.node', {}).severity, 'ok')
  t.match(ofPackages('packages.node', { node: 'v22.12.0' }), { severity: 'note', fix: /24/ })
  t.match(ofPackages('packages.node', { node: 'v18.20.0' }), { severity: 'problem' })
  for (const name of ['fastify', 'bullmq', 'ioredis']) {
    t.equal(ofPackages(`packages.${name}`, {}).severity, 'ok')
    t.equal(ofPackages(`packages.${name}`, { installed: {} }).severity, 'problem')
  }
  t.equal(ofPackages('otel.api', {}).severity, 'ok')
  const copies = (...versions: string[]): Partial<PackageFacts> => ({ apiCopies: versions.map((version, at) => ({ path: `p${at}`, version })) })
  t.equal(ofPackages('otel.api', copies('1.9.0', '1.9.0')).severity, 'note')
  t.equal(ofPackages('otel.api', copies('1.9.0', '1.9.1')).severity, 'warning')
  t.equal(ofPackages('otel.api', copies('1.9.0', '2.0.0')).severity, 'problem')
  t.match(ofPackages('otel.api', { complete: false }).what, /not all folders/)
  const exporters = (env: Record<string, string>, app: AppFacts = READY): Finding => worst(checkExporters(readOtelEnvironment(env), PACKAGES, app), 'otel.exporters')
  t.equal(exporters({}).severity, 'ok')
  t.equal(exporters({ OTEL_TRACES_EXPORTER: 'otlp' }).severity, 'warning')
  t.match(exporters({ OTEL_TRACES_EXPORTER: 'otlp' }, { ...READY, sdk: 'registered' }), { checked: false }, 'an SDK of the application exports what it likes')
  t.equal(exporters({ OTEL_TRACES_EXPORTER: 'otlp', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }).severity, 'note')
})

t.test('the application', async (t) => {
  for (const check of ['app.boot', 'otel.sdk', 'app.proxy', 'app.job-routes', 'app.metrics']) {
    t.match(ofApp(check, { state: 'not-given' }), { checked: false })
    const notReady = check === 'app.boot' ? { severity: 'problem' } : { checked: false }
    t.match(ofApp(check, { state: 'timeout', afterMs: 8_000 }), notReady)
    t.match(ofApp(check, { state: 'ended', exitCode: 0, signal: null }), notReady)
    t.equal(ofApp(check, READY).severity, 'ok')
  }
  t.equal(ofApp('app.boot', { state: 'missing' }).severity, 'problem')
  t.match(ofApp('app.boot', { state: 'ended', exitCode: 1, signal: null }), { severity: 'problem', what: /exit code 1/ })
  t.match(ofApp('app.boot', { state: 'ended', exitCode: null, signal: 'SIGSEGV' }), { severity: 'problem', what: /SIGSEGV/ })
  const late: AppFacts = { ...READY, sdk: 'registered', loadedBefore: ['fastify', 'ioredis'] }
  t.match(ofApp('otel.sdk', late), { severity: 'warning', what: /^fastify and ioredis were loaded before/, fix: /--import/ })
  t.equal(ofApp('otel.sdk', { ...READY, sdk: 'registered' }).severity, 'ok')
  t.match(ofApp('otel.sdk', { ...READY, sdk: 'unknown', loadedBefore: [] }), { checked: false })
  t.match(ofApp('otel.sdk', late, ['./otel.js']), { checked: false, what: /preload \.\/otel\.js/, fix: /--import \.\/otel\.js/ }, 'it would really start in another way')
  t.equal(ofApp('otel.sdk', { ...READY, sdk: 'registered' }, ['./other.js']).severity, 'ok')
  const publicUrl = 'https://api.example.com'
  t.match(ofApp('app.proxy', { ...READY, publicUrl }), { severity: 'warning', fix: /trustProxy/ })
  t.equal(ofApp('app.proxy', { ...READY, publicUrl, https: true }).severity, 'ok')
  t.equal(ofApp('app.proxy', { ...READY, publicUrl: 'http://intranet' }).severity, 'ok')
  t.equal(ofApp('app.proxy', { ...READY, publicUrl, trustProxy: 'some' }).severity, 'ok')
  t.equal(ofApp('app.proxy', { ...READY, publicUrl, trustProxy: 'all' }).severity, 'note')
  t.match(ofApp('app.proxy', { ...READY, trustProxy: undefined }), { checked: false })
  t.match(ofApp('app.job-routes', { ...READY, jobRoutes: 'left-open' }), { severity: 'problem', fix: /owner: \(request\)/ })
  t.equal(ofApp('app.job-routes', { ...READY, jobRoutes: 'open' }).severity, 'note')
  t.equal(ofApp('app.job-routes', { ...READY, jobRoutes: 'none' }).severity, 'ok')
  t.match(ofApp('app.metrics', { ...READY, metrics: 'left-open' }), { severity: 'warning', fix: /authorize: \(request\)/ })
  t.equal(ofApp('app.metrics', { ...READY, metrics: 'open' }).severity, 'note')
  t.equal(ofApp('app.metrics', { ...READY, metrics: 'guarded' }).severity, 'ok')
})

t.test('the event loop', async (t) => {
  const late = (maxDelayMs: number, leaseMs: number | undefined = 10_000): Finding => worst([checkEventLoop({ maxDelayMs, measuredMs: 500 }, leaseMs)], 'worker.event-loop')
  t.equal(late(499).severity, 'ok')
  t.equal(late(500).severity, 'warning')
  t.equal(late(5_000).severity, 'problem')
  t.match(checkEventLoop({ maxDelayMs: 1, measuredMs: 500 }, undefined), { checked: false })
  const measured = measureEventLoop(systemClock, 300)
  setTimeout(() => { for (const end = performance.now() + 200; performance.now() < end;); }, 20)
  const { maxDelayMs } = await measured
  t.ok(maxDelayMs > 150, `a loop that is blocked for 200 ms was late by ${Math.round(maxDelayMs)} ms`)
})

t.test('everything that the table says was seen, and nothing else', async (t) => {
  const columns = ['note', 'warning', 'problem'] as const
  const told = CHECK_IDS.flatMap((id) => ['ok', ...columns.filter((severity) => severity in CHECKS[id])].map((severity) => `${id} ${severity}`))
  t.same([...seen.keys()].sort(), told.sort())
  for (const [key, { severity, fix, why }] of seen) {
    t.match(why, /\.$/)
    if (severity === 'warning' || severity === 'problem') t.match(fix, /\w/, `${key} says what to do`)
  }
})

t.test('a target is shown without what is secret in it', async (t) => {
  const shownUrl = (url: string): string => shownConnection(parseRedisUrl(url).connection)
  t.equal(shownUrl('redis://user:secret@host:6380/2?family=4'), 'redis://host:6380/2')
  t.equal(shownUrl('redis+sentinel://user:secret@host,other:1/name/2?sentinelPassword=secret'), 'redis+sentinel://host:26379,other:1/name/2')
  t.equal(shownUrl('rediss://:s%40cret@host'), 'rediss://host')
  t.equal(shownUrl('redis://secret@[::1]:6379'), 'redis://[::1]:6379')
})

t.test('reports', async (t) => {
  const findings = [...checkRedis({ ...SERVER, info: info({ maxmemory_policy: 'bad\u001b[31mpolicy' }) }), ...checkApp({ state: 'not-given' }, [])]
  const text = textReport(findings, false)
  t.notOk(text.includes('\u001b'), 'a server cannot steer the terminal')
  t.match(text, /problem +eviction policy +maxmemory-policy is bad \[31mpolicy\n +why: .*\n +fix: /)
  t.match(text, /not checked +start +no application was given/)
  t.match(text, /1 problem, 0 warnings, 0 notes, 8 ok, 6 not checked\n$/)
  const parsed = JSON.parse(jsonReport(findings, false)) as Record<string, unknown> & { findings: Array<Record<string, unknown>> }
  t.same(Object.keys(parsed), ['version', 'node', 'status', 'exitCode', 'counts', 'findings'])
  for (const finding of parsed.findings) t.same(Object.keys(finding), ['check', 'group', 'title', 'severity', 'checked', 'what', 'why', 'fix'])
  const warning = checkRedis({ ...SERVER, info: info({ aof_enabled: '0' }) })
  t.match(summarize(warning, false), { status: 'warning', exitCode: 0 })
  t.match(summarize(warning, true), { status: 'warning', exitCode: 1 })
  t.match(summarize(checkApp({ state: 'not-given' }, []), true), { status: 'ok', exitCode: 0, counts: { notChecked: 6 } })
})
