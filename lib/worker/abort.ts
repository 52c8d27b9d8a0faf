import { AsyncEndpointsError, type ErrorCode } from '../core/errors.ts'

/** Why an attempt was asked to stop. */
export type AbortReason = 'cancelled' | 'lease-lost' | 'timeout' | 'shutdown'

const ERRORS: Readonly<Record<AbortReason, { readonly code: ErrorCode, readonly message: string }>> = {
  cancelled: { code: 'FAE_ABORTED', message: 'The job was cancelled' },
  'lease-lost': { code: 'FAE_LEASE_LOST', message: 'The lease of this attempt was lost; another worker may run the job' },
  timeout: { code: 'FAE_ATTEMPT_TIMEOUT', message: 'The attempt took longer than its timeoutMs' },
  shutdown: { code: 'FAE_ABORTED', message: 'The worker is stopping; the job will be handed to another' }
}

/** The reason of `job.signal`: an error with a code, so that a client library that rethrows it keeps the cause. */
export function abortError (reason: AbortReason): AsyncEndpointsError {
  const { code, message } = ERRORS[reason]
  return new AsyncEndpointsError(code, message)
}
