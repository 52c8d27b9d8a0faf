/** The tables of docs/observability.md about metrics, made from the metric catalogue. */
import { exposedName } from '../../lib/exposition/prometheus-names.ts'
import { INSTRUMENTS, RECORDED_METRICS } from '../../lib/telemetry/instruments.ts'
import { METRIC_LABELS } from '../../lib/telemetry/metric-catalogue/labels.ts'
import type { MetricTable } from '../../lib/telemetry/metric-catalogue/row.ts'

const code = (text: string): string => `\`${text}\``

export function markdownTable (head: readonly string[], rows: ReadonlyArray<readonly string[]>): string {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), `|${head.map(() => '---|').join('')}`, ...rows.map(line)].join('\n')
}

/** @param recorded the rows that have a method in `AsyncEndpointsMetrics` */
export function metricsTable (table: MetricTable = INSTRUMENTS, recorded: MetricTable = RECORDED_METRICS): string {
  return markdownTable(
    ['instrument', 'at `/metrics`', 'kind', 'labels', 'meaning', 'method of `AsyncEndpointsMetrics`'],
    Object.entries(table).map(([key, { name, unit, kind, labels, description }]) => [
      code(name),
      code(exposedName({ name, unit, kind }).sample),
      kind,
      labels.map(code).join(', '),
      description,
      Object.hasOwn(recorded, key) ? code(key) : ''
    ])
  )
}

export function labelsTable (): string {
  return markdownTable(
    ['label', 'property', 'says'],
    Object.entries(METRIC_LABELS).map(([name, { property, about }]) => [code(name), code(property), about])
  )
}
