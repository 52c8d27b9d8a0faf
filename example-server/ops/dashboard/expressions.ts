import { exposedName } from '../../../lib/exposition/names.ts'
import { INSTRUMENTS, type InstrumentDefinition, type InstrumentKey } from '../../../lib/telemetry/instruments.ts'

/** Labels that a series gets when it is scraped. `app` is given by prometheus.yml or the PodMonitor. */
export const TARGET_LABELS = ['app', 'job', 'instance'] as const

export interface Expression {
  readonly expr: string
  /** Instruments that it shows. */
  readonly of: readonly InstrumentKey[]
}

export interface Part {
  /** Labels to tell apart. */
  readonly by?: readonly string[]
  /** Further matchers, such as `status="failed"`. */
  readonly where?: readonly string[]
}

export function definitionOf (key: InstrumentKey): InstrumentDefinition { return INSTRUMENTS[key] }

/** A counter's events a second. Every process counts its own, so they are added up. */
export function perSecond (key: InstrumentKey, part: Part = {}): Expression {
  return { expr: `sum${by(key, part)} (rate(${series(key, 'counter', '', part)}[$__rate_interval]))`, of: [key] }
}

/** So many of a counter's events that there were in the time shown, at whatever pace. */
export function inRange (key: InstrumentKey, part: Part = {}): Expression {
  return { expr: `sum${by(key, part)} (increase(${series(key, 'counter', '', part)}[$__range]))`, of: [key] }
}

export function quantile (q: number, key: InstrumentKey, part: Part = {}): Expression {
  const buckets = series(key, 'histogram', '_bucket', part)
  return { expr: `histogram_quantile(${q}, sum${by(key, { by: ['le', ...part.by ?? []] })} (rate(${buckets}[$__rate_interval])))`, of: [key] }
}

/** Observations of a histogram a second. */
export function observed (key: InstrumentKey, part: Part = {}): Expression {
  return { expr: `sum${by(key, part)} (rate(${series(key, 'histogram', '_count', part)}[$__rate_interval]))`, of: [key] }
}

/** `max` for what is read from a store that all processes share, `sum` for what each process has of its own. */
export function level (aggregate: 'max' | 'sum' | 'avg', key: InstrumentKey, part: Part = {}): Expression {
  return { expr: `${aggregate}${by(key, part)} (${series(key, 'gauge', '', part)})`, of: [key] }
}

/** Of all that happened, the part in question; no line where nothing happened. */
export function share (part: Expression, whole: Expression): Expression {
  return { expr: `${part.expr} / ${whole.expr}`, of: [...part.of, ...whole.of] }
}

/** @throws {Error} when the instrument is of another kind: rate() of a gauge would be nonsense that Prometheus accepts */
function series (key: InstrumentKey, kind: InstrumentDefinition['kind'], suffix: string, { where = [] }: Part): string {
  const definition = definitionOf(key)
  if (definition.kind !== kind) throw new Error(`${definition.name} is a ${definition.kind}, not a ${kind}`)
  for (const matcher of where) known(key, /^\w+/.exec(matcher)?.[0] ?? '')
  const matchers = [
    ...TARGET_LABELS.map((label) => `${label}=~"$${label}"`),
    ...(definition.labels.includes('job_name') ? ['job_name=~"$job_name"'] : []),
    ...where
  ]
  return `${exposedName(definition).sample}${suffix}{${matchers.join(', ')}}`
}

function by (key: InstrumentKey, { by: labels = [] }: Part): string {
  for (const label of labels) known(key, label)
  return labels.length === 0 ? '' : ` by (${labels.join(', ')})`
}

function known (key: InstrumentKey, label: string): void {
  const { name, kind, labels } = definitionOf(key)
  if (kind === 'histogram' && label === 'le') return
  if (![...labels, ...TARGET_LABELS].includes(label)) throw new Error(`${name} has no label ${label}`)
}
