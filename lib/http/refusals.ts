import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { AsyncEndpointsError } from '../core/errors.ts'
import { answerRefusals } from './framework-errors.ts'
import { notFound } from './job-routes.ts'
import { ownCompilers } from './own-compilers.ts'
import { correlationHook, problemHandler, type HttpRuntime } from './http-runtime.ts'

/** What there is under the path of the job routes, and by which methods. */
const SHAPES: ReadonlyArray<{ readonly path: RegExp, readonly methods: readonly string[] }> = [
  { path: /^[^/]+$/, methods: ['GET', 'HEAD', 'DELETE'] },
  { path: /^[^/]+\/result$/, methods: ['GET', 'HEAD'] },
  { path: /^[^/]+\/(?:cancel|redrive|retry)$/, methods: ['POST'] }
]

/**
 * Answers what the job routes do not: other methods, other paths under theirs, ids that the router finds too long. Without
 * it, the application's own answer to unknown routes would be given, which is no problem document.
 */
export function addRefusals (app: FastifyInstance, http: HttpRuntime): void {
  const url = `${http.options.path}/*`
  // A preflight request is for whatever the application has registered for CORS.
  const methods = app.supportedMethods.filter((method) => method !== 'OPTIONS' && !app.hasRoute({ method, url: app.prefix + url }))
  if (methods.length > 0) {
    app.route<{ Params: { '*': string } }>({
      method: methods,
      url,
      exposeHeadRoute: false,
      schema: { hide: true },
      ...ownCompilers,
      config: { asyncEndpoints: { kind: 'refusal' }, otel: false },
      // Before the body is read: nobody needs it.
      onRequest: [correlationHook(http), async (request) => { await refuse(http, request, request.params['*']) }],
      errorHandler: problemHandler(http, http.options.responses, undefined),
      handler: () => { throw unknownPath() }
    })
  }
  const answer = problemHandler(http, http.options.responses, undefined)
  http.paths.add(undefined, app.prefix + url)
  answerRefusals(app, (method, path) => http.paths.has(method, path), (error, request, reply) => { send(answer.call(app, withoutUrl(error), request, reply), reply) })
}

/** Always throws. An id that is too long is one that no job has, and is answered as any other. */
async function refuse (http: HttpRuntime, request: FastifyRequest, rest: string): Promise<void> {
  const shape = SHAPES.find(({ path }) => path.test(rest))
  if (shape === undefined) throw unknownPath()
  if (!shape.methods.includes(request.method)) {
    throw Object.assign(new Error(`Only ${shape.methods.join(', ')} can be used here`), { statusCode: 405, headers: { allow: shape.methods.join(', ') } })
  }
  const viewer = await http.ownership.ask(request)
  viewer.throwIfRefused()
  throw notFound()
}

/** Fastify's own message repeats the whole URL: what is in its query is nothing for an answer or a log line. */
function withoutUrl (error: FastifyError): FastifyError | AsyncEndpointsError {
  return error.code === 'FST_ERR_BAD_URL' ? new AsyncEndpointsError('FAE_INVALID_REQUEST', 'The path cannot be decoded: a percent sign is not followed by the code of a character') : error
}

function unknownPath (): Error {
  return Object.assign(new Error('There is nothing at this path'), { statusCode: 404 })
}

/** There is no route here that would send what the handler returns. */
function send (body: unknown, reply: FastifyReply): void {
  Promise.resolve(body).then(
    (sent) => { if (!reply.sent) reply.send(sent) },
    () => { reply.raw.destroy() }
  )
}
