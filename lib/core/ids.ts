import { randomFillSync } from 'node:crypto'

const POOL_IDS = 1_024
const pool = Buffer.allocUnsafe(16 * POOL_IDS)
let used = POOL_IDS

/** The position of sixteen fresh random bytes in the pool. Asking the system for random bytes in bulk costs a tenth. */
function nextBytes (): number {
  if (used === POOL_IDS) {
    randomFillSync(pool)
    used = 0
  }
  return used++ * 16
}

const text = Buffer.alloc(36, '-')
/** The position of each byte's two digits in the text form (RFC 9562 §4). */
const POSITIONS = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34] as const
const DIGITS = Buffer.from('0123456789abcdef')

/**
 * A random UUID (RFC 9562 version 4) as one flat string. `crypto.randomUUID` concatenates its text from twenty
 * pieces, which leaves a kilobyte of garbage per id.
 */
export function randomUuid (): string {
  const at = nextBytes()
  for (let index = 0; index < 16; index++) {
    let byte = pool[at + index] as number
    if (index === 6) byte = (byte & 0x0f) | 0x40
    else if (index === 8) byte = (byte & 0x3f) | 0x80
    const position = POSITIONS[index] as number
    text[position] = DIGITS[byte >> 4] as number
    text[position + 1] = DIGITS[byte & 15] as number
  }
  return text.toString('latin1')
}

let spare: string | undefined

/** 64 random bits as 16 lower-case hex digits. One read of 128 bits serves two calls. */
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
