/** A row of the catalogue is all that a metric needs: what is made from it, and that nothing is missing for any of them. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { rows } from '../../example-server/ops/dashboard/panels.ts'
import { metricRules } from '../../example-server/ops/rules/metric-rules.ts'
import { exposedName } from '../../lib/exposition/prometheus-names.ts'
import { DIRECT_METRICS } from '../../lib/telemetry/metric-catalogue/telemetry.ts'
import { INSTRUMENTS, RECORDED_METRICS } from '../../lib/telemetry/instruments.ts'
import { METRIC_LABELS } from '../../lib/telemetry/metric-catalogue/labels.ts'
import type { MetricRow, MetricTable } from '../../lib/telemetry/metric-catalogue/row.ts'
import { metricsOf, type AsyncEndpointsMetrics } from '../../lib/telemetry/metrics.ts'
import { recordInto } from '../../lib/telemetry/registry-recorder.ts'
import { MetricsRegistry } from '../../lib/telemetry/registry.ts'
import { metricsTable } from '../support/metric-docs.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

/** The library's table with one row more. */
const WITH_ONE_MORE = {
  ...RECORDED_METRICS,
  queuePurged: {
    name: 'asyncendpoints.queues.purged.total',
    kind: 'counter',
    unit: '{purge}',
    description: 'Queues that were emptied on request',
    labels: ['queue', 'reason', 'store_type'],
    startsAtZero: { per: 'queue', values: { reason: ['requested'], store_type: ['memory', 'bullmq'] } },
    panel: 'Store',
    alert: {
      name: 'AsyncEndpointsQueuesPurged',
      grows: { moreThan: 3, withinMinutes: 60, by: ['queue'], where: 'reason="requested"' },
      forMinutes: 5,
      severity: 'info',
      summary: 'A queue is emptied often.',
      description: 'The queue {{ $labels.queue }} was emptied often.'
    }
  }
} as const satisfies MetricTable

t.test('one more row makes the instrument, the method, the no-op, the first series, the docs, the panel and the rule', async (t) => {
  const registry = new MetricsRegistry()
  const { methods, startAtZero } = recordInto(registry, WITH_ONE_MORE)
  startAtZero('queue', { queue: 'mails' })
  methods.queuePurged({ queue: 'mails', reason: 'requested', storeType: 'memory' })
  const { name } = WITH_ONE_MORE.queuePurged
  t.match(registry.families().find((family) => family.name === name)?.points, [
    { labels: { queue: 'mails', reason: 'requested', store_type: 'memory' }, value: 1 },
    { labels: { queue: 'mails', reason: 'requested', store_type: 'bullmq' }, value: 0 }
  ])
  // @ts-expect-error -- the type of the method is made from the row: a label is missing
  methods.queuePurged({ queue: 'mails', reason: 'requested' })

  const noop = metricsOf(WITH_ONE_MORE, () => () => {})
  t.equal(noop.queuePurged({ queue: 'mails', reason: 'requested', storeType: 'memory' }), undefined)

  t.ok(metricsTable(WITH_ONE_MORE, WITH_ONE_MORE).includes('| `asyncendpoints.queues.purged.total` | `asyncendpoints_queues_purged_total` | counter ' +
    '| `queue`, `reason`, `store_type` | Queues that were emptied on request | `queuePurged` |'))

  const panel = rows(WITH_ONE_MORE).find(({ title }) => title === 'Store')?.panels.find(({ title }) => title === 'queues.purged.total')
  t.match(panel, { description: 'Queues that were emptied on request', unit: 'ops' })
  t.match(panel?.targets[0]?.expression.expr, /^sum by \(queue, reason, store_type\) \(rate\(asyncendpoints_queues_purged_total\{/)

  const rule = metricRules(WITH_ONE_MORE).find(({ alert }) => alert === 'AsyncEndpointsQueuesPurged')
  t.match(rule?.expr.join('\n'), /sum by \(app, queue\) \(\n {2}increase\(asyncendpoints_queues_purged_total\{reason="requested"\}\[1h\]\)/)
  t.match(rule, { for: '5m', severity: 'info' })
})

/** The sources of the library without the catalogue itself. */
function sources (): string {
  return ['lib', 'plugins'].flatMap((folder) => readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !/metric-catalogue|telemetry.metrics(-override)?\.ts|testing/.test(file))
    .map((file) => readFileSync(join(ROOT, folder, file), 'utf8'))).join('\n')
}

t.test('every row is in the docs, has a panel, and is recorded by something', async (t) => {
  const docs = readFileSync(join(ROOT, 'docs/observability.md'), 'utf8')
  const code = sources()
  const shown = rows().map(({ title, panels }) => {
    const targets = panels.flatMap((panel) => panel.targets)
    return { title, of: targets.flatMap(({ expression }) => expression.of) }
  })
  for (const [key, row] of Object.entries<MetricRow>(INSTRUMENTS)) {
    t.ok(docs.includes(`| \`${row.name}\` | \`${exposedName(row).sample}\` |`), `${key} is in the docs`)
    if (typeof row.panel === 'string') {
      const found = shown.some(({ title, of }) => title === row.panel && of.includes(row.name))
      t.ok(found, `${key} is in the row ${row.panel}`)
    } else t.match(row.panel.none, /.{20}/, `${key} says why it has no panel`)
  }
  for (const method of Object.keys(RECORDED_METRICS)) t.ok(new RegExp(`\\.${method}\\(`).test(code), `${method} is called`)
  for (const key of Object.keys(DIRECT_METRICS)) {
    t.ok(new RegExp(`INSTRUMENTS\\.${key}\\b|\\{ ${key} \\} = INSTRUMENTS`).test(code), `${key} is recorded`)
  }
})

t.test('a series that starts at 0 has a value for each of its labels', async (t) => {
  const job = ['job_name', 'store_type'] as const
  const step = ['job_name', 'step'] as const
  const known = { process: ['store_type'], queue: ['queue'], job, 'job with slaMs': job, saga: ['job_name'], 'step of a saga': step, 'step with a compensation': step } as const
  for (const [key, row] of Object.entries<MetricRow>(INSTRUMENTS)) {
    if (row.kind !== 'counter' || row.startsAtZero === undefined) continue
    const { per, values = {} } = row.startsAtZero
    t.same(row.labels.filter((label) => !known[per].some((own) => own === label) && values[label] === undefined), [], key)
  }
})

t.test('each label reads the property that it names, and is used', async (t) => {
  const used = new Set(Object.values<MetricRow>(INSTRUMENTS).flatMap(({ labels }) => labels))
  const properties = Object.values(METRIC_LABELS).map(({ property }) => property)
  const values = Object.fromEntries(properties.map((property) => [property, `value of ${property}`]))
  for (const [name, label] of Object.entries<{ readonly property: string, read (labels: object): string }>(METRIC_LABELS)) {
    t.equal(label.read(values), `value of ${label.property}`, name)
  }
  t.same(Object.keys(METRIC_LABELS).filter((name) => ![...used].some((own) => own === name)), [])
})

t.test('an implementation of the interface is written with plain parameters', async (t) => {
  const seen: unknown[] = []
  const part: Pick<AsyncEndpointsMetrics, 'jobCreated' | 'jobQueueDuration' | 'channelUtilization' | 'jobPayloadSize'> = {
    jobCreated: ({ jobName, storeType }, exemplar) => { seen.push(jobName, storeType, exemplar?.traceId) },
    jobQueueDuration (seconds: number, labels: { readonly jobName: string, readonly storeType: string }): void {
      seen.push(seconds, labels)
    },
    channelUtilization: (percent, { channelType }) => { seen.push(percent, channelType) },
    jobPayloadSize: (bytes, { jobName }) => { seen.push(bytes, jobName) }
  }
  part.jobCreated({ jobName: 'a', storeType: 'memory' })
  t.same(seen, ['a', 'memory', undefined])
})
