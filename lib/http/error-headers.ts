import type { FastifyReply } from 'fastify'

/**
 * Headers that an error may bring to its answer: what it says about the refusal itself. A client of an upstream service
 * puts all headers of the upstream's answer on the errors that it throws, cookies and locations included, which are none
 * of this client's business.
 */
const ALLOWED = /^(?:www-authenticate|proxy-authenticate|retry-after|allow|accept(?:-[a-z]+)?|(?:x-)?ratelimit(?:-[a-z-]+)?)$/
/** Node refuses to send any other value, and would do so when it is too late to answer. */
const SENDABLE = /^[\t\x20-\x7e\x80-\xff]{0,2000}$/

/** Copies those headers of a thrown error that say something about the refusal, for example `WWW-Authenticate` with a 401. */
export function copyErrorHeaders (error: unknown, reply: FastifyReply): void {
  if (!isRecord(error) || !isRecord(error.headers)) return
  for (const [name, value] of Object.entries(error.headers)) {
    if (!ALLOWED.test(name.toLowerCase())) continue
    const text = typeof value === 'number' ? String(value) : value
    if (typeof text === 'string' && SENDABLE.test(text)) reply.header(name, text)
  }
}

function isRecord (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

/** Keeps browsers from guessing another media type from the text of a result or an error. */
export function noSniff (reply: FastifyReply): void {
  reply.header('x-content-type-options', 'nosniff')
}
