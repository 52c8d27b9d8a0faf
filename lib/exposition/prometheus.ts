import type { HistogramPoint, Labels, MetricFamily, NumberPoint } from '../telemetry/snapshot.ts'
import type { ExpositionFormat } from './content-negotiation.ts'
import { exemplarText, FamilyText, type SeriesText } from './family-text.ts'
import { formatNumber, renderLabels } from './prometheus-names.ts'
import { PageWriter, TimeSlices, type PageMemory } from './page-writer.ts'

export interface PrometheusOptions {
  /** Attributes of what is being scraped: printed once, as `target_info`. */
  readonly resource?: Labels
  /** Name and version of the instrumentation, on every series. @defaultValue none */
  readonly scope?: Labels
  /** Where pages get their memory; the sender of a page gives it back there. @defaultValue new memory for each */
  readonly memory?: PageMemory
  /** Called once for each metric that is left out because another one has its name. @defaultValue none is called */
  readonly onHidden?: (hidden: string, exposedName: string) => void
}

/** After this time other work gets a turn, so that a page of any size does not hold up the jobs of this process. */
const SLICE_MS = 2
/** Lines after which the text is encoded and the time is checked. */
const LINES_PER_FLUSH = 100
/** Names that belong to the resource; no metric may have them. */
const RESERVED = ['target', 'target_info'] as const

/** Prints metric families in the two formats that Prometheus and its relatives read. */
export class PrometheusExposition {
  readonly #resource: string
  readonly #scope: Labels
  readonly #onHidden: (hidden: string, exposedName: string) => void
  readonly #memory: PageMemory | undefined
  readonly #texts = new Map<string, FamilyText>()
  readonly #hidden = new Set<string>()
  #lastBytes = 0

  constructor (options: PrometheusOptions = {}) {
    this.#resource = renderLabels(options.resource ?? {})
    this.#scope = options.scope ?? {}
    this.#memory = options.memory
    this.#onHidden = options.onHidden ?? (() => {})
  }

  /**
   * The whole page, as UTF-8, built in slices between which other work runs. A series is printed in one go, so its
   * numbers belong together; two series may be some milliseconds apart.
   */
  async render (families: readonly MetricFamily[], format: ExpositionFormat): Promise<Buffer> {
    const slices = new TimeSlices(SLICE_MS)
    const page = new PageWriter(this.#lastBytes, this.#memory)
    const taken = new Set<string>(RESERVED)
    page.add(this.#targetInfo(format))
    for (const family of families) {
      const text = this.#textOf(family)
      if (family.points.length === 0 || !this.#claim(text, family, taken)) continue
      page.add(text.header(format))
      let printed = 0
      do {
        printed = print(page, family, text, printed, format)
        page.flush()
        if (slices.over()) await slices.next()
      } while (printed < family.points.length)
      text.trim(printed)
    }
    if (format === 'openmetrics') page.add('# EOF\n')
    const bytes = await page.end(slices)
    this.#lastBytes = bytes.length
    return bytes
  }

  #textOf (family: MetricFamily): FamilyText {
    const known = this.#texts.get(family.name)
    if (known?.describes(family) === true) return known
    const text = new FamilyText(family, this.#scope)
    this.#texts.set(family.name, text)
    return text
  }

  /**
   * Takes the names of a family. Names may collide if two metrics differ only in `.` and `_`, or if one is called like a line of the
   * other. The first metric is printed then, and the other is left out.
   */
  #claim ({ name, names }: FamilyText, family: MetricFamily, taken: Set<string>): boolean {
    if (!names.some((one) => taken.has(one))) {
      for (const one of names) taken.add(one)
      return true
    }
    if (!this.#hidden.has(family.name)) {
      this.#hidden.add(family.name)
      try { this.#onHidden(family.name, name.sample) } catch { /* a listener that throws must not fail the page */ }
    }
    return false
  }

  #targetInfo (format: ExpositionFormat): string {
    if (this.#resource === '') return ''
    // `info` is a type of OpenMetrics only, and its metadata go without the suffix.
    const [name, type] = format === 'openmetrics' ? ['target', 'info'] : ['target_info', 'gauge']
    return `# HELP ${name} Target metadata\n# TYPE ${name} ${type}\ntarget_info{${this.#resource}} 1\n`
  }
}

/** Prints some series, from this one on. @returns the first that is not printed yet */
function print (page: PageWriter, family: MetricFamily, text: FamilyText, from: number, format: ExpositionFormat): number {
  const open = format === 'openmetrics'
  let index = from
  if (family.kind === 'histogram') {
    const { points } = family
    for (let lines = 0; index < points.length && lines < LINES_PER_FLUSH; index++, lines += text.bounds.length + 2) {
      const point = points[index] as HistogramPoint // the loop ends before the array does
      page.add(histogramLines(point, text.series(index, point.labels), text, open))
    }
    return index
  }
  const { points } = family
  const end = Math.min(points.length, from + LINES_PER_FLUSH)
  for (; index < end; index++) {
    const point = points[index] as NumberPoint // as above
    const series = text.series(index, point.labels)
    const exemplar = open && point.exemplar !== undefined && family.kind === 'counter' ? exemplarText(series, 0, point.exemplar) : '\n'
    page.add(series.lead + formatNumber(point.value) + exemplar)
  }
  return index
}

function histogramLines (point: HistogramPoint, series: SeriesText, { bounds, hasNegativeBounds }: FamilyText, open: boolean): string {
  // Most series have none; asking for each bucket of them would double the time of a page.
  const exemplars = open && point.exemplars.length > 0 ? point.exemplars : undefined
  const { bucketCounts } = point
  const { lead, sum, count } = series
  let lines = ''
  let cumulative = 0
  let number = '0'
  let end = '0\n'
  for (let index = 0; index < bounds.length; index++) {
    const inBucket = bucketCounts[index] ?? 0
    // Most buckets of a histogram are empty: the number is the one before.
    if (inBucket !== 0) end = (number = String(cumulative += inBucket)) + '\n'
    const exemplar = exemplars?.[index]
    lines += lead + bounds[index] + (exemplar === undefined ? end : number + exemplarText(series, index, exemplar))
  }
  // A sum that has gone below zero, or to NaN over two infinities, is no counter: OpenMetrics leaves the pair out then.
  if (open && (hasNegativeBounds || !(point.sum >= 0))) return lines
  return lines + sum + formatNumber(point.sum) + '\n' + count + point.count + '\n'
}
