/** The formats, against everything that could break them: our strict parser in each case, the real programs where they can be had. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { CONTENT_TYPES } from '../../lib/exposition/content-negotiation.ts'
import { PrometheusExposition } from '../../lib/exposition/prometheus.ts'
import { INSTRUMENTS } from '../../lib/telemetry/instruments.ts'
import { checkMetrics, findPrometheus, startPrometheus } from '../support/prometheus.ts'
import { HOSTILE_VALUES, hostileRegistry, TRACE } from './support/hostile.ts'
import { parseExposition, type Format, type ParsedFamily } from './support/openmetrics-parser.ts'

const RESOURCE = { 'service.name': 'shop "api"\n', '9lives': '\ud800', 'a.b': '1', a_b: '2' }
const SCOPE = { otel_scope_name: 'AsyncEndpoints', otel_scope_version: '0' }
const FORMATS = ['text', 'openmetrics'] as const
const registry = hostileRegistry()
const tools = await findPrometheus()

function samples (families: ReadonlyMap<string, ParsedFamily>): number {
  return [...families.values()].reduce((sum, family) => sum + family.samples.length, 0)
}

/** A hostile value as it arrives: cut, without zero bytes, halves of characters replaced. */
function arrived (value: string): string {
  // Cut between two characters, not inside of one.
  const kept = value.length > 200 ? value.slice(0, 200).replace(/[\ud800-\udbff]$/, '') : value
  return kept.replaceAll('\u0000', '').replaceAll(/\p{Surrogate}/gu, '\ufffd')
}

for (const format of FORMATS) {
  t.test(`hostile metrics as ${format}: well formed, and every value arrives`, async (t) => {
    const hidden: string[] = []
    const exposition = new PrometheusExposition({ resource: RESOURCE, scope: SCOPE, onHidden: (name) => { hidden.push(name) } })
    const page = await exposition.render(registry.families(), format)
    const families = parseExposition(page, format)
    t.same([...hidden].sort(), ['collides', 'collides_with', 'target.info', 'waits.count'], 'what cannot be shown beside another is left out, and somebody is told')
    t.ok((await exposition.render(registry.families(), format)).equals(page), 'the same again from what was remembered')
    t.equal(hidden.length, 4, 'told once')

    const created = families.get(format === 'text' ? 'asyncendpoints_jobs_created_total' : 'asyncendpoints_jobs_created')
    const names = new Set(created?.samples.map(({ labels }) => labels.get('job_name')))
    t.same(names, new Set(HOSTILE_VALUES.map(arrived)))
    const unscoped = [...families.values()].filter(({ samples }) => !samples.every(({ labels }) => labels.get('otel_scope_name') === 'AsyncEndpoints'))
    t.same(unscoped.map(({ name }) => name), [format === 'text' ? 'target_info' : 'target'], 'the scope stands on every other series')
    t.notOk(families.has('injected_metric'))
    t.notOk(families.has('never_bound'))
    t.same(Object.fromEntries(families.get(format === 'text' ? 'target_info' : 'target')?.samples[0]?.labels ?? []), { service_name: 'shop "api"\n', key_9lives: '\ufffd', a_b: '1;2' })
    t.same([...families.get('reserved')?.samples[0]?.labels.keys() ?? []].slice(0, 3), ['key_', 'name', 'x'])
    t.same(families.get('labelled_le_seconds')?.samples[0]?.labels.get('exported_le'), '')
    t.same(families.get('values')?.samples.map(({ value }) => value), [NaN, Infinity, -Infinity, 0, 5e-324, Number.MAX_VALUE, 0.1 + 0.2, -1e21])
    t.same(families.get('temperature_celsius')?.samples.slice(0, 8).map(({ labels }) => labels.get('le')), ['-273.15', '-1.0', '0.0', '1e-07', '20.0', '1e+06', '1e+21', '+Inf'])
  })
}

t.test('units and exemplars of OpenMetrics', async (t) => {
  const families = parseExposition(await new PrometheusExposition().render(registry.families(), 'openmetrics'), 'openmetrics')
  const units = Object.fromEntries([...families].filter(([name, { unit }]) => unit !== undefined && unit !== 'seconds' && !name.startsWith('asyncendpoints_')).map(([name, { unit }]) => [name, unit]))
  t.same(units, {
    a_constructor: 'constructor',
    speed_meters_per_second: 'meters_per_second',
    requests_per_second: 'per_second',
    temperature_celsius: 'celsius',
    sizes_bytes: 'bytes'
  })
  const exemplars = [...families.values()].flatMap(({ type, samples }) => samples.flatMap(({ exemplar }) => exemplar === undefined ? [] : [{ type, exemplar }]))
  t.ok(exemplars.length > 100, `${exemplars.length} exemplars`)
  t.same(new Set(exemplars.map(({ type }) => type)), new Set(['counter', 'histogram']))
  t.ok(exemplars.every(({ exemplar: { labels, timestamp } }) => labels.get('trace_id') === TRACE.traceId && labels.get('span_id') === TRACE.spanId && timestamp === 1_700_000_000.007))
  t.notOk(families.get('temperature_celsius')?.samples.some(({ name }) => /_(sum|count)$/.test(name)), 'no sum where it is no counter')
})

t.test('no series at all: an empty page is a page', async (t) => {
  t.equal((await new PrometheusExposition().render([], 'text')).toString(), '')
  t.equal((await new PrometheusExposition().render([], 'openmetrics')).toString(), '# EOF\n')
})

t.test('promtool reads the hostile page', { skip: tools.skip }, async (t) => {
  const page = await new PrometheusExposition({ resource: RESOURCE, scope: SCOPE }).render(registry.families(), 'text')
  t.equal(checkMetrics(tools, page).errors, '')
  t.not(checkMetrics(tools, `${page.toString()}broken{ 1\n`).errors, '', 'and would say what it cannot read')
})

t.test('a real Prometheus takes both hostile pages whole', { skip: tools.skip }, async (t) => {
  const exposition = new PrometheusExposition({ resource: RESOURCE, scope: SCOPE })
  const server = createServer((request, response) => {
    const format: Format = request.url === '/openmetrics' ? 'openmetrics' : 'text'
    exposition.render(format === 'text' && request.url === '/empty' ? [] : registry.families(), format).then((page) => {
      response.setHeader('content-type', CONTENT_TYPES[format === 'text' ? 'prometheus' : format]).end(page)
    }, (error: unknown) => { response.writeHead(500).end(String(error)) })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const targets = [`127.0.0.1:${(server.address() as AddressInfo).port}`]
  const prometheus = await startPrometheus(tools, [{ job: 'text', path: '/text', targets }, { job: 'openmetrics', path: '/openmetrics', targets }, { job: 'empty', path: '/empty', targets }], 4_000)
  t.teardown(() => prometheus.stop())
  await prometheus.scraped(3)
  for (const format of FORMATS) {
    const expected = samples(parseExposition(await exposition.render(registry.families(), format), format))
    const [scraped] = await prometheus.query(`scrape_samples_scraped{job="${format}"}`)
    t.equal(scraped?.value, expected, `${format}: every sample`)
    const [added] = await prometheus.query(`scrape_samples_post_metric_relabeling{job="${format}"}`)
    t.equal(added?.value, expected)
    const found = await prometheus.query(`asyncendpoints_jobs_created_total{job="${format}"}`)
    t.same(new Set(found.map(({ labels }) => labels['job_name'] ?? '')), new Set(HOSTILE_VALUES.map(arrived)), `${format}: label values`)
    t.same((await prometheus.query(`count(asyncendpoints_jobs_queue_duration_seconds_bucket{job="${format}"})`))[0]?.value, INSTRUMENTS.jobQueueDuration.buckets.length * found.length + found.length)
  }
  t.same(await prometheus.query('count({job="openmetrics"}) by (__name__) unless on (__name__) count({job="text"}) by (__name__)'), [], 'both formats have the same names')
})
