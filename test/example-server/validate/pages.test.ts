/** The checks must fail for what is wrong, so each is shown something wrong. */
import t from 'tap'
import { misfits, type Ended, type Kind } from '../../../example-server/validate/jobs.ts'
import { differences, expectedOf, lacking, unmet } from '../../../example-server/validate/pages.ts'
import { parseExposition } from '../../../example-server/validate/support/openmetrics-parser.ts'
import { Findings, lineOf } from '../../../example-server/validate/report.ts'
import { gapsOf, type Span } from '../../../example-server/validate/traces.ts'

const GOOD = [
  '# HELP asyncendpoints_jobs_created Total number of jobs created', '# TYPE asyncendpoints_jobs_created counter', 'asyncendpoints_jobs_created_total{job_name="a",store_type="memory"} 1',
  '# HELP asyncendpoints_jobs_oldest_age_seconds How long ago the oldest waiting job could have started; 0 when none waits', '# TYPE asyncendpoints_jobs_oldest_age_seconds gauge', '# UNIT asyncendpoints_jobs_oldest_age_seconds seconds', 'asyncendpoints_jobs_oldest_age_seconds{queue="default",store_type="memory"} 0'
]
const page = (lines: readonly string[]): ReturnType<typeof parseExposition> => parseExposition([...lines, '# EOF', ''].join('\n'), 'openmetrics')

t.test('a page is compared with the table', async (t) => {
  t.strictSame(differences(page(GOOD)), [])
  const wrong: ReadonlyArray<readonly [from: string, to: string, says: RegExp]> = [
    ['jobs_created', 'jobs_made', /asyncendpoints_jobs_made is not in the table/],
    ['# UNIT asyncendpoints_jobs_oldest_age_seconds seconds\n', '', /has the unit none, not seconds/],
    ['age_seconds gauge', 'age_seconds unknown', /is a unknown, not a gauge/],
    ['store_type', 'owner', /has a label owner/],
    ['Total number', 'Number', /is described as/]
  ]
  for (const [from, to, says] of wrong) t.match(differences(page(GOOD.join('\n').replaceAll(from, to).split('\n'))).join('\n'), says, String(says))
  t.strictSame(lacking(page(GOOD), page(GOOD.slice(0, 3))), ['asyncendpoints_jobs_oldest_age_seconds[["queue","default"],["store_type","memory"]]'])
})

const kind = (attempts: number, ends: Kind['ends']): Kind => ({ what: '', path: '/demo/sleep', job: 'a', body: {}, ends, attempts })
const ended = (of: Kind): Ended => ({ kind: of, id: '1', status: of.ends, attempts: of.attempts, traceId: 'x', tookMs: 1 })

t.test('what counters must move by', async (t) => {
  const expected = expectedOf([ended(kind(1, 'completed')), ended(kind(2, 'completed')), ended(kind(3, 'failed'))])
  const by = (sample: string, status?: string): number | undefined => expected.find((one) => one.sample === `asyncendpoints_${sample}` && one.labels['status'] === status)?.by
  t.strictSame([by('jobs_created_total'), by('jobs_processed_total', 'completed'), by('jobs_processed_total', 'failed'), by('jobs_retries_total'), by('jobs_processing_duration_seconds_count', 'failed'), by('handlers_error_rate_total')], [3, 2, 1, 3, 4, 4])
  const one = [{ sample: 'asyncendpoints_jobs_created_total', labels: { job_name: 'a' }, by: 1 }]
  t.strictSame(unmet(one, [], [page(GOOD)]), [])
  t.strictSame(unmet(one, [page(GOOD)], [page(GOOD)]), ['asyncendpoints_jobs_created_total{"job_name":"a"} moved by 0 instead of 1'])
  t.strictSame(unmet(one, [], [page(GOOD), page(GOOD)]).length, 1, 'two processes are added up')
})

t.test('how jobs ended', async (t) => {
  const job = ended(kind(2, 'completed'))
  t.strictSame(misfits([job]), [])
  t.match(misfits([{ ...job, status: 'failed' }, { ...job, status: undefined }, { ...job, attempts: 1 }]), [/is failed instead of completed/, /is not over/, /took 1 attempts instead of 2/])
})

t.test('what a trace must have', async (t) => {
  const span = (name: string, kind: string, spanId: string, parentSpanId?: string, process = 'api'): Span => ({ name, kind, spanId, parentSpanId, process, failed: false, durationMs: 1 })
  const chain = [span('POST /demo/sleep', 'server', '1', '0'), span('send default', 'producer', '2', '1'), span('process default', 'consumer', '3', '2', 'worker'), span('a', 'internal', '4', '3', 'worker')]
  const job = { kind: kind(1, 'completed') }
  t.strictSame(gapsOf(chain, job), { problems: [], crossing: true })
  t.strictSame(gapsOf(chain.map((span) => ({ ...span, process: 'one' })), job), { problems: [], crossing: false })
  for (const [index, missing] of ['server', 'producer', 'consumer', 'internal'].entries()) t.match(gapsOf(chain.filter((_, at) => at !== index), job).problems, [new RegExp(`no ${missing} span`)])
  t.match(gapsOf(chain.map((span) => span.spanId === '3' ? { ...span, parentSpanId: '1' } : span), job).problems, [/no consumer span below "send default"; the trace has server POST/])
  t.match(gapsOf(chain, { kind: kind(2, 'completed') }).problems, [/"process default" does not say that it failed/, /"a" does not say/])
  t.match(gapsOf(chain.map((span) => ({ ...span, failed: true })), job).problems, [/says that it failed/, /says that it failed/])
  t.match(gapsOf([], job).problems, [/no server span; the trace has nothing/])
})

t.test('what could not be checked is never silent, and fails where it is required', async (t) => {
  const told: string[] = []
  const findings = new Findings(['redis'], (check) => { told.push(lineOf(check)) })
  findings.skip('prometheus', 'prometheus', 'there is none', 'Install one.')
  t.ok(findings.ok)
  findings.skip('traces across processes', 'redis', 'there is no Redis', 'Install it.')
  t.notOk(findings.ok)
  await findings.attempt('jobs', 'Look at the log.', async () => { throw new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED') }) })
  t.strictSame(told, [
    ' – prometheus: not checked: there is none\n     → Install one.\n',
    ' ✗ traces across processes: not checked, but --require redis was given: there is no Redis\n     → Install it.\n',
    ' ✗ jobs: 1 problem\n     fetch failed: connect ECONNREFUSED\n     → Look at the log.\n'
  ])
})
