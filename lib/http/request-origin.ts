import type { FastifyRequest } from 'fastify'
import type { SubmitOrigin } from '../events/catalogue.ts'

/** What passes goes into log lines and into the store. */
const ACCEPTABLE_ID = /^[A-Za-z0-9._-]{1,128}$/

/** Who sent a request, for the log lines of its submission and its job. Getters: a request that nobody asks about costs one small object. */
export class RequestOrigin implements SubmitOrigin {
  readonly #request: FastifyRequest
  readonly #owner: string | undefined

  constructor (request: FastifyRequest, owner: string | undefined) {
    this.#request = request
    this.#owner = owner
  }

  /** The one that a gateway has given it is unique over processes; Fastify's own is so only in this one. */
  get requestId (): string {
    const sent = this.#request.headers['x-request-id']
    return typeof sent === 'string' && ACCEPTABLE_ID.test(sent) ? sent : this.#request.id
  }

  /** The owner; without one what the sender says of itself, which nothing but log lines may believe. */
  get userId (): string | undefined {
    const sent = this.#request.headers['x-user-id']
    return this.#owner ?? (typeof sent === 'string' && sent !== '' ? sent : undefined)
  }

  /** Behind a proxy it is the client's only with Fastify's `trustProxy`. */
  get clientIp (): string { return this.#request.ip }
  get userAgent (): string | undefined { return this.#request.headers['user-agent'] }
}

/** What the sender said about the length of the body, if it is a number. */
export function payloadBytes (request: FastifyRequest): number | undefined {
  const length = request.headers['content-length']
  return length === undefined || !/^\d{1,15}$/.test(length) ? undefined : Number(length)
}
