/** How the metrics of a process travel to the others on its store: compact, compressed, bounded. */
import { promisify } from 'node:util'
import { gunzip, gzip } from 'node:zlib'
import type { HistogramPoint, Labels, MetricFamily, MetricsSnapshot, NumberPoint } from '../telemetry/snapshot.ts'

/** Another number is another way of writing; who does not know it, does not read it. */
const VERSION = 1
/** Characters of JSON before compression, which makes about a tenth of it. Some 30,000 series. */
const MAX_JSON_CHARS = 4 * 1024 * 1024
const MAX_SHARED_CHARS = 2 * MAX_JSON_CHARS

const compress = promisify(gzip)
const expand = promisify(gunzip)

export interface EncodedSnapshot {
  readonly text: string
  /** Families in it. */
  readonly metrics: number
  /** Families that did not fit. */
  readonly left: number
}

/** Family by family, giving way to other work in between. Exemplars stay at home. */
export async function encodeSnapshot ({ startedAt, takenAt, families }: MetricsSnapshot): Promise<EncodedSnapshot> {
  const parts: string[] = []
  let chars = 0
  for (const family of families) {
    const part = JSON.stringify(encodeFamily(family))
    if (chars + part.length <= MAX_JSON_CHARS) {
      parts.push(part)
      chars += part.length
    }
    if (part.length > 65_536) await new Promise((resolve) => { setImmediate(resolve) })
  }
  const json = `[${VERSION},${startedAt},${takenAt},[${parts.join(',')}]]`
  return { text: (await compress(json)).toString('base64'), metrics: parts.length, left: families.length - parts.length }
}

/** `undefined`: it is nothing that this version can read. */
export async function decodeSnapshot (text: string): Promise<MetricsSnapshot | undefined> {
  if (text.length > MAX_SHARED_CHARS) return undefined
  try {
    const parsed: unknown = JSON.parse((await expand(Buffer.from(text, 'base64'), { maxOutputLength: 2 * MAX_JSON_CHARS })).toString())
    if (!Array.isArray(parsed)) return undefined
    const [version, startedAt, takenAt, families]: unknown[] = parsed
    if (version !== VERSION || typeof startedAt !== 'number' || typeof takenAt !== 'number' || !Array.isArray(families)) return undefined
    return { startedAt, takenAt, families: families.map(decodeFamily).filter((family) => family !== undefined) }
  } catch {
    return undefined
  }
}

/** JSON knows no `NaN` and no infinities. */
function encodeNumber (value: number): number | string {
  return Number.isFinite(value) ? value : String(value)
}

function encodeFamily (family: MetricFamily): unknown[] {
  const { name, unit, description, kind } = family
  if (kind !== 'histogram') return [name, unit, description, kind, family.points.map(({ labels, value }) => [labels, encodeNumber(value)])]
  return [name, unit, description, kind, family.points.map(({ labels, count, sum, bucketCounts }) => [labels, count, encodeNumber(sum), bucketCounts]), family.buckets]
}

function decodeFamily (given: unknown): MetricFamily | undefined {
  if (!Array.isArray(given)) return undefined
  const [name, unit, description, kind, points, buckets]: unknown[] = given
  if (typeof name !== 'string' || typeof unit !== 'string' || typeof description !== 'string' || !Array.isArray(points)) return undefined
  if (kind === 'counter' || kind === 'gauge') {
    return { name, unit, description, kind, points: points.map(decodeNumber).filter((point) => point !== undefined) }
  }
  if (kind !== 'histogram' || !isNumbers(buckets)) return undefined
  return { name, unit, description, kind, buckets, points: points.map((point) => decodeHistogram(point, buckets.length)).filter((point) => point !== undefined) }
}

function decodeNumber (given: unknown): NumberPoint | undefined {
  if (!Array.isArray(given)) return undefined
  const [labels, value]: unknown[] = given
  return isLabels(labels) ? { labels, value: Number(value), exemplar: undefined } : undefined
}

function decodeHistogram (given: unknown, bounds: number): HistogramPoint | undefined {
  if (!Array.isArray(given)) return undefined
  const [labels, count, sum, bucketCounts]: unknown[] = given
  if (!isLabels(labels) || typeof count !== 'number' || !isNumbers(bucketCounts) || bucketCounts.length !== bounds + 1) return undefined
  return { labels, count, sum: Number(sum), bucketCounts, exemplars: [] }
}

function isNumbers (value: unknown): value is number[] {
  return Array.isArray(value) && value.every((entry) => typeof entry === 'number')
}

function isLabels (value: unknown): value is Labels {
  return typeof value === 'object' && value !== null && Object.values(value).every((entry) => typeof entry === 'string')
}
