import { SSE_MEDIA_TYPE } from '../channels/sse-frame.ts'

/** A longer header is nothing that a client sends. */
const MAX_LENGTH = 1_000

/**
 * Whether a client prefers events to JSON, by its `Accept` (RFC 9110 §12.5.1). Events must be named: a wildcard means
 * JSON. Of two types with the same quality, the one that is named first wins.
 */
export function prefersEvents (accept: string | undefined): boolean {
  if (accept === undefined || accept.length > MAX_LENGTH || !accept.toLowerCase().includes(SSE_MEDIA_TYPE)) return false
  const ranges = accept.split(',').map(readRange)
  const events = ranges.findIndex(({ type }) => type === SSE_MEDIA_TYPE)
  const json = mostSpecificJson(ranges)
  const [wanted, other] = [ranges[events], ranges[json]]
  if (wanted === undefined || wanted.quality === 0) return false
  if (other === undefined || wanted.quality !== other.quality) return wanted.quality > (other?.quality ?? 0)
  return other.type !== 'application/json' || events < json
}

interface Range { readonly type: string, readonly quality: number }

function readRange (text: string): Range {
  const [type = '', ...parameters] = text.split(';').map((part) => part.trim().toLowerCase())
  const given = parameters.find((parameter) => parameter.startsWith('q='))
  const quality = given === undefined ? 1 : Number(given.slice(2))
  return { type, quality: quality >= 0 && quality <= 1 ? quality : 0 }
}

function mostSpecificJson (ranges: readonly Range[]): number {
  for (const wanted of ['application/json', 'application/*', '*/*']) {
    const at = ranges.findIndex(({ type }) => type === wanted)
    if (at >= 0) return at
  }
  return -1
}
