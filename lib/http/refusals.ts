import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { AsyncEndpointsError } from '../core/errors.ts'
import { answerRefusals } from './framework-errors.ts'
import { refuseUnknown } from './find-job.ts'
import { hiddenSig, hideLinksElsewhere } from './hidden-sig.ts'
import { ownCompilers } from './own-compilers.ts'
import { correlationHook, problemHandler, type HttpRuntime } from './http-runtime.ts'

/** The paths below the job routes, and the methods of each. */
const SHAPES: ReadonlyArray<{ readonly path: RegExp, readonly methods: readonly string[] }> = [
  { path: /^[^/]+$/, methods: ['GET', 'HEAD', 'DELETE'] },
  { path: /^[^/]+\/result$/, methods: ['GET', 'HEAD'] },
  { path: /^[^/]+\/(?:cancel|redrive|retry)$/, methods: ['POST'] },
  { path: /^[^/]+\/signals\/[^/]+$/, methods: ['POST'] }
]

/**
 * Answers requests that the job routes do not handle: other methods, other paths below theirs, ids that are too long
 * for the router. Without it, the client would get the application's own answer for unknown routes, which is not a
 * problem document.
 */
export function addRefusals (app: FastifyInstance, http: HttpRuntime): void {
  const url = `${http.options.path}/*`
  hideLinksElsewhere(app, http)
  // Preflight requests are left to the application's CORS plugin.
  const methods = app.supportedMethods.filter((method) => method !== 'OPTIONS' && !app.hasRoute({ method, url: app.prefix + url }))
  if (methods.length > 0) {
    app.route<{ Params: { '*': string } }>({
      method: methods,
      url,
      exposeHeadRoute: false,
      schema: { hide: true },
      ...ownCompilers,
      ...hiddenSig(app, http),
      config: { asyncEndpoints: { kind: 'refusal' }, otel: false },
      // Before the body is read, because it is not needed.
      onRequest: [correlationHook(http), async (request) => { await refuse(http, request, request.params['*']) }],
      errorHandler: problemHandler(http, http.options.responses, undefined),
      handler: () => { throw unknownPath() }
    })
  }
  const answer = problemHandler(http, http.options.responses, undefined)
  http.paths.add(undefined, app.prefix + url)
  answerRefusals(app, (method, path) => http.paths.has(method, path), (error, request, reply) => { send(answer.call(app, withoutUrl(error), request, reply), reply) })
}

/** Always throws. An id that is too long belongs to no job, and gets the same answer as an unknown id. */
async function refuse (http: HttpRuntime, request: FastifyRequest, rest: string): Promise<void> {
  const shape = SHAPES.find(({ path }) => path.test(rest))
  if (shape === undefined) throw unknownPath()
  if (!shape.methods.includes(request.method)) {
    throw Object.assign(new Error(`Only ${shape.methods.join(', ')} can be used here`), { statusCode: 405, headers: { allow: shape.methods.join(', ') } })
  }
  await refuseUnknown(http, request)
}

/** Fastify's own message repeats the whole URL, whose query may hold secrets. */
function withoutUrl (error: FastifyError): FastifyError | AsyncEndpointsError {
  if (error.code !== 'FST_ERR_BAD_URL') return error
  return new AsyncEndpointsError('FAE_INVALID_REQUEST', 'The path cannot be decoded: a percent sign in it does not begin a valid escape of UTF-8')
}

function unknownPath (): Error {
  return Object.assign(new Error('There is no route at this path'), { statusCode: 404 })
}

/** Sends a reply for a request without a route, where nothing else sends what a handler returns. */
function send (body: unknown, reply: FastifyReply): void {
  Promise.resolve(body).then(
    (sent) => { if (!reply.sent) reply.send(sent) },
    () => { reply.raw.destroy() }
  )
}
