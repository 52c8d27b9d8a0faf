import { setTimeout as pause } from 'node:timers/promises'

export interface Entity { readonly id: number, readonly data: string }

/** Entities of a known category; a database would have as many as there are. */
const SIZES: ReadonlyMap<string, number> = new Map([['books', 250], ['games', 120], ['all', 5_000]])

/**
 * Stands for a query of a database.
 *
 * @throws with the code `UNKNOWN_CATEGORY`, which clients may read
 */
export async function fetchEntities (category: string, signal: AbortSignal): Promise<readonly Entity[]> {
  await pause(1, undefined, { signal })
  const size = SIZES.get(category)
  if (size === undefined) throw Object.assign(new Error(`there is no category ${category}`), { code: 'UNKNOWN_CATEGORY', expose: true })
  return Array.from({ length: size }, (_, index) => ({ id: index + 1, data: `${category}-${index + 1}` }))
}
