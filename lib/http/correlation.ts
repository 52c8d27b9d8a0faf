import type { FastifyReply, FastifyRequest } from 'fastify'
import { headerListProblems } from './captured-headers.ts'

export const DEFAULT_CORRELATION_HEADER = 'X-Correlation-ID'

// An accepted id goes into log lines, response headers and the store, so it must not be able to forge any of them.
const ACCEPTABLE = /^[A-Za-z0-9._-]{1,128}$/

/**
 * Headers with another meaning in HTTP or on the routes of this package. They cannot carry a correlation id as well.
 */
const TAKEN: ReadonlySet<string> = new Set([
  'accept', 'accept-language', 'cache-control', 'connection', 'content-encoding', 'content-length', 'content-location', 'content-type', 'date', 'etag', 'expect', 'host',
  'idempotency-key', 'idempotency-replayed', 'if-none-match', 'keep-alive', 'last-modified', 'link', 'location', 'origin', 'prefer', 'preference-applied', 'retry-after', 'server',
  'te', 'traceparent', 'tracestate', 'baggage', 'trailer', 'transfer-encoding', 'upgrade', 'user-agent', 'vary', 'x-async-job-id', 'x-forwarded-for', 'x-processing-time'
])

/** Checks the name of the correlation header. @returns one sentence per problem */
export function correlationHeaderProblems (where: string, name: string): string[] {
  const problems = headerListProblems(where, [name])
  if (problems.length === 0 && TAKEN.has(name.toLowerCase())) problems.push(`${where}: the header ${name} already has another meaning`)
  return problems
}

/** Reads or creates the correlation id of a request, and puts it on the reply and the log lines. */
export class Correlation {
  /** The name as it is written in documents; header names are case-insensitive. */
  readonly header: string
  readonly #name: string
  readonly #generate: () => string

  constructor (header: string, generate: () => string) {
    this.header = header
    this.#name = header.toLowerCase()
    this.#generate = generate
  }

  /** The correlation id of a request. The first call determines it; later calls read it from the reply. */
  of (request: FastifyRequest, reply: FastifyReply): string {
    const known = reply.getHeader(this.#name)
    return typeof known === 'string' ? known : this.begin(request, reply)
  }

  /**
   * Determines the correlation id of a request: the client's own id if it has only allowed characters, otherwise a
   * new one. Sets it on the reply, and adds it to all later log lines of the request.
   */
  begin (request: FastifyRequest, reply: FastifyReply): string {
    const sent = request.headers[this.#name]
    const id = typeof sent === 'string' && ACCEPTABLE.test(sent) ? sent : this.#generate()
    reply.header(this.#name, id)
    request.log = reply.log = request.log.child({ correlation_id: id })
    return id
  }
}
