import { randomFillSync } from 'node:crypto'

const POOL_IDS = 1_024
const pool = Buffer.allocUnsafe(16 * POOL_IDS)
let used = POOL_IDS

/** Sixteen fresh random bytes inside the pool: asking the system for them in bulk costs a tenth. */
function nextBytes (): number {
  if (used === POOL_IDS) {
    randomFillSync(pool)
    used = 0
  }
  return used++ * 16
}

const text = Buffer.alloc(36, '-')
/** Where the two digits of each byte stand in the canonical form (RFC 9562 §4). */
const PLACES = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34] as const
const DIGITS = Buffer.from('0123456789abcdef')

/**
 * A random UUID (RFC 9562 version 4) as one flat string. `crypto.randomUUID` glues its text together from twenty
 * pieces, which costs a busy process a kilobyte of garbage per id.
 */
export function randomUuid (): string {
  const at = nextBytes()
  for (let index = 0; index < 16; index++) {
    let byte = pool[at + index] as number
    if (index === 6) byte = (byte & 0x0f) | 0x40
    else if (index === 8) byte = (byte & 0x3f) | 0x80
    const place = PLACES[index] as number
    text[place] = DIGITS[byte >> 4] as number
    text[place + 1] = DIGITS[byte & 15] as number
  }
  return text.toString('latin1')
}

let spare: string | undefined

/** 64 random bits as 16 lower-case hex digits. */
export function randomHex64 (): string {
  const kept = spare
  if (kept !== undefined) {
    spare = undefined
    return kept
  }
  const both = randomHex128()
  spare = both.slice(0, 16)
  return both.slice(16)
}

/** 128 random bits as 32 lower-case hex digits. */
export function randomHex128 (): string {
  const at = nextBytes()
  return pool.toString('hex', at, at + 16)
}
