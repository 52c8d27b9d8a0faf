import { AsyncEndpointsError, isAsyncEndpointsError } from '../../core/errors.ts'
import { withDenied } from './denied-text.ts'

/**
 * Errors of a Redis client carry the command that failed, with payloads and Lua text in it, and an address with a
 * password in its options. None of them leaves this folder: each is replaced by one of ours, without a `cause`.
 */
export function toStoreError (error: unknown): AsyncEndpointsError {
  if (error instanceof AsyncEndpointsError || isAsyncEndpointsError(error)) return error
  const code = serverCode(error)
  if (code === 'OOM') {
    return new AsyncEndpointsError('FAE_STORE_FULL', 'The Redis server is out of memory: raise maxmemory or keep fewer finished jobs', { retryAfterSeconds: 5 })
  }
  return unavailable(withDenied(code, error))
}

/** The server did not answer, or answered that it cannot serve. */
export function unavailable (reason: string): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_STORE_UNAVAILABLE', `The Redis server cannot serve the job store now (${reason})`, { retryAfterSeconds: 1 })
}

export function unsupported (message: string): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_STORE_UNSUPPORTED', message)
}

export function closed (): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_CLOSED', 'The job store is not open')
}

/** Something harmless to say about an error of a client: a code of the system, or the first word of the server's answer. */
export function serverCode (error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  const { code } = error as { code?: unknown }
  if (typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,40}$/.test(code)) return code
  // Answers of the server begin with a word in capitals: OOM, READONLY, NOAUTH, WRONGPASS, MISCONF, LOADING …
  const word = /^-?([A-Z][A-Z0-9]{2,20})\b/.exec(error.message)?.[1]
  // Before version 7 the server wraps what went wrong inside a script: `ERR Error running script … -OOM …`.
  if (word !== undefined) return word === 'ERR' ? /-(OOM|READONLY|NOPERM|WRONGTYPE)\b/.exec(error.message)?.[1] ?? word : word
  if (/timed out/i.test(error.message)) return 'ETIMEDOUT'
  return /writeable|closed|max retries|aborted/i.test(error.message) ? 'not connected' : 'unknown'
}

/** BullMQ's answer to a settlement that is not for this worker to make: a negative number. */
export function refusalCode (error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined
  const { code } = error as { code?: unknown }
  return typeof code === 'number' && code < 0 ? code : undefined
}
