import { AsyncEndpointsError } from '../core/errors.ts'

/** Why an attempt was told to stop. */
export type AbortReason = 'cancelled' | 'lease-lost' | 'timeout' | 'shutdown'

const MESSAGES: Record<AbortReason, string> = {
  cancelled: 'The job was cancelled',
  'lease-lost': 'The lease of this attempt was lost; another worker may run the job',
  timeout: 'The attempt took longer than its timeoutMs',
  shutdown: 'The worker is stopping; the job will be handed to another'
}

/** The reason of `job.signal`: an error with a code, so that a client library that rethrows it keeps the cause. */
export function abortError (reason: AbortReason): AsyncEndpointsError {
  return new AsyncEndpointsError(reason === 'timeout' ? 'FAE_ATTEMPT_TIMEOUT' : reason === 'lease-lost' ? 'FAE_LEASE_LOST' : 'FAE_ABORTED', MESSAGES[reason])
}

/**
 * The abort of one attempt. The AbortController is made only when a handler asks for its signal: most never do, and
 * one per job costs several percent of a busy worker.
 */
export class AbortState {
  #controller: AbortController | undefined
  #reason: AbortReason | undefined

  get reason (): AbortReason | undefined { return this.#reason }

  /** True when the handler could know of the abort: what it returns afterwards may be half done. */
  get observed (): boolean { return this.#controller !== undefined }

  get signal (): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#reason !== undefined) this.#controller.abort(abortError(this.#reason))
    }
    return this.#controller.signal
  }

  /** The first reason stands. @returns whether this call was the first */
  abort (reason: AbortReason): boolean {
    if (this.#reason !== undefined) return false
    this.#reason = reason
    this.#controller?.abort(abortError(reason))
    return true
  }
}
