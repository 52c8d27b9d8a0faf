import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobDefinition } from '../jobs/definition.ts'
import type { JobRecord } from '../jobs/job.ts'
import { lostInJson } from '../jobs/json-value.ts'
import { outcomeKind, type Cancel, type Discard, type Snooze } from '../jobs/outcome.ts'
import type { Settlement } from '../jobs/store.ts'
import { toReason, toStoredError } from '../jobs/stored-error.ts'
import { abortError, type AbortReason } from './abort.ts'

type Clean = (text: string) => string

/** How a handler ended: with a value, with a throw, or not at all (`abandoned`) before its grace was over. */
export type HandlerEnd =
  | { readonly kind: 'returned', readonly value: unknown }
  | { readonly kind: 'threw', readonly error: unknown }
  | { readonly kind: 'abandoned' }

/**
 * Turns the end of a handler into the settlement of its attempt.
 *
 * After an abort a return or a throw counts only if the handler never looked at its signal: then it ended for reasons
 * of its own. One that saw the signal may have stopped half-way, so the abort decides. A timeout always decides.
 *
 * @param clean takes out of what a handler says about its failure what must not be stored
 */
export function classify (end: HandlerEnd, aborted: AbortReason | undefined, observed: boolean, job: JobRecord, definition: JobDefinition, clean: Clean): Settlement {
  if (aborted !== undefined && (end.kind === 'abandoned' || observed || aborted === 'timeout')) return settleAborted(aborted, job, definition, clean)
  if (end.kind === 'returned') return settleReturned(end.value, definition, clean)
  const error = end.kind === 'threw' ? end.error : undefined
  return settleThrown(error, job, definition, clean)
}

function settleAborted (reason: AbortReason, job: JobRecord, definition: JobDefinition, clean: Clean): Settlement {
  switch (reason) {
    case 'cancelled': return { kind: 'cancelled', reason: abortError('cancelled').message }
    case 'timeout': return settleThrown(abortError('timeout'), job, definition, clean)
    // A lost lease is refused by the store anyway; if it turns out not to be lost, the job is free for another worker.
    case 'lease-lost':
    case 'shutdown': return { kind: 'release' }
  }
}

function settleReturned (value: unknown, definition: JobDefinition, clean: Clean): Settlement {
  const outcome = settleOutcome(value, clean)
  if (outcome !== undefined) return outcome
  if (value === undefined) return { kind: 'completed', result: undefined, resultBytes: undefined }
  let result: string | undefined
  try {
    result = JSON.stringify(value)
  } catch (cause) {
    return failed('FAE_RESULT_NOT_SERIALIZABLE', `The result cannot be written as JSON: ${toStoredError(cause, clean).message}`)
  }
  if (result === undefined) return failed('FAE_RESULT_NOT_SERIALIZABLE', `A result of type ${typeof value} cannot be written as JSON`)
  const lost = lostInJson(value, 'the result')
  if (lost !== undefined) return failed('FAE_RESULT_NOT_SERIALIZABLE', `JSON cannot hold the result: ${lost}; store it elsewhere and return a reference`)
  const resultBytes = Buffer.byteLength(result)
  if (resultBytes > definition.maxResultBytes) {
    return failed('FAE_RESULT_TOO_LARGE', `The result has ${resultBytes} bytes, maxResultBytes is ${definition.maxResultBytes}; store it elsewhere and return a reference`)
  }
  const { writeResult } = definition.schemas
  if (writeResult !== undefined) {
    try {
      // Checked after a JSON round trip, as the client will read it.
      writeResult(JSON.parse(result))
    } catch (cause) {
      // A serializer of another schema language has what is wrong in its cause.
      const inner: unknown = cause instanceof Error ? cause.cause : undefined
      const why = inner instanceof Error ? `: ${toStoredError(inner, clean).message}` : ''
      return failed('FAE_RESULT_INVALID', `The result does not fit schema.result: ${toStoredError(cause, clean).message}${why}`)
    }
  }
  return { kind: 'completed', result, resultBytes }
}

function settleThrown (thrown: unknown, job: JobRecord, definition: JobDefinition, clean: Clean): Settlement {
  const outcome = settleOutcome(thrown, clean)
  if (outcome !== undefined) return outcome
  const error = toStoredError(thrown, clean)
  if (job.attempts >= job.maxAttempts) return { kind: 'failed', error }
  const delayMs = definition.backoff({ attempt: job.attempts, maxAttempts: job.maxAttempts, error: thrown })
  return delayMs < 0 ? { kind: 'failed', error } : { kind: 'retry', error, delayMs }
}

function settleOutcome (value: unknown, clean: Clean): Settlement | undefined {
  switch (outcomeKind(value)) {
    case 'snooze': return { kind: 'snooze', delayMs: (value as Snooze).delayMs }
    case 'cancel': return { kind: 'cancelled', reason: toReason((value as Cancel).reason, 'cancelled by the handler', clean) }
    case 'discard': {
      const message = toReason((value as Discard).reason, 'discarded by the handler', clean)
      return { kind: 'failed', error: { code: 'FAE_DISCARDED', message, expose: true } }
    }
    case undefined: return undefined
  }
}

function failed (code: AsyncEndpointsError['code'], message: string): Settlement {
  return { kind: 'failed', error: { code, message: toReason(message, code) } }
}

/** The attempt before this claim stalled: it counts, and its backoff is served before the handler is called again. */
export function settleStall (job: JobRecord, definition: JobDefinition): Settlement {
  // `job.attempts` already counts the attempt that this claim would be.
  const spent = job.attempts - 1
  const error = new AsyncEndpointsError('FAE_STALLED', 'The worker that ran the job stopped renewing its lease')
  if (spent >= job.maxAttempts) return { kind: 'failed', error: toStoredError(error) }
  const delayMs = definition.backoff({ attempt: spent, maxAttempts: job.maxAttempts, error })
  return delayMs < 0 ? { kind: 'failed', error: toStoredError(error) } : { kind: 'postpone', delayMs }
}
