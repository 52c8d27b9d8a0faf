import type { Labels, MetricsSnapshot } from '../telemetry/snapshot.ts'
import { isHistogram, SERIES_PER_LOOK, SLICE_MS } from './json.ts'
import { PageWriter, TimeSlices } from './page-writer.ts'

const COLUMNS = ['name', 'kind', 'unit', 'sample', 'le', 'value'] as const

/** Spreadsheets run what begins like this as a formula (OWASP, CSV injection). */
const FORMULA = /^[=+\-@\t\r]/

/**
 * RFC 4180 with a header: one row per sample, one column per label. `sample` is `value`, or of a histogram `bucket`
 * (cumulative, with its bound in `le`), `sum` and `count`. Infinite numbers are `Inf` and `-Inf`. A text that a spreadsheet
 * would run as a formula gets an apostrophe before it.
 */
export async function renderCsv ({ families }: MetricsSnapshot): Promise<Buffer> {
  const labels = labelNames(families)
  const page = new PageWriter(0)
  const slices = new TimeSlices(SLICE_MS)
  page.add(row([...COLUMNS, ...labels.map((label) => (COLUMNS as readonly string[]).includes(label) ? `label_${label}` : label)].map(text)))
  for (const family of families) {
    const head = [text(family.name), family.kind, text(family.unit)]
    for (const [place, point] of family.points.entries()) {
      const tail = labels.map((label) => text(point.labels[label] ?? ''))
      const sample = (kind: string, value: number, bound = ''): void => { page.add(row([...head, kind, bound, number(value), ...tail])) }
      if (!isHistogram(point)) sample('value', point.value)
      else if (family.kind === 'histogram') {
        let cumulative = 0
        for (const [index, bound] of [...family.buckets, Infinity].entries()) sample('bucket', cumulative += point.bucketCounts[index] ?? 0, number(bound))
        sample('sum', point.sum)
        sample('count', point.count)
      }
      if ((place + 1) % SERIES_PER_LOOK !== 0) continue
      page.flush()
      if (slices.over()) await slices.next()
    }
  }
  return await page.end(slices)
}

function labelNames (families: MetricsSnapshot['families']): string[] {
  const names = new Set<string>()
  for (const { points } of families) {
    for (const { labels } of points as ReadonlyArray<{ readonly labels: Labels }>) {
      for (const name of Object.keys(labels)) names.add(name)
    }
  }
  return [...names].sort()
}

function row (cells: readonly string[]): string {
  return `${cells.join(',')}\r\n`
}

function text (value: string): string {
  const safe = FORMULA.test(value) ? `'${value}` : value
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}

/** Never begins with `+`: that would be a text which begins like a formula. */
function number (value: number): string {
  return value === Infinity ? 'Inf' : value === -Infinity ? '-Inf' : String(value)
}
