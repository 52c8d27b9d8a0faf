import type { FastifyReply, FastifyRequest } from 'fastify'
import type { JobRecord } from '../jobs/job.ts'
import type { StatusDocument, SubmittedDocument } from './document.ts'
import type { Problem } from './problem.ts'

export interface SubmittedContext {
  readonly job: JobRecord
  /** `true`: the `Idempotency-Key` was already used, and this is the job of that key. */
  readonly replayed: boolean
  /** The body that is sent without a factory. */
  readonly document: SubmittedDocument
}

export interface StatusContext {
  /** The job as it is stored. The message of its error may not be meant for clients; the one in `document` is. */
  readonly job: JobRecord
  /** The body that is sent without a factory. */
  readonly document: StatusDocument
}

export interface ProblemContext {
  /** The thrown error. It may hold details that no client should see. */
  readonly error: unknown
  /** The body that is sent without a factory. */
  readonly problem: Problem
}

/** Makes the body of a response; `undefined` keeps the default body. Status and headers can be changed on `reply`. */
export type ResponseFactory<Context> = (context: Context, request: FastifyRequest, reply: FastifyReply) => unknown

/**
 * Functions that make your own response bodies. A factory may be async. If it throws, the answer is a problem with
 * status 500; a job that was already stored stays, and the headers of the response still name it.
 */
export interface ResponseFactories {
  /** The 202 after a submission. Its headers are already set. */
  submitted?: ResponseFactory<SubmittedContext> | undefined
  /** The status document. Its `ETag` is computed from what the factory returns. */
  status?: ResponseFactory<StatusContext> | undefined
  /** A submission that was refused: invalid, not authorised, queue full, store not reachable, … */
  submitError?: ResponseFactory<ProblemContext> | undefined
  /** Every other error on the job routes, and unexpected errors (500) on the submit routes. */
  exception?: ResponseFactory<ProblemContext> | undefined
}

/** The body of the factory, or the default body. `undefined` if the factory has sent the reply itself. */
export async function bodyFor<Context> (factory: ResponseFactory<Context> | undefined, context: Context, fallback: unknown, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  if (factory === undefined) return fallback
  const body = await factory(context, request, reply)
  return reply.sent ? undefined : body ?? fallback
}

export const JSON_MEDIA_TYPE = 'application/json; charset=utf-8'

/**
 * Makes Fastify write a body with `JSON.stringify`, whatever serializer the application has: the documents of this
 * package are built field by field. A factory that has set its own content type may return text, which is sent as it
 * is.
 */
export function asJson (reply: FastifyReply, body: unknown, mediaType: string = JSON_MEDIA_TYPE): unknown {
  if (reply.getHeader('content-type') === undefined) reply.header('content-type', mediaType).serializer(JSON.stringify)
  else if (typeof body !== 'string') reply.serializer(JSON.stringify)
  return body
}
