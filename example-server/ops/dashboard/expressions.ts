import { exposedName } from '../../../lib/exposition/prometheus-names.ts'
import { INSTRUMENTS, type InstrumentKey } from '../../../lib/telemetry/instruments.ts'
import type { MetricRow } from '../../../lib/telemetry/metric-catalogue/row.ts'

/** Labels that a series gets when it is scraped. `app` is given by prometheus.yml or the PodMonitor. */
export const TARGET_LABELS = ['app', 'job', 'instance'] as const

export interface Expression {
  readonly expr: string
  /** The names of the metrics that it shows. */
  readonly of: readonly string[]
}

/** A metric: the key of its row in the catalogue, or a row itself. */
export type Metric = InstrumentKey | MetricRow

export interface Part {
  /** One line for each combination of the values of these labels. */
  readonly by?: readonly string[]
  /** Further matchers, such as `status="failed"`. */
  readonly where?: readonly string[]
}

export function rowOf (metric: Metric): MetricRow { return typeof metric === 'string' ? INSTRUMENTS[metric] : metric }

/** A counter's events per second. Every process counts its own, so they are added up. */
export function perSecond (metric: Metric, part: Part = {}): Expression {
  return { expr: `sum${by(metric, part)} (rate(${series(metric, 'counter', '', part)}[$__rate_interval]))`, of: namesOf(metric) }
}

/** How many of a counter's events there were in the time that the dashboard shows. */
export function inRange (metric: Metric, part: Part = {}): Expression {
  return { expr: `sum${by(metric, part)} (increase(${series(metric, 'counter', '', part)}[$__range]))`, of: namesOf(metric) }
}

export function quantile (q: number, metric: Metric, part: Part = {}): Expression {
  const buckets = series(metric, 'histogram', '_bucket', part)
  const grouped = by(metric, { by: ['le', ...part.by ?? []] })
  return { expr: `histogram_quantile(${q}, sum${grouped} (rate(${buckets}[$__rate_interval])))`, of: namesOf(metric) }
}

/** Observations of a histogram per second. */
export function observed (metric: Metric, part: Part = {}): Expression {
  const counts = series(metric, 'histogram', '_count', part)
  return { expr: `sum${by(metric, part)} (rate(${counts}[$__rate_interval]))`, of: namesOf(metric) }
}

/** `max` for what is read from a store that all processes share, `sum` for what each process has of its own. */
export function level (aggregate: 'max' | 'sum' | 'avg', metric: Metric, part: Part = {}): Expression {
  return { expr: `${aggregate}${by(metric, part)} (${series(metric, 'gauge', '', part)})`, of: namesOf(metric) }
}

/** The share that one expression has of another; no line where nothing happened. */
export function share (part: Expression, whole: Expression): Expression {
  return { expr: `${part.expr} / ${whole.expr}`, of: [...part.of, ...whole.of] }
}

const namesOf = (metric: Metric): string[] => [rowOf(metric).name]

/**
 * @throws {Error} when the metric is of another kind: Prometheus accepts rate() of a gauge, but its value means
 * nothing
 */
function series (metric: Metric, kind: MetricRow['kind'], suffix: string, { where = [] }: Part): string {
  const row = rowOf(metric)
  if (row.kind !== kind) throw new Error(`${row.name} is a ${row.kind}, not a ${kind}`)
  for (const matcher of where) known(row, /^\w+/.exec(matcher)?.[0] ?? '')
  const matchers = [
    ...TARGET_LABELS.map((label) => `${label}=~"$${label}"`),
    ...(row.labels.includes('job_name') ? ['job_name=~"$job_name"'] : []),
    ...where
  ]
  return `${exposedName(row).sample}${suffix}{${matchers.join(', ')}}`
}

function by (metric: Metric, { by: labels = [] }: Part): string {
  for (const label of labels) known(rowOf(metric), label)
  return labels.length === 0 ? '' : ` by (${labels.join(', ')})`
}

function known ({ name, kind, labels }: MetricRow, label: string): void {
  if (kind === 'histogram' && label === 'le') return
  if (![...labels, ...TARGET_LABELS].some((own) => own === label)) throw new Error(`${name} has no label ${label}`)
}
