import type { Exemplar, HistogramFamily, HistogramPoint, Labels, MetricFamily, NumberFamily, NumberPoint } from '../telemetry/snapshot.ts'
import type { ExpositionFormat } from './accept.ts'
import { escapeHelp, exposedName, formatBound, formatNumber, renderLabels, type ExposedName } from './names.ts'

export interface PrometheusOptions {
  /** Who is being scraped: printed once, as `target_info`. */
  readonly resource?: Labels
  /** Name and version of the instrumentation, on every series. @defaultValue none */
  readonly scope?: Labels
}

/** After so many lines other work gets its turn: a page of any size must not hold up the jobs of this process. */
const SLICE_LINES = 2_000
/** OpenMetrics: label names and values of an exemplar together. */
const MAX_EXEMPLAR_CHARS = 128

/** The text of a series that never changes, made once. */
interface SeriesText {
  /** `name{labels} `, ready for the value. */
  readonly value: string
  /** Of a histogram: `name_bucket{labels,le="…"} ` for each bound, the last `+Inf`. */
  readonly buckets: readonly string[]
  readonly sum: string
  readonly count: string
}

/** Prints metric families in the two formats that Prometheus and its relatives read. */
export class PrometheusExposition {
  readonly #resource: Labels
  readonly #scope: string
  // Live cells keep their text for as long as they exist; points of a snapshot come and go with it.
  readonly #texts = new WeakMap<object, SeriesText>()

  constructor (options: PrometheusOptions = {}) {
    this.#resource = options.resource ?? {}
    this.#scope = renderLabels(options.scope ?? {})
  }

  /**
   * The whole page, as UTF-8: encoded slice by slice, because one string of megabytes costs more to flatten than to
   * build. A series is printed in one go, so its numbers belong together.
   */
  async render (families: readonly MetricFamily[], format: ExpositionFormat): Promise<Buffer> {
    const open = format === 'openmetrics'
    const pages: Buffer[] = []
    let page = this.#targetInfo(open)
    let lines = 0
    for (const { family, name } of distinct(families)) {
      page += header(family, name, open)
      for (const point of family.points) {
        page += family.kind === 'histogram' ? this.#histogram(family, name, point as HistogramPoint, open) : this.#number(family, name, point as NumberPoint, open)
        lines += family.kind === 'histogram' ? family.buckets.length + 3 : 1
        if (lines < SLICE_LINES) continue
        pages.push(Buffer.from(page))
        page = ''
        lines = 0
        await new Promise((resolve) => { setImmediate(resolve) })
      }
    }
    if (open) page += '# EOF\n'
    pages.push(Buffer.from(page))
    return Buffer.concat(pages)
  }

  #targetInfo (open: boolean): string {
    const labels = renderLabels(this.#resource)
    if (labels === '') return ''
    // `info` is a type of OpenMetrics only, and its metadata go without the suffix.
    const [name, type] = open ? ['target', 'info'] : ['target_info', 'gauge']
    return `# HELP ${name} Target metadata\n# TYPE ${name} ${type}\ntarget_info{${labels}} 1\n`
  }

  #number (family: NumberFamily, name: ExposedName, point: NumberPoint, open: boolean): string {
    const text = this.#texts.get(point) ?? this.#remember(point, { value: `${name.sample}${this.#braces(point.labels)} `, buckets: [], sum: '', count: '' })
    const exemplar = open && family.kind === 'counter' && point.exemplar !== undefined ? exemplarText(point.exemplar) : ''
    return `${text.value}${formatNumber(point.value)}${exemplar}\n`
  }

  #histogram (family: HistogramFamily, name: ExposedName, point: HistogramPoint, open: boolean): string {
    const text = this.#texts.get(point) ?? this.#remember(point, this.#histogramText(family, name, point.labels))
    // Most series have none; asking for each bucket of them would double the time of a page.
    const exemplars = open && point.exemplars.length > 0 ? point.exemplars : undefined
    let lines = ''
    let cumulative = 0
    for (let index = 0; index < text.buckets.length; index++) {
      cumulative += point.bucketCounts[index] ?? 0
      const exemplar = exemplars?.[index]
      lines += exemplar === undefined ? `${text.buckets[index]}${cumulative}\n` : `${text.buckets[index]}${cumulative}${exemplarText(exemplar)}\n`
    }
    return `${lines}${text.sum}${formatNumber(point.sum)}\n${text.count}${point.count}\n`
  }

  #histogramText (family: HistogramFamily, { sample }: ExposedName, labels: Labels): SeriesText {
    const inner = this.#inner(labels)
    const braces = inner === '' ? '' : `{${inner}}`
    return {
      value: '',
      buckets: [...family.buckets, Infinity].map((bound) => `${sample}_bucket{${inner}${inner === '' ? '' : ','}le="${formatBound(bound)}"} `),
      sum: `${sample}_sum${braces} `,
      count: `${sample}_count${braces} `
    }
  }

  #remember (point: object, text: SeriesText): SeriesText {
    this.#texts.set(point, text)
    return text
  }

  #braces (labels: Labels): string {
    const inner = this.#inner(labels)
    return inner === '' ? '' : `{${inner}}`
  }

  #inner (labels: Labels): string {
    const own = renderLabels(labels)
    return own === '' || this.#scope === '' ? own + this.#scope : `${own},${this.#scope}`
  }
}

/** One family per exposed name: two metrics that only differ in `.` and `_` cannot both be shown, the first stands. */
function distinct (families: readonly MetricFamily[]): Array<{ family: MetricFamily, name: ExposedName }> {
  const seen = new Set<string>()
  return families.map((family) => ({ family, name: exposedName(family) })).filter(({ name }) => {
    if (seen.has(name.family)) return false
    seen.add(name.family)
    return true
  })
}

function header ({ kind, description }: MetricFamily, { family, sample, unit }: ExposedName, open: boolean): string {
  const name = open ? family : sample
  const unitLine = open && unit !== undefined ? `# UNIT ${name} ${unit}\n` : ''
  return `# HELP ${name} ${escapeHelp(description, open)}\n# TYPE ${name} ${kind}\n${unitLine}`
}

function exemplarText ({ traceId, spanId, value, timestampMs }: Exemplar): string {
  // Nothing we record comes near the limit, but a page with one exemplar too long is refused whole.
  if (traceId.length + spanId.length + 'trace_idspan_id'.length > MAX_EXEMPLAR_CHARS) return ''
  return ` # {${renderLabels({ trace_id: traceId, span_id: spanId })}} ${formatNumber(value)} ${(timestampMs / 1_000).toFixed(3)}`
}
