/** The text formats that a scraper can be given. */
export type ExpositionFormat = 'text' | 'openmetrics'

/** The formats that are always there. */
export const BUILT_IN_FORMATS = ['prometheus', 'openmetrics', 'json', 'csv'] as const
export type BuiltInFormat = typeof BUILT_IN_FORMATS[number]

/** To the letter: Prometheus 3 refuses a page whose type it does not know. */
export const CONTENT_TYPES: Readonly<Record<BuiltInFormat, string>> = {
  prometheus: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
  json: 'application/json; charset=utf-8',
  csv: 'text/csv; charset=utf-8; header=present'
}

interface Range { readonly type: string, readonly version: string | undefined, readonly quality: number }

/** What a range has to name, and the version it may name. */
const MEDIA: Readonly<Record<BuiltInFormat, { readonly type: string, readonly version?: string }>> = {
  prometheus: { type: 'text/plain', version: '0.0.4' },
  openmetrics: { type: 'application/openmetrics-text', version: '1.0.0' },
  json: { type: 'application/json' },
  csv: { type: 'text/csv' }
}

/** A longer header is nothing that a scraper or browser sends. */
const MAX_RANGES = 50

interface Candidate { readonly format: BuiltInFormat, readonly quality: number, readonly named: boolean }

/**
 * The format with the highest quality (RFC 9110 §12.5.1); of equal ones one that was named, OpenMetrics before the rest.
 * Wildcards mean the usual format, or the first of their kind. Nothing acceptable, or nothing asked for: the usual one, unless
 * a quality of 0 forbids it, because a page that can be read beats a refusal.
 *
 * @param usual what who asks for nothing in particular gets
 */
export function negotiate (accept: string | undefined, usual: BuiltInFormat = 'prometheus'): BuiltInFormat {
  if (accept === undefined || accept.trim() === '') return usual
  const ranges = parseAccept(accept)
  const order: readonly BuiltInFormat[] = [usual, ...BUILT_IN_FORMATS.filter((format) => format !== usual)]
  const candidates = order.map((format) => judge(format, ranges)).filter((candidate) => candidate !== undefined)
  const allowed = order.filter((format) => !isForbidden(format, candidates.find((candidate) => candidate.format === format), ranges))
  let best: Candidate | undefined
  for (const candidate of [...candidates, ...wildcards(ranges, allowed)]) {
    if (candidate.quality > 0 && (best === undefined || isBetter(candidate, best))) best = candidate
  }
  return best?.format ?? allowed[0] ?? usual
}

function isBetter (one: Candidate, other: Candidate): boolean {
  if (one.quality !== other.quality) return one.quality > other.quality
  if (one.named !== other.named) return one.named
  return one.format === 'openmetrics' && one.named
}

/** By a quality of 0: its own, or that of a wildcard where it has none. */
function isForbidden (format: BuiltInFormat, candidate: Candidate | undefined, ranges: readonly Range[]): boolean {
  if (candidate !== undefined) return candidate.quality === 0
  return ranges.some(({ type, quality }) => quality === 0 && type.endsWith('/*') && (type === '*/*' || MEDIA[format].type.startsWith(type.slice(0, -1))))
}

/** What the ranges that name a format say about it; `undefined` when none does. */
function judge (format: BuiltInFormat, ranges: readonly Range[]): Candidate | undefined {
  const { type, version } = MEDIA[format]
  const naming = ranges.filter((range) => range.type === type && (range.version === undefined || version === undefined || range.version === version))
  return naming.length === 0 ? undefined : { format, quality: Math.max(...naming.map(({ quality }) => quality)), named: true }
}

/** One format per wildcard: `text/*` is a text, `application/*` is JSON where OpenMetrics is not the usual one. */
function wildcards (ranges: readonly Range[], allowed: readonly BuiltInFormat[]): Candidate[] {
  const found: Candidate[] = []
  for (const { type, quality } of ranges) {
    if (!type.endsWith('/*')) continue
    const kind = type === '*/*' ? '' : type.slice(0, -1)
    const fitting = allowed.filter((format) => MEDIA[format].type.startsWith(kind))
    // OpenMetrics only for who names it: a wildcard is a browser or curl.
    const format = fitting.find((each, index) => each !== 'openmetrics' || (index === 0 && each === allowed[0])) ?? fitting[0]
    if (format !== undefined) found.push({ format, quality, named: false })
  }
  return found
}

function parseAccept (accept: string): Range[] {
  return accept.split(',', MAX_RANGES).flatMap((part) => {
    const [type = '', ...parameters] = part.split(';').map((piece) => piece.trim())
    let quality: number | undefined = 1
    let version: string | undefined
    for (const parameter of parameters) {
      const [name = '', value = ''] = parameter.split('=').map((piece) => piece.trim())
      if (name.toLowerCase() === 'q') quality = readQuality(value)
      else if (name.toLowerCase() === 'version') version = value.replace(/^"(.*)"$/, '$1')
    }
    return quality === undefined ? [] : [{ type: type.toLowerCase(), version, quality }]
  })
}

/** A quality that is no number makes its range count for nothing. */
function readQuality (value: string): number | undefined {
  return /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.test(value) ? Number(value) : undefined
}
