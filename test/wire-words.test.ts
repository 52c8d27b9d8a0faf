/**
 * Every word for a status or a kind that leaves the process (documents over HTTP, metric labels, log fields, webhooks, the doctor's JSON)
 * is written in kebab-case, so that a client never has to look up how a word is spelt. The words are collected from the tables and
 * schemas that define them, and from the sources, where an object literal or a type gives one to a key of {@link WORD_KEYS}.
 *
 * Not words of this kind, and therefore not collected: names of events (`job.timed_out`: dotted, past tense), metrics, labels and log
 * fields (snake_case, as Prometheus and log pipelines expect), error codes (`FAE_…`), keys of JSON documents (camelCase), texts for people.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import swagger from '@fastify/swagger'
import Fastify from 'fastify'
import t from 'tap'
import { ERROR_TABLE, type ErrorCode } from '../lib/core/errors.ts'
import { HEALTH_STATUSES } from '../lib/core/health-check.ts'
import { CHECKS, SEVERITIES as DOCTOR_SEVERITIES } from '../lib/doctor/findings.ts'
import { SINKS } from '../lib/events/router.ts'
import { problemSlug } from '../lib/http/problem.ts'
import { JOB_STATES } from '../lib/jobs/states.ts'
import { ALERT_SEVERITIES, ALERT_TYPES } from '../lib/monitor/alerts/alert.ts'
import { BUILT_IN_RULES } from '../lib/monitor/alerts/rules.ts'
import { CAUSES, SEVERITIES } from '../lib/monitor/bottleneck-report.ts'
import asyncEndpoints from '../plugins/async-endpoints.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** One or more words of small letters and digits, joined by hyphens. */
const KEBAB = /^[a-z0-9]+(-[a-z0-9]+)*$/

/** Words that are spelt differently, and what fixes each of them. */
const EXCEPTIONS: ReadonlyMap<string, string> = new Map([
  ...['Healthy', 'Degraded', 'Unhealthy'].map((word) => [word, 'the source documents name the statuses of health checks'] as const),
  ['Unknown', 'stands in `previous` beside Healthy, Degraded and Unhealthy, before the first answer'],
  ...['Performance', 'Error', 'System'].map((word) => [word, 'the source documents name the types of alerts'] as const),
  ...['SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER', 'INTERNAL'].map((word) => [word, 'OpenTelemetry names the kinds of spans'] as const),
  ['%', 'a unit (UCUM)'],
  ['asyncendpoints.queuedepth', 'the source documents name this health check'],
  ['asyncendpoints.stuck', 'a health check, named like asyncendpoints.queuedepth']
])

/** Keys whose string values are words for a status or a kind, in object literals and in types. */
const WORD_KEYS = [
  'reason', 'kind', 'outcome', 'source', 'status', 'state', 'severity', 'cause', 'previous', 'phase', 'verdict', 'mode', 'submit_probe', 'channelType',
  'failure', 'origin', 'sink', 'jobRoutes', 'metrics', 'trustProxy', 'sdk', 'component', 'operation', 'access', 'details', 'storeOutage', 'propagation', 'idempotency'
]

/** Constants that list words: their names end like this. */
const WORD_LISTS = /\bconst [A-Z_]*(?:REASONS|KINDS|STATES|STATUSES|CAUSES|SEVERITIES|TYPES|OUTCOMES|PHASES|SINKS|FORMATS|MODES)\b[^=]*= \[([^\]]*)\]/g

/** Types that list words: their names end like this. */
const WORD_TYPES = /\btype \w*(?:Reason|Kind|State|Status|Cause|Severity|Type|Outcome|Phase|Access|Mode|Stage|Verdict) = ((?:\s*\|? ?'[^'\n]*')+)/g

/** A dot joins the parts of a name, for example the part of telemetry that failed: each part is a word. */
function isWireWord (word: string): boolean {
  return EXCEPTIONS.has(word) || word.split('.').every((part) => KEBAB.test(part))
}

function wordsIn (source: string): string[] {
  const valueOf = new RegExp(`\\b(?:${WORD_KEYS.join('|')})\\??: ((?:'[^'\\n]*'(?: \\| )?)+)`, 'g')
  const texts = [...source.matchAll(valueOf), ...source.matchAll(WORD_LISTS), ...source.matchAll(WORD_TYPES)].map(([, words = '']) => words)
  return texts.flatMap((text) => [...text.matchAll(/'([^'\n]*)'/g)].map(([, word = '']) => word))
}

function sources (folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts') && !name.startsWith('testing'))
    .map((name) => join(ROOT, folder, name))
}

function bad (words: Iterable<string>): string[] { return [...new Set(words)].filter((word) => !isWireWord(word)) }

t.test('the words of tables', async (t) => {
  t.same(bad([
    ...JOB_STATES, ...HEALTH_STATUSES, ...ALERT_TYPES, ...ALERT_SEVERITIES, ...CAUSES, ...SEVERITIES, ...SINKS, ...DOCTOR_SEVERITIES,
    ...BUILT_IN_RULES.map(({ name }) => name), ...Object.keys(CHECKS), ...Object.values(CHECKS).map(({ group }) => group),
    ...Object.keys(ERROR_TABLE).map((code) => problemSlug(code as ErrorCode))
  ]), [])
})

t.test('the words of the schemas of every route, and the checks that /health shows', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(swagger, { openapi: {} })
  await app.register(asyncEndpoints, { observability: { tracing: false } })
  app.asyncEndpoint({ url: '/reports', name: 'report', schema: { body: { type: 'object' } }, handler: async () => 1 })
  await app.ready()
  const words: string[] = []
  JSON.stringify(app.swagger(), (key, value: unknown) => {
    if (key === 'enum' && Array.isArray(value)) words.push(...value.filter((each) => typeof each === 'string'))
    if (key === 'const' && typeof value === 'string') words.push(value)
    return value
  })
  for (const word of ['in-progress', 'store-away']) t.ok(words.includes(word), `${word} is collected`)
  t.same(bad(words), [])

  const report: { checks: ReadonlyArray<{ name: string, status: string, tags: readonly string[] }> } = (await app.inject('/health')).json()
  t.ok(report.checks.length > 3)
  t.same(bad(report.checks.flatMap(({ name, status, tags }) => [name, status, ...tags])), [])
})

t.test('the words that the sources give to statuses, kinds and reasons', async (t) => {
  const found = ['lib', 'plugins'].flatMap(sources).flatMap((file) => bad(wordsIn(readFileSync(file, 'utf8'))).map((word) => `${relative(ROOT, file)}: ${word}`))
  t.same(found, [])
})

t.test('what the sources are searched with finds what it is for', async (t) => {
  t.same(wordsIn('{ reason: \'shutting down\', other: \'X\' }'), ['shutting down'])
  t.same(wordsIn('readonly state: \'open\' | \'left_open\''), ['open', 'left_open'])
  t.same(wordsIn('type LoadKind = \'cpu\' | \'event_loop\''), ['cpu', 'event_loop'])
  t.same(wordsIn('const RESTART_REASONS = [\'silent\', \'neverLooked\'] as const'), ['silent', 'neverLooked'])
  t.same(bad(['in-progress', 'alert.rule', 'shutting down', 'left_open', 'neverLooked', 'Healthy', '']), ['shutting down', 'left_open', 'neverLooked', ''])
})
