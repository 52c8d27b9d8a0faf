import { AsyncEndpointsError, isAsyncEndpointsError, type AsyncEndpointsErrorOptions } from '../core/errors.ts'
import type { SubmitOrigin } from '../events/catalogue.ts'
import type { GateErrors } from './submit-gate.ts'

/** Who submitted decides what its idempotency key is called: a request has a header, code has an option. */
export interface Submitter {
  readonly origin?: SubmitOrigin | undefined
  readonly idempotencyKey?: string | undefined
}

const keyName = ({ origin }: Submitter): string => origin === undefined ? 'idempotencyKey' : 'Idempotency-Key'

/** The submission ran out of time, before it was sent or after. */
export function timeErrors (submitter: Submitter, limitMs: number): GateErrors {
  // The client of a request has to know whether it may repeat it.
  const options: AsyncEndpointsErrorOptions = submitter.origin === undefined ? { retryAfterSeconds: 2 } : { retryAfterSeconds: 2, expose: true }
  return {
    unconfirmed: () => new AsyncEndpointsError(
      'FAE_STORE_UNAVAILABLE', `The job store did not confirm the job within ${limitMs} ms; it may or may not have been stored. ${repeatAdvice(submitter)}`, options
    ),
    unsent: () => new AsyncEndpointsError(
      'FAE_STORE_UNAVAILABLE',
      `The job store does not answer, or has too many other submissions to answer. This one waited in the process and was not sent: the job is not stored. ${laterAdvice(submitter)}`,
      options
    ),
    silence: (error) => isAsyncEndpointsError(error, 'FAE_STORE_UNAVAILABLE')
  }
}

function repeatAdvice (submitter: Submitter): string {
  const request = submitter.origin !== undefined
  if (submitter.idempotencyKey !== undefined) {
    return request ? 'Repeat the request with the same Idempotency-Key' : 'Submit it again with the same idempotencyKey'
  }
  return request
    ? 'Repeating the request may start a second job; send an Idempotency-Key header, and a request can be repeated safely'
    : 'Submitting it again may start a second job; give submissions an idempotencyKey, and they can be repeated safely'
}

function laterAdvice ({ origin }: Submitter): string {
  return origin === undefined ? 'Submit it again later; app.jobs.submitMany() submits many jobs at the pace of the store' : 'Repeat the request later'
}

export function keyReused (submitter: Submitter): AsyncEndpointsError {
  const what = submitter.origin === undefined ? 'submission' : 'request'
  return new AsyncEndpointsError('FAE_IDEMPOTENCY_KEY_REUSED', `This ${keyName(submitter)} was used for a ${what} with other content; use a new key for a new ${what}`)
}

export function keyExpired (submitter: Submitter, id: string): AsyncEndpointsError {
  return new AsyncEndpointsError(
    'FAE_JOB_EXPIRED', `The job of this ${keyName(submitter)} has ended and is no longer kept; use a new key to run it again`, { details: { id } }
  )
}
