import type { Exemplar, Labels, MetricFamily } from '../telemetry/snapshot.ts'
import { escapeHelp, escapeLabel, exposedName, formatBound, formatNumber, renderLabels, sanitizeLabelName, type ExposedName } from './prometheus-names.ts'

/** The parts of a series' text that never change, made once. Only values and line feeds are put between them. */
export interface SeriesText {
  readonly labels: Labels
  /** `name{labels} `; of a histogram `name_bucket{labels,le="`, which one of {@link FamilyText.bounds} follows. */
  readonly lead: string
  /** Of a histogram: `name_sum{labels} ` and `name_count{labels} `. */
  readonly sum: string
  readonly count: string
  /** By bucket: the newest exemplar that {@link exemplarText} has written, and its text. */
  readonly exemplars: Array<Exemplar | undefined>
  readonly exemplarTexts: Array<string | undefined>
}

/** OpenMetrics: label names and values of an exemplar together. */
const MAX_EXEMPLAR_CHARS = 128

/** The endings that names of lines can have, by the kind of the metric. */
const SUFFIXES: Readonly<Record<MetricFamily['kind'], readonly string[]>> = {
  counter: ['', '_total', '_created'],
  gauge: [''],
  histogram: ['', '_bucket', '_sum', '_count', '_created']
}

/** The text of a family that never changes: its names, its metadata, and its series for as long as they exist. */
export class FamilyText {
  readonly name: ExposedName
  /** Every name that its lines have or could have: another family with one of them would be taken for this one. */
  readonly names: readonly string[]
  /** `0.5"} ` for each bound of a histogram, the last `+Inf"} `. */
  readonly bounds: readonly string[]
  /** A histogram that counts below zero: its sum is no counter, and OpenMetrics does not allow it there. */
  readonly hasNegativeBounds: boolean
  readonly #family: MetricFamily
  readonly #scope: Labels
  readonly #headers: Readonly<Record<'text' | 'openmetrics', string>>
  readonly #labelNames = new Map<string, string>()
  // By position: the series of a metric keep theirs until one before them is removed.
  readonly #series: SeriesText[] = []

  /** @param scope labels that every series gets besides its own */
  constructor (family: MetricFamily, scope: Labels) {
    this.#family = family
    this.#scope = scope
    this.name = exposedName(family)
    this.names = SUFFIXES[family.kind].map((suffix) => this.name.family + suffix)
    const buckets = family.kind === 'histogram' ? family.buckets : []
    this.bounds = [...buckets, Infinity].map((bound) => `${formatBound(bound)}"} `)
    this.hasNegativeBounds = buckets.some((bound) => bound < 0)
    this.#headers = { text: header(family, this.name, false), openmetrics: header(family, this.name, true) }
  }

  /** False when the family has changed: processes of different versions may give one name different meanings. */
  describes (family: MetricFamily): boolean {
    const known = this.#family
    return family.kind === known.kind && family.unit === known.unit && family.description === known.description &&
      (family.kind !== 'histogram' || known.kind !== 'histogram' || family.buckets === known.buckets)
  }

  /** The lines of metadata. */
  header (format: 'text' | 'openmetrics'): string { return this.#headers[format] }

  /** The text of the series at this position. A copy of a series shares its labels object, and so finds its text. */
  series (index: number, labels: Labels): SeriesText {
    const known = this.#series[index]
    return known !== undefined && known.labels === labels ? known : (this.#series[index] = this.#make(labels))
  }

  /** Forgets the texts after this many series. */
  trim (series: number): void {
    if (this.#series.length > series) this.#series.length = series
  }

  #make (labels: Labels): SeriesText {
    const { sample } = this.name
    // The labels of the scope win: they must be the same on every series.
    const inner = renderLabels({ ...labels, ...this.#scope }, (label) => this.#labelName(label))
    const braces = inner === '' ? ' ' : `{${inner}} `
    // `join` makes one flat string. A template would make a tree of pieces, which is slower to copy, and every page copies it.
    if (this.#family.kind !== 'histogram') {
      return { labels, lead: [sample, braces].join(''), sum: '', count: '', exemplars: [], exemplarTexts: [] }
    }
    const lead = [sample, '_bucket{', inner, inner === '' ? 'le="' : ',le="'].join('')
    const sum = [sample, '_sum', braces].join('')
    const count = [sample, '_count', braces].join('')
    return { labels, lead, sum, count, exemplars: [], exemplarTexts: [] }
  }

  #labelName (label: string): string {
    const known = this.#labelNames.get(label)
    if (known !== undefined) return known
    const name = sanitizeLabelName(label)
    // Buckets have a label `le` already.
    const safe = name === 'le' && this.#family.kind === 'histogram' ? 'exported_le' : name
    this.#labelNames.set(label, safe)
    return safe
  }
}

function header ({ kind, description }: MetricFamily, { family, sample, unit }: ExposedName, open: boolean): string {
  const name = open ? family : sample
  const unitLine = open && unit !== undefined ? `# UNIT ${name} ${unit}\n` : ''
  return `# HELP ${name} ${escapeHelp(description, open)}\n# TYPE ${name} ${kind}\n${unitLine}`
}

/** The rest of the line after the value. Kept: on a large page, most exemplars are those of the page before. */
export function exemplarText ({ exemplars, exemplarTexts }: SeriesText, bucket: number, exemplar: Exemplar): string {
  const known = exemplarTexts[bucket]
  if (known !== undefined && exemplars[bucket] === exemplar) return known
  exemplars[bucket] = exemplar
  return (exemplarTexts[bucket] = makeExemplarText(exemplar))
}

function makeExemplarText ({ traceId, spanId, value, timestampMs }: Exemplar): string {
  // Prometheus refuses the whole page for one exemplar that is too long.
  if (traceId.length + spanId.length + 'trace_idspan_id'.length > MAX_EXEMPLAR_CHARS) return '\n'
  const seconds = Math.floor(timestampMs / 1_000)
  const millis = String(Math.floor(timestampMs - seconds * 1_000)).padStart(3, '0')
  return [' # {trace_id="', escapeLabel(traceId), '",span_id="', escapeLabel(spanId), '"} ', formatNumber(value), ' ', seconds, '.', millis, '\n'].join('')
}
