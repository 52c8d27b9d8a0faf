import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'

/** The trace of one request that submits a job. */
export interface TracedSubmission {
  /** Fields for the log lines of the request; `undefined`: none. */
  readonly logFields: Readonly<Record<string, string>> | undefined
  /** Whether there is a span that `finish` must end. */
  readonly open: boolean
  /** Runs the rest of the request with the span as the active one. */
  run (work: () => void): void
  /** Called once or twice. @param statusCode `undefined`: the client disconnected before there was a response */
  finish (statusCode: number | undefined): void
}

/** Where the traced part of a request is found. A symbol: it collides with no decorator of the application. */
const TRACED: unique symbol = Symbol.for('fastify-async-endpoints.traced-submission')

type TracedRequest = FastifyRequest & { [TRACED]?: TracedSubmission | undefined }

/** What tracing attached to the request; `undefined`: nothing, or nobody traces. */
export function tracedSubmission (request: FastifyRequest): TracedSubmission | undefined {
  return (request as TracedRequest)[TRACED]
}

/** Traces submissions. This is all that lib/http knows of tracing. Its methods never throw. */
export interface SubmissionTracer {
  /** @returns the trace, which is passed on to the submission; `undefined`: this request is not traced */
  begin (request: FastifyRequest, jobName: string): TracedSubmission | undefined
}

/**
 * Adds hooks to the routes that submit jobs, and to no others, so that other routes pay nothing. The hooks run after
 * those of all other plugins and see what those did.
 */
export function traceSubmissions (app: FastifyInstance, tracer: SubmissionTracer): void {
  app.decorateRequest(TRACED, undefined)
  app.addHook('onRoute', (route) => {
    const jobName = submittedJob(route)
    if (jobName === undefined) return

    // A named function, because instrumentation shows hooks by their names.
    function traceSubmission (request: FastifyRequest, reply: FastifyReply, done: () => void): void {
      const traced = tracer.begin(request, jobName ?? '')
      const holder: TracedRequest = request
      holder[TRACED] = traced
      if (traced?.open !== true) return done()
      // If the client disconnects, Fastify calls no onResponse hook, and the span would never end.
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

/** The name of the job that a route submits, from the route's `config`. */
function submittedJob ({ config }: RouteOptions): string | undefined {
  const ours: unknown = config === undefined ? undefined : Reflect.get(config, 'asyncEndpoints')
  if (typeof ours !== 'object' || ours === null || !('kind' in ours) || ours.kind !== 'submit') return undefined
  return 'name' in ours && typeof ours.name === 'string' ? ours.name : undefined
}
