/** The command starts what it needs. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { freePort } from '../../../example-server/validate/support/free-port.ts'
import { findPrometheus } from '../../support/prometheus.ts'
import { LIMIT_MS, listen, report, validate } from './support.ts'

const tools = await findPrometheus()

const emptyPath = (t: Test): string => {
  const folder = mkdtempSync(join(tmpdir(), 'fae-nothing-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  return folder
}

t.test('with Redis, a Prometheus and traces, everything holds', { skip: tools.skip, timeout: LIMIT_MS }, async (t) => {
  const { code, report: { ok, checks }, of } = await report(t, ['--performance', '--requests', '20', '--max-slow', '20', '--p95-ms', '60000', '--require', 'redis', '--require', 'prometheus', '--require', 'traces'], { PROMETHEUS_BIN: dirname(tools.prometheus) })
  t.strictSame(checks.filter(({ status }) => status !== 'ok'), [])
  t.match([code, ok], [0, true])
  for (const name of ['ready', 'metrics page', 'jobs', 'counters', 'prometheus: up', 'prometheus: values', 'traces', 'traces across processes', 'performance', 'slow traces', 'histogram of latency']) t.equal(of(name), 'ok', name)
  t.match(checks.find(({ name }) => name === 'performance')?.data, { requests: 20, jobsPerSecond: Number, p95Ms: Number, failed: 0 })
})

t.test('without Redis it says what it could not check', { timeout: LIMIT_MS }, async (t) => {
  const { code, stdout } = await validate(t, ['--no-prometheus', '--jobs', '1'], { PATH: emptyPath(t) })
  t.equal(code, 0)
  t.match(stdout, /^Validating one process of its own, jobs in memory/)
  t.match(stdout, / ✓ counters: \d+ sums moved/)
  t.match(stdout, / ✓ traces: 5 jobs, each one trace/)
  t.match(stdout, / – prometheus: not checked: --no-prometheus\n {5}→ /)
  t.match(stdout, / – traces across processes: not checked: API and worker are one process: there is no redis-server on the PATH/)
  t.match(stdout, /Everything that was checked holds: 5 ✓, 0 ✗, 2 not checked/)
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
