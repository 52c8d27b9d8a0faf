import Fastify from 'fastify'
import t from 'tap'
import { PrometheusExposition } from '../../lib/exposition/prometheus.ts'
import { INSTRUMENTS, RECORDED_METRICS, type InstrumentDefinition } from '../../lib/telemetry/instruments.ts'
import { recordInto } from '../../lib/telemetry/registry-recorder.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'
import type { MetricFamily } from '../../lib/telemetry/snapshot.ts'
import { asyncEndpoints } from '../../plugins/async-endpoints.ts'
import { parseExposition, type Format } from './support/openmetrics-parser.ts'

const TRACE = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' }
const RESOURCE = { 'service.name': 'shop "api"', 'service.instance.id': 'a:1' }

/** The page as text. */
async function print (exposition: PrometheusExposition, families: readonly MetricFamily[], format: Format): Promise<string> {
  return (await exposition.render(families, format)).toString()
}

function sampleRegistry (): MetricsRegistry {
  const registry = new MetricsRegistry({ now: () => 1_700_000_000_500 })
  const created = registry.instrument(INSTRUMENTS.jobCreated)
  created.bind({ job_name: 'report', store_type: 'memory' }).add(3, TRACE)
  created.bind({ job_name: 'with "quotes"\nand \\', store_type: 'memory' }).add()
  registry.instrument({ name: 'x.wait', kind: 'histogram', unit: 's', description: 'Wait\nwith "two" lines', labels: ['q'], buckets: [0.5, 1, 10] }).bind({ q: 'a' }).observe(0.7, TRACE)
  registry.instrument({ name: 'x.odd', kind: 'gauge', unit: '', description: 'Odd', labels: ['v'] }).bind({ v: 'nan' }).set(NaN)
  registry.instrument({ name: 'x.odd', kind: 'gauge', unit: '', description: 'Odd', labels: ['v'] }).bind({ v: 'inf' }).set(-Infinity)
  registry.instrument({ name: 'x.unused', kind: 'counter', unit: '', description: 'Never bound', labels: [] })
  return registry
}

const TEXT = `# HELP target_info Target metadata
# TYPE target_info gauge
target_info{service_name="shop \\"api\\"",service_instance_id="a:1"} 1
# HELP asyncendpoints_jobs_created_total Total number of jobs created
# TYPE asyncendpoints_jobs_created_total counter
asyncendpoints_jobs_created_total{job_name="report",store_type="memory"} 3
asyncendpoints_jobs_created_total{job_name="with \\"quotes\\"\\nand \\\\",store_type="memory"} 1
# HELP x_wait_seconds Wait\\nwith "two" lines
# TYPE x_wait_seconds histogram
x_wait_seconds_bucket{q="a",le="0.5"} 0
x_wait_seconds_bucket{q="a",le="1.0"} 1
x_wait_seconds_bucket{q="a",le="10.0"} 1
x_wait_seconds_bucket{q="a",le="+Inf"} 1
x_wait_seconds_sum{q="a"} 0.7
x_wait_seconds_count{q="a"} 1
# HELP x_odd Odd
# TYPE x_odd gauge
x_odd{v="nan"} NaN
x_odd{v="inf"} -Inf
`

const OPENMETRICS = `# HELP target Target metadata
# TYPE target info
target_info{service_name="shop \\"api\\"",service_instance_id="a:1"} 1
# HELP asyncendpoints_jobs_created Total number of jobs created
# TYPE asyncendpoints_jobs_created counter
asyncendpoints_jobs_created_total{job_name="report",store_type="memory"} 3 # {trace_id="0af7651916cd43dd8448eb211c80319c",span_id="b7ad6b7169203331"} 3 1700000000.500
asyncendpoints_jobs_created_total{job_name="with \\"quotes\\"\\nand \\\\",store_type="memory"} 1
# HELP x_wait_seconds Wait\\nwith \\"two\\" lines
# TYPE x_wait_seconds histogram
# UNIT x_wait_seconds seconds
x_wait_seconds_bucket{q="a",le="0.5"} 0
x_wait_seconds_bucket{q="a",le="1.0"} 1 # {trace_id="0af7651916cd43dd8448eb211c80319c",span_id="b7ad6b7169203331"} 0.7 1700000000.500
x_wait_seconds_bucket{q="a",le="10.0"} 1
x_wait_seconds_bucket{q="a",le="+Inf"} 1
x_wait_seconds_sum{q="a"} 0.7
x_wait_seconds_count{q="a"} 1
# HELP x_odd Odd
# TYPE x_odd gauge
x_odd{v="nan"} NaN
x_odd{v="inf"} -Inf
# EOF
`

t.test('both formats, letter by letter', async (t) => {
  const registry = sampleRegistry()
  const exposition = new PrometheusExposition({ resource: RESOURCE })
  t.equal(await print(exposition, registry.families(), 'text'), TEXT)
  t.equal(await print(exposition, registry.families(), 'openmetrics'), OPENMETRICS)
  t.equal(await print(exposition, registry.families(), 'text'), TEXT, 'and the same again from what was remembered')
  t.equal(await print(exposition, registry.snapshot().families, 'openmetrics'), OPENMETRICS, 'a snapshot prints the same')
})

t.test('a strict parser accepts both', async (t) => {
  const registry = sampleRegistry()
  const exposition = new PrometheusExposition({ resource: RESOURCE })
  const text = parseExposition(await print(exposition, registry.families(), 'text'), 'text')
  t.equal(text.get('asyncendpoints_jobs_created_total')?.samples[1]?.labels.get('job_name'), 'with "quotes"\nand \\')
  const open = parseExposition(await print(exposition, registry.families(), 'openmetrics'), 'openmetrics')
  t.same([...open.keys()], ['target', 'asyncendpoints_jobs_created', 'x_wait_seconds', 'x_odd'])
  t.equal(open.get('x_wait_seconds')?.samples[1]?.exemplar?.labels.get('trace_id'), TRACE.traceId)
})

t.test('scope labels stand on every series when asked for', async (t) => {
  const registry = sampleRegistry()
  const page = await print(new PrometheusExposition({ scope: { otel_scope_name: 'AsyncEndpoints' } }), registry.families(), 'text')
  for (const [name, family] of parseExposition(page, 'text')) {
    for (const sample of family.samples) t.equal(sample.labels.get('otel_scope_name'), 'AsyncEndpoints', name)
  }
  t.notMatch(page, /target_info/, 'no resource, no target_info')
})

t.test('no two of our own metrics could be taken for one another', async (t) => {
  const registry = new MetricsRegistry()
  for (const definition of Object.values<InstrumentDefinition>(INSTRUMENTS)) registry.instrument(definition).bind(Object.fromEntries(definition.labels.map((label) => [label, 'x'])))
  const hidden: string[] = []
  const page = await print(new PrometheusExposition({ onHidden: (name) => { hidden.push(name) } }), registry.families(), 'openmetrics')
  t.same(hidden, [])
  t.equal(parseExposition(page, 'openmetrics').size, Object.keys(INSTRUMENTS).length)
})

t.test('two metrics that become one name: the first stands', async (t) => {
  const registry = new MetricsRegistry()
  registry.instrument({ name: 'a.b', kind: 'gauge', unit: '', description: '1', labels: [] }).bind({}).set(1)
  registry.instrument({ name: 'a_b', kind: 'gauge', unit: '', description: '2', labels: [] }).bind({}).set(2)
  t.equal(await print(new PrometheusExposition(), registry.families(), 'text'), '# HELP a_b 1\n# TYPE a_b gauge\na_b 1\n')
})

t.test('a large page is built in slices that let other work in between', async (t) => {
  const registry = new MetricsRegistry({ maxSeriesPerMetric: 10_000 })
  const histogram = registry.instrument({ name: 'big', kind: 'histogram', unit: 's', description: 'Big', labels: ['n'], buckets: [1, 2, 3, 4, 5] })
  for (let n = 0; n < 10_000; n++) histogram.bind({ n: String(n) }).observe(n % 7)
  const exposition = new PrometheusExposition()
  const turnsOf = async (format: Format): Promise<{ turns: number, page: string }> => {
    let turns = 0
    let counting = true
    const count = (): void => { turns++; if (counting) setImmediate(count) }
    setImmediate(count)
    const page = await print(exposition, registry.families(), format)
    counting = false
    return { turns, page }
  }
  for (const format of ['openmetrics', 'openmetrics', 'text'] as const) {
    const { turns, page } = await turnsOf(format)
    t.ok(turns >= 2, `other work got ${turns} turns`)
    t.equal(parseExposition(page, format).get('big_seconds')?.samples.length, 80_000)
  }
})

t.test('many metrics of one series are as large a page as one metric of many', async (t) => {
  const families: MetricFamily[] = Array.from({ length: 50_000 }, (_, n) => ({
    name: `m${n}`, kind: 'gauge', unit: '', description: 'M', points: [{ labels: {}, value: n, exemplar: undefined }]
  }))
  families.push({ name: 'nothing', kind: 'gauge', unit: '', description: 'No series', points: [] })
  let turns = 0
  const count = setInterval(() => { turns++ }, 0)
  const page = await print(new PrometheusExposition(), families, 'text')
  clearInterval(count)
  t.ok(turns >= 2, `other work got ${turns} turns`)
  t.equal(parseExposition(page, 'text').size, 50_000)
})

t.test('an application is told, once, of what it cannot see', async (t) => {
  const lines: string[] = []
  const app = Fastify({ logger: { level: 'warn', stream: { write: (line: string) => { lines.push(line) } } } })
  t.teardown(() => app.close())
  await app.register(asyncEndpoints)
  for (const name of ['shop.size', 'shop_size']) app.jobMetricsRegistry.instrument({ name, kind: 'gauge', unit: '', description: name, labels: [] }).bind({}).set(1)
  await app.ready()
  for (let n = 0; n < 3; n++) t.match((await app.inject('/metrics')).body, '# HELP shop_size shop.size\n# TYPE shop_size gauge\nshop_size 1\n')
  t.equal(lines.length, 1)
  t.match(JSON.parse(lines[0] ?? ''), { level: 40, metric: 'shop_size', exposedName: 'shop_size' })
})

t.test('pages that are built at the same time, of metrics that come and go', async (t) => {
  const registry = new MetricsRegistry({ maxSeriesPerMetric: 10_000 })
  const gauge = registry.instrument({ name: 'g', kind: 'gauge', unit: '', description: 'G', labels: ['n'] })
  for (let n = 0; n < 9_000; n++) gauge.bind({ n: String(n) }).set(n)
  const exposition = new PrometheusExposition()
  const first = print(exposition, registry.families(), 'text')
  for (let n = 0; n < 9_000; n += 3) gauge.remove({ n: String(n) })
  const second = print(exposition, registry.families(), 'openmetrics')
  gauge.bind({ n: 'new' }).set(-1)
  const third = print(exposition, registry.families(), 'text')
  const values = (page: string, format: Format): number[] => {
    const samples = parseExposition(page, format).get('g')?.samples ?? []
    for (const { labels, value } of samples) if (labels.get('n') !== (value === -1 ? 'new' : String(value))) t.fail(`${labels.get('n')} has the value ${value}`)
    return samples.map(({ value }) => value)
  }
  t.equal(values(await first, 'text').length, 9_000)
  t.equal(values(await second, 'openmetrics').length, 6_000)
  t.same(values(await third, 'text').slice(-2), [8_999, -1])
  t.equal(values(await print(exposition, registry.families(), 'text'), 'text').length, 6_001)
})

t.test('an exemplar that was replaced is shown, and one that is too long is not', async (t) => {
  const registry = new MetricsRegistry({ now: () => 1_700_000_000_005 })
  const cell = registry.instrument({ name: 'c', kind: 'counter', unit: '', description: 'C', labels: [] }).bind({})
  const exposition = new PrometheusExposition()
  const shown = async (): Promise<string | undefined> => parseExposition(await print(exposition, registry.families(), 'openmetrics'), 'openmetrics').get('c')?.samples[0]?.exemplar?.labels.get('trace_id')
  cell.add(1, TRACE)
  t.equal(await shown(), TRACE.traceId)
  cell.add(1, { ...TRACE, traceId: '1af7651916cd43dd8448eb211c80319c' })
  t.equal(await shown(), '1af7651916cd43dd8448eb211c80319c')
  cell.add(1, { traceId: 'x'.repeat(114), spanId: '' })
  t.equal(await shown(), undefined)
  cell.add(1, { traceId: '"\n', spanId: '\\' })
  t.equal(await shown(), '"\n')
})

t.test('100,000 error types: the cap holds, what is over it is counted, and the page stays a page', async (t) => {
  const registry = new MetricsRegistry({ maxSeriesPerMetric: 300 })
  const metrics = recordInto(registry, RECORDED_METRICS).methods
  const before = parseExposition(await print(new PrometheusExposition(), registry.families(), 'text'), 'text')
  t.notOk(before.has('asyncendpoints_metrics_series_dropped_total'))
  for (let n = 0; n < 100_000; n++) metrics.jobFailed({ jobName: 'report', errorType: `E_${n}`, storeType: 'memory' }, n % 1_000 === 0 ? TRACE : undefined)
  for (const format of ['text', 'openmetrics'] as const) {
    const families = parseExposition(await print(new PrometheusExposition(), registry.families(), format), format)
    const of = (name: string): ReadonlyArray<{ labels: ReadonlyMap<string, string>, value: number }> => families.get(format === 'text' ? `${name}_total` : name)?.samples ?? []
    const failed = of('asyncendpoints_jobs_failed')
    t.equal(failed.length, 301)
    t.same([...failed.at(-1)?.labels ?? []], [['otel_metric_overflow', 'true']])
    t.equal(failed.at(-1)?.value, 99_700)
    t.equal(failed.reduce((sum, { value }) => sum + value, 0), 100_000, 'no failure is lost')
    const dropped = of('asyncendpoints_metrics_series_dropped')
    t.same([...dropped[0]?.labels ?? []], [['metric', INSTRUMENTS.jobFailed.name]])
    t.equal(dropped[0]?.value, 99_700)
  }
})

t.test('a label value of megabytes, a series that is removed while the page is built', async (t) => {
  const registry = new MetricsRegistry()
  const gauge = registry.instrument({ name: 'g', kind: 'gauge', unit: '', description: 'G', labels: ['v'] })
  gauge.bind({ v: `${'x'.repeat(10_000_000)}` }).set(1)
  gauge.bind({ v: 'gone' }).set(2)
  const families = registry.families()
  t.ok(gauge.remove({ v: 'gone' }))
  const page = await print(new PrometheusExposition(), families, 'text')
  t.ok(page.length < 1_000)
  parseExposition(page, 'text')
  t.notMatch(await print(new PrometheusExposition(), registry.families(), 'text'), /gone/)
})
