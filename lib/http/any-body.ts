import type { RouteOptions } from 'fastify'

/** What tells Fastify that there is a body to parse. */
const NO_BODY = Object.freeze({ 'content-type': undefined, 'content-length': undefined, 'transfer-encoding': undefined })

/**
 * For routes that need no body. Many clients send `Content-Type: application/json` with every request, an empty body with one, or `{}`;
 * `curl -d ''` sends a form. Fastify would refuse each of them for what nobody reads: as an empty JSON, or as a media type that it has
 * no parser for. So the body is thrown away unread, whatever it is, and the request goes on as one without.
 */
export const anyBody: NonNullable<RouteOptions['preParsing']> = (request, _reply, payload, done) => {
  // Left unread, it would hold up the next request on its connection. What goes wrong with it concerns nobody.
  payload.on('error', () => {}).resume()
  request.headers = { ...request.headers, ...NO_BODY }
  done(null, payload)
}
