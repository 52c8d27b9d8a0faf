import type { RouteOptions } from 'fastify'

/** The headers from which Fastify concludes that there is a body to parse. */
const NO_BODY = Object.freeze({ 'content-type': undefined, 'content-length': undefined, 'transfer-encoding': undefined })

/**
 * A hook for routes that need no body. Many clients send `Content-Type: application/json` with every request, with an
 * empty body or `{}`; `curl -d ''` sends a form. Fastify would refuse those requests: an empty body is not JSON, and
 * a form has no parser. So this hook discards the body unread, and the request continues as one without a body.
 */
export const anyBody: NonNullable<RouteOptions['preParsing']> = (request, _reply, payload, done) => {
  // A body that is not consumed would block the next request on the connection. Errors of the body do not matter here.
  payload.on('error', () => {}).resume()
  request.headers = { ...request.headers, ...NO_BODY }
  done(null, payload)
}
