/** Who writes metrics: the registry of exporters, what it refuses, what it tells, and the formats that are always there. */
import t from 'tap'
import { createContext, silentLogger } from '../../lib/core/context.ts'
import { EventBus } from '../../lib/events/bus.ts'
import { createExporters } from '../../lib/exposition/built-in-exporters.ts'
import type { MetricsExporter } from '../../lib/exposition/exporter.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'

const NOW = Date.UTC(2026, 0, 1)

function build () {
  const bus = new EventBus(silentLogger)
  const registry = new MetricsRegistry({ now: () => NOW })
  const exporters = createExporters({ context: createContext(), bus, registry, resource: { 'service.name': 'shop' }, scope: undefined })
  const told: string[] = []
  for (const name of ['telemetry.plugin_registered', 'telemetry.plugin_unregistered'] as const) bus.on(name, ({ exporter }) => { told.push(`${name} ${exporter}`) })
  for (const name of ['telemetry.export_requested', 'telemetry.export_completed', 'telemetry.export_failed'] as const) {
    bus.on(name, ({ exporter, format, target }) => { told.push(`${name} ${exporter} ${format} ${target}`) })
  }
  return { registry, exporters, told }
}

function exporter (name: string, formats: readonly string[] = [name], parts: Partial<MetricsExporter> = {}): MetricsExporter {
  return { name, formats, contentType: 'text/plain', export: () => `page of ${name}`, ...parts }
}

t.test('registered, found by name and format, replaced, taken away, and each is told', async (t) => {
  const { exporters, told } = build()
  t.same(exporters.formats(), ['prometheus', 'openmetrics', 'json', 'csv'])
  exporters.register(exporter('statsd', ['statsd', 'dogstatsd']))
  t.equal(String((await exporters.export({ format: 'dogstatsd' })).body), 'page of statsd')
  t.throws(() => exporters.register(exporter('statsd', ['other'])), { code: 'FAE_DUPLICATE_EXPORTER', message: /The name statsd/ })
  t.throws(() => exporters.register(exporter('other', ['dogstatsd'])), { code: 'FAE_DUPLICATE_EXPORTER', message: /The format dogstatsd/ })
  t.throws(() => exporters.register(exporter('other', ['json'])), { code: 'FAE_DUPLICATE_EXPORTER' }, 'built-in formats are taken, too')
  exporters.register(exporter('mine', ['json', 'dogstatsd', 'statsd']), { replace: true })
  t.equal(String((await exporters.export({ format: 'json' })).body), 'page of mine')
  t.notOk(exporters.names().includes('statsd'), 'one whose formats are all gone is gone')
  t.equal(exporters.unregister('mine'), true)
  t.equal(exporters.unregister('mine'), false)
  t.equal(exporters.unregister('prometheus'), false, 'what is built in cannot be taken away')
  t.match(String((await exporters.export({ format: 'json' })).body), /^{"startedAt"/, 'and is back when what had replaced it goes')
  t.same(told, [
    'telemetry.plugin_registered statsd',
    'telemetry.export_requested statsd dogstatsd code', 'telemetry.export_completed statsd dogstatsd code',
    'telemetry.plugin_registered mine', 'telemetry.plugin_unregistered statsd',
    'telemetry.export_requested mine json code', 'telemetry.export_completed mine json code',
    'telemetry.plugin_unregistered mine',
    'telemetry.export_requested json json code', 'telemetry.export_completed json json code'
  ])
})

t.test('a format that nobody writes is a coded error which names those that somebody does', async (t) => {
  const { exporters, told } = build()
  exporters.register(exporter('statsd'))
  await t.rejects(exporters.export({ format: 'xml' }), { code: 'FAE_UNKNOWN_FORMAT', statusCode: 400, message: 'No exporter writes the format "xml"; known are prometheus, openmetrics, json, csv, statsd', details: { formats: exporters.formats() } })
  const long = await exporters.export({ format: 'x'.repeat(1_000_000) }).catch((error: Error) => error.message)
  t.ok(typeof long === 'string' && long.length < 300, 'however long it is')
  t.same(told, ['telemetry.plugin_registered statsd'], 'nothing was asked of anybody')
})

t.test('what is no exporter is refused with everything that is wrong', async (t) => {
  const { exporters } = build()
  t.throws(() => exporters.register({ name: 'a b', formats: [], contentType: 1, live: 1, export: 'no', onSync: true } as never), {
    code: 'FAE_INVALID_OPTIONS', message: /name must be .*formats must be .*live must be .*export must be .*onSync must be /s
  })
  t.throws(() => exporters.register(null as never), { code: 'FAE_INVALID_OPTIONS' })
  t.throws(() => exporters.register(exporter('header', ['a'], { contentType: 'text/plain\r\nset-cookie: a=b' })), { message: /contentType must be a media type/ })
  t.throws(() => exporters.register(exporter('two', ['a', 'b'], { contentType: { a: 'text/plain' } })), { message: /contentType\.b must be a media type/ })
})

t.test('the hooks of an exporter hear of its pages', async (t) => {
  const { exporters, told } = build()
  const heard: string[] = []
  exporters.register(exporter('mine', ['mine'], {
    onRequested: ({ format, target, resource }) => { heard.push(`requested ${format} ${target} ${resource['service.name']}`) },
    onCompleted: ({ bytes, durationMs }) => { heard.push(`completed ${bytes} ${durationMs >= 0}`) }
  }))
  await exporters.export({ format: 'mine' })
  t.same(heard, ['requested mine code shop', 'completed 12 true'])
  exporters.register(exporter('broken', ['broken'], { export: () => { throw new Error('as asked') } }))
  told.length = 0
  await t.rejects(exporters.export({ format: 'broken' }), { code: 'FAE_EXPORT_FAILED', cause: { message: 'as asked' } })
  t.same(told, ['telemetry.export_requested broken broken code', 'telemetry.export_failed broken broken code'])
})

t.test('JSON and CSV show the same numbers, whatever is in the labels', async (t) => {
  const { exporters, registry } = build()
  const labels = ['job_name', 'kind'] as const
  const hostile = ['=1+1', '"quoted", and\r\nbroken', '-2', '\u{1f600}']
  const counter = registry.instrument({ name: 'jobs', kind: 'counter', unit: '{job}', description: 'Jobs', labels })
  for (const [index, text] of hostile.entries()) counter.bind({ job_name: text, kind: 'x' }).add(index + 1)
  registry.instrument({ name: 'odd', kind: 'gauge', unit: '', description: 'Odd', labels: [] }).bind({}).set(-Infinity)
  const waits = registry.instrument({ name: 'waits', kind: 'histogram', unit: 's', description: 'Waits', labels: [], buckets: [1, 5] }).bind({})
  for (const seconds of [0.5, 3, 3, 100]) waits.observe(seconds)

  const json = await exporters.export({ format: 'json' })
  t.equal(json.contentType, 'application/json; charset=utf-8')
  const parsed = JSON.parse(String(json.body)) as { resource: unknown, metrics: Array<{ name: string, series: Array<Record<string, unknown>> }> }
  t.same(parsed.resource, { 'service.name': 'shop' })
  const series = (name: string) => parsed.metrics.find((metric) => metric.name === name)?.series
  t.same(series('jobs'), hostile.map((text, index) => ({ labels: { job_name: text, kind: 'x' }, value: index + 1 })))
  t.same(series('odd'), [{ labels: {}, value: '-Inf' }])
  t.same(series('waits'), [{ labels: {}, count: 4, sum: 106.5, buckets: [{ le: 1, count: 1 }, { le: 5, count: 3 }, { le: '+Inf', count: 4 }] }])

  const csv = String((await exporters.export({ format: 'csv' })).body)
  t.equal(csv, [
    'name,kind,unit,sample,le,value,job_name,label_kind',
    'jobs,counter,{job},value,,1,\'=1+1,x',
    'jobs,counter,{job},value,,2,"""quoted"", and\r\nbroken",x',
    'jobs,counter,{job},value,,3,\'-2,x',
    'jobs,counter,{job},value,,4,\u{1f600},x',
    'odd,gauge,,value,,-Inf,,',
    'waits,histogram,s,bucket,1,1,,',
    'waits,histogram,s,bucket,5,3,,',
    'waits,histogram,s,bucket,Inf,4,,',
    'waits,histogram,s,sum,,106.5,,',
    'waits,histogram,s,count,,4,,',
    ''
  ].join('\r\n'))
})
