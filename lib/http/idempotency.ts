import { createHash } from 'node:crypto'
import { AsyncEndpointsError } from '../core/errors.ts'

/**
 * `'optional'`: a key is used if the client sends one. `'required'`: a submission without a key is refused. `false`:
 * keys are ignored.
 */
export type IdempotencyMode = 'optional' | 'required' | false

const MAX_LENGTH = 255
// RFC 8941 §3.3.3: printable ASCII, `"` and `\` escaped.
const QUOTED = /^"((?:[ !#-[\]-~]|\\["\\])*)"$/
// A key without quotes, as most clients send it: UUIDs, base64, `order/42`. No comma, because HTTP joins two headers
// with one.
const BARE = /^[A-Za-z0-9!#$%&'*+./:=@^_`|~-]+$/

/**
 * Reads an `Idempotency-Key` header: a structured-field string, as draft-ietf-httpapi-idempotency-key-header defines,
 * or the text without quotes that most clients send. `"abc"` and `abc` are the same key.
 *
 * @returns `undefined` if there is no such header
 * @throws {AsyncEndpointsError} `FAE_INVALID_IDEMPOTENCY_KEY`
 */
export function parseIdempotencyKey (header: string | readonly string[] | undefined): string | undefined {
  if (header === undefined) return undefined
  const text = typeof header === 'string' ? header.trim() : ''
  const quoted = QUOTED.exec(text)?.[1]
  const key = quoted !== undefined ? quoted.replace(/\\(.)/g, '$1') : BARE.test(text) ? text : ''
  if (key.length === 0 || key.length > MAX_LENGTH) {
    throw new AsyncEndpointsError('FAE_INVALID_IDEMPOTENCY_KEY',
      `Send one Idempotency-Key of 1 to ${MAX_LENGTH} printable ASCII characters, in double quotes or without spaces and commas; a UUID is best`)
  }
  return key
}

/**
 * The idempotency key of a submission, according to the endpoint's mode. Older clients send `X-Async-Request-Id`,
 * which counts only if there is no `Idempotency-Key`.
 *
 * @throws {AsyncEndpointsError} `FAE_INVALID_IDEMPOTENCY_KEY`, `FAE_IDEMPOTENCY_KEY_REQUIRED`
 */
export function idempotencyKey (
  headers: Readonly<Record<string, string | string[] | undefined>>, mode: 'optional' | 'required'
): string | undefined {
  const key = parseIdempotencyKey(headers['idempotency-key'] ?? headers['x-async-request-id'])
  if (key === undefined && mode === 'required') {
    throw new AsyncEndpointsError('FAE_IDEMPOTENCY_KEY_REQUIRED', 'Send an Idempotency-Key header (a UUID is best), so that a repeated request does not start a second job')
  }
  return key
}

/** The headers that identify a client for which there is no owner function. */
const CREDENTIALS = ['authorization', 'cookie', 'x-api-key', 'api-key', 'x-auth-token', 'x-access-token'] as const

/**
 * Separates the idempotency keys of clients without an owner, by a hash of the credentials that they send. Without
 * it, a client that sends the key and the body of another client would get that client's job.
 *
 * @returns `undefined` for a client without credentials: all such clients share one space of keys
 */
export function credentialScope (headers: Readonly<Record<string, string | string[] | undefined>>): string | undefined {
  const sent = CREDENTIALS.map((name) => headers[name] ?? null)
  return sent.every((value) => value === null) ? undefined : createHash('sha256').update(JSON.stringify(sent)).digest('hex')
}
