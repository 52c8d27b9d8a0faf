import type { MetricFamily } from '../telemetry/snapshot.ts'

/** UCUM to the word that Prometheus appends (OpenTelemetry's compatibility specification). Annotations such as `{job}` have none. */
const UNITS: Readonly<Record<string, string>> = {
  s: 'seconds', ms: 'milliseconds', us: 'microseconds', ns: 'nanoseconds', min: 'minutes', h: 'hours', d: 'days', By: 'bytes', KiBy: 'kibibytes', MiBy: 'mebibytes', GiBy: 'gibibytes', '%': 'percent', Cel: 'celsius', Hz: 'hertz', m: 'meters', V: 'volts', A: 'amperes', J: 'joules', W: 'watts', g: 'grams'
}

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
  return { family, sample: kind === 'counter' ? `${family}_total` : family, unit: word }
}

function unitWord (unit: string, kind: MetricFamily['kind']): string | undefined {
  const bare = unit.replace(/\{[^}]*\}/g, '').trim()
  if (bare === '') return undefined
  // A ratio is only told as such where it is one: a gauge.
  if (bare === '1') return kind === 'gauge' ? 'ratio' : undefined
  const per = bare.indexOf('/')
  if (per > 0) return sanitizeName(`${UNITS[bare.slice(0, per)] ?? bare.slice(0, per)}_per_${(UNITS[bare.slice(per + 1)] ?? bare.slice(per + 1)).replace(/s$/, '')}`)
  return UNITS[bare] ?? sanitizeName(bare)
}

/** `[a-zA-Z_][a-zA-Z0-9_]*`; a colon is for recording rules only. */
export function sanitizeName (name: string): string {
  const clean = name.replace(/[^a-zA-Z0-9_]/g, '_').replace(/_{2,}/g, '_').replace(/^_+|_+$/g, '')
  return /^[a-zA-Z]/.test(clean) ? clean : `_${clean}`
}

/** `a="x",b="y"`, without braces. Two labels that become one name share it, their values joined with `;`. */
export function renderLabels (labels: Readonly<Record<string, string>>): string {
  const merged = new Map<string, string>()
  for (const label of Object.keys(labels)) {
    const name = sanitizeName(label)
    const before = merged.get(name)
    const value = labels[label] ?? ''
    merged.set(name, before === undefined ? value : `${before};${value}`)
  }
  return [...merged].map(([name, value]) => `${name}="${escapeLabel(value)}"`).join(',')
}

export function escapeLabel (value: string): string {
  return /[\\"\n]/.test(value) ? value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n') : value
}

/** Text 0.0.4 leaves quotes as they are, OpenMetrics escapes them. */
export function escapeHelp (text: string, quotes: boolean): string {
  const escaped = text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
  return quotes ? escaped.replaceAll('"', '\\"') : escaped
}

export function formatNumber (value: number): string {
  if (value === Infinity) return '+Inf'
  return value === -Infinity ? '-Inf' : String(value)
}

/** Bounds always look like floats: Prometheus 3 and OpenMetrics would otherwise see another series in `1` than in `1.0`. */
export function formatBound (bound: number): string {
  const text = formatNumber(bound)
  return /^-?\d+$/.test(text) ? `${text}.0` : text
}
