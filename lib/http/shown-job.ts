/** The status document of a job as a client gets it. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { RedriveAdmission } from '../client/jobs.ts'
import type { JobRecord } from '../jobs/job.ts'
import { storeNow } from '../jobs/store-clock.ts'
import { retryAfterSeconds, statusDocument, weakETag, type StatusDocument } from './document.ts'
import { linksOfReader } from './client-links.ts'
import { exposureOf, linksFor, type HttpRuntime } from './http-runtime.ts'
import { asJson, bodyFor, type ResponseFactories } from './responses.ts'

/** The status document as it is sent. */
export interface Shown {
  readonly job: JobRecord
  readonly body: unknown
  readonly etag: string
}

export async function showJob (
  http: HttpRuntime, job: JobRecord, request: FastifyRequest, reply: FastifyReply
): Promise<Shown> {
  const document = await documentOf(http, job, request)
  const factory = factoryOf(http, job)
  const body = await bodyFor(factory, { job, document }, document, request, reply)
  return { job, body, etag: weakETag(typeof body === 'string' ? body : JSON.stringify(body) ?? '') }
}

/**
 * The status document on a stream or socket, whose request was answered long ago: a response factory can change the
 * document, but not the answer.
 */
export async function documentOnChannel (
  http: HttpRuntime, job: JobRecord, request: FastifyRequest, reply: FastifyReply
): Promise<unknown> {
  const document = await documentOf(http, job, request)
  return await factoryOf(http, job)?.({ job, document }, request, reply) ?? document
}

async function documentOf (http: HttpRuntime, job: JobRecord, request: FastifyRequest): Promise<StatusDocument> {
  const plan = http.runtime.registry.get(job.name)?.saga
  const links = await linksOfReader(http, request, job)
  return statusDocument(job, links, exposureOf(http, job), admissionOf(http, job).maxRedrives, plan)
}

function factoryOf (http: HttpRuntime, { name }: JobRecord): ResponseFactories['status'] {
  return (http.endpoints.get(name)?.responses ?? http.options.responses).status
}

/** The limit of the job's queue; none if its endpoint is not defined in this process. */
export function admissionOf (http: HttpRuntime, { name }: JobRecord): RedriveAdmission {
  return http.endpoints.get(name)?.redrives ?? { maxRedrives: http.options.maxRedrives }
}

/** Answers with the status document after the job was changed. */
export async function answer (
  http: HttpRuntime, job: JobRecord, code: 200 | 202, request: FastifyRequest, reply: FastifyReply
): Promise<unknown> {
  reply.code(code).header('cache-control', 'no-store')
  if (code === 202) {
    const now = storeNow(http.runtime.store, http.runtime.context.clock)
    reply.header('location', linksFor(http, request, job.id).self(job.id)).header('retry-after', String(retryAfterSeconds(job, now)))
  }
  const { body } = await showJob(http, job, request, reply)
  return reply.sent ? undefined : asJson(reply, body)
}
