import { AsyncEndpointsError } from '../core/errors.ts'
import type { JobDefinition } from '../jobs/definition.ts'
import type { JobRecord } from '../jobs/job.ts'
import { lostInJson } from '../jobs/json-value.ts'
import { outcomeKind, type Cancel, type Discard, type Snooze } from '../jobs/outcome.ts'
import type { Settlement } from '../jobs/store.ts'
import { toReason, toStoredError } from '../jobs/stored-error.ts'
import { abortError, type AbortReason } from './abort.ts'
import type { HandlerEnd, RunningHandler } from './running-handler.ts'

type Clean = (text: string) => string

/** What classifying needs to know of the handler, besides how it ended. */
export type HandlerFacts = Pick<RunningHandler, 'abortReason' | 'signalRead'>

/**
 * Turns the end of a handler into the settlement of its attempt: without an abort, and after one that does not decide
 * (see {@link abortDecides}), what it returned or threw counts; otherwise the abort does.
 *
 * @param clean removes from what a handler says about its failure what must not be stored
 */
export function classify (end: HandlerEnd, handler: HandlerFacts, job: JobRecord, definition: JobDefinition, clean: Clean): Settlement {
  const { abortReason } = handler
  if (abortReason !== undefined && abortDecides(end, handler)) return settleAborted(abortReason, job, definition, clean)
  if (end.kind === 'returned') return settleReturned(end.value, definition, clean)
  return settleThrown(end.kind === 'threw' ? end.error : undefined, job, definition, clean)
}

/**
 * Whether an abort decides how the attempt ended, whatever the handler returned or threw after it. A timeout always
 * does, and so does every abort of a handler that was never called or that was abandoned. The others do if the
 * handler has read its signal, because it may then have stopped half-way; a handler that never read it has ended by
 * itself.
 */
export function abortDecides (end: HandlerEnd, { abortReason, signalRead }: HandlerFacts): boolean {
  if (abortReason === undefined) return false
  return abortReason === 'timeout' || signalRead || end.kind === 'abandoned' || end.kind === 'skipped'
}

function settleAborted (reason: AbortReason, job: JobRecord, definition: JobDefinition, clean: Clean): Settlement {
  switch (reason) {
    case 'cancelled': return { kind: 'cancelled', reason: abortError('cancelled').message }
    case 'timeout': return settleThrown(abortError('timeout'), job, definition, clean)
    // The store refuses an attempt whose lease is lost. Should the lease turn out to be good, another worker may take
    // the job.
    case 'lease-lost':
    case 'shutdown': return { kind: 'release' }
  }
}

/** The settlement of a handler that returned this value: its result as JSON, checked against the schema and the limit. */
export function settleReturned (value: unknown, definition: JobDefinition, clean: Clean): Settlement {
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
      // Checked after a JSON round trip: as the client will read it.
      writeResult(JSON.parse(result))
    } catch (cause) {
      // The serializers of other schema languages name the fault in the cause of their error.
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

/**
 * For a claim after an attempt that stalled: that attempt is spent, and its backoff is served before the handler is
 * called again.
 */
export function settleStall (job: JobRecord, definition: JobDefinition): Settlement {
  // `job.attempts` counts the attempt of this claim already.
  const spent = job.attempts - 1
  const error = new AsyncEndpointsError('FAE_STALLED', 'The worker that ran the job stopped renewing its lease')
  if (spent >= job.maxAttempts) return { kind: 'failed', error: toStoredError(error) }
  const delayMs = definition.backoff({ attempt: spent, maxAttempts: job.maxAttempts, error })
  return delayMs < 0 ? { kind: 'failed', error: toStoredError(error) } : { kind: 'postpone', delayMs }
}
