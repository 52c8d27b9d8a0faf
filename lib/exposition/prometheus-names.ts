import type { MetricFamily } from '../telemetry/snapshot.ts'

/** By UCUM unit: the word that Prometheus appends (OpenTelemetry's compatibility specification). `{job}` and the like have none. */
const UNITS: ReadonlyMap<string, string> = new Map(Object.entries({
  s: 'seconds',
  ms: 'milliseconds',
  us: 'microseconds',
  ns: 'nanoseconds',
  min: 'minutes',
  h: 'hours',
  d: 'days',
  By: 'bytes',
  KiBy: 'kibibytes',
  MiBy: 'mebibytes',
  GiBy: 'gibibytes',
  '%': 'percent',
  Cel: 'celsius',
  Hz: 'hertz',
  m: 'meters',
  V: 'volts',
  A: 'amperes',
  J: 'joules',
  W: 'watts',
  g: 'grams'
}))

export interface ExposedName {
  /** As in OpenMetrics' metadata: without `_total`. */
  readonly family: string
  /** Sample name of a counter or gauge; prefix of a histogram's. */
  readonly sample: string
  /** The family's last word, when it is a unit. */
  readonly unit: string | undefined
}

/** Name of a metric: unit before `_total`, neither of them twice. */
export function exposedName ({ name, unit, kind }: Pick<MetricFamily, 'name' | 'unit' | 'kind'>): ExposedName {
  const word = unitWord(unit, kind)
  let family = sanitizeName(name)
  if (kind === 'counter') family = family.replace(/_total$/, '')
  if (word !== undefined && family !== word && !family.endsWith(`_${word}`)) family += `_${word}`
  // OpenMetrics wants the unit after an underscore. A family whose whole name is its unit therefore gets no line `# UNIT`.
  return { family, sample: kind === 'counter' ? `${family}_total` : family, unit: family === word ? undefined : word }
}

function unitWord (unit: string, kind: MetricFamily['kind']): string | undefined {
  const bare = unit.replace(/\{[^}]*\}/g, '').trim()
  if (bare === '') return undefined
  // Only a gauge of the unit `1` is a ratio; a counter of it counts something.
  if (bare === '1') return kind === 'gauge' ? 'ratio' : undefined
  const per = bare.indexOf('/')
  if (per < 0) return UNITS.get(bare) ?? bareWord(bare)
  const [above, below] = [bare.slice(0, per), bare.slice(per + 1)].map((part) => UNITS.get(part) ?? bareWord(part))
  if (below === undefined) return above
  // `{request}/s` and `1/s` count something per second.
  return `${above === undefined || above === '1' ? '' : `${above}_`}per_${below.replace(/s$/, '')}`
}

/** The part of an unknown unit that a name may contain; `undefined` if there is none. */
function bareWord (text: string): string | undefined {
  const word = text.replace(/[^a-zA-Z0-9]+/g, '_').replace(/^_|_$/g, '')
  return word === '' ? undefined : word
}

/** `[a-zA-Z_][a-zA-Z0-9_]*`; a colon is for recording rules only. */
export function sanitizeName (name: string): string {
  const clean = name.replace(/[^a-zA-Z0-9_]/g, '_').replace(/_{2,}/g, '_').replace(/^_+|_+$/g, '')
  return /^[a-zA-Z]/.test(clean) ? clean : `_${clean}`
}

/** Like the name of a metric. Names that begin with `_` are reserved, so such a label gets `key` before it, as in OpenTelemetry. */
export function sanitizeLabelName (name: string): string {
  const clean = sanitizeName(name)
  return clean.startsWith('_') ? `key${clean}` : clean
}

/**
 * `a="x",b="y"`, without braces. Two labels that become one name share it: their values are joined with `;`, in the
 * order of the names they had.
 *
 * @param nameOf what a label is called in Prometheus
 */
export function renderLabels (labels: Readonly<Record<string, string>>, nameOf: (label: string) => string = sanitizeLabelName): string {
  const keys = Object.keys(labels)
  const names = keys.map((label) => nameOf(label))
  if (new Set(names).size < names.length) return renderMerged(labels, nameOf)
  return keys.map((label, index) => `${names[index]}="${escapeLabel(labels[label] ?? '')}"`).join(',')
}

function renderMerged (labels: Readonly<Record<string, string>>, nameOf: (label: string) => string): string {
  const merged = new Map<string, string>()
  for (const label of Object.keys(labels).sort()) {
    const name = nameOf(label)
    const before = merged.get(name)
    const value = labels[label] ?? ''
    merged.set(name, before === undefined ? value : `${before};${value}`)
  }
  return [...merged].map(([name, value]) => `${name}="${escapeLabel(value)}"`).join(',')
}

export function escapeLabel (value: string): string {
  return /[\\"\n\0]/.test(value) ? readable(value).replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n') : value
}

/** Removes zero bytes: a scraper takes one for the end of the page. */
function readable (text: string): string {
  return text.includes('\u0000') ? text.replaceAll('\u0000', '') : text
}

/** Text 0.0.4 leaves quotes as they are, OpenMetrics escapes them. */
export function escapeHelp (text: string, quotes: boolean): string {
  // Some readers take a carriage return for another end of the line.
  const escaped = readable(text).replaceAll('\r', '').replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
  return quotes ? escaped.replaceAll('"', '\\"') : escaped
}

export function formatNumber (value: number): string {
  if (value === Infinity) return '+Inf'
  return value === -Infinity ? '-Inf' : String(value)
}

/**
 * Prometheus compares bounds as text, so all programs must write a number in the same way: as Go does, whose shortest form uses
 * exponents below 1e-4 and from 1e6 on, and always like a float (OpenMetrics, "Canonical Numbers").
 */
export function formatBound (bound: number): string {
  if (bound === 0) return '0.0'
  if (!Number.isFinite(bound)) return formatNumber(bound)
  const magnitude = Math.abs(bound)
  if (magnitude < 1e-4 || magnitude >= 1e6) return bound.toExponential().replace(/e[+-](?=\d$)/, '$&0')
  const text = String(bound)
  return text.includes('.') ? text : `${text}.0`
}
