import type { FastifyReply, FastifyRequest } from 'fastify'

const HEADER = 'x-correlation-id'
// Whatever passes goes into log lines, response headers and the store: nothing that could forge any of them may pass.
const ACCEPTABLE = /^[A-Za-z0-9._-]{1,128}$/

/** The correlation id of a request. The first call finds it; later ones read it from the reply. */
export function correlationIdOf (request: FastifyRequest, reply: FastifyReply, generate: () => string): string {
  const known = reply.getHeader(HEADER)
  return typeof known === 'string' ? known : correlate(request, reply, generate)
}

/**
 * Gives a request its correlation id, the client's own if it is harmless, else a new one: on the reply, and in all that
 * is logged from here on.
 */
export function correlate (request: FastifyRequest, reply: FastifyReply, generate: () => string): string {
  const sent = request.headers[HEADER]
  const id = typeof sent === 'string' && ACCEPTABLE.test(sent) ? sent : generate()
  reply.header(HEADER, id)
  request.log = reply.log = request.log.child({ correlation_id: id })
  return id
}
