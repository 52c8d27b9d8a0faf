import type { FastifyRequest } from 'fastify'
import type { SubmitOrigin } from '../events/catalogue.ts'

/** Who sent a request, for whoever tells of its submission. Getters: a request that nobody asks about costs one small object. */
export class RequestOrigin implements SubmitOrigin {
  readonly #request: FastifyRequest
  readonly userId: string | undefined

  constructor (request: FastifyRequest, userId: string | undefined) {
    this.#request = request
    this.userId = userId
  }

  get requestId (): string { return this.#request.id }
  /** Behind a proxy it is the client's only with Fastify's `trustProxy`. */
  get clientIp (): string { return this.#request.ip }
  get userAgent (): string | undefined { return this.#request.headers['user-agent'] }
}

/** What the sender said about the length of the body, if it is a number. */
export function payloadBytes (request: FastifyRequest): number | undefined {
  const length = request.headers['content-length']
  return length === undefined || !/^\d{1,15}$/.test(length) ? undefined : Number(length)
}
