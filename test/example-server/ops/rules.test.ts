/** The alerts: known to the real promtool, tested by it, about metrics that exist, and each with its page in the runbook. */
import { execFile } from 'node:child_process'
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { ERROR_TABLE } from '../../../lib/core/errors.ts'
import { problemSlug } from '../../../lib/http/problem.ts'
import { INSTRUMENTS } from '../../../lib/telemetry/instruments.ts'
import { temporaryFolder } from '../../support/folder.ts'
import { findPrometheus } from '../../support/prometheus.ts'
import { rulesText } from '../../../example-server/ops/rules/metric-rules.ts'
import { alertRules, filesIn, knownSeries, OPS, recordingRules, text, unknownIn, yaml } from './support.ts'

const tools = await findPrometheus()
const run = promisify(execFile)
const promtool = async (args: readonly string[], folder = OPS): Promise<string> => {
  const { stdout, stderr } = await run(tools.promtool, args, { cwd: folder })
  return stdout + stderr
}

t.test('promtool: the rules, their tests, and the configuration', { skip: tools.skip }, async (t) => {
  const rules = filesIn('prometheus/rules')
  const found = await promtool(['check', 'rules', '--lint=all', '--lint-fatal', ...rules])
  t.equal([...found.matchAll(/(\d+) rules found/g)].reduce((sum, [, count]) => sum + Number(count), 0), alertRules().length + recordingRules().length)
  t.match(await promtool(['check', 'config', 'prometheus/prometheus.yml']), /is valid prometheus config/)
  t.notMatch(await promtool(['test', 'rules', ...filesIn('prometheus/tests')]), /FAILED/)
})

t.test('the rules about single metrics are those that the catalogue makes', async (t) => {
  t.equal(text('prometheus/rules/metrics.yml'), rulesText(), 'run `npm run dashboard`')
})

t.test('the tests of the rules notice when an alert changes', { skip: tools.skip }, async (t) => {
  const copy = temporaryFolder(t, 'rules')
  cpSync(join(OPS, 'prometheus'), copy, { recursive: true })
  for (const name of ['alerts.yml', 'metrics.yml']) {
    const file = join(copy, 'rules', name)
    // No alert can fire any more, so every test that expects one must miss it.
    writeFileSync(file, readFileSync(file, 'utf8').replace(/expr: (?:\|\n(?: {10}.*\n)+|.*\n)/g, 'expr: vector(1) > 2\n'))
  }
  const missed = await promtool(['test', 'rules', ...filesIn('prometheus/tests').map((path) => path.replace('prometheus/', ''))], copy).catch((error: { stderr: string }) => error.stderr)
  for (const { alert, labels } of alertRules()) t.match(missed, new RegExp(`alertname="${alert}"[^}]*severity="${labels?.['severity']}"`))
})

t.test('they ask for metrics, labels and reasons that exist', async (t) => {
  const rules = [...recordingRules(), ...alertRules()]
  const known = knownSeries()
  t.strictSame(rules.flatMap(({ expr }) => unknownIn(expr, known)), [])
  const refused = Object.entries(ERROR_TABLE).filter(([, { statusCode }]) => statusCode === 429 || statusCode === 503).map(([code]) => problemSlug(code as keyof typeof ERROR_TABLE)).sort()
  const reasons = recordingRules().flatMap(({ expr }) => /reason=~"([^"]+)"/.exec(expr)?.[1]?.split('|') ?? []).sort()
  // A client that asks for too much is refused for its own sake: the service is not full.
  const ofOneClient = ['too-many-channels', 'too-many-submissions']
  t.strictSame(reasons, refused.filter((reason) => !ofOneClient.includes(reason)), 'every reason that is answered 429 or 503 because the service is full, and no other')
  const bounds: readonly number[] = INSTRUMENTS.jobQueueDuration.buckets
  t.ok(bounds.includes(30), 'the objective is a bound of the histogram')
  for (const { record } of recordingRules()) t.match(record, /^[a-z_]+:asyncendpoints_[a-z_]+:[a-z0-9_]+$/, 'level:metric:operations')
})

t.test('each alert says how bad it is and what to do, and the runbook has its section', async (t) => {
  const runbook = readFileSync(new URL('../../../../docs/monitoring.md', import.meta.url), 'utf8')
  const sections = [...runbook.matchAll(/^### (AsyncEndpoints\w+)$/gm)].map(([, name = '']) => name)
  for (const { alert = '', labels, annotations, for: duration } of alertRules()) {
    t.match(alert, /^AsyncEndpoints[A-Z]/)
    t.match(labels, { severity: /^(critical|warning|info)$/ }, alert)
    t.match(annotations, { summary: /^[A-Z].*\.$/, description: /.{40}[.?]$/, runbook_url: `docs/monitoring.md#${alert.toLowerCase()}` }, alert)
    t.match(duration, /^\d+m$/, `${alert} waits for a while`)
  }
  const names = [...new Set(alertRules().map(({ alert = '' }) => alert))]
  t.strictSame(sections.sort(), names.sort())
  const parts = runbook.split(/^### /m).slice(1)
  for (const part of parts) t.match(part, /\*\*Means\*\*[\s\S]+\*\*Look\*\*[\s\S]+\*\*Do\*\*/, part.slice(0, part.indexOf('\n')))
})

t.test('Prometheus scrapes the processes of the compose file', async (t) => {
  interface Config { rule_files: string[], scrape_configs: Array<{ job_name: string, static_configs: Array<{ targets: string[], labels?: { app: string } }> }> }
  interface Compose { services: Record<string, { ports?: string[], environment?: Record<string, string> }> }
  const [config] = yaml<Config>('prometheus/prometheus.yml')
  const [compose] = yaml<Compose>('compose.yaml')
  for (const { job_name: job, static_configs: [entry] } of config?.scrape_configs ?? []) {
    const [host = ''] = entry?.targets[0]?.split(':') ?? []
    t.ok(host === 'localhost' || compose?.services[host] !== undefined, `${job} is a service`)
    if (job.startsWith('shop-')) t.equal(entry?.labels?.app, 'shop')
    if (job.startsWith('shop-')) t.equal(compose?.services[host]?.environment?.['OTEL_SERVICE_NAME'], job)
  }
  t.equal(config?.scrape_configs.length, 5)
})
