import type { FastifyRequest } from 'fastify'
import type { SubmitOrigin } from '../events/catalogue.ts'

/** Bounds the texts, which go into log lines and into the store. */
const ACCEPTABLE_ID = /^[A-Za-z0-9._-]{1,128}$/

/**
 * Who sent a request, for the log lines of its submission and its job. Getters: a request that nobody asks about
 * costs one small object.
 */
export class RequestOrigin implements SubmitOrigin {
  readonly #request: FastifyRequest
  readonly #owner: string | undefined

  constructor (request: FastifyRequest, owner: string | undefined) {
    this.#request = request
    this.#owner = owner
  }

  /**
   * The id that a gateway has set, which is unique across processes; otherwise Fastify's own, which is unique in this
   * process.
   */
  get requestId (): string {
    const sent = this.#request.headers['x-request-id']
    return typeof sent === 'string' && ACCEPTABLE_ID.test(sent) ? sent : this.#request.id
  }

  /** The owner. Without an owner, what the client says about itself, which is good enough for log lines only. */
  get userId (): string | undefined {
    const sent = this.#request.headers['x-user-id']
    return this.#owner ?? (typeof sent === 'string' && sent !== '' ? sent : undefined)
  }

  /** Behind a proxy, this is the client's address only if Fastify's `trustProxy` is set. */
  get clientIp (): string { return this.#request.ip }
  get userAgent (): string | undefined { return this.#request.headers['user-agent'] }
}

/** The `Content-Length` of the request, if it is a number. */
export function payloadBytes (request: FastifyRequest): number | undefined {
  const length = request.headers['content-length']
  return length === undefined || !/^\d{1,15}$/.test(length) ? undefined : Number(length)
}
