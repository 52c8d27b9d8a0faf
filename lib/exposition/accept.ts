/** The text formats that a scraper can be given. */
export type ExpositionFormat = 'text' | 'openmetrics'

export const CONTENT_TYPES: Readonly<Record<ExpositionFormat, string>> = {
  text: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8'
}

interface Range { readonly type: string, readonly version: string | undefined, readonly quality: number }

/**
 * The format with the highest quality (RFC 9110 §12.5.1). Nothing acceptable, or nothing asked for: text 0.0.4, which
 * every scraper reads. OpenMetrics only for who names it: `*` + `/*` is a browser or curl.
 */
export function negotiate (accept: string | undefined): ExpositionFormat {
  if (accept === undefined || accept === '') return 'text'
  let openmetrics = 0
  let text = 0
  for (const range of parseAccept(accept)) {
    if (range.type === 'application/openmetrics-text') {
      if (range.version === undefined || range.version === '1.0.0') openmetrics = Math.max(openmetrics, range.quality)
    } else if (range.type === 'text/plain' || range.type === 'text/*' || range.type === '*/*') {
      if (range.version === undefined || range.version === '0.0.4') text = Math.max(text, range.quality)
    }
  }
  return openmetrics > 0 && openmetrics >= text ? 'openmetrics' : 'text'
}

function parseAccept (accept: string): Range[] {
  return accept.split(',').map((part) => {
    const [type = '', ...parameters] = part.split(';').map((piece) => piece.trim())
    let quality = 1
    let version: string | undefined
    for (const parameter of parameters) {
      const [name = '', value = ''] = parameter.split('=').map((piece) => piece.trim())
      if (name.toLowerCase() === 'q') quality = readQuality(value)
      else if (name.toLowerCase() === 'version') version = value.replace(/^"(.*)"$/, '$1')
    }
    return { type: type.toLowerCase(), version, quality }
  })
}

/** A quality that is no number makes its range count for nothing. */
function readQuality (value: string): number {
  return /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.test(value) ? Number(value) : 0
}
