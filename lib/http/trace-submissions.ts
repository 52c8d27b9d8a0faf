import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'

/** What tracing makes of one request that submits a job. */
export interface TracedSubmission {
  /** For the log lines of the request; `undefined`: leave them as they are. */
  readonly logFields: Readonly<Record<string, string>> | undefined
  /** `finish` is waited for. */
  readonly open: boolean
  /** Runs the rest of the request, in whatever way makes its span known to what happens inside. */
  run (work: () => void): void
  /** Called once or twice. @param statusCode `undefined`: the client went away before there was an answer */
  finish (statusCode: number | undefined): void
}

/** Where the traced part of a request is found. A symbol: it collides with no decorator of the application. */
const TRACED: unique symbol = Symbol.for('fastify-async-endpoints.traced-submission')

type TracedRequest = FastifyRequest & { [TRACED]?: TracedSubmission | undefined }

/** What tracing attached to the request; `undefined`: nothing, or nobody traces. */
export function tracedSubmission (request: FastifyRequest): TracedSubmission | undefined {
  return (request as TracedRequest)[TRACED]
}

/** Who traces submissions; lib/http knows no more of it. Nothing of it throws. */
export interface SubmissionTracer {
  /** @returns handed to the submission as it is; `undefined`: nothing to do for this request */
  begin (request: FastifyRequest, jobName: string): TracedSubmission | undefined
}

/**
 * Hooks on the routes that submit jobs, and on no other: they run after those of every other plugin and see what these
 * did, and cost other routes nothing.
 */
export function traceSubmissions (app: FastifyInstance, tracer: SubmissionTracer): void {
  app.decorateRequest(TRACED, undefined)
  app.addHook('onRoute', (route) => {
    const jobName = submittedJob(route)
    if (jobName === undefined) return

    // Named: other instrumentation shows hooks by their names.
    function traceSubmission (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
      const traced = tracer.begin(request, jobName ?? '')
      const holder: TracedRequest = request
      holder[TRACED] = traced
      if (traced?.open !== true) return done()
      // A client that goes away has no response: Fastify then calls no hook, and the span would never end.
      reply.raw.once('close', () => { traced.finish(reply.raw.writableFinished ? reply.statusCode : undefined) })
      if (traced.logFields !== undefined) request.log = reply.log = request.log.child(traced.logFields)
      traced.run(done)
    }

    function finishSubmission (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
      tracedSubmission(request)?.finish(reply.statusCode)
      done()
    }

    route.onRequest = [route.onRequest ?? [], traceSubmission].flat()
    route.onResponse = [route.onResponse ?? [], finishSubmission].flat()
  })
}

/** The job of a route of ours, by what its endpoint wrote into `config`. */
function submittedJob ({ config }: RouteOptions): string | undefined {
  const ours: unknown = config === undefined ? undefined : Reflect.get(config, 'asyncEndpoints')
  if (typeof ours !== 'object' || ours === null || !('kind' in ours) || ours.kind !== 'submit') return undefined
  return 'name' in ours && typeof ours.name === 'string' ? ours.name : undefined
}
