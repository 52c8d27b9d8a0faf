/** The alert rules that rows of the metric catalogue ask for, as a rule file of Prometheus. */
import { exposedName } from '../../../lib/exposition/prometheus-names.ts'
import { INSTRUMENTS } from '../../../lib/telemetry/instruments.ts'
import type {
  CounterAlert, GaugeAlert, HistogramAlert, MetricRow, MetricTable
} from '../../../lib/telemetry/metric-catalogue/row.ts'

export interface AlertRule {
  readonly alert: string
  /** One element per line. */
  readonly expr: readonly string[]
  readonly for: string
  readonly severity: string
  readonly summary: string
  readonly description: string
}

/** One rule for each row that has an alert, in the order of the table. */
export function metricRules (table: MetricTable = INSTRUMENTS): AlertRule[] {
  return Object.values(table).flatMap((row) => {
    if (row.alert === undefined) return []
    const { name, forMinutes, severity, summary, description } = row.alert
    return [{ alert: name, expr: expressionOf(row), for: `${forMinutes}m`, severity, summary, description }]
  })
}

function expressionOf (row: MetricRow): string[] {
  const { sample } = exposedName(row)
  switch (row.kind) {
    case 'counter': return row.alert === undefined ? [] : grows(sample, row.alert)
    case 'gauge': return row.alert === undefined ? [] : above(sample, row.alert)
    case 'histogram': return row.alert === undefined ? [] : slow(sample, row.alert)
  }
}

/** `increase` sees nothing of a series that begins above 0, so what it begins with is added. */
function grows (sample: string, { grows: { moreThan, withinMinutes, by, where } }: CounterAlert): string[] {
  const series = where === undefined ? sample : `${sample}{${where}}`
  const window = minutes(withinMinutes)
  const lowest = `min_over_time(${series}[${window}])`
  return [
    `sum by (${['app', ...by ?? []].join(', ')}) (`,
    `  increase(${series}[${window}])`,
    `  + (${lowest} unless ${series} offset ${window} or 0 * ${lowest})`,
    `) > ${moreThan}`
  ]
}

function above (sample: string, { above: { value, aggregate, by, lowestOfMinutes, highestOfMinutes } }: GaugeAlert): string[] {
  let series = sample
  if (lowestOfMinutes !== undefined) series = `min_over_time(${sample}[${minutes(lowestOfMinutes)}])`
  if (highestOfMinutes !== undefined) series = `max_over_time(${sample}[${minutes(highestOfMinutes)}])`
  return [`${aggregate} by (${['app', ...by ?? []].join(', ')}) (${series}) > ${value}`]
}

function slow (sample: string, { slow: { quantile, aboveSeconds, withinMinutes, by } }: HistogramAlert): string[] {
  const buckets = `sum by (${['app', 'le', ...by ?? []].join(', ')}) (rate(${sample}_bucket[${minutes(withinMinutes)}]))`
  return [`histogram_quantile(${quantile}, ${buckets}) > ${aboveSeconds}`]
}

/** As Prometheus writes durations: 60 minutes are an hour. */
function minutes (count: number): string { return count % 60 === 0 ? `${count / 60}h` : `${count}m` }

const HEAD = `# Made from the metric catalogue (lib/telemetry/metric-catalogue): change the row, and run \`npm run dashboard\`. These are the alerts
# about a single metric; alerts.yml has those that compare several.
groups:
  - name: asyncendpoints-metrics
    rules:
`

const quoted = (text: string): string => `'${text.replaceAll('\'', '\'\'')}'`

/** As the file in prometheus/rules has it. */
export function rulesText (table?: MetricTable): string {
  return HEAD + metricRules(table).map(({ alert, expr, for: duration, severity, summary, description }) => `\
      - alert: ${alert}
        expr: |
${expr.map((line) => `          ${line}\n`).join('')}\
        for: ${duration}
        labels: { severity: ${severity} }
        annotations:
          summary: ${quoted(summary)}
          description: ${quoted(description)}
          runbook_url: docs/monitoring.md#${alert.toLowerCase()}
`).join('\n')
}
