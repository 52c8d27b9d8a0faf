import type { Exemplar, Labels, MetricFamily } from '../telemetry/snapshot.ts'
import { escapeHelp, escapeLabel, exposedName, formatBound, formatNumber, renderLabels, sanitizeLabelName, type ExposedName } from './prometheus-names.ts'

/** The text of a series that never changes, made once; values and line feeds go between. */
export interface SeriesText {
  readonly labels: Labels
  /** `name{labels} `; of a histogram `name_bucket{labels,le="`, what {@link FamilyText.bounds} goes on with. */
  readonly lead: string
  /** Of a histogram: `name_sum{labels} ` and `name_count{labels} `. */
  readonly sum: string
  readonly count: string
  /** What {@link exemplarText} was asked for, by bucket, and what it made of it. */
  readonly exemplars: Array<Exemplar | undefined>
  readonly exemplarTexts: Array<string | undefined>
}

/** OpenMetrics: label names and values of an exemplar together. */
const MAX_EXEMPLAR_CHARS = 128

/** What the lines of OpenMetrics' types may be called besides the family itself. */
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

  /** False when the name has come to stand for something else, as it may in what several processes have told. */
  describes (family: MetricFamily): boolean {
    const known = this.#family
    return family.kind === known.kind && family.unit === known.unit && family.description === known.description &&
      (family.kind !== 'histogram' || known.kind !== 'histogram' || family.buckets === known.buckets)
  }

  /** The lines of metadata. */
  header (format: 'text' | 'openmetrics'): string { return this.#headers[format] }

  /** The text of the series in this place. A copy of a series has the labels of its original, and so its text. */
  series (index: number, labels: Labels): SeriesText {
    const known = this.#series[index]
    return known !== undefined && known.labels === labels ? known : (this.#series[index] = this.#make(labels))
  }

  /** Forgets what stood behind the last series. */
  trim (series: number): void {
    if (this.#series.length > series) this.#series.length = series
  }

  #make (labels: Labels): SeriesText {
    const { sample } = this.name
    // The scope's own labels win: they say the same on every series.
    const inner = renderLabels({ ...labels, ...this.#scope }, (label) => this.#labelName(label))
    const braces = inner === '' ? ' ' : `{${inner}} `
    // `join` makes one flat string, which is quicker to copy than a template's tree of pieces, and is copied for ever.
    if (this.#family.kind !== 'histogram') return { labels, lead: [sample, braces].join(''), sum: '', count: '', exemplars: [], exemplarTexts: [] }
    const lead = [sample, '_bucket{', inner, inner === '' ? 'le="' : ',le="'].join('')
    return { labels, lead, sum: [sample, '_sum', braces].join(''), count: [sample, '_count', braces].join(''), exemplars: [], exemplarTexts: [] }
  }

  #labelName (label: string): string {
    const known = this.#labelNames.get(label)
    if (known !== undefined) return known
    const name = sanitizeLabelName(label)
    // A label that has become `le` would be a second one on the buckets.
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

/** What follows the value, to the end of the line; kept, because few exemplars of a large page are newer than the last one. */
export function exemplarText ({ exemplars, exemplarTexts }: SeriesText, bucket: number, exemplar: Exemplar): string {
  const known = exemplarTexts[bucket]
  if (known !== undefined && exemplars[bucket] === exemplar) return known
  exemplars[bucket] = exemplar
  return (exemplarTexts[bucket] = makeExemplarText(exemplar))
}

function makeExemplarText ({ traceId, spanId, value, timestampMs }: Exemplar): string {
  // Nothing we record comes near the limit, but a page with one exemplar too long is refused whole.
  if (traceId.length + spanId.length + 'trace_idspan_id'.length > MAX_EXEMPLAR_CHARS) return '\n'
  const seconds = Math.floor(timestampMs / 1_000)
  const millis = String(Math.floor(timestampMs - seconds * 1_000)).padStart(3, '0')
  return [' # {trace_id="', escapeLabel(traceId), '",span_id="', escapeLabel(spanId), '"} ', formatNumber(value), ' ', seconds, '.', millis, '\n'].join('')
}
