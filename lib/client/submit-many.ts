import { setImmediate } from 'node:timers/promises'
import { AsyncEndpointsError } from '../core/errors.ts'
import { readOptions, type OptionsSchema } from '../core/options.ts'
import type { SubmitMeta, Submitted } from '../jobs/submit.ts'
import type { SubmitItem, SubmitManyOptions, SubmitManyResult } from './jobs.ts'

const MANY_DEFAULTS = Object.freeze({ maxInFlight: 256 })

const manySchema: OptionsSchema = {
  type: 'object', additionalProperties: false, properties: { maxInFlight: { type: 'integer', minimum: 1, maximum: 10_000 } }
}

/** After so many the event loop has a turn. */
const TURN_ITEMS = 512

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readManyOptions (options: SubmitManyOptions | undefined): typeof MANY_DEFAULTS {
  return readOptions<SubmitManyOptions, typeof MANY_DEFAULTS>('submitMany', manySchema, MANY_DEFAULTS, options)
}

/**
 * Runs the submissions of the items, so many at one time. The items that begin in one turn of the event loop travel
 * together where a store batches them.
 */
export async function submitEach (items: Iterable<SubmitItem>, maxInFlight: number, submit: (body: unknown, meta: SubmitMeta) => Promise<Submitted>): Promise<SubmitManyResult[]> {
  if (typeof items !== 'object' || items === null || typeof items[Symbol.iterator] !== 'function') throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', 'The items must be an array, or what can be walked through with for … of')
  const results: SubmitManyResult[] = []
  const iterator = items[Symbol.iterator]()
  let index = 0
  let broken = false
  let turn: Promise<void> | undefined
  const line = async (): Promise<void> => {
    while (!broken) {
      if (turn !== undefined) await turn
      let next: IteratorResult<SubmitItem, unknown>
      try {
        next = iterator.next()
      } catch (error) {
        broken = true
        throw error
      }
      if (next.done === true) return
      const place = index++
      results[place] = await submitOne(next.value, submit)
      // A store in memory answers without a turn of the event loop: everybody else would wait until the last item.
      if (place % TURN_ITEMS === TURN_ITEMS - 1) turn = setImmediate().then(() => { turn = undefined })
    }
  }
  // All lines end before an error of the iterable is passed on: nothing goes on behind the back of the caller.
  const ends = await Promise.allSettled(Array.from({ length: maxInFlight }, line))
  for (const end of ends) if (end.status === 'rejected') throw end.reason
  return results
}

async function submitOne (item: SubmitItem, submit: (body: unknown, meta: SubmitMeta) => Promise<Submitted>): Promise<SubmitManyResult> {
  try {
    if (typeof item !== 'object' || item === null) throw new AsyncEndpointsError('FAE_INVALID_SUBMISSION', 'An item must be an object with a body, and with what submit() takes beside it')
    const { body, ...meta } = item
    return await submit(body, meta)
  } catch (error) {
    return { error: error instanceof Error ? error : new Error(shownThrown(error)) }
  }
}

/** Anything can be thrown, also what has no text. */
function shownThrown (thrown: unknown): string {
  try {
    return String(thrown)
  } catch {
    return 'something was thrown that has no text'
  }
}
