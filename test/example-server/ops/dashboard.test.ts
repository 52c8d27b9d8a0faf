import t from 'tap'
import { level, perSecond, quantile, rowOf } from '../../../example-server/ops/dashboard/expressions.ts'
import { dashboardText } from '../../../example-server/ops/dashboard/dashboard.ts'
import { rows } from '../../../example-server/ops/dashboard/panels.ts'
import { INSTRUMENTS } from '../../../lib/telemetry/instruments.ts'
import { DASHBOARD, dashboardExpressions, dashboardFile, panelsOf, selectorsOf, text, unknownIn, yaml } from './support.ts'

t.test('the dashboard in the repository is the one that the metric catalogue makes', async (t) => {
  t.equal(text(DASHBOARD), dashboardText(), 'run `npm run dashboard`')
})

t.test('it shows every instrument, and nothing that is not there', async (t) => {
  const shown = new Set(rows().flatMap(({ panels }) => panels).flatMap(({ targets }) => targets).flatMap(({ expression }) => expression.of))
  t.strictSame([...shown].sort(), Object.values(INSTRUMENTS).map(({ name }) => name).sort())
  const expressions = dashboardExpressions(dashboardFile())
  t.ok(expressions.length > 40, `${expressions.length} expressions`)
  t.strictSame(expressions.flatMap((expr) => unknownIn(expr)), [])
})

t.test('a panel that cannot be right is refused', async (t) => {
  t.throws(() => perSecond('jobsOldestAge'), { message: 'asyncendpoints.jobs.oldest.age is a gauge, not a counter' })
  t.throws(() => level('max', 'jobCreated'), { message: /is a counter, not a gauge/ })
  t.throws(() => quantile(0.5, 'jobCreated'), { message: 'asyncendpoints.jobs.created.total is a counter, not a histogram' })
  t.throws(() => perSecond('jobCreated', { by: ['queue'] }), { message: 'asyncendpoints.jobs.created.total has no label queue' })
  t.throws(() => perSecond('jobCreated', { where: ['status="x"'] }), { message: /no label status/ })
  t.equal(rowOf('jobCreated').kind, 'counter')
})

t.test('the names in an expression are found', async (t) => {
  const expr = 'histogram_quantile(0.95, sum by (le, job_name) (rate(a_seconds_bucket{job_name=~"x{y}|$z", le!="+Inf"}[5m]))) / on (app) group_left (x) b:c:rate5m unless d offset 5m > 1e3'
  t.strictSame(selectorsOf(expr), [{ name: 'a_seconds_bucket', labels: ['job_name', 'le'] }, { name: 'b:c:rate5m', labels: [] }, { name: 'd', labels: [] }])
  t.strictSame(unknownIn('sum(rate(asyncendpoints_jobs_created_total{queue="x"}[5m])) + asyncendpoints_jobs_queue_duration_seconds'), [
    'asyncendpoints_jobs_created_total has no label queue', 'asyncendpoints_jobs_queue_duration_seconds is no metric'
  ])
})

t.test('what Grafana and its linter want', async (t) => {
  const dashboard = dashboardFile()
  t.ok(dashboard.uid.length >= 8 && dashboard.uid.length <= 40)
  t.equal(dashboard.editable, false)
  t.strictSame(dashboard.templating.list.map(({ name }) => name), ['datasource', 'app', 'job', 'instance', 'job_name'])
  const panels = panelsOf(dashboard)
  const source = { type: 'prometheus', uid: '${datasource}' } // eslint-disable-line no-template-curly-in-string -- Grafana's
  for (const { title, description = '', fieldConfig, datasource, targets = [], gridPos } of panels) {
    t.ok(description.length > 5 && fieldConfig?.defaults.unit !== undefined && targets.length > 0, `${title} says what it is`)
    t.strictSame([datasource, ...targets.map(({ datasource }) => datasource)], Array.from({ length: targets.length + 1 }, () => source), `${title} asks the chosen data source`)
    t.ok(gridPos.x + gridPos.w <= 24, `${title} fits`)
    for (const { expr } of targets) {
      t.match(expr, /app=~"\$app", job=~"\$job", instance=~"\$instance"/, `${title} obeys the variables`)
      if (/_(total|bucket|count|sum)\{/.test(expr) && !expr.includes('current_count')) t.match(expr, /(rate|increase)\([^[]+\[\$__r/, `${title} makes a rate`)
    }
  }
  const places = panels.map(({ gridPos: { x, y } }) => `${x}:${y}`)
  t.equal(new Set(places).size, places.length, 'no two at one place')
  t.ok(panels.flatMap(({ targets = [] }) => targets).filter(({ exemplar }) => exemplar).length >= 4, 'points that lead to traces')
})

t.test('it is provisioned, and its exemplars lead to the trace store that is there', async (t) => {
  interface Sources { datasources: Array<{ uid: string, type: string, jsonData: { timeInterval?: string, exemplarTraceIdDestinations?: Array<{ name: string, datasourceUid: string }> } }> }
  const { datasources } = yaml<Sources>('grafana/provisioning/datasources/datasources.yml')[0] ?? { datasources: [] }
  const prometheus = datasources.find(({ type }) => type === 'prometheus')
  t.match(prometheus?.jsonData.exemplarTraceIdDestinations, [{ name: 'trace_id' }])
  t.ok(datasources.some(({ uid, type }) => type === 'jaeger' && uid === prometheus?.jsonData.exemplarTraceIdDestinations?.[0]?.datasourceUid))
  const [config] = yaml<{ global: { scrape_interval: string } }>('prometheus/prometheus.yml')
  t.equal(prometheus?.jsonData.timeInterval, config?.global.scrape_interval)
})
