import { spawnSync } from 'node:child_process'
import t from 'tap'
import { PrometheusExposition } from '../../lib/exposition/prometheus.ts'
import { INSTRUMENTS } from '../../lib/telemetry/instruments.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'
import type { MetricFamily } from '../../lib/telemetry/snapshot.ts'
import { parseExposition, type Format } from './support/openmetrics-parser.ts'

const TRACE = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' }
const RESOURCE = { 'service.name': 'shop "api"', 'service.instance.id': 'a:1' }

/** The page as text. */
async function print (exposition: PrometheusExposition, families: readonly MetricFamily[], format: Format): Promise<string> {
  return (await exposition.render(families, format)).toString()
}

function sampleRegistry (): MetricsRegistry {
  const registry = new MetricsRegistry({ now: () => 1_700_000_000_500 })
  const created = registry.instrument(INSTRUMENTS.jobsCreated)
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

const missing = spawnSync('promtool', ['--version']).error !== undefined

t.test('promtool accepts the text format', { skip: missing && 'promtool is not installed; the strict parser of this folder checks the format in any case' }, async (t) => {
  const page = await print(new PrometheusExposition({ resource: RESOURCE }), sampleRegistry().families(), 'text')
  const checked = spawnSync('promtool', ['check', 'metrics'], { input: page, encoding: 'utf8' })
  // Its opinions about naming are on exit code 3; what it cannot parse is on 1.
  t.not(checked.status, 1, checked.stderr)
})

t.test('scope labels stand on every series when asked for', async (t) => {
  const registry = sampleRegistry()
  const page = await print(new PrometheusExposition({ scope: { otel_scope_name: 'AsyncEndpoints' } }), registry.families(), 'text')
  for (const [name, family] of parseExposition(page, 'text')) {
    for (const sample of family.samples) t.equal(sample.labels.get('otel_scope_name'), 'AsyncEndpoints', name)
  }
  t.notMatch(page, /target_info/, 'no resource, no target_info')
})

t.test('two metrics that become one name: the first stands', async (t) => {
  const registry = new MetricsRegistry()
  registry.instrument({ name: 'a.b', kind: 'gauge', unit: '', description: '1', labels: [] }).bind({}).set(1)
  registry.instrument({ name: 'a_b', kind: 'gauge', unit: '', description: '2', labels: [] }).bind({}).set(2)
  t.equal(await print(new PrometheusExposition(), registry.families(), 'text'), '# HELP a_b 1\n# TYPE a_b gauge\na_b 1\n')
})

t.test('a large page is built in slices that let other work in between', async (t) => {
  const registry = new MetricsRegistry({ maxSeriesPerMetric: 2_000 })
  const histogram = registry.instrument({ name: 'big', kind: 'histogram', unit: 's', description: 'Big', labels: ['n'], buckets: [1, 2, 3, 4, 5] })
  for (let n = 0; n < 2_000; n++) histogram.bind({ n: String(n) }).observe(n % 7)
  let turns = 0
  let counting = true
  const count = (): void => { turns++; if (counting) setImmediate(count) }
  setImmediate(count)
  const page = await print(new PrometheusExposition(), registry.families(), 'openmetrics')
  counting = false
  t.ok(turns >= 6, `other work got ${turns} turns`)
  t.equal(parseExposition(page, 'openmetrics').get('big_seconds')?.samples.length, 16_000)
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
