import type { FastifyReply, FastifyRequest } from 'fastify'
import { headerListProblems } from './captured-headers.ts'

export const DEFAULT_CORRELATION_HEADER = 'X-Correlation-ID'

// Whatever passes goes into log lines, response headers and the store: nothing that could forge any of them may pass.
const ACCEPTABLE = /^[A-Za-z0-9._-]{1,128}$/

/** Headers that mean something else, to HTTP or on our routes: a response or a request would say what it does not mean. */
const TAKEN: ReadonlySet<string> = new Set([
  'accept', 'accept-language', 'cache-control', 'connection', 'content-encoding', 'content-length', 'content-location', 'content-type', 'date', 'etag', 'expect', 'host',
  'idempotency-key', 'idempotency-replayed', 'if-none-match', 'keep-alive', 'last-modified', 'link', 'location', 'origin', 'prefer', 'preference-applied', 'retry-after', 'server',
  'te', 'traceparent', 'tracestate', 'baggage', 'trailer', 'transfer-encoding', 'upgrade', 'user-agent', 'vary', 'x-async-job-id', 'x-forwarded-for', 'x-processing-time'
])

/** What is wrong with a name for the header, as sentences. */
export function correlationHeaderProblems (where: string, name: string): string[] {
  const problems = headerListProblems(where, [name])
  if (problems.length === 0 && TAKEN.has(name.toLowerCase())) problems.push(`${where}: ${name} has a meaning of its own`)
  return problems
}

/** Where a request's correlation id comes from and goes to. */
export class Correlation {
  /** As it is written in documents; names of headers have no case. */
  readonly header: string
  readonly #name: string
  readonly #generate: () => string

  constructor (header: string, generate: () => string) {
    this.header = header
    this.#name = header.toLowerCase()
    this.#generate = generate
  }

  /** The correlation id of a request. The first call finds it; later ones read it from the reply. */
  of (request: FastifyRequest, reply: FastifyReply): string {
    const known = reply.getHeader(this.#name)
    return typeof known === 'string' ? known : this.begin(request, reply)
  }

  /**
   * Gives a request its correlation id, the client's own if it is harmless, else a new one: on the reply, and in all that
   * is logged from here on.
   */
  begin (request: FastifyRequest, reply: FastifyReply): string {
    const sent = request.headers[this.#name]
    const id = typeof sent === 'string' && ACCEPTABLE.test(sent) ? sent : this.#generate()
    reply.header(this.#name, id)
    request.log = reply.log = request.log.child({ correlation_id: id })
    return id
  }
}
