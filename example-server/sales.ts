import { setTimeout as pause } from 'node:timers/promises'

/** One sale. Amounts are in cents, because binary fractions cannot represent money exactly. */
export interface Sale { readonly month: number, readonly product: string, readonly quantity: number, readonly cents: number }

const PRODUCTS = [['lamp', 4_900], ['desk', 32_000], ['chair', 18_500], ['shelf', 9_900], ['rug', 14_900]] as const
const PAGE = 100

/**
 * Generates the sales of a year in batches of a hundred, about one millisecond each, like a database in a network.
 * The same year always has the same sales.
 *
 * @throws the signal's reason if it aborts
 */
export async function * salesOf (year: number, rows: number, signal: AbortSignal): AsyncGenerator<readonly Sale[]> {
  const random = randomFrom(year)
  for (let read = 0; read < rows; read += PAGE) {
    await pause(1)
    signal.throwIfAborted()
    yield Array.from({ length: Math.min(PAGE, rows - read) }, () => sale(random))
  }
}

function sale (random: () => number): Sale {
  const [product, price] = PRODUCTS[Math.floor(random() * PRODUCTS.length)] ?? PRODUCTS[0]
  const quantity = 1 + Math.floor(random() * 5)
  return { month: 1 + Math.floor(random() * 12), product, quantity, cents: quantity * price }
}

/** A small generator of random numbers from 0 to 1 (mulberry32). The same seed gives the same numbers. */
function randomFrom (seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
