import { AsyncEndpointsError } from '../core/errors.ts'
import { readOptions, type OptionsSchema } from '../core/options.ts'
import type { SubmitMeta, Submitted } from '../jobs/submit.ts'
import type { SubmitItem, SubmitManyOptions, SubmitManyResult } from './jobs.ts'

const MANY_DEFAULTS = Object.freeze({ maxInFlight: 256 })

const manySchema: OptionsSchema = {
  type: 'object', additionalProperties: false, properties: { maxInFlight: { type: 'integer', minimum: 1, maximum: 10_000 } }
}

/** @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS` */
export function readManyOptions (options: SubmitManyOptions | undefined): typeof MANY_DEFAULTS {
  return readOptions<SubmitManyOptions, typeof MANY_DEFAULTS>('submitMany', manySchema, MANY_DEFAULTS, options)
}

/**
 * Runs the submissions of the items, so many at one time. The items that begin in one turn of the event loop travel
 * together where a store batches them.
 */
export async function submitEach (items: Iterable<SubmitItem>, maxInFlight: number, submit: (body: unknown, meta: SubmitMeta) => Promise<Submitted>): Promise<SubmitManyResult[]> {
  const results: SubmitManyResult[] = []
  const iterator = items[Symbol.iterator]()
  let index = 0
  let broken = false
  const line = async (): Promise<void> => {
    while (!broken) {
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
    return { error: error instanceof Error ? error : new Error(String(error)) }
  }
}
