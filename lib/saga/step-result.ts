/** What a step returned, as it is stored: JSON of a bounded size. */
import { AsyncEndpointsError } from '../core/errors.ts'
import { lostInJson } from '../jobs/json-value.ts'
import type { StepText } from '../jobs/steps.ts'
import { toStoredError } from '../jobs/stored-error.ts'

/** The default limits, and those of the steps of handlers. */
export const MAX_STEP_RESULT_BYTES = 262_144
export const MAX_RESULTS_BYTES = 4_194_304

export interface ResultLimits {
  /** Bytes of one result as JSON. */
  readonly maxBytes: number
  /** Bytes of all results of the job. */
  readonly maxTotalBytes: number
  /** Bytes of the results that are stored already. */
  readonly storedBytes: number
}

/** A longer text is made into bytes: it then outlives the step outside of the heap, where no collection copies it. */
const LONG_TEXT = 8_192

/** A result as JSON, and its length in bytes: counting those of a long text takes time, so it is done once. */
export interface EncodedResult {
  readonly text: StepText
  readonly bytes: number
}

/**
 * @returns `undefined` for a step that returned nothing
 * @throws {AsyncEndpointsError} `FAE_STEP_RESULT_NOT_SERIALIZABLE`, `FAE_STEP_RESULT_TOO_LARGE`
 */
export function encodeResult (
  path: string, value: unknown, limits: ResultLimits, clean: (text: string) => string
): EncodedResult | undefined {
  if (value === undefined) return undefined
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (cause) {
    throw notSerializable(
      `The result of step "${path}" cannot be written as JSON: ${toStoredError(cause, clean).message}`
    )
  }
  if (text === undefined) {
    throw notSerializable(`The result of step "${path}" is a ${typeof value}, which JSON cannot hold`)
  }
  const lost = lostInJson(value, 'the result')
  if (lost !== undefined) {
    throw notSerializable(
      `JSON cannot hold the result of step "${path}": ${lost}; store it elsewhere and return a reference`
    )
  }
  const encoded = text.length > LONG_TEXT ? Buffer.from(text) : text
  const bytes = Buffer.byteLength(encoded)
  if (bytes > limits.maxBytes) {
    throw tooLarge(
      `The result of step "${path}" has ${bytes} bytes, maxStepResultBytes is ${limits.maxBytes}; ` +
      'store it elsewhere and return a reference'
    )
  }
  if (bytes + limits.storedBytes > limits.maxTotalBytes) {
    throw tooLarge(
      `With the ${bytes} bytes of step "${path}" the results have ${bytes + limits.storedBytes} bytes, ` +
      `maxResultsBytes is ${limits.maxTotalBytes}`
    )
  }
  return { text: encoded, bytes }
}

function notSerializable (message: string): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_STEP_RESULT_NOT_SERIALIZABLE', message)
}
function tooLarge (message: string): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_STEP_RESULT_TOO_LARGE', message)
}
