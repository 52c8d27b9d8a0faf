/** Turns errors of the client and answers of the server into coded errors that carry no password and no payload. */
import { AsyncEndpointsError, isAsyncEndpointsError, type AsyncEndpointsErrorOptions } from '../../core/errors.ts'
import { adviceOn } from './advice.ts'
import { withDenied } from './denied-text.ts'

/**
 * Errors of a Redis client carry the command that failed, with payloads and Lua text in it, and an address with a
 * password in its options. None of them leaves this folder: each is replaced by a coded error without a `cause`.
 */
export function toStoreError (error: unknown, server?: string): AsyncEndpointsError {
  if (error instanceof AsyncEndpointsError || isAsyncEndpointsError(error)) return error
  const code = serverCode(error)
  if (code === 'OOM') {
    return new AsyncEndpointsError('FAE_STORE_FULL', `The Redis server${at(server)} is out of memory: raise maxmemory or keep fewer finished jobs`, about(server, 5))
  }
  return unavailable(withDenied(code, error), server)
}

/** The server did not answer, or answered that it cannot serve. @param server host and port */
export function unavailable (reason: string, server?: string): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_STORE_UNAVAILABLE', `The Redis server${at(server)} cannot serve the job store now (${reason})${adviceOn(reason)}`, about(server, 1))
}

function at (server: string | undefined): string { return server === undefined ? '' : ` at ${server}` }

/** Clients see only the title of this error. The address of the server is in the message and in `details`, for logs. */
function about (server: string | undefined, retryAfterSeconds: number): AsyncEndpointsErrorOptions {
  return { retryAfterSeconds, ...(server === undefined ? undefined : { details: { server } }) }
}

/** The primary has stored the job; whether a replica has it too is not known. */
export function notReplicated (waitedMs: number): AsyncEndpointsError {
  return new AsyncEndpointsError(
    'FAE_STORE_UNAVAILABLE',
    `No replica of the Redis server confirmed the submission within ${waitedMs} ms; it may have been carried out: repeat it with the same idempotency key`,
    { retryAfterSeconds: 1 }
  )
}

export function unsupported (message: string): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_STORE_UNSUPPORTED', message)
}

export function closed (): AsyncEndpointsError {
  return new AsyncEndpointsError('FAE_CLOSED', 'The job store is not open')
}

/**
 * Something harmless to say about an error of a client: a code of the system, or the word that the server's answer
 * begins with.
 */
export function serverCode (error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  const { code, lastNodeError } = error as { code?: unknown, lastNodeError?: unknown }
  if (typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,40}$/.test(code)) return code
  // A cluster gave up on all of its nodes: what the last one said is the reason.
  if (lastNodeError instanceof Error && lastNodeError !== error) return serverCode(lastNodeError)
  const word = answerWord(error.message)
  if (word !== undefined) return word
  if (/timed out/i.test(error.message)) return 'ETIMEDOUT'
  if (/^All sentinels are unreachable/.test(error.message)) return 'no sentinel'
  return /writeable|closed|max retries|aborted/i.test(error.message) ? 'not connected' : 'unknown'
}

/** What stands before the answer proper when something went wrong inside a script, or when a cluster gave up. */
const WRAPPED = /^(?:ERR Error running script|@?user_script:|Too many Cluster redirections)/

/**
 * Answers of the server begin with a word in capitals: OOM, READONLY, NOAUTH, MISCONF, LOADING …
 *
 * Before version 7 the server wraps the answer to a command of a script: `ERR Error running script (call to f_…):
 * @user_script:9: @user_script: 9: -READONLY …`; a script that catches the error itself gets it without the beginning.
 */
function answerWord (message: string): string | undefined {
  if (WRAPPED.test(message)) {
    const inner = /(?:: -|Error: )([A-Z][A-Z0-9]{2,20})\b/.exec(message)?.[1]
    if (inner !== undefined) return inner
  }
  // Version 7 says it with no word of its own.
  if (/^(?:ERR )?(?:ACL failure in script|The user executing the script can't)/.test(message)) return 'NOPERM'
  return /^-?([A-Z][A-Z0-9]{2,20})\b/.exec(message)?.[1]
}

/** BullMQ's answer to a settlement that is not for this worker to make: a negative number. */
export function refusalCode (error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined
  const { code } = error as { code?: unknown }
  return typeof code === 'number' && code < 0 ? code : undefined
}
