/**
 * Handles refusals that Fastify's router makes before it has found a route: a malformed escape in the path, a
 * parameter that is too long. They reach no hook and no error handler, only the server option `frameworkErrors`,
 * which a plugin cannot set. So this file, and no other, adds it to the options that Fastify keeps under a private
 * symbol. If a release of Fastify has no such symbol, the router's plain answers stay. A test compares the answers to
 * other requests with Fastify's own.
 */
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

type FrameworkErrors = (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => void

/** Answers the router's refusals for some requests. All others are answered as before. */
export function answerRefusals (
  app: FastifyInstance, isOurs: (method: string, path: string) => boolean, answer: FrameworkErrors
): void {
  const options = optionsOf(app)
  if (options === undefined) return
  const given: unknown = Reflect.get(options, 'frameworkErrors')
  const others: FrameworkErrors = typeof given === 'function' ? (error, request, reply) => { given(error, request, reply) } : asFastifyDoes
  // Fastify reads the option for each refusal. If the options are frozen, they stay as they are.
  Reflect.set(options, 'frameworkErrors', (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => {
    const path = request.url.split('?', 1)[0] ?? ''
    if (isOurs(request.method, path)) answer(error, request, reply)
    else others(error, request, reply)
  })
}

/** The symbol is a property of the root instance, from which all contexts inherit. */
function optionsOf (app: object): object | undefined {
  for (let instance: object | null = app; instance !== null; instance = Object.getPrototypeOf(instance) as object | null) {
    const symbol = Object.getOwnPropertySymbols(instance).find(({ description }) => description === 'fastify.options')
    const options: unknown = symbol === undefined ? undefined : Reflect.get(instance, symbol)
    if (typeof options === 'object' && options !== null) return options
  }
  return undefined
}

/** What Fastify answers without the option. */
function asFastifyDoes (error: FastifyError, _request: FastifyRequest, reply: FastifyReply): void {
  const { code, message, statusCode } = error
  const plain = code === 'FST_ERR_BAD_URL' || code === 'FST_ERR_MAX_PARAM_LENGTH'
  const body = JSON.stringify(plain
    ? { error: 'Bad Request', code, message, statusCode }
    : { error: 'Internal Server Error', message: 'Unexpected error from async constraint', statusCode: 500 })
  const status = plain ? statusCode ?? 400 : 500
  reply.hijack()
  reply.raw.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) })
  reply.raw.end(body)
}
