import type { FastifyReply } from 'fastify'

/**
 * The headers of an error that are copied to the response: those about the refusal itself. HTTP clients put all
 * headers of an upstream's response on the errors that they throw, including cookies and locations, which must not
 * reach this server's client.
 */
const ALLOWED = /^(?:www-authenticate|proxy-authenticate|retry-after|allow|accept(?:-[a-z]+)?|(?:x-)?ratelimit(?:-[a-z-]+)?)$/
/** The values that Node can send. Any other would make it throw when it is too late to answer with an error. */
const SENDABLE = /^[\t\x20-\x7e\x80-\xff]{0,2000}$/

/** Copies the allowed headers of a thrown error to the reply, for example `WWW-Authenticate` with a 401. */
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

/** Keeps browsers from guessing another media type from the body of a result or an error. */
export function noSniff (reply: FastifyReply): void {
  reply.header('x-content-type-options', 'nosniff')
}
