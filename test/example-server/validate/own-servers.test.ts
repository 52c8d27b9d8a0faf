/** The command starts what it needs. */
import { spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { dirname } from 'node:path'
import t from 'tap'
import { freePort } from '../../../example-server/validate/support/free-port.ts'
import { temporaryFolder } from '../../support/folder.ts'
import { findPrometheus } from '../../support/prometheus.ts'
import { startRedis } from '../../support/redis.ts'
import { connect } from '../../doctor/support.ts'
import { boot, eventually } from '../support.ts'
import { LIMIT_MS, listen, MAIN, program, report, validate } from './support.ts'

const tools = await findPrometheus()

t.test('with Redis, a Prometheus and traces, everything holds', { skip: tools.skip, timeout: LIMIT_MS }, async (t) => {
  const { code, report: { ok, checks }, of } = await report(t, ['--performance', '--requests', '20', '--max-slow', '20', '--p95-ms', '60000', '--require', 'redis', '--require', 'prometheus', '--require', 'traces'], { PROMETHEUS_BIN: dirname(tools.prometheus) }, program)
  t.strictSame(checks.filter(({ status }) => status !== 'ok'), [])
  t.match([code, ok], [0, true])
  for (const name of ['ready', 'metrics page', 'jobs', 'counters', 'prometheus: up', 'prometheus: values', 'traces', 'traces across processes', 'performance', 'slow traces', 'histogram of latency']) t.equal(of(name), 'ok', name)
  t.match(checks.find(({ name }) => name === 'performance')?.data, { requests: 20, jobsPerSecond: Number, p95Ms: Number, failed: 0 })
})

t.test('without Redis it says what it could not check', { timeout: LIMIT_MS }, async (t) => {
  const { code, stdout } = await validate(t, ['--no-prometheus', '--jobs', '1'], { PATH: temporaryFolder(t, 'nothing') })
  t.equal(code, 0)
  t.match(stdout, /^Validating one process of its own, jobs in memory/)
  t.match(stdout, / ✓ counters: \d+ sums moved/)
  t.match(stdout, / ✓ traces: 5 jobs, each one trace/)
  t.match(stdout, / – prometheus: not checked: --no-prometheus\n {5}→ /)
  t.match(stdout, / – traces across processes: not checked: API and worker are one process: there is no redis-server on the PATH/)
  t.match(stdout, /Everything that was checked holds: 5 ✓, 0 ✗, 2 not checked/)
})

t.test('in a Redis that others use it neither disturbs anybody nor leaves anything behind', { timeout: LIMIT_MS }, async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const client = connect(t, redis.url)
  // A worker of the same queues, which would run half of the jobs.
  const other = await boot(t, { LOG_LEVEL: 'silent', REDIS_URL: redis.url })
  await eventually('the other server to be ready', async () => (await fetch(`${other.url}/health/ready`)).ok || undefined)
  const { code, report: { checks, target } } = await report(t, ['--no-prometheus', '--jobs', '1', '--require', 'redis'], { REDIS_URL: redis.url })
  t.match(checks.filter(({ status }) => status !== 'ok'), [{ name: 'prometheus', status: 'not-checked' }])
  t.equal(code, 0)
  t.match(target, /jobs in Redis \(REDIS_URL\)$/)
  const keys = await client.keys('*')
  t.strictSame(keys.filter((key) => !key.startsWith('{fae}:')), [])
  t.ok(keys.length > 0, 'what is not its own it leaves alone')
})

t.test('whoever interrupts it leaves nothing running', { timeout: LIMIT_MS }, async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const client = connect(t, redis.url)
  const asked = new EventEmitter()
  const middle = once(asked, 'asked')
  // Never answers, so that the command is in the middle of it.
  const silent = await listen(t, () => { asked.emit('asked') })
  const child = spawn(process.execPath, [MAIN, '--prometheus', silent, '--jobs', '1'], { env: { PATH: process.env['PATH'] ?? '', REDIS_URL: redis.url }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text })
  child.stdout.resume()
  const closed = once(child, 'close') as Promise<[number | null]>
  await Promise.race([middle, closed])
  t.ok(await client.dbsize() > 0)
  child.kill('SIGTERM')
  const [code] = await closed
  t.match([code, stderr], [2, /^Could not run: it was stopped by a signal\n$/])
  t.equal(await client.dbsize(), 0)
  await eventually('the connections of its servers to be gone', async () => (await client.client('LIST') as string).trim().split('\n').length === 1 ? true : undefined)
})

t.test('what cannot run ends with 2, and says why', { timeout: LIMIT_MS }, async (t) => {
  const nobody = `http://127.0.0.1:${await freePort()}`
  const stranger = await listen(t, (_, response) => { response.writeHead(404).end() })
  const cases: ReadonlyArray<readonly [args: readonly string[], says: RegExp]> = [
    [['--url', nobody], /^Could not run: \S+ cannot be reached: .*ECONNREFUSED.* Is the server running/],
    [['--url', stranger], /answers, but has no \/health\/live: it is not the example server/],
    [['--no-such-flag'], /no-such-flag[\s\S]*Usage: npm run validate/],
    [['--jobs', 'many'], /^--jobs must be a whole number from 1 to 1000, not "many"\n\nUsage/]
  ]
  for (const [args, says] of cases) {
    const { code, stderr } = await validate(t, args)
    t.equal(code, 2, args.join(' '))
    t.match(stderr, says)
  }
  const lost = await validate(t, ['--no-prometheus'], { REDIS_URL: 'nonsense' })
  t.match(lost, { code: 2, stderr: /^Could not run: the example server \(\w+\) ended: [\s\S]*REDIS_URL must be a URL/ })
  t.match(await validate(t, ['--help']), { code: 0, stdout: /^Usage: npm run validate/ })
})
