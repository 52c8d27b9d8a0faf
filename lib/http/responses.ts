import type { FastifyReply, FastifyRequest } from 'fastify'
import type { JobRecord } from '../jobs/job.ts'
import type { StatusDocument, SubmittedDocument } from './document.ts'
import type { Problem } from './problem.ts'

export interface SubmittedContext {
  readonly job: JobRecord
  /** `true`: an `Idempotency-Key` was repeated, and this is the job it belongs to. */
  readonly replayed: boolean
  /** What would be sent. */
  readonly document: SubmittedDocument
}

export interface StatusContext {
  /** As it is stored. The message of its error may be nothing for a client; the one in `document` is. */
  readonly job: JobRecord
  /** What would be sent. */
  readonly document: StatusDocument
}

export interface ProblemContext {
  /** What was thrown. May carry what no client should see. */
  readonly error: unknown
  /** What would be sent. */
  readonly problem: Problem
}

/** Makes the body of a response; `undefined` keeps the one that would be sent. Status and headers can be changed on `reply`. */
export type ResponseFactory<Context> = (context: Context, request: FastifyRequest, reply: FastifyReply) => unknown

/**
 * Bodies of your own. A factory may be async. One that throws is answered with a 500 problem; the job, once stored,
 * stays, and the headers of the response still name it.
 */
export interface ResponseFactories {
  /** The 202 after a submission; its headers are already set. */
  submitted?: ResponseFactory<SubmittedContext> | undefined
  /** The status document. Its `ETag` is computed from what the factory returns. */
  status?: ResponseFactory<StatusContext> | undefined
  /** A submission that was refused: invalid, not authorised, queue full, store away, … */
  submitError?: ResponseFactory<ProblemContext> | undefined
  /** Every other error on our routes, and unexpected errors (500) on the submit routes. */
  exception?: ResponseFactory<ProblemContext> | undefined
}

/** The body: the factory's, or the default one. `undefined` when the factory has sent the reply itself. */
export async function bodyFor<Context> (factory: ResponseFactory<Context> | undefined, context: Context, fallback: unknown, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  if (factory === undefined) return fallback
  const body = await factory(context, request, reply)
  return reply.sent ? undefined : body ?? fallback
}

export const JSON_MEDIA_TYPE = 'application/json; charset=utf-8'

/**
 * Makes Fastify write a body with `JSON.stringify`, whatever serializer the application has: our documents are built
 * field by field. A factory that set its own content type may hand over text, which then goes out as it is.
 */
export function asJson (reply: FastifyReply, body: unknown, mediaType: string = JSON_MEDIA_TYPE): unknown {
  if (reply.getHeader('content-type') === undefined) reply.header('content-type', mediaType).serializer(JSON.stringify)
  else if (typeof body !== 'string') reply.serializer(JSON.stringify)
  return body
}
